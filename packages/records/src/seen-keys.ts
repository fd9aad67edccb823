import { hashKeyTopOf } from './hash-key.ts'

/** A power of two. Together with {@link MAX_LENGTH} it bounds what is kept, at about 6 MiB. */
const SLOTS = 65_536
const MAX_LENGTH = 64
/** FNV-1a of 32 bits. */
const HASH_OFFSET = 0x811c9dc5 | 0
const HASH_PRIME = 0x01000193

/**
 * Knows {@link hashKeyTopOf} of partition keys that come again and again. Each key has one place; it is kept there when it
 * comes a second time with no other in between. So keys that never come again cost little more than their MD5; a Map that they
 * go through costs three times that.
 */
export class SeenKeys {
  readonly #keys = new Array<string | undefined>(SLOTS).fill(undefined)
  readonly #tops = new Uint32Array(SLOTS)
  /** Of the key that came last. */
  readonly #hashes = new Int32Array(SLOTS)

  topOf(key: string): number {
    const { length } = key
    if (length > MAX_LENGTH) return hashKeyTopOf(key)
    let hash = HASH_OFFSET
    for (let index = 0; index < length; index++) hash = Math.imul(hash ^ key.charCodeAt(index), HASH_PRIME)
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1)
    if (this.#hashes[slot] !== hash) {
      this.#hashes[slot] = hash
      return hashKeyTopOf(key)
    }
    if (this.#keys[slot] !== key) {
      this.#keys[slot] = key
      this.#tops[slot] = hashKeyTopOf(key)
    }
    return this.#tops[slot]!
  }
}
