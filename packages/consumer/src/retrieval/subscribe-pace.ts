import { type Backoff, backoffMs, type Random } from '@shardwise/core'

/** The service takes one call a second for each consumer and shard; a little more, since calls travel at different speeds. */
const CALL_SPACING_MS = 1_100
/** For so long after one that succeeded, the service refuses another (ResourceInUseException). */
const HOLD_MS = 5_100
/** After so many calls, a shard that the service still held for another has been let go of. */
const HELD_CALLS = 5
const BACKOFF: Backoff = { baseMs: 1_000, maxMs: 20_000 }
/** Two that take the shard from each other shall not do so all the time. */
const TAKEN_OVER_MS = { least: 5_000, most: 20_000 }

/** When a shard may be subscribed to next. Times are those of the monotonic clock, in milliseconds. */
export class SubscribePace {
  readonly #random: Random
  #nextMs = Number.NEGATIVE_INFINITY
  #failures = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** From when on the next call may be sent. */
  get nextMs(): number {
    return this.#nextMs
  }

  /** A shard may be held by a subscription that has just ended: that it was refused a few times is no news. */
  get isRefusalNews(): boolean {
    return this.#failures > HELD_CALLS
  }

  /** A call is sent. */
  calling(nowMs: number): void {
    this.#nextMs = nowMs + CALL_SPACING_MS
  }

  /** The call succeeded: a subscription has begun. */
  began(nowMs: number): void {
    this.#nextMs = nowMs + HOLD_MS
  }

  /** An event came. */
  came(): void {
    this.#failures = 0
  }

  /** The consumer that held the shard is gone: another one is free to subscribe. */
  freed(): void {
    this.#failures = 0
    this.#nextMs = Number.NEGATIVE_INFINITY
  }

  /**
   * It was refused, or broke off.
   *
   * @param failure `held`: the call was refused because of another subscription to the shard for the same consumer, which
   *   passes within seconds if that has ended; `takenOver`: such another one ended this one
   * @returns how long to wait from now on
   */
  failed(nowMs: number, failure: 'held' | 'takenOver' | 'other'): number {
    this.#failures++
    const { least, most } = TAKEN_OVER_MS
    const attempt = failure === 'held' ? Math.max(1, this.#failures - HELD_CALLS) : this.#failures
    const waitMs =
      failure === 'takenOver' ? least + this.#random() * (most - least) : backoffMs(attempt, BACKOFF, this.#random)
    this.#nextMs = Math.max(this.#nextMs, nowMs + waitMs)
    return this.#nextMs - nowMs
  }
}
