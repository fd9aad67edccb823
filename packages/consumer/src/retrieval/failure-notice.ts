const TELL_AGAIN_MS = 60_000

interface Told {
  atMs: number
  /** How many have come since. */
  since: number
}

/** Keeps a failure that comes again and again from being told of each time: once a minute is enough, with how many there were. */
export class FailureNotice {
  readonly #told = new Map<string, Told>()

  /**
   * A failure came.
   *
   * @param code which kind
   * @param nowMs by the monotonic clock
   * @returns how many of its kind are to be told of now; undefined if none
   */
  count(code: string, nowMs: number): number | undefined {
    const told = this.#told.get(code)
    const since = 1 + (told?.since ?? 0)
    if (told !== undefined && nowMs - told.atMs < TELL_AGAIN_MS) {
      told.since = since
      return undefined
    }
    this.#told.set(code, { atMs: nowMs, since: 0 })
    return since
  }
}
