import { type HashRange, overlaps } from '@shardwise/records'

const HASH_KEY_BITS = 128
const MAX_CELL_BITS = 12

/** Finds what overlaps a hash range, among thousands, without looking at all of them: by equal cells of the hash keys. */
export class RangeIndex<T extends { readonly hashRange: HashRange }> {
  readonly #shift: bigint
  readonly #cells: T[][]

  constructor(entries: readonly T[]) {
    const bits = Math.min(MAX_CELL_BITS, Math.ceil(Math.log2(Math.max(1, entries.length))))
    this.#shift = BigInt(HASH_KEY_BITS - bits)
    this.#cells = Array.from({ length: 2 ** bits }, () => [])
    for (const entry of entries) for (const cell of this.#cellsOf(entry.hashRange)) cell.push(entry)
  }

  /** Whether any that overlaps the range fulfils the test. */
  some(range: HashRange, test: (entry: T) => boolean): boolean {
    for (const cell of this.#cellsOf(range)) {
      if (cell.some((entry) => overlaps(entry.hashRange, range) && test(entry))) return true
    }
    return false
  }

  /** All that overlap the range and fulfil the test. */
  filter(range: HashRange, test: (entry: T) => boolean): T[] {
    const found = new Set<T>()
    this.some(range, (entry) => {
      if (test(entry)) found.add(entry)
      return false
    })
    return [...found]
  }

  #cellsOf({ start, end }: HashRange): T[][] {
    return this.#cells.slice(Number(start >> this.#shift), Number(end >> this.#shift) + 1)
  }
}
