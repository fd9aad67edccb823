import type { Clock } from '@shardwise/core'

/**
 * Makes a call and tells how long it took and what came of it: an answer, or a failure. Of one that fails after `signal` was
 * aborted nothing is told: it was cut short here.
 */
export async function timed<T>(
  clock: Clock,
  signal: AbortSignal | undefined,
  call: () => Promise<T>,
  tell: (durationMs: number, failure: unknown, answer: T | undefined) => void,
): Promise<T> {
  const sentAtMs = clock.monotonicMs()
  try {
    const answer = await call()
    tell(clock.monotonicMs() - sentAtMs, undefined, answer)
    return answer
  } catch (error) {
    if (!signal?.aborted) tell(clock.monotonicMs() - sentAtMs, error, undefined)
    throw error
  }
}
