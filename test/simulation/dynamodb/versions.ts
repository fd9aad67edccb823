import type { Place } from './order.ts'
import { type Item, sizeOfItem } from './values.ts'

/** How far back in time an eventually consistent read may look, in milliseconds. */
export const HISTORY_MS = 60_000

export interface Version {
  readonly fromMs: number
  /** Undefined: deleted. */
  readonly item: Item | undefined
  readonly size: number
}

const NOTHING: Version = { fromMs: Number.NEGATIVE_INFINITY, item: undefined, size: 0 }

/** All that one key has held lately. */
export class Versions {
  readonly key: string
  readonly place: Place
  readonly #versions: Version[] = [NOTHING]

  constructor(key: string, place: Place) {
    this.key = key
    this.place = place
  }

  get latest(): Version {
    return this.#versions.at(-1)!
  }

  at(ms: number): Version {
    for (let index = this.#versions.length - 1; index > 0; index--) {
      const version = this.#versions[index]!
      if (version.fromMs <= ms) return version
    }
    return this.#versions[0]!
  }

  write(item: Item | undefined, nowMs: number): void {
    this.#versions.push({ fromMs: nowMs, item, size: item === undefined ? 0 : sizeOfItem(item) })
    // The oldest stays as long as it is what a read of the whole history ago finds.
    while (this.#versions.length > 1 && this.#versions[1]!.fromMs <= nowMs - HISTORY_MS) this.#versions.shift()
  }

  /** Deleted for so long that no read can find it. */
  isGone(nowMs: number): boolean {
    return this.latest.item === undefined && this.latest.fromMs <= nowMs - HISTORY_MS
  }
}
