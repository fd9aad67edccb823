import { targetOf } from './fault-target.ts'
import type { Faults } from './faults.ts'
import { OPERATIONS } from './operations.ts'
import type { Request } from './requests.ts'
import { Service } from './service.ts'
import { ServiceError } from './service-error.ts'
import type { Stream } from './stream.ts'
import { createStream } from './streams.ts'
import { subscribe } from './subscribing.ts'
import type { Subscription } from './subscription.ts'
import { putRecords } from './writing.ts'

/** Time for the model: rates, expiry and durations by the first, timestamps by the second, in milliseconds since 1970. */
export interface ModelClock {
  monotonicMs(): number
  wallMs(): number
}

export interface KinesisModelOptions {
  readonly clock: ModelClock
  /** Whether there are the service's limits: of a shard, of a consumer's fan-out, and of calls to each operation. */
  readonly limits: boolean
  /** Beyond so many bytes in a stream its oldest records are trimmed. */
  readonly retentionBytes: number
  /** Records older than this are trimmed, until a stream's retention is changed. Default 24 hours. */
  readonly retentionMs?: number
  /** How long a stream is CREATING, and DELETING. Default 0. */
  readonly createMs?: number
  /** How long a stream is UPDATING in a reshard; its old shards take records until then. Default 0. */
  readonly reshardMs?: number
  /** How long a consumer is CREATING, and DELETING. Default 0. */
  readonly registerMs?: number
  /** From 0 to 1, for faults. Default `Math.random`. */
  readonly random?: () => number
}

/** What a transport does with a request. */
export interface ModelResponse {
  readonly answer: object | ServiceError
  /** Wait so long before answering. */
  readonly delayMs: number
  /** Close the connection instead of answering. */
  readonly isLost: boolean
}

/**
 * Kinesis Data Streams as plain state: streams, shards, records and consumers, driven by the clock it is given. No I/O;
 * requests and answers have the AWS SDK's shapes.
 *
 * @example
 * const clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() }
 * const model = new KinesisModel({ clock, limits: false, retentionBytes: 2 ** 30 })
 * model.execute('CreateStream', { StreamName: 'orders', ShardCount: 4 })
 */
export class KinesisModel {
  readonly #service: Service

  constructor(options: KinesisModelOptions) {
    this.#service = new Service(options)
  }

  /** What goes wrong on purpose in `request` and `subscribe`. */
  get faults(): Faults {
    return this.#service.faults
  }

  /**
   * Any operation but SubscribeToShard, without faults.
   *
   * @throws {ServiceError} as the service would answer
   */
  execute(operation: string, request: Request): object {
    const run = OPERATIONS.get(operation)
    if (run !== undefined) return run(this.#service, request)
    throw new ServiceError('UnknownOperationException', `Operation ${operation} is not known here.`)
  }

  /** Any operation but SubscribeToShard, with the faults that are set: what a transport has to do. */
  request(operation: string, request: Request): ModelResponse {
    const effect = this.faults.strike(operation, () => targetOf(this.#service, operation, request))
    const { delayMs, isReset, isAnswerLost, error, failing } = effect
    if (isReset) return { answer: {}, delayMs, isLost: true }
    const run = (): object =>
      failing.size > 0 ? putRecords(this.#service, request, failing) : this.execute(operation, request)
    return { answer: error ?? attempt(run), delayMs, isLost: isAnswerLost }
  }

  /**
   * SubscribeToShard, with the faults that are set.
   *
   * @throws {ServiceError} as the service would answer
   */
  subscribe(request: Request): Subscription {
    const effect = this.faults.strike('SubscribeToShard', () => targetOf(this.#service, 'SubscribeToShard', request))
    if (effect.error !== undefined) throw effect.error
    const subscription = subscribe(this.#service, request, effect.delayMs)
    if (effect.isAnswerLost) subscription.lose()
    return subscription
  }

  /**
   * A stream that is there from the beginning: ACTIVE at once, and no call to CreateStream counts.
   *
   * @throws {ServiceError} as CreateStream would answer
   */
  addStream(name: string, shardCount: number): void {
    createStream(this.#service, { StreamName: name, ShardCount: shardCount })
    this.#service.streams.get(name)?.lifecycle.settle(Number.POSITIVE_INFINITY)
  }

  /**
   * What lies in a stream, for tests and simulations.
   *
   * @throws {ServiceError} ResourceNotFoundException
   */
  streamNamed(name: string): Stream {
    return this.#service.streamNamed(name)
  }
}

function attempt(action: () => object): object | ServiceError {
  try {
    return action()
  } catch (error) {
    if (error instanceof ServiceError) return error
    throw error
  }
}
