import { RecordsError } from './errors.ts'
import { type HashKey, hashKeyOf, hashKeyTopOf, topOf } from './hash-key.ts'
import { checkRange, compareRanges, contains, findHoles, findOverlaps, type HashRange, overlaps } from './hash-range.ts'

/** What a shard map has to know of a shard. */
export interface ShardRange {
  readonly shardId: string
  readonly hashRange: HashRange
}

/**
 * The open shards of a stream by hash range: tells where a record will land. Immutable; a reshard makes a new one.
 *
 * @example
 * const map = ShardMap.of(shards)
 * map.predict(hashKeyOf('user-2'))?.shardId // 'shardId-000000000001'
 */
export class ShardMap<Shard extends ShardRange = ShardRange> {
  /** The shards, ordered by the start of their range. */
  readonly shards: readonly Shard[]
  /** Hash keys that no shard covers; a whole stream has none. */
  readonly holes: readonly HashRange[]
  /** Hash keys that more than one shard covers; a stream's open shards have none. */
  readonly overlaps: readonly HashRange[]
  /** The first 32 bits of where each shard starts: quicker to search than the hash keys themselves. */
  readonly #tops: Float64Array
  readonly #byId: ReadonlyMap<string, Shard>

  private constructor(shards: readonly Shard[]) {
    this.shards = [...shards].sort((a, b) => compareRanges(a.hashRange, b.hashRange))
    const ranges = this.shards.map((shard) => shard.hashRange)
    this.holes = findHoles(ranges)
    this.overlaps = findOverlaps(ranges)
    this.#tops = Float64Array.from(ranges, (range) => topOf(range.start))
    this.#byId = new Map(shards.map((shard) => [shard.shardId, shard]))
  }

  /**
   * Makes a map of a stream's open shards, in any order. Holes and overlaps are no error: they are listed.
   *
   * @throws {@link RecordsError} `ERR_SHARD_MAP` for a shard id that comes twice, `ERR_HASH_RANGE` for a range that isn't one
   */
  static of<S extends ShardRange>(shards: readonly S[]): ShardMap<S> {
    const seen = new Set<string>()
    for (const { shardId, hashRange } of shards) {
      if (seen.has(shardId)) {
        throw new RecordsError(
          'ERR_SHARD_MAP',
          `Expected every shard once, but ${shardId} came twice. Give the open shards of one listing.`,
        )
      }
      seen.add(shardId)
      checkRange(hashRange)
    }
    return new ShardMap(shards)
  }

  /** The shard that takes records with this hash key; undefined in a hole. Where shards overlap: the one that starts last. */
  predict(key: HashKey): Shard | undefined {
    const count = this.#startedBy(key)
    // Without overlaps only the nearest start can be right; with them, an earlier and wider range may be.
    const last = this.overlaps.length === 0 ? Math.max(count - 1, 0) : 0
    for (let index = count - 1; index >= last; index--) {
      const shard = this.shards[index]
      if (shard !== undefined && contains(shard.hashRange, key)) return shard
    }
    return undefined
  }

  /** The same as `predict(hashKeyOf(partitionKey))`, by the first bits of the hash key wherever they tell: a quarter cheaper. */
  predictKey(partitionKey: string): Shard | undefined {
    const top = hashKeyTopOf(partitionKey)
    const count = countUpTo(this.#tops, top)
    const isTold = this.holes.length === 0 && this.overlaps.length === 0 && this.#tops[count - 1] !== top
    return isTold ? this.shards[count - 1] : this.predict(hashKeyOf(partitionKey))
  }

  /** The shards that have a hash key in common with this range, ordered by the start of theirs. */
  overlapping(range: HashRange): readonly Shard[] {
    const count = this.#startedBy(range.end)
    if (this.overlaps.length > 0) return this.shards.slice(0, count).filter((shard) => overlaps(shard.hashRange, range))
    // Without overlaps the ends are in order too, so that those in question are neighbours.
    let first = count
    while (first > 0 && overlaps((this.shards[first - 1] as Shard).hashRange, range)) first--
    return this.shards.slice(first, count)
  }

  /** The shard with this id, if it is one of the open ones. */
  get(shardId: string): Shard | undefined {
    return this.#byId.get(shardId)
  }

  /** How many shards start at or before a hash key. */
  #startedBy(key: HashKey): number {
    let count = countUpTo(this.#tops, topOf(key))
    while (count > 0 && (this.shards[count - 1] as Shard).hashRange.start > key) count--
    return count
  }
}

/** How many of some sorted numbers are at most `limit`. */
function countUpTo(sorted: Float64Array, limit: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] as number) <= limit) low = middle + 1
    else high = middle
  }
  return low
}
