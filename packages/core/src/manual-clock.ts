import { type Clock, systemClock } from './clock.ts'

interface Sleeper {
  readonly wakeAt: number
  readonly order: number
  readonly wake: () => void
}

/**
 * A {@link Clock} that stands still until a test advances it. Only a sleep of 0, the next turn of the event loop, needs no
 * advance.
 *
 * @example
 * const clock = new ManualClock()
 * const slept = clock.sleep(100)
 * await clock.advance(100)
 * await slept
 */
export class ManualClock implements Clock {
  #nowMs = 0
  #order = 0
  readonly #wallOriginMs: number
  readonly #sleepers = new Set<Sleeper>()

  constructor(wallOriginMs: number = Date.UTC(2026, 0, 1)) {
    this.#wallOriginMs = wallOriginMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return this.#wallOriginMs + this.#nowMs
  }

  /** How many sleeps are pending. */
  get sleeping(): number {
    return this.#sleepers.size
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      if (ms <= 0) {
        systemClock.sleep(0, signal).then(resolve, reject)
        return
      }
      const onAbort = (): void => {
        this.#sleepers.delete(sleeper)
        reject(signal?.reason)
      }
      const sleeper: Sleeper = {
        wakeAt: this.#nowMs + ms,
        order: this.#order++,
        wake: () => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      this.#sleepers.add(sleeper)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** Moves time forward by `ms`, waking every sleeper at its own moment and letting its continuations run before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms
    await settle()
    for (;;) {
      const next = this.#earliest()
      if (next === undefined || next.wakeAt > end) break
      this.#nowMs = Math.max(this.#nowMs, next.wakeAt)
      this.#sleepers.delete(next)
      next.wake()
      await settle()
    }
    this.#nowMs = end
  }

  #earliest(): Sleeper | undefined {
    let first: Sleeper | undefined
    for (const sleeper of this.#sleepers) {
      if (
        first === undefined ||
        sleeper.wakeAt < first.wakeAt ||
        (sleeper.wakeAt === first.wakeAt && sleeper.order < first.order)
      ) {
        first = sleeper
      }
    }
    return first
  }
}

/** Lets every promise continuation that is ready run. Two turns of the event loop, so that chains through I/O callbacks settle too. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve))
}
