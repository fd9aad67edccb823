import { Fifo } from './fifo.ts'

/**
 * Who may run, so that what is of one key runs one at a time and in order. A key is busy from its first record's start
 * until nothing of it runs or waits. Holds no time and runs nothing.
 */
export class KeyLanes<Item> {
  /** A busy key's records that wait, oldest first; undefined while there was none. */
  readonly #busy = new Map<string, Fifo<Item> | undefined>()
  /** Keys of which nothing runs while something waits; longest first. */
  readonly #ready = new Fifo<string>()

  isBusy(key: string): boolean {
    return this.#busy.size > 0 && this.#busy.has(key)
  }

  /** How many keys are busy. */
  get busyKeys(): number {
    return this.#busy.size
  }

  /** The key that isn't busy is now: its first record has started. */
  start(key: string): void {
    this.#busy.set(key, undefined)
  }

  /** Queues a record behind the others of its busy key. */
  park(key: string, item: Item): void {
    let lane = this.#busy.get(key)
    if (lane === undefined) {
      lane = new Fifo()
      this.#busy.set(key, lane)
    }
    lane.push(item)
  }

  /** Nothing of the key runs any more: what waits for it is ready, or the key is free. */
  finish(key: string): void {
    const lane = this.#busy.get(key)
    if (lane === undefined || lane.length === 0) this.#busy.delete(key)
    else this.#ready.push(key)
  }

  /** The first record of the next ready key, which runs from now on. */
  takeReady(): Item | undefined {
    const key = this.#ready.shift()
    return key === undefined ? undefined : this.#busy.get(key)!.shift()
  }

  /** What {@link joinReady} would give. */
  get firstReady(): Item | undefined {
    const key = this.#ready.first
    return key === undefined ? undefined : this.#busy.get(key)!.first
  }

  /** The first record of the next ready key, which stays ready for as long as something of it waits. After the last the key is free. */
  joinReady(): Item | undefined {
    const key = this.#ready.first
    if (key === undefined) return undefined
    const lane = this.#busy.get(key)!
    const item = lane.shift()
    if (lane.length === 0) {
      this.#ready.shift()
      this.#busy.delete(key)
    }
    return item
  }

  /** The key, of which some may have {@link joinReady joined}, runs now: what of it still waits is not ready. */
  hold(key: string): void {
    if (this.#ready.first === key) this.#ready.shift()
    else this.#busy.set(key, undefined)
  }
}
