import type { Clock } from '@shardwise/core'
import type { Alarms } from './alarms.ts'

/** Who is to be done within a time that is the same for all, and told if it isn't: the first that came is the first due. */
export class Timeouts<Item> {
  readonly #afterMs: number
  readonly #clock: Clock
  readonly #alarms: Alarms
  readonly #onDue: (item: Item) => void
  /** When each is due; a map remembers who came first. */
  readonly #dueMs = new Map<Item, number>()
  #off: (() => void) | undefined

  constructor(afterMs: number, clock: Clock, alarms: Alarms, onDue: (item: Item) => void) {
    this.#afterMs = afterMs
    this.#clock = clock
    this.#alarms = alarms
    this.#onDue = onDue
  }

  get size(): number {
    return this.#dueMs.size
  }

  add(item: Item): void {
    this.#dueMs.set(item, this.#clock.monotonicMs() + this.#afterMs)
    this.#off ??= this.#alarms.set(this.#afterMs, () => this.#ring())
  }

  /** It is done. */
  delete(item: Item): void {
    this.#dueMs.delete(item)
  }

  /** Everybody who isn't done. */
  items(): Iterable<Item> {
    return this.#dueMs.keys()
  }

  /** If nobody is left, no alarm is either. Otherwise it stays until it rings: most often somebody comes before. */
  rest(): void {
    if (this.#dueMs.size > 0) return
    this.#off?.()
    this.#off = undefined
  }

  #ring(): void {
    this.#off = undefined
    const nowMs = this.#clock.monotonicMs()
    for (const [item, dueMs] of this.#dueMs) {
      if (dueMs > nowMs) {
        this.#off = this.#alarms.set(dueMs - nowMs, () => this.#ring())
        return
      }
      this.#dueMs.delete(item)
      this.#onDue(item)
    }
  }
}
