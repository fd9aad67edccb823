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
   * Resolves after `ms` milliseconds; rejects with `signal.reason` as soon as `signal` is aborted.
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
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}
