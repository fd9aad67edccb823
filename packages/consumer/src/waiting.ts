import { type Clock, orAborted, pause } from '@shardwise/core'

/** Nobody sees it, and without a reason an exception is made, stack and all, which takes longer than everything else here. */
const OVER = 'over'

/** Gives the work up, with an error that says so, if it isn't done after `ms`; `signal` tells it. */
export async function within<T>(clock: Clock, ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const over = new AbortController()
  const timer = pause(clock, ms, over.signal).then((passed) => {
    if (passed) over.abort(new Error(`not done within ${ms} ms`))
  })
  try {
    return await orAborted(work(over.signal), over.signal)
  } finally {
    over.abort(OVER)
    await timer
  }
}

/** Lets loops wait until something they depend on may have changed. Waiters look again themselves. */
export class Wakeup {
  readonly #waiters = new Set<() => void>()

  wake(): void {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const wake of waiters) wake()
  }

  /** Resolves at the next {@link wake}; rejects with the signal's reason once it is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiters.add(resolve)
    try {
      await orAborted(promise, signal)
    } finally {
      this.#waiters.delete(resolve)
    }
  }

  /** Waits until `holds`. Resolves to false when the signal is aborted or, on the given clock, `ms` have passed first. */
  async until(holds: () => boolean, signal: AbortSignal, clock: Clock, ms: number): Promise<boolean> {
    const over = new AbortController()
    const either = AbortSignal.any([signal, over.signal])
    const timer = pause(clock, ms, either).then(() => over.abort(OVER))
    try {
      while (!holds()) await this.wait(either)
      return true
    } catch (error) {
      if (!either.aborted) throw error
      return holds()
    } finally {
      over.abort(OVER)
      await timer
    }
  }
}
