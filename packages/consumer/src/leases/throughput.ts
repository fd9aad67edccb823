/** Weight of the newest rate, as the KCL has it. */
const ALPHA = 0.5
/** A rate over less time than this says little. */
const MIN_SECONDS = 1

/** How fast a shard's user records are handled, smoothed over renewals: in 1024 bytes of their data a second, as the KCL counts. */
export class Throughput {
  #kbps = 0
  #atMs: number
  #bytes = 0

  constructor(nowMs: number) {
    this.#atMs = nowMs
  }

  /** @param bytes all that were handled so far */
  at(nowMs: number, bytes: number): number {
    const seconds = (nowMs - this.#atMs) / 1000
    if (seconds >= MIN_SECONDS) {
      this.#kbps += ALPHA * ((bytes - this.#bytes) / 1024 / seconds - this.#kbps)
      this.#atMs = nowMs
      this.#bytes = bytes
    }
    return this.#kbps
  }
}
