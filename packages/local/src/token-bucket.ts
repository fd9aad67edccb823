/**
 * A rate that something may have, with one second's worth of burst. What is taken may put it into debt, as with the
 * service: then nothing goes until the debt is paid off.
 */
export class TokenBucket {
  readonly #perSecond: number
  #tokens: number
  #atMs: number

  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = perSecond
    this.#tokens = perSecond
    this.#atMs = nowMs
  }

  /** Whether anything may be taken now. */
  isOpen(nowMs: number): boolean {
    // A clock that was set back gives nothing, and takes nothing either.
    const elapsedMs = Math.max(0, nowMs - this.#atMs)
    this.#tokens = Math.min(this.#perSecond, this.#tokens + (elapsedMs / 1000) * this.#perSecond)
    this.#atMs = nowMs
    return this.#tokens > 0
  }

  take(amount: number): void {
    this.#tokens -= amount
  }
}
