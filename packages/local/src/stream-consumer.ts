import { consumerArn } from './arns.ts'
import { Lifecycle } from './lifecycle.ts'
import type { ServiceError } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'
import type { Subscription } from './subscription.ts'
import { TokenBucket } from './token-bucket.ts'

/** What a consumer has from each shard, beside all others: 2 MiB/s (AWS documentation, "Enhanced fan-out"). */
const BYTES_PER_SECOND = 2 * 2 ** 20

/** What a consumer and one shard have between them, over all its subscriptions. */
export interface FanOut {
  readonly bytes: TokenBucket
  subscription: Subscription | undefined
  /** When a subscription was last made. */
  subscribedMs: number
}

/** A consumer registered with a stream for fan-out. */
export class StreamConsumer {
  readonly name: string
  readonly arn: string
  readonly stream: Stream
  readonly createdMs: number
  readonly lifecycle: Lifecycle = new Lifecycle()
  readonly tags: Map<string, string> = new Map()
  policy: string | undefined
  readonly #fanOuts = new Map<Shard, FanOut>()

  constructor(stream: Stream, name: string, createdMs: number) {
    this.stream = stream
    this.name = name
    this.createdMs = createdMs
    this.arn = consumerArn(stream.name, name, createdMs)
  }

  fanOut(shard: Shard): FanOut {
    let fanOut = this.#fanOuts.get(shard)
    if (fanOut === undefined) {
      this.#forgetGone()
      fanOut = {
        bytes: new TokenBucket(BYTES_PER_SECOND),
        subscription: undefined,
        subscribedMs: Number.NEGATIVE_INFINITY,
      }
      this.#fanOuts.set(shard, fanOut)
    }
    return fanOut
  }

  endSubscriptions(error: ServiceError): void {
    for (const { subscription } of this.#fanOuts.values()) subscription?.fail(error)
  }

  #forgetGone(): void {
    for (const shard of this.#fanOuts.keys()) {
      if (this.stream.family.byId(shard.id) === undefined) this.#fanOuts.delete(shard)
    }
  }
}
