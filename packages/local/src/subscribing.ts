import { type Request, refuseDryRun, requiredString, structure } from './requests.ts'
import type { Service } from './service.ts'
import { ACCOUNT, inUse, limitExceeded } from './service-error.ts'
import type { Shard } from './shard.ts'
import { startOf } from './starting-position.ts'
import type { FanOut, StreamConsumer } from './stream-consumer.ts'
import { checkServing } from './streams.ts'
import { Subscription } from './subscription.ts'

/** For so long after a successful call nobody else gets the shard for the same consumer (AWS API reference). */
const HOLD_MS = 5_000
const CALLS_PER_SECOND = 1
const FIELDS = { type: 'Type', sequenceNumber: 'SequenceNumber', operation: 'SubscribeToShard' }

/** SubscribeToShard, without faults. */
export function subscribe(service: Service, request: Request, delayMs: number): Subscription {
  const consumer = service.consumer(requiredString(request, 'ConsumerARN'))
  const { stream, lifecycle } = consumer
  if (lifecycle.status !== 'ACTIVE') {
    throw inUse(`Consumer ${consumer.arn} is not ACTIVE, instead in state ${lifecycle.status}.`)
  }
  checkServing(stream)
  const shard = service.shard(stream, requiredString(request, 'ShardId'))
  const after = startOf(stream, shard, structure(request, 'StartingPosition'), FIELDS, service.wallMs)
  refuseDryRun(request)
  const fanOut = consumer.fanOut(shard)
  // What throttles is a bucket of the consumer and the shard, which is what the fan-out stands for.
  if (!service.callRates.admits('SubscribeToShard', fanOut, CALLS_PER_SECOND)) {
    throw limitExceeded(`Rate exceeded for consumer ${consumer.arn} and shard ${shard.id}.`)
  }
  takeOver(service, consumer, shard, fanOut)
  const startMs = service.monotonicMs + delayMs
  const subscription = new Subscription({ service, consumer, shard, fanOut, after, startMs })
  fanOut.subscription = subscription
  fanOut.subscribedMs = service.monotonicMs
  return subscription
}

/**
 * The service doesn't look whether the older subscription is still read, so that one who reconnects has to wait as well;
 * without limits only a living one holds the shard.
 */
function takeOver(service: Service, consumer: StreamConsumer, shard: Shard, fanOut: FanOut): void {
  const { subscription, subscribedMs } = fanOut
  const isHeld = service.monotonicMs - subscribedMs < HOLD_MS
  if (isHeld && (service.limits || subscription !== undefined)) {
    throw inUse(
      `Another active subscription exists for this consumer: ${ACCOUNT}:${consumer.stream.name}:${shard.id}:${consumer.name}.`,
    )
  }
  subscription?.fail(inUse(`Another subscription of ${consumer.arn} to shard ${shard.id} took over.`))
}
