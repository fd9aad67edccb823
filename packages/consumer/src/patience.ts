import { type Clock, orAborted } from '@shardwise/core'
import { pause } from './waiting.ts'

/** Heartbeats come every 5 seconds. */
const SILENCE_MS = 30_000
/** After a pause of the process what came meanwhile is read only now. */
const GRACE_MS = 1_000

/** Breaks a subscription off when it is silent for too long while it is waited for. How long nobody waits doesn't matter. */
export class Patience {
  readonly #clock: Clock
  readonly #outer: AbortSignal
  readonly #over = new AbortController()
  readonly #onAbort = (): void => this.#over.abort(this.#outer.reason)
  #waitingSinceMs: number | undefined

  /** @param outer ends it too */
  constructor(clock: Clock, outer: AbortSignal) {
    this.#clock = clock
    this.#outer = outer
    outer.addEventListener('abort', this.#onAbort, { once: true })
    if (outer.aborted) this.#onAbort()
    void this.#watch()
  }

  /** Aborted at the end, and when patience has run out. */
  get signal(): AbortSignal {
    return this.#over.signal
  }

  /** Waits for something that comes soon as long as the other side lives. */
  async wait<T>(coming: () => Promise<T>): Promise<T> {
    this.#waitingSinceMs = this.#clock.monotonicMs()
    try {
      return await orAborted(coming(), this.signal)
    } finally {
      this.#waitingSinceMs = undefined
    }
  }

  end(): void {
    this.#outer.removeEventListener('abort', this.#onAbort)
    this.#over.abort('the subscription is over')
  }

  async #watch(): Promise<void> {
    for (let ms = SILENCE_MS; await pause(this.#clock, ms, this.signal); ) {
      const sinceMs = this.#waitingSinceMs
      ms = sinceMs === undefined ? SILENCE_MS : sinceMs + SILENCE_MS - this.#clock.monotonicMs()
      if (ms > 0) continue
      if (!(await pause(this.#clock, GRACE_MS, this.signal))) return
      if (this.#waitingSinceMs === sinceMs) this.#over.abort(new SilenceError())
    }
  }
}

/** Has the name by which the SDK's own timeouts are told. */
class SilenceError extends Error {
  override readonly name = 'TimeoutError'

  constructor() {
    super(`nothing came for ${SILENCE_MS / 1_000} s, though heartbeats come every 5 s`)
  }
}
