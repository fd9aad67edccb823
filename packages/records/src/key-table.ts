import { varintSize, writeVarint } from './aggregate-format.ts'

const INITIAL_BYTES = 256
/** Up to this length, a loop over ASCII characters is quicker than a call into native code. */
const SHORT = 32

/** One of an aggregate's two tables: every key once, in order of first appearance, serialized as it grows. */
export class KeyTable {
  readonly #tag: number
  readonly #indexes = new Map<string, number>()
  #bytes: Buffer = Buffer.alloc(0)
  #size = 0
  // What is known of the key asked for last: it is asked for when the size is reckoned, and again when it is added.
  #lastKey: string | undefined
  #lastIndex: number | undefined
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
    return this.#find(key) ?? this.#indexes.size
  }

  /** By how many bytes the table would grow with a key. */
  growthWith(key: string): number {
    return this.#find(key) === undefined ? entrySize(this.#lastLength) : 0
  }

  /** Makes sure of a key and returns its index. */
  add(key: string): number {
    const found = this.#find(key)
    if (found !== undefined) return found
    const index = this.#indexes.size
    this.#write(key, this.#lastLength)
    this.#indexes.set(key, index)
    this.#lastIndex = index
    return index
  }

  copyTo(target: Uint8Array, at: number): void {
    this.#bytes.copy(target, at, 0, this.#size)
  }

  clear(): void {
    this.#indexes.clear()
    this.#size = 0
    this.#lastKey = undefined
    this.#lastIndex = undefined
  }

  #find(key: string): number | undefined {
    if (key !== this.#lastKey) {
      this.#lastKey = key
      this.#lastIndex = this.#indexes.get(key)
      if (this.#lastIndex === undefined) this.#lastLength = utf8Length(key)
    }
    return this.#lastIndex
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

function utf8Length(key: string): number {
  if (key.length > SHORT) return Buffer.byteLength(key)
  for (let index = 0; index < key.length; index++) if (key.charCodeAt(index) >= 0x80) return Buffer.byteLength(key)
  return key.length
}
