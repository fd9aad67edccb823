import { hashKeyTopOf } from './hash-key.ts'

/** How many keys are kept at most, of how many bytes each: together about 4 MiB. */
const MAX_KEYS = 32_768
const MAX_LENGTH = 64
/** FNV-1a of 32 bits. */
const HASH_OFFSET = 0x811c9dc5 | 0
const HASH_PRIME = 0x01000193
/** An entry of the index: the number of the key + 1, and above it bits of the key's hash; 0: none. */
const NUMBER_BITS = 17
const NUMBER_MASK = 2 ** NUMBER_BITS - 1
/** Of so many unknown keys one is kept when it is full. */
const KEPT_OF = 64

/**
 * Knows partition keys that come again and again, by their bytes: their text, always as the same string, which makes maps of keys faster, and
 * {@link hashKeyTopOf} of it. Grows with the keys, for what matters is that it stays in the processor's cache. When it is full, one of so many
 * keys that it doesn't know takes the place of the oldest: soon that is one that comes often, and keys that never come again cost little more than they must.
 */
export class SeenKeys {
  /** Of the key that was read last, where {@link read} was asked for it. */
  top = 0
  /** By their number. ASCII, so that a byte is a character. */
  readonly #keys: string[] = []
  #tops = new Uint32Array(256)
  #hashes = new Int32Array(256)
  /** In pairs: a key is in one of the two places of its hash. Four places a key, so that few keys find both taken. */
  #index = new Int32Array(1024)
  #pairMask = 511
  #nextToGo = 0
  #unknown = 0

  /**
   * The text in UTF-8 at these bytes; what isn't UTF-8 becomes U+FFFD.
   *
   * @param needsTop whether {@link top} is to be set
   */
  read(bytes: Buffer, start: number, end: number, needsTop: boolean): string {
    if (end - start > MAX_LENGTH) return this.#readNew(bytes, start, end, needsTop)
    let hash = HASH_OFFSET
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, HASH_PRIME)
    hash ^= hash >>> 15
    const place = (hash & this.#pairMask) << 1
    const entry = this.#index[place]!
    if (this.#isOf(entry, hash, bytes, start, end)) return this.#readKept(entry)
    const other = this.#index[place + 1]!
    if (this.#isOf(other, hash, bytes, start, end)) return this.#readKept(other)
    const text = this.#readNew(bytes, start, end, needsTop)
    if (this.#isToBeKept() && text.length === end - start && isAscii(text)) this.#keep(text, hash)
    return text
  }

  #isOf(entry: number, hash: number, bytes: Buffer, start: number, end: number): boolean {
    if (entry === 0 || ((entry ^ hash) & ~NUMBER_MASK) !== 0) return false
    const key = this.#keys[(entry & NUMBER_MASK) - 1]!
    if (key.length !== end - start) return false
    for (let at = start, index = 0; at < end; at++, index++) if (key.charCodeAt(index) !== bytes[at]) return false
    return true
  }

  #readKept(entry: number): string {
    const number = (entry & NUMBER_MASK) - 1
    this.top = this.#tops[number]!
    return this.#keys[number]!
  }

  #readNew(bytes: Buffer, start: number, end: number, needsTop: boolean): string {
    const text = bytes.toString('utf8', start, end)
    if (needsTop) this.top = hashKeyTopOf(text)
    return text
  }

  #isToBeKept(): boolean {
    return this.#keys.length < MAX_KEYS || this.#unknown++ % KEPT_OF === 0
  }

  #keep(text: string, hash: number): void {
    let number = this.#keys.length
    if (number === MAX_KEYS) {
      number = this.#nextToGo++ & (MAX_KEYS - 1)
      this.#drop(number)
    } else if (number === this.#tops.length) this.#grow()
    this.#keys[number] = text
    this.#tops[number] = hashKeyTopOf(text)
    this.#hashes[number] = hash
    this.#enter(number)
  }

  /** Where both places are taken, one of the keys there is lost sight of until it is its turn to go. */
  #enter(number: number): void {
    const hash = this.#hashes[number]!
    const place = (hash & this.#pairMask) << 1
    const isTaken = this.#index[place] !== 0
    this.#index[place + (isTaken && (this.#index[place + 1] === 0 || hash < 0) ? 1 : 0)] =
      (hash & ~NUMBER_MASK) | (number + 1)
  }

  #drop(number: number): void {
    const place = (this.#hashes[number]! & this.#pairMask) << 1
    for (const at of [place, place + 1]) if ((this.#index[at]! & NUMBER_MASK) === number + 1) this.#index[at] = 0
  }

  #grow(): void {
    const tops = new Uint32Array(2 * this.#tops.length)
    tops.set(this.#tops)
    this.#tops = tops
    const hashes = new Int32Array(tops.length)
    hashes.set(this.#hashes)
    this.#hashes = hashes
    this.#index = new Int32Array(4 * tops.length)
    this.#pairMask = 2 * tops.length - 1
    for (let number = 0; number < this.#keys.length; number++) this.#enter(number)
  }
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) >= 0x80) return false
  return true
}
