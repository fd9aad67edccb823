import type { Clock } from '@shardwise/core'

/** Why a sleep is given up. Without a reason an exception is made, stack and all. */
const EARLIER = 'not needed any more'

/** A longer timer of Node's fires at once. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

/** Rings once by the earliest time it was set to. Only one timer is ever pending, and none when nobody needs it. */
export class Alarm {
  readonly #clock: Clock
  readonly #ring: () => void
  #sleep: AbortController | undefined
  #atMs = Number.POSITIVE_INFINITY

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock
    this.#ring = ring
  }

  /** Makes sure that it rings by then, on the monotonic clock. */
  setBy(atMs: number, nowMs: number): void {
    if (atMs >= this.#atMs) return
    this.#sleep?.abort(EARLIER)
    const sleep = new AbortController()
    this.#sleep = sleep
    this.#atMs = atMs
    this.#clock.sleep(Math.min(Math.max(0, atMs - nowMs), LONGEST_SLEEP_MS), sleep.signal).then(
      () => {
        this.#atMs = Number.POSITIVE_INFINITY
        this.#ring()
      },
      // The sleep was given up for an earlier one, or for good.
      () => {},
    )
  }

  cancel(): void {
    this.#sleep?.abort(EARLIER)
    this.#sleep = undefined
    this.#atMs = Number.POSITIVE_INFINITY
  }
}
