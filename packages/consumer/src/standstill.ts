/**
 * Sees how long things have stood still, by one's own clock: the way to judge that another worker is gone without comparing
 * clocks. What is seen for the first time counts as just moved.
 */
export class Standstill {
  #seen = new Map<string, { readonly value: string; readonly sinceMs: number }>()

  /** Takes in what all things are at; what isn't there any more is forgotten. Returns the keys that are not as they were. */
  observe(values: ReadonlyMap<string, string>, nowMs: number): Set<string> {
    const changed = new Set<string>()
    const next = new Map<string, { readonly value: string; readonly sinceMs: number }>()
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
    return changed
  }

  /** For how long it has stood still; 0 for what isn't there. */
  forMs(key: string, nowMs: number): number {
    const seen = this.#seen.get(key)
    return seen === undefined ? 0 : nowMs - seen.sinceMs
  }
}
