import type { Kinesis } from '@shardwise/core'
import type { ResolvedOptions } from '../options.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { FanOutReader } from './fan-out-reader.ts'
import { RegisteredConsumer } from './registered-consumer.ts'
import type { ReaderOf } from './shard-reader.ts'
import { SubscribePace } from './subscribe-pace.ts'

export interface FanOutOptions {
  readonly kinesis: Kinesis
  /** Sends SubscribeToShard: over HTTP/2, for the service. */
  readonly subscriber: Kinesis
  readonly options: Pick<ResolvedOptions, 'consumerName' | 'consumerArn' | 'clock' | 'random'>
  /** Whether a refusal at the start is final. */
  readonly isRefusalFinal: boolean
  readonly telemetry: Telemetry
}

/** More than a stream has; over the years its shards change. */
const MAX_SHARDS_REMEMBERED = 16_384

/** What the shards of a worker that are read by fan-out share: for each stream its registered consumer. */
export class FanOut {
  readonly #options: FanOutOptions
  // By source, not by name: a stream that was made anew is another one.
  readonly #consumers = new WeakMap<StreamSource, RegisteredConsumer>()

  constructor(options: FanOutOptions) {
    this.#options = options
  }

  consumerOf(source: StreamSource): RegisteredConsumer {
    let consumer = this.#consumers.get(source)
    if (consumer === undefined) {
      const { kinesis, options, isRefusalFinal, telemetry } = this.#options
      consumer = new RegisteredConsumer({
        ...options,
        kinesis,
        isRefusalFinal,
        stream: source.stream,
        telemetry: telemetry.of(source.stream),
        onFailure: (doing, error) => telemetry.emit({ type: 'callFailed', doing, error }),
      })
      this.#consumers.set(source, consumer)
    }
    return consumer
  }

  /** Makes what makes the readers of a stream's shards. */
  readonly readersOf = (source: StreamSource): ReaderOf => {
    const { subscriber, options: worker } = this.#options
    const consumer = this.consumerOf(source)
    // The service counts the calls for a shard, whoever reads it: a lease may be lost and taken again within a second.
    const paces = new Map<string, SubscribePace>()
    return (options) => {
      const { shardId } = options
      if (paces.size >= MAX_SHARDS_REMEMBERED) paces.clear()
      const pace = paces.get(shardId) ?? new SubscribePace(worker.random)
      paces.set(shardId, pace)
      return new FanOutReader({ ...options, subscriber, consumer, pace })
    }
  }
}
