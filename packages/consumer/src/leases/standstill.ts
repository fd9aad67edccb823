/** When something was looked at, on the monotonic clock. What was seen may be from any moment in between. */
export interface Moment {
  readonly sentAtMs: number
  /** When the answer came. */
  readonly nowMs: number
}

interface Seen {
  readonly value: string
  readonly sinceMs: number
}

/**
 * Sees how long things have stood still, by one's own clock: the way to judge that another worker is gone without comparing
 * clocks. What is seen for the first time counts as just moved. Time counts only from the answer that first showed something
 * as it is until the question that showed it so again: a pause of one's own within a look proves nothing about others.
 */
export class Standstill {
  #seen = new Map<string, Seen>()
  #askedAtMs = 0

  /** Takes in what all things are at; what isn't there any more is forgotten. Returns the keys that are not as they were. */
  observe(values: ReadonlyMap<string, string>, { sentAtMs, nowMs }: Moment): Set<string> {
    const changed = new Set<string>()
    const next = new Map<string, Seen>()
    for (const [key, value] of values) {
      const before = this.#seen.get(key)
      if (before?.value === value) {
        next.set(key, before)
      } else {
        next.set(key, { value, sinceMs: nowMs })
        if (before !== undefined) changed.add(key)
      }
    }
    this.#seen = next
    this.#askedAtMs = sentAtMs
    return changed
  }

  /** Something has moved, by one's own doing. */
  move(key: string, value: string, nowMs: number): void {
    this.#seen.set(key, { value, sinceMs: nowMs })
  }

  /** For how long it has stood still, as of the last look; 0 for what isn't there. */
  forMs(key: string): number {
    const seen = this.#seen.get(key)
    return seen === undefined ? 0 : Math.max(0, this.#askedAtMs - seen.sinceMs)
  }
}
