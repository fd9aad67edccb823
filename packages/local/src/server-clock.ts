import { setImmediate as immediate } from 'node:timers/promises'
import type { ModelClock } from './kinesis-model.ts'

/** Time for the server and its model. */
export interface ServerClock extends ModelClock {
  /** Calls back once when `monotonicMs` has reached this time, unless it is called off before by the function returned. */
  at(timeMs: number, callback: () => void): () => void
}

/** The longest a timer of Node's can wait; it would fire at once when asked for more. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** Real time, which stands still while one call to the model runs, so that all of the call happens at one time. */
class RealServerClock implements ServerClock {
  #now: { readonly monotonicMs: number; readonly wallMs: number } | undefined

  monotonicMs(): number {
    return this.#sample().monotonicMs
  }

  wallMs(): number {
    return this.#sample().wallMs
  }

  at(timeMs: number, callback: () => void): () => void {
    const timer = setTimeout(callback, Math.min(Math.max(0, timeMs - performance.now()), MAX_TIMER_MS))
    return () => clearTimeout(timer)
  }

  #sample(): { readonly monotonicMs: number; readonly wallMs: number } {
    if (this.#now === undefined) {
      this.#now = { monotonicMs: performance.now(), wallMs: Date.now() }
      queueMicrotask(() => {
        this.#now = undefined
      })
    }
    return this.#now
  }
}

export const realClock: ServerClock = new RealServerClock()

interface Waiting {
  readonly timeMs: number
  readonly callback: () => void
}

/** A clock that stands still until it is told to go on. */
export class ManualServerClock implements ServerClock {
  readonly #startedWallMs: number
  readonly #waiting = new Set<Waiting>()
  #nowMs = 0

  constructor(startedWallMs: number) {
    this.#startedWallMs = startedWallMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return this.#startedWallMs + this.#nowMs
  }

  at(timeMs: number, callback: () => void): () => void {
    const waiting = { timeMs, callback }
    this.#waiting.add(waiting)
    return () => this.#waiting.delete(waiting)
  }

  /** Goes on by so many milliseconds, stopping at every time that somebody waits for, so that all happens in its order. */
  async advance(ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms >= 0)) {
      throw new TypeError(`clock.advance: expected milliseconds of at least 0, got ${String(ms)}`)
    }
    const untilMs = this.#nowMs + ms
    for (let next = this.#next(untilMs); next !== undefined; next = this.#next(untilMs)) {
      this.#waiting.delete(next)
      this.#nowMs = Math.max(this.#nowMs, next.timeMs)
      next.callback()
      // What it started runs, and waits for its next time, before time goes on.
      await immediate()
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs)
  }

  /** Goes on to this date. */
  async set(date: Date): Promise<void> {
    const ms = date.getTime() - this.wallMs()
    if (!(ms >= 0)) {
      throw new TypeError(
        `clock.set: expected a date from now on, which is ${new Date(this.wallMs()).toISOString()}, got ${String(date)}`,
      )
    }
    await this.advance(ms)
  }

  #next(untilMs: number): Waiting | undefined {
    let first: Waiting | undefined
    for (const waiting of this.#waiting) {
      if (waiting.timeMs <= untilMs && waiting.timeMs < (first?.timeMs ?? Number.POSITIVE_INFINITY)) first = waiting
    }
    return first
  }
}
