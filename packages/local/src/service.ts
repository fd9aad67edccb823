import type { AccountSettings } from './account.ts'
import { isOfConsumer, streamNameIn } from './arns.ts'
import { CallRates, DailyLimits } from './call-rates.ts'
import { Faults } from './faults.ts'
import type { KinesisModelOptions, ModelClock } from './kinesis-model.ts'
import { agreeing, checkPattern, nullValue, optionalString, type Request } from './requests.ts'
import { ACCOUNT, invalidArgument, limitExceeded, notFound, streamLabel, streamNotFound } from './service-error.ts'
import type { Shard } from './shard.ts'
import { Stream, type StreamMode } from './stream.ts'
import type { StreamConsumer } from './stream-consumer.ts'

const DEFAULT_RETENTION_MS = 24 * 3_600_000
const STREAM_NAME = /^[a-zA-Z0-9_.-]{1,128}$/
const ARN_FIELDS = ['StreamARN', 'ConsumerARN', 'ResourceARN']

/** The state that the operations work on: the streams of the account, and what limits its calls. */
export class Service {
  readonly faults: Faults
  readonly limits: boolean
  readonly createMs: number
  readonly reshardMs: number
  readonly registerMs: number
  readonly callRates: CallRates
  readonly dailyLimits: DailyLimits
  readonly account: AccountSettings = { commitment: 'DISABLED' }
  readonly streams: Map<string, Stream> = new Map()
  readonly #clock: ModelClock
  readonly #retentionBytes: number
  readonly #retentionMs: number
  #incarnations = 0

  constructor(options: KinesisModelOptions) {
    const { clock, limits } = options
    this.#clock = clock
    this.limits = limits
    this.#retentionBytes = options.retentionBytes
    this.#retentionMs = options.retentionMs ?? DEFAULT_RETENTION_MS
    this.createMs = options.createMs ?? 0
    this.reshardMs = options.reshardMs ?? 0
    this.registerMs = options.registerMs ?? 0
    this.faults = new Faults(options.random ?? Math.random)
    const monotonicMs = (): number => clock.monotonicMs()
    this.callRates = new CallRates(limits, monotonicMs)
    this.dailyLimits = new DailyLimits(limits, monotonicMs)
  }

  get wallMs(): number {
    return this.#clock.wallMs()
  }

  get monotonicMs(): number {
    return this.#clock.monotonicMs()
  }

  /** Completes what has come to its end by now: changes of status, retention. */
  settle(stream: Stream): void {
    const { monotonicMs } = this
    stream.lifecycle.settle(monotonicMs)
    for (const { lifecycle } of stream.consumers.values()) lifecycle.settle(monotonicMs)
    stream.trim(this.wallMs)
  }

  streamNamed(name: string): Stream {
    const stream = this.streams.get(name)
    if (stream === undefined) throw streamNotFound(name)
    this.settle(stream)
    // Its deletion may have been what was completed.
    if (!this.streams.has(name)) throw streamNotFound(name)
    return stream
  }

  /** The stream that a request names: by its name, by its ARN, or by that of one of its consumers. */
  stream(request: Request): Stream {
    const name = optionalString(request, 'StreamName')
    if (name !== undefined) checkPattern('StreamName', name, STREAM_NAME)
    const named = ARN_FIELDS.reduce((known, field) => {
      const arn = optionalString(request, field)
      if (arn === undefined) return known
      return agreeing(known, streamNameIn(arn, field), `${field} ${arn} is not of the stream ${known}.`)
    }, name)
    if (named === undefined) throw nullValue('streamName')
    return this.streamNamed(named)
  }

  /** The stream that a request names, if records may be put into it or got from it by now. */
  servingStream(request: Request): Stream {
    const stream = this.stream(request)
    if (!stream.lifecycle.isServing) throw streamNotFound(stream.name)
    return stream
  }

  /** @throws {ServiceError} when the ARN is not one of a consumer, or of none there is */
  consumer(arn: string): StreamConsumer {
    const stream = this.streamNamed(streamNameIn(arn, 'ConsumerARN'))
    if (!isOfConsumer(arn)) throw invalidArgument(`${arn} is not the ARN of a consumer.`)
    const resource = arn.slice(arn.indexOf(':stream/'))
    const consumer = [...stream.consumers.values()].find((each) => each.arn.endsWith(resource))
    if (consumer !== undefined) return consumer
    throw notFound(`Consumer ${arn} under account ${ACCOUNT} not found.`)
  }

  /** @throws {ServiceError} ResourceNotFoundException, also for a shard that is past the retention */
  shard(stream: Stream, shardId: string): Shard {
    const shard = stream.family.byId(shardId)
    if (shard !== undefined) return shard
    throw notFound(`Shard ${shardId} in ${streamLabel(stream.name)} does not exist`)
  }

  makeStream(name: string, shardCount: number, mode: StreamMode): Stream {
    const createdMs = this.wallMs
    return new Stream({
      name,
      incarnation: `${createdMs}-${this.#incarnations++}`,
      shardCount,
      createdMs,
      retentionBytes: this.#retentionBytes,
      retentionMs: this.#retentionMs,
      mode,
    })
  }

  /** @throws {ServiceError} LimitExceededException when an operation is called more often than it may be */
  admitCall(operation: string, of: object, perSecond: number): void {
    if (this.callRates.admits(operation, of, perSecond)) return
    const whose = of instanceof Stream ? streamLabel(of.name) : `account ${ACCOUNT}`
    throw limitExceeded(`Rate exceeded for ${whose}: ${operation} may be called ${perSecond} times a second.`)
  }
}
