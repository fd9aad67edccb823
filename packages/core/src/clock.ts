import { performance } from 'node:perf_hooks'

/**
 * The only way to time in this project. A real one is {@link systemClock}; tests and the simulation pass their own, so
 * that nothing sleeps for real and every run can be replayed.
 */
export interface Clock {
  /** Milliseconds that only grow, from an arbitrary origin. For expiry, rates and durations. */
  monotonicMs(): number
  /** Milliseconds since 1970, as the machine believes. For timestamps that people or other systems read. */
  wallMs(): number
  /**
   * Resolves after `ms` milliseconds; rejects with `signal.reason` as soon as `signal` is aborted. With 0 it resolves in the
   * next turn of the event loop, after whatever is under way in this one.
   *
   * @example
   * await clock.sleep(backoffMs(attempt, { baseMs: 50, maxMs: 2_000 }, random), signal)
   */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

/** The machine's own clocks. A pending `sleep` keeps the process alive: abort it on close. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = (): void => {
        cancel()
        reject(signal?.reason)
      }
      const cancel = schedule(ms, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

function schedule(ms: number, run: () => void): () => void {
  // A timer takes a millisecond at least.
  if (ms <= 0) {
    const immediate = setImmediate(run)
    return () => clearImmediate(immediate)
  }
  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
}
