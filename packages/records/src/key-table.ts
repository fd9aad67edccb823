import { varintSize, writeVarint } from './aggregate-format.ts'

const INITIAL_BYTES = 256
const INITIAL_SLOTS = 256
/** Up to this length, a loop over ASCII characters is quicker than a call into native code. */
const SHORT = 32
/** A key that isn't found after so many comes again: keys chosen to collide cost some bytes, and not the square of time. */
const MAX_PROBES = 32

/**
 * One of an aggregate's two tables: every key once, in order of first appearance, serialized as it grows.
 *
 * Its index is a hash table of its own, that is used again for the next aggregate: for keys that don't repeat a Map costs
 * three times as much.
 */
export class KeyTable {
  readonly #tag: number
  #keys: string[] = []
  /** Where a key's hash says, or behind: one more than its index; 0 where there is none. A power of two, at most half full. */
  #slots = new Int32Array(INITIAL_SLOTS)
  #bytes: Buffer = Buffer.alloc(0)
  #size = 0
  // What is known of the key asked for last: it is asked for when the size is reckoned, and again when it is added.
  #lastKey: string | undefined
  #lastIndex: number | undefined
  #lastSlot = -1
  #lastLength = 0

  constructor(tag: number) {
    this.#tag = tag
  }

  /** The exact serialized length, in bytes. */
  get size(): number {
    return this.#size
  }

  /** The index that a key has, or would get. */
  indexOf(key: string): number {
    return this.#find(key) ?? this.#keys.length
  }

  /** By how many bytes the table would grow with a key. */
  growthWith(key: string): number {
    return this.#find(key) === undefined ? entrySize(this.#lastLength) : 0
  }

  /** Makes sure of a key and returns its index. */
  add(key: string): number {
    const found = this.#find(key)
    if (found !== undefined) return found
    const index = this.#keys.length
    this.#write(key, this.#lastLength)
    this.#keys.push(key)
    if (this.#lastSlot >= 0) this.#slots[this.#lastSlot] = index + 1
    this.#lastIndex = index
    if (this.#keys.length * 2 > this.#slots.length) this.#growSlots()
    return index
  }

  copyTo(target: Uint8Array, at: number): void {
    this.#bytes.copy(target, at, 0, this.#size)
  }

  clear(): void {
    this.#keys = []
    this.#slots.fill(0)
    this.#size = 0
    this.#lastKey = undefined
    this.#lastIndex = undefined
  }

  #find(key: string): number | undefined {
    if (key !== this.#lastKey) {
      this.#lastKey = key
      this.#lastIndex = this.#lookUp(key)
      if (this.#lastIndex === undefined) this.#lastLength = utf8Length(key)
    }
    return this.#lastIndex
  }

  /** The index of a key; without one, `#lastSlot` is where it is to be noted, if anywhere. */
  #lookUp(key: string): number | undefined {
    const slots = this.#slots
    const mask = slots.length - 1
    const home = hashOf(key)
    for (let probe = 0; probe < MAX_PROBES; probe++) {
      const slot = (home + probe) & mask
      const index = slots[slot]! - 1
      if (index < 0) {
        this.#lastSlot = slot
        return undefined
      }
      if (this.#keys[index] === key) return index
    }
    this.#lastSlot = -1
    return undefined
  }

  #growSlots(): void {
    this.#slots = new Int32Array(this.#slots.length * 4)
    for (const [index, key] of this.#keys.entries()) {
      if (this.#lookUp(key) === undefined && this.#lastSlot >= 0) this.#slots[this.#lastSlot] = index + 1
    }
  }

  #write(key: string, length: number): void {
    const size = this.#size + entrySize(length)
    if (size > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(size, this.#bytes.length * 2, INITIAL_BYTES))
      this.#bytes.copy(grown, 0, 0, this.#size)
      this.#bytes = grown
    }
    this.#bytes[this.#size] = this.#tag
    const at = writeVarint(this.#bytes, this.#size + 1, length)
    if (length !== key.length || length > SHORT) this.#bytes.write(key, at, 'utf8')
    else for (let index = 0; index < length; index++) this.#bytes[at + index] = key.charCodeAt(index)
    this.#size = size
  }
}

function entrySize(keyLength: number): number {
  return 1 + varintSize(keyLength) + keyLength
}

/** FNV-1a over the UTF-16 units, its high bits folded into the low ones. */
export function hashOf(key: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < key.length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193)
  return (hash ^ (hash >>> 15)) >>> 0
}

function utf8Length(key: string): number {
  if (key.length > SHORT) return Buffer.byteLength(key)
  for (let index = 0; index < key.length; index++) if (key.charCodeAt(index) >= 0x80) return Buffer.byteLength(key)
  return key.length
}
