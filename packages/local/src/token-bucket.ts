/** Rounding may leave a bucket this much short of a whole token. */
const TOLERANCE = 1e-9

/**
 * A rate that something may have, with one second's worth of burst. What is taken may put it into debt, as with the
 * service: then nothing goes until the debt is paid off.
 */
export class TokenBucket {
  readonly #perSecond: number
  #tokens: number
  #atMs = Number.NEGATIVE_INFINITY

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#tokens = perSecond
  }

  /** Whether anything may be taken now, be it into debt. */
  isOpen(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#tokens > 0
  }

  /** Whether a whole call or record may be taken now. */
  hasOne(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#tokens >= 1 - TOLERANCE
  }

  take(amount: number): void {
    this.#tokens -= amount
  }

  /** When it is open again, if nothing more is taken. */
  opensAtMs(nowMs: number): number {
    if (this.isOpen(nowMs)) return nowMs
    return Math.floor(nowMs + (-this.#tokens / this.#perSecond) * 1000) + 1
  }

  #refill(nowMs: number): void {
    if (nowMs <= this.#atMs) return
    this.#tokens = Math.min(this.#perSecond, this.#tokens + ((nowMs - this.#atMs) / 1000) * this.#perSecond)
    this.#atMs = nowMs
  }
}
