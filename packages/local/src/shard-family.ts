import type { HashKey, HashRange } from '@shardwise/records'
import type { SequenceNumbers } from './sequence-numbers.ts'
import { inUse } from './service-error.ts'
import { Shard } from './shard.ts'

/** The shards of one stream: the open ones, which tile the hash keys, and their ancestors as long as they are kept. */
export class ShardFamily {
  readonly #sequenceNumbers: SequenceNumbers
  readonly #byId = new Map<string, Shard>()
  /** All that are kept, by number. */
  #all: Shard[] = []
  /** The open ones, by the start of their range. */
  #open: Shard[] = []
  /** The closed ones, in the order in which they were closed. */
  #closed: Shard[] = []
  #nextNumber = 0

  constructor(ranges: readonly HashRange[], sequenceNumbers: SequenceNumbers, nowMs: number) {
    this.#sequenceNumbers = sequenceNumbers
    this.#open = ranges.map((range) => this.#add(range, [], nowMs))
  }

  get all(): readonly Shard[] {
    return this.#all
  }

  get open(): readonly Shard[] {
    return this.#open
  }

  byId(shardId: string): Shard | undefined {
    return this.#byId.get(shardId)
  }

  /** Where in `all` the shards begin whose id comes after this one. */
  indexAfter(shardId: string): number {
    return firstIndex(this.#all, ({ id }) => id > shardId)
  }

  /** The open shard that takes this hash key. */
  openFor(key: HashKey): Shard {
    return this.#open[this.#openIndex(key)]!
  }

  /** Closes neighbours and opens shards of the given ranges, which cover the same hash keys, in their place. */
  replace(parents: readonly Shard[], ranges: readonly HashRange[], nowMs: number): void {
    const closed = parents.find(({ isOpen }) => !isOpen)
    if (closed !== undefined) throw inUse(`Shard ${closed.id} is closed.`)
    const at = Math.min(...parents.map(({ hashRange }) => this.#openIndex(hashRange.start)))
    for (const parent of parents) parent.close(this.#sequenceNumbers.next(nowMs, parent.number), nowMs)
    const children = ranges.map((range) => this.#add(range, parents, nowMs))
    for (const parent of parents) parent.children.push(...children)
    this.#open.splice(at, parents.length, ...children)
    this.#closed.push(...parents)
  }

  /** Forgets the shards that were closed before this time: nothing in them is within the retention. */
  forgetClosedBefore(timeMs: number): void {
    if (this.#closed[0] === undefined || this.#closed[0].closedMs >= timeMs) return
    const kept = firstIndex(this.#closed, ({ closedMs }) => closedMs >= timeMs)
    const gone = new Set(this.#closed.splice(0, kept))
    for (const { id } of gone) this.#byId.delete(id)
    this.#all = this.#all.filter((shard) => !gone.has(shard))
  }

  #openIndex(key: HashKey): number {
    return firstIndex(this.#open, ({ hashRange }) => hashRange.end >= key)
  }

  #add(hashRange: HashRange, parents: readonly Shard[], nowMs: number): Shard {
    const number = this.#nextNumber++
    const startingSequenceNumber = this.#sequenceNumbers.next(nowMs, number)
    const ids = parents.map(({ id }) => ({ id }))
    const shard = new Shard({ number, hashRange, parents: ids, startingSequenceNumber, createdMs: nowMs })
    this.#all.push(shard)
    this.#byId.set(shard.id, shard)
    return shard
  }
}

/** The first index from which on something holds, in a list where it holds from some index on. */
function firstIndex(shards: readonly Shard[], holds: (shard: Shard) => boolean): number {
  let low = 0
  let high = shards.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(shards[middle]!)) high = middle
    else low = middle + 1
  }
  return low
}
