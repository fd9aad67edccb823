/**
 * Who may run, so that records of one key run one at a time and in order. A key is busy from its first record's start
 * until nothing of it runs or waits. Holds no time and runs nothing.
 */
export class KeyLanes<Item> {
  /** A busy key's records that wait, oldest first; undefined while none does. */
  readonly #busy = new Map<string, Item[] | undefined>()
  /** Their key is free for them, only a place to run is missing; oldest first. */
  readonly #ready: Item[] = []
  #waiting = 0

  /** How many keys are busy. */
  get busyKeys(): number {
    return this.#busy.size
  }

  /** How many records wait, for their key or for a place to run. */
  get waiting(): number {
    return this.#waiting + this.#ready.length
  }

  isBusy(key: string): boolean {
    return this.#busy.size > 0 && this.#busy.has(key)
  }

  /** The key's first record has started. Call it only for a key that isn't busy. */
  start(key: string): void {
    this.#busy.set(key, undefined)
  }

  /** Queues a record behind the others of its busy key. */
  park(key: string, item: Item): void {
    const lane = this.#busy.get(key)
    if (lane === undefined) this.#busy.set(key, [item])
    else lane.push(item)
    this.#waiting++
  }

  /** The key's running record is finished: the next of it is ready, or the key is free. */
  finish(key: string): void {
    const lane = this.#busy.get(key)
    if (lane === undefined || lane.length === 0) {
      this.#busy.delete(key)
      return
    }
    this.#ready.push(lane.shift()!)
    this.#waiting--
  }

  /** The running record has to run once more; its key stays busy. */
  again(item: Item): void {
    this.#ready.push(item)
  }

  /** The next record that may run now. */
  takeReady(): Item | undefined {
    return this.#ready.shift()
  }
}
