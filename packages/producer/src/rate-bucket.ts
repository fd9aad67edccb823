/** The service's limits of a shard, a second. */
const RECORDS_PER_SECOND = 1_000
const BYTES_PER_SECOND = 2 ** 20

/** One throttled answer lowers the rate by so much, one success raises it by so little: additive increase, multiplicative decrease. */
const DECREASE = 0.7
const INCREASE = 0.02
const LEAST = 0.05

/**
 * How fast one shard is written to: tokens for Kinesis records and for bytes, that grow at `rateLimit` percent of the
 * shard's limits, times a factor that adapts to how the service answers. Holds at most one second of the shard's limits,
 * so that a burst after a pause is no more than the service grants.
 *
 * A record goes when both are positive and may put them into debt: so a record larger than a second's quota passes, and
 * the lane then waits.
 */
export class RateBucket {
  #rate: number
  #factor = 1
  #records = RECORDS_PER_SECOND
  #bytes = BYTES_PER_SECOND
  #atMs: number

  /** @param rateLimit in percent of the shard's limits; Infinity for none */
  constructor(rateLimit: number, nowMs: number) {
    this.#rate = rateLimit / 100
    this.#atMs = nowMs
  }

  /** Bytes a second at which it now grows. */
  get bytesPerSecond(): number {
    return BYTES_PER_SECOND * this.#rate * this.#factor
  }

  /** Milliseconds until a record may go; 0 if now. */
  waitMs(nowMs: number): number {
    if (this.#rate === Number.POSITIVE_INFINITY) return 0
    const growth = (this.#rate * this.#factor) / 1_000
    const elapsed = Math.max(0, nowMs - this.#atMs)
    this.#atMs = nowMs
    this.#records = Math.min(RECORDS_PER_SECOND, this.#records + elapsed * growth * RECORDS_PER_SECOND)
    this.#bytes = Math.min(BYTES_PER_SECOND, this.#bytes + elapsed * growth * BYTES_PER_SECOND)
    const debt = Math.max(-this.#records / RECORDS_PER_SECOND, -this.#bytes / BYTES_PER_SECOND)
    // A millisecond more than the debt takes, so that rounding never makes a wait of nothing.
    return debt < 0 ? 0 : debt / growth + 1
  }

  take(bytes: number, _nowMs?: number): void {
    this.#records -= 1
    this.#bytes -= bytes
  }

  limitTo(rateLimit: number, _nowMs: number): void {
    this.#rate = rateLimit / 100
  }

  throttled(_sentAtMs?: number, _nowMs?: number): void {
    this.#factor = Math.max(LEAST, this.#factor * DECREASE)
  }

  succeeded(): void {
    this.#factor = Math.min(1, this.#factor + INCREASE)
  }
}
