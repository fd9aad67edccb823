import { TokenBucket } from './token-bucket.ts'

/** How often each operation may be called on the account, a stream, a shard or a consumer. */
export class CallRates {
  readonly #limits: boolean
  readonly #monotonicMs: () => number
  /** By what they are of, so that they are gone with it. */
  readonly #buckets = new WeakMap<object, Map<string, TokenBucket>>()

  constructor(limits: boolean, monotonicMs: () => number) {
    this.#limits = limits
    this.#monotonicMs = monotonicMs
  }

  /** Whether one more call is within the rate; if so, it is counted. */
  admits(operation: string, of: object, perSecond: number): boolean {
    if (!this.#limits) return true
    const bucket = this.#bucket(operation, of, perSecond)
    if (!bucket.hasOne(this.#monotonicMs())) return false
    bucket.take(1)
    return true
  }

  #bucket(operation: string, of: object, perSecond: number): TokenBucket {
    let buckets = this.#buckets.get(of)
    if (buckets === undefined) {
      buckets = new Map()
      this.#buckets.set(of, buckets)
    }
    let bucket = buckets.get(operation)
    if (bucket === undefined) {
      bucket = new TokenBucket(perSecond)
      buckets.set(operation, bucket)
    }
    return bucket
  }
}

const DAY_MS = 24 * 3_600_000

/** What may be done a few times within any 24 hours. */
export class DailyLimits {
  readonly #limits: boolean
  readonly #monotonicMs: () => number
  readonly #timesMs = new WeakMap<object, Map<string, number[]>>()

  constructor(limits: boolean, monotonicMs: () => number) {
    this.#limits = limits
    this.#monotonicMs = monotonicMs
  }

  /** Whether it may be done once more; if so, it is counted. */
  admits(operation: string, of: object, perDay: number): boolean {
    if (!this.#limits) return true
    const nowMs = this.#monotonicMs()
    const operations = this.#timesMs.get(of) ?? new Map<string, number[]>()
    const recent = (operations.get(operation) ?? []).filter((timeMs) => nowMs - timeMs < DAY_MS)
    if (recent.length >= perDay) return false
    this.#timesMs.set(of, operations.set(operation, [...recent, nowMs]))
    return true
  }
}
