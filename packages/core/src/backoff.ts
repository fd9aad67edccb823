/** A source of numbers in [0, 1), such as `Math.random`. Passed in, so that a run can be replayed. */
export type Random = () => number

/** How long to wait between attempts. */
export interface Backoff {
  /** The longest wait before the second attempt, in milliseconds. */
  readonly baseMs: number
  /** The longest wait before any attempt, in milliseconds. */
  readonly maxMs: number
}

/**
 * Exponential backoff with full jitter: a uniformly random wait between 0 and min(maxMs, baseMs × 2^(attempt − 1)).
 * Formula: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
 *
 * @param attempt the number of attempts that have failed so far, from 1
 */
export function backoffMs(attempt: number, { baseMs, maxMs }: Backoff, random: Random): number {
  return random() * Math.min(maxMs, baseMs * 2 ** Math.min(attempt - 1, 30))
}
