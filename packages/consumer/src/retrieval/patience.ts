import { type Clock, orAborted, pause } from '@shardwise/core'

/** Heartbeats come every 5 seconds. */
const SILENCE_MS = 30_000
/** After a pause of the process what came meanwhile is read only now. */
const GRACE_MS = 1_000

/** What is waited for. */
interface Awaited {
  readonly bytes: () => number
  /** When it was begun to be waited for, or seen last that bytes had come; and how many had. */
  sinceMs: number
  seenBytes: number
}

/**
 * Breaks a subscription off when it is silent for too long while it is waited for. How long nobody waits doesn't matter, nor how
 * long it takes until something is whole, as long as bytes of it come.
 */
export class Patience {
  readonly #clock: Clock
  readonly #outer: AbortSignal
  readonly #over = new AbortController()
  readonly #onAbort = (): void => this.#over.abort(this.#outer.reason)
  #awaited: Awaited | undefined

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

  /**
   * Waits for something that comes soon as long as the other side lives.
   *
   * @param bytes how many have come, if that is known
   */
  async wait<T>(coming: () => Promise<T>, bytes: () => number = () => 0): Promise<T> {
    this.#awaited = { bytes, sinceMs: this.#clock.monotonicMs(), seenBytes: bytes() }
    try {
      return await orAborted(coming(), this.signal)
    } finally {
      this.#awaited = undefined
    }
  }

  end(): void {
    this.#outer.removeEventListener('abort', this.#onAbort)
    this.#over.abort('the subscription is over')
  }

  async #watch(): Promise<void> {
    for (let ms = SILENCE_MS; await pause(this.#clock, ms, this.signal); ) {
      const awaited = this.#awaited
      ms = awaited === undefined ? SILENCE_MS : awaited.sinceMs + SILENCE_MS - this.#clock.monotonicMs()
      if (awaited === undefined || ms > 0) continue
      if (!(await pause(this.#clock, GRACE_MS, this.signal))) return
      if (this.#awaited !== awaited) continue
      const bytes = awaited.bytes()
      if (bytes === awaited.seenBytes) this.#over.abort(new SilenceError())
      awaited.seenBytes = bytes
      awaited.sinceMs = this.#clock.monotonicMs()
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
