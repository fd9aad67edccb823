import { writeVarint } from './aggregate-format.ts'

/** Small: a producer may have ten thousand aggregates open, and most have few keys. */
const INITIAL_BYTES = 128
const INITIAL_SLOTS = 16
/** A key that isn't found after so many comes again: keys chosen to collide cost some bytes, and not the square of time. */
const MAX_PROBES = 32
/** FNV-1a of 32 bits, signed as they stand in the slots. */
const HASH_OFFSET = 0x811c9dc5 | 0
const HASH_PRIME = 0x01000193

/**
 * One of an aggregate's two tables: every key once, in order of first appearance, serialized as it grows.
 *
 * A key that is asked for is written behind the table, and looked for by its bytes; if it is new, and added, it stays there.
 * So no text is held, and all memory is used again for the next aggregate. For keys that don't repeat a Map costs several
 * times as much.
 */
export class KeyTable {
  readonly #tag: number
  #bytes: Buffer = Buffer.alloc(0)
  #size = 0
  #count = 0
  /** One more than the index of a key, where its hash says or behind; 0 where there is none. A power of two, at most half full. */
  #slots = new Int32Array(INITIAL_SLOTS)
  /** Of each key, by index, its hash and where its entry is. */
  #entries = new Int32Array(INITIAL_SLOTS)
  // Of the key asked for last: it is asked for when the size is reckoned, and again when it is added.
  #lastKey: string | undefined
  #lastIndex = 0
  #lastHash = 0
  /** Where its entry, behind the table, ends. */
  #lastEnd = 0

  constructor(tag: number) {
    this.#tag = tag
  }

  /** The exact serialized length, in bytes. */
  get size(): number {
    return this.#size
  }

  /** The index that a key has, or would get. */
  indexOf(key: string): number {
    if (key !== this.#lastKey) this.#find(key)
    return this.#lastIndex
  }

  /** By how many bytes the table would grow with a key. */
  growthWith(key: string): number {
    return this.indexOf(key) === this.#count ? this.#lastEnd - this.#size : 0
  }

  /** Makes sure of a key and returns its index. */
  add(key: string): number {
    const index = this.indexOf(key)
    if (index === this.#count) {
      this.#entries[2 * index] = this.#lastHash
      this.#entries[2 * index + 1] = this.#size
      this.#note(index)
      this.#size = this.#lastEnd
      this.#count++
      if (this.#count * 2 === this.#slots.length) this.#growSlots()
    }
    return index
  }

  copyTo(target: Uint8Array, at: number): void {
    this.#bytes.copy(target, at, 0, this.#size)
  }

  clear(): void {
    // To clear what a much larger aggregate has left behind takes longer than to grow again.
    if (this.#slots.length > 16 * Math.max(this.#count, INITIAL_SLOTS)) {
      this.#slots = new Int32Array(INITIAL_SLOTS)
      this.#entries = new Int32Array(INITIAL_SLOTS)
    } else {
      this.#slots.fill(0)
    }
    this.#size = 0
    this.#count = 0
    this.#lastKey = undefined
  }

  #find(key: string): void {
    this.#lastKey = key
    this.#writeBehind(key)
    const slots = this.#slots
    const entries = this.#entries
    const hash = this.#lastHash
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      const index = slots[(hash + probe) & (slots.length - 1)]! - 1
      if (index < 0) break
      if (entries[2 * index] === hash && this.#isSame(entries[2 * index + 1]!)) {
        this.#lastIndex = index
        return
      }
    }
    this.#lastIndex = this.#count
  }

  /** Writes a key's entry behind the table, and reckons the hash of its bytes. */
  #writeBehind(key: string): void {
    this.#reserve(3 * key.length + 6)
    const bytes = this.#bytes
    const { length } = key
    bytes[this.#size] = this.#tag
    const start = writeVarint(bytes, this.#size + 1, length)
    let hash = HASH_OFFSET
    for (let index = 0; index < length; index++) {
      const code = key.charCodeAt(index)
      if (code >= 0x80) {
        this.#writeUnicodeBehind(key)
        return
      }
      bytes[start + index] = code
      hash = Math.imul(hash ^ code, HASH_PRIME)
    }
    this.#lastHash = hash ^ (hash >>> 15)
    this.#lastEnd = start + length
  }

  #writeUnicodeBehind(key: string): void {
    const bytes = this.#bytes
    const length = Buffer.byteLength(key)
    const start = writeVarint(bytes, this.#size + 1, length)
    bytes.write(key, start, 'utf8')
    let hash = HASH_OFFSET
    for (let at = start; at < start + length; at++) hash = Math.imul(hash ^ bytes[at]!, HASH_PRIME)
    this.#lastHash = hash ^ (hash >>> 15)
    this.#lastEnd = start + length
  }

  /** Whether the entry behind the table is the same as an earlier one. Entries tell their length, so none is the start of another. */
  #isSame(entry: number): boolean {
    const bytes = this.#bytes
    for (let at = this.#size; at < this.#lastEnd; at++) if (bytes[at] !== bytes[entry + at - this.#size]) return false
    return true
  }

  #note(index: number): void {
    const slots = this.#slots
    const hash = this.#entries[2 * index]!
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      const slot = (hash + probe) & (slots.length - 1)
      if (slots[slot] !== 0) continue
      slots[slot] = index + 1
      return
    }
  }

  #growSlots(): void {
    const entries = this.#entries
    this.#slots = new Int32Array(this.#slots.length * 4)
    this.#entries = new Int32Array(this.#slots.length)
    this.#entries.set(entries)
    for (let index = 0; index < this.#count; index++) this.#note(index)
  }

  #reserve(bytes: number): void {
    const needed = this.#size + bytes
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2, INITIAL_BYTES))
    this.#bytes.copy(grown, 0, 0, this.#size)
    this.#bytes = grown
  }
}
