import { Fifo } from './fifo.ts'

/** What can wait in a lane. */
export interface Parked<Item> {
  /** What waits behind it. */
  behind: Item | undefined
}

interface Lane<Item> {
  readonly key: string
  first: Item | undefined
  last: Item | undefined
}

/**
 * Who may run, so that what is of one key runs one at a time and in order. A key is busy from its first record's start
 * until nothing of it runs or waits. Holds no time and runs nothing. Everything costs the same however much waits.
 */
export class KeyLanes<Item extends Parked<Item>> {
  /** A busy key's records that wait; undefined while there was none. */
  readonly #busy = new Map<string, Lane<Item> | undefined>()
  /** Lanes of which nothing runs while something waits; longest first. */
  readonly #ready = new Fifo<Lane<Item>>()
  /** How many records wait, whatever their key. */
  #waiting = 0

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
    this.#waiting++
    const lane = this.#busy.get(key)
    if (lane === undefined) this.#busy.set(key, { key, first: item, last: item })
    else if (lane.last === undefined) lane.first = lane.last = item
    else lane.last = lane.last.behind = item
  }

  /** Nothing of the key runs any more: what waits for it is ready, or the key is free. */
  finish(key: string): void {
    // Most often nothing waits at all, and one look at the map is enough.
    const lane = this.#waiting === 0 ? undefined : this.#busy.get(key)
    if (lane?.first === undefined) this.#busy.delete(key)
    else this.#ready.push(lane)
  }

  /** The first record of the next ready key, which runs from now on. */
  takeReady(): Item | undefined {
    const lane = this.#ready.shift()
    return lane && this.#takeFirst(lane)
  }

  /** What {@link joinReady} would give. */
  get firstReady(): Item | undefined {
    return this.#ready.first?.first
  }

  /** The first record of the next ready key, which stays ready for as long as something of it waits. After the last the key is free. */
  joinReady(): Item | undefined {
    const lane = this.#ready.first
    if (lane === undefined) return undefined
    const item = this.#takeFirst(lane)
    if (lane.first === undefined) {
      this.#ready.shift()
      this.#busy.delete(lane.key)
    }
    return item
  }

  /** The key, of which some may have {@link joinReady joined}, runs now: what of it still waits is not ready. */
  hold(key: string): void {
    if (this.#ready.first?.key === key) this.#ready.shift()
    else this.#busy.set(key, undefined)
  }

  #takeFirst(lane: Lane<Item>): Item | undefined {
    const item = lane.first
    if (item === undefined) return undefined
    this.#waiting--
    lane.first = item.behind
    if (lane.first === undefined) lane.last = undefined
    item.behind = undefined
    return item
  }
}
