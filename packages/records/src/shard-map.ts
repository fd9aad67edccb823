import { RecordsError } from './errors.ts'
import type { HashKey } from './hash-key.ts'
import { checkRange, compareRanges, contains, findHoles, findOverlaps, type HashRange } from './hash-range.ts'

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
  readonly #starts: readonly HashKey[]
  readonly #byId: ReadonlyMap<string, Shard>

  private constructor(shards: readonly Shard[]) {
    this.shards = [...shards].sort((a, b) => compareRanges(a.hashRange, b.hashRange))
    const ranges = this.shards.map((shard) => shard.hashRange)
    this.holes = findHoles(ranges)
    this.overlaps = findOverlaps(ranges)
    this.#starts = ranges.map((range) => range.start)
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
    let low = 0
    let high = this.#starts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#starts[middle] as HashKey) <= key) low = middle + 1
      else high = middle
    }
    // Without overlaps only the nearest start can be right; with them, an earlier and wider range may be.
    const last = this.overlaps.length === 0 ? Math.max(low - 1, 0) : 0
    for (let index = low - 1; index >= last; index--) {
      const shard = this.shards[index]
      if (shard !== undefined && contains(shard.hashRange, key)) return shard
    }
    return undefined
  }

  /** The shard with this id, if it is one of the open ones. */
  get(shardId: string): Shard | undefined {
    return this.#byId.get(shardId)
  }
}
