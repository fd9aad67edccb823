/** Which of the numbers 0, 1, 2, … are in a set, for a bit each. */
class Bits {
  #bytes = new Uint8Array(64)

  has(index: number): boolean {
    return ((this.#bytes[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
  }

  add(index: number): void {
    const at = index >> 3
    if (at >= this.#bytes.length) {
      const grown = new Uint8Array(2 * at)
      grown.set(this.#bytes)
      this.#bytes = grown
    }
    this.#bytes[at]! |= 1 << (index & 7)
  }
}

/** What became of the records of one key, which are numbered in the order of their puts. */
class KeyHistory {
  readonly isOrdered: boolean
  puts = 0
  /** Acknowledged. */
  readonly acknowledged = new Bits()
  /** There is a copy in a shard where the key belongs. */
  readonly placed = new Bits()
  /** There is a copy somewhere. */
  readonly seen = new Bits()
  /** There are several copies. */
  readonly repeated = new Set<number>()
  /** The receipt says that there may be several. */
  readonly announced = new Set<number>()
  readonly rejected = new Map<number, 'refused' | 'unknown'>()
  /** The highest number of which a copy where it belongs has been read. */
  newest = -1

  constructor(isOrdered: boolean) {
    this.isOrdered = isOrdered
  }
}

/**
 * What was put, what was promised, and what was found in the stream: enough to tell whether the promises were kept, in a few
 * bits a record. Copies are to be told in the order in which a reader gets them that follows shards from parents to children.
 */
export class Ledger {
  readonly #keys = new Map<string, KeyHistory>()
  readonly #disorder: string[] = []
  puts = 0
  acknowledged = 0
  rejected = 0
  copies = 0
  misplaced = 0

  /** A record is put. Returns its number among those of its key. */
  put(key: string, isOrdered: boolean): number {
    this.puts++
    let history = this.#keys.get(key)
    if (history === undefined) {
      history = new KeyHistory(isOrdered)
      this.#keys.set(key, history)
    }
    return history.puts++
  }

  acknowledge(key: string, number: number, mayHaveCopies: boolean): void {
    this.acknowledged++
    const history = this.#of(key)
    history.acknowledged.add(number)
    if (mayHaveCopies) history.announced.add(number)
  }

  reject(key: string, number: number, outcome: 'refused' | 'unknown'): void {
    this.rejected++
    this.#of(key).rejected.set(number, outcome)
  }

  /** A copy was read. */
  find(key: string, number: number, isMisplaced: boolean): void {
    this.copies++
    const history = this.#of(key)
    if (history.seen.has(number)) history.repeated.add(number)
    history.seen.add(number)
    if (isMisplaced) {
      this.misplaced++
      return
    }
    const isFirst = !history.placed.has(number)
    history.placed.add(number)
    if (!isFirst || !history.isOrdered) return
    if (number < history.newest) this.#disorder.push(`${key}: ${number} was first read after ${history.newest}`)
    history.newest = Math.max(history.newest, number)
  }

  /** Acknowledged records of which several copies were read. */
  get repeated(): number {
    let count = 0
    for (const { repeated } of this.#keys.values()) count += repeated.size
    return count
  }

  /** Every promise that was broken, when all that was put is settled and all of the stream has been read. */
  violations(): string[] {
    const violations = this.#disorder.map((text) => `order: ${text}`)
    for (const [key, history] of this.#keys) {
      for (let number = 0; number < history.puts; number++) {
        const wrong = violationOf(history, number)
        if (wrong !== undefined) violations.push(`${wrong}: ${key}: ${number}`)
      }
    }
    return violations
  }

  #of(key: string): KeyHistory {
    const history = this.#keys.get(key)
    if (history === undefined) throw new Error(`expected a key that was put, got ${key}`)
    return history
  }
}

function violationOf(history: KeyHistory, number: number): string | undefined {
  const { acknowledged, rejected, placed, seen, repeated, announced } = history
  const rejection = rejected.get(number)
  if (acknowledged.has(number)) {
    if (!placed.has(number)) return 'acknowledged and lost'
    return repeated.has(number) && !announced.has(number) ? 'there twice, unsaid' : undefined
  }
  if (rejection === undefined) return 'never settled'
  return rejection === 'refused' && seen.has(number) ? 'there though refused' : undefined
}
