import type { SubscriptionFault } from './fault-rule.ts'
import { type Batch, type ChildShard, type KinesisRecord, readBatch } from './read-batch.ts'
import { continuationAfter } from './sequence-numbers.ts'
import type { Service } from './service.ts'
import { internalFailure, type ServiceError } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { FanOut, StreamConsumer } from './stream-consumer.ts'

/** "The connection persists for up to 5 minutes" (AWS API reference, SubscribeToShard). */
const LIFETIME_MS = 5 * 60 * 1000
/** How long nothing comes before an event without records does. */
const HEARTBEAT_MS = 5_000
/** An event holds so much, except for a single record that is larger. */
const EVENT_BOUNDS = { records: 10_000, bytes: 2 ** 20 }

/** An event of SubscribeToShard in the AWS SDK's shape. */
export interface SubscribeToShardEvent {
  readonly Records: readonly KinesisRecord[]
  /** Where a next subscription goes on, whether AT or AFTER it. Absent in the last event of a shard. */
  readonly ContinuationSequenceNumber?: string
  readonly MillisBehindLatest: number
  /** Only in the last event of a shard. */
  readonly ChildShards?: readonly ChildShard[]
}

export interface SubscriptionOrigin {
  readonly service: Service
  readonly consumer: StreamConsumer
  readonly shard: Shard
  readonly fanOut: FanOut
  /** The sequence number behind which it starts. */
  readonly after: string
  /** Nothing comes before this time, by `monotonicMs`. */
  readonly startMs: number
}

/**
 * One consumer's subscription to one shard, from which a transport pulls. It holds no records and no timers: it knows
 * where in the shard it is, when the next thing is due by time, and whom to tell when something comes earlier.
 *
 * @example
 * const subscription = model.subscribe({ ConsumerARN, ShardId, StartingPosition: { Type: 'TRIM_HORIZON' } })
 * for (let event = subscription.next(); event !== undefined; event = subscription.next()) send(event)
 */
export class Subscription {
  readonly #service: Service
  readonly #consumer: StreamConsumer
  readonly #shard: Shard
  readonly #fanOut: FanOut
  readonly #startMs: number
  readonly #endMs: number
  readonly #onArrival = (): void => this.#listener()
  #after: string
  /** Due from the start, so that a reader learns at once where it is. */
  #heartbeatMs: number
  #ended = false
  #isLost = false
  /** By a fault: nothing of it reaches the reader any more, be it its end. */
  #isStalled = false
  #error: ServiceError | undefined
  #listener: () => void = () => {}

  constructor({ service, consumer, shard, fanOut, after, startMs }: SubscriptionOrigin) {
    this.#service = service
    this.#consumer = consumer
    this.#shard = shard
    this.#fanOut = fanOut
    this.#after = after
    this.#startMs = startMs
    this.#heartbeatMs = startMs
    this.#endMs = startMs + LIFETIME_MS
    shard.listeners.add(this.#onArrival)
  }

  /**
   * Nothing more comes: five minutes are over, the shard has ended (its last event had ChildShards), another subscription
   * took over, the stream or the consumer was deleted, a fault ended it or broke the connection, or it was closed. One that a
   * fault has stalled never says so.
   */
  get ended(): boolean {
    return this.#ended && !this.#isStalled
  }

  /** If it ended by an error, what to send as an exception event. */
  get error(): ServiceError | undefined {
    return this.#error
  }

  /** Whether it ended by a fault that breaks the connection: close it instead of ending the answer. */
  get isLost(): boolean {
    return this.#isLost
  }

  /** When, by `monotonicMs`, something falls due by time alone. */
  get dueMs(): number {
    if (this.#ended || this.#isStalled) return Number.POSITIVE_INFINITY
    const { stream, lifecycle } = this.#consumer
    return Math.max(
      this.#startMs,
      Math.min(this.#endMs, stream.lifecycle.dueMs, lifecycle.dueMs, this.#eventDueMs(this.#service.monotonicMs)),
    )
  }

  /** Told when something may have fallen due earlier than `dueMs` said. One listener. */
  onDue(listener: () => void): void {
    this.#listener = listener
  }

  /** The next event that is due now. Call it until it gives undefined. */
  next(): SubscribeToShardEvent | undefined {
    const { monotonicMs } = this.#service
    if (this.#ended || this.#isStalled || monotonicMs < this.#startMs) return undefined
    this.#service.settle(this.#consumer.stream)
    if (monotonicMs >= this.#endMs) this.close()
    if (this.#ended || monotonicMs < this.#eventDueMs(monotonicMs)) return undefined
    const fault = this.#service.faults.strikeSubscription(this.#consumer.stream.name, this.#shard.id)
    if (fault === undefined) return this.#event(monotonicMs)
    this.#suffer(fault)
    return undefined
  }

  /** Ends it without an error. */
  close(): void {
    this.#ended = true
    this.#shard.listeners.delete(this.#onArrival)
    if (this.#fanOut.subscription === this) this.#fanOut.subscription = undefined
  }

  /** Ends it with an error that the reader is told. */
  fail(error: ServiceError): void {
    if (this.#ended) return
    if (!this.#isStalled) this.#error = error
    this.close()
    this.#listener()
  }

  /** Ends it as if the connection had broken. */
  lose(): void {
    this.#isLost = true
    this.close()
  }

  #suffer(fault: SubscriptionFault): void {
    if (fault === 'stall') this.#isStalled = true
    else if (fault === 'reset') this.lose()
    else if (fault === 'errorEvent') this.fail(internalFailure())
    else this.close()
  }

  #event(nowMs: number): SubscribeToShardEvent {
    const { stream } = this.#consumer
    const batch = readBatch(stream, this.#shard, this.#after, EVENT_BOUNDS, this.#service.wallMs)
    this.#fanOut.bytes.take(batch.bytes)
    this.#after = batch.after
    this.#heartbeatMs = nowMs + HEARTBEAT_MS
    if (batch.children !== undefined) this.close()
    return this.#shown(batch)
  }

  #shown({ records, millisBehindLatest, after, children }: Batch): SubscribeToShardEvent {
    return {
      Records: records,
      MillisBehindLatest: millisBehindLatest,
      ...(children === undefined
        ? { ContinuationSequenceNumber: continuationAfter(after) }
        : { ChildShards: children }),
    }
  }

  #eventDueMs(nowMs: number): number {
    const { log, isOpen } = this.#shard
    const isWaiting = log.indexAfter(this.#after) < log.length || !isOpen
    if (!isWaiting) return this.#heartbeatMs
    return this.#service.limits ? this.#fanOut.bytes.opensAtMs(nowMs) : nowMs
  }
}
