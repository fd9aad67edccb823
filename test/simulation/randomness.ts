import type { Random } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'

/** Streams of random numbers that come from one seed and don't disturb each other: what one draws changes no other. */
export class Randomness {
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
  }

  /** The same numbers for the same seed and name. */
  stream(name: string): Random {
    return seededRandom(hash(`${this.#seed}/${name}`))
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let index = 0; index < text.length; index++) value = Math.imul(value ^ text.charCodeAt(index), 0x01000193)
  return value >>> 0
}

export function between(random: Random, low: number, high: number): number {
  return low + random() * (high - low)
}

export function integer(random: Random, low: number, high: number): number {
  return low + Math.floor(random() * (high - low + 1))
}

export function pick<T>(random: Random, items: readonly T[]): T {
  const item = items[Math.floor(random() * items.length)]
  if (item === undefined) throw new Error('pick: expected at least one item, got none')
  return item
}

export function chance(random: Random, probability: number): boolean {
  return random() < probability
}

/** Whether a name is one of so many out of all, always the same ones for the same purpose. */
export function isAmong(name: string, purpose: string, share: number): boolean {
  return share > 0 && mixed(hash(`${purpose}/${name}`)) < share * 2 ** 32
}

/** Names that are almost the same have hashes that are too. */
function mixed(value: number): number {
  const once = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  const twice = Math.imul(once ^ (once >>> 13), 0xc2b2ae35)
  return (twice ^ (twice >>> 16)) >>> 0
}
