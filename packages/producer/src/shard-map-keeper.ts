import {
  type Backoff,
  type Clock,
  classifyError,
  type Kinesis,
  listShards,
  orAborted,
  type Random,
  retry,
} from '@shardwise/core'
import { type HashRange, ShardMap } from '@shardwise/records'

export interface ShardMapKeeperOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly clock: Clock
  readonly random: Random
  readonly signal: AbortSignal
  /** Told of every new map, before the refresh that brought it resolves. */
  readonly onMap: (map: ShardMap) => void
  /** Told of every failure that is followed by another attempt. */
  readonly onRetry: (error: Error, waitMs: number) => void
}

/** ListShards is granted 1,000 times a second for a stream, so that the first retries may be quick. */
const BACKOFF: Backoff = { baseMs: 100, maxMs: 10_000 }

interface Listing {
  readonly map: ShardMap
  readonly ranges: ReadonlyMap<string, HashRange>
}

/** A listing that can't be judged by: taken in mid-reshard, or too old. */
class UnusableListing extends Error {
  override readonly name = 'UnusableListing'
}

/**
 * Keeps what is known of a stream's shards, as of one listing: the map of the open ones, and the ranges of the closed ones
 * too, by which late answers are judged. Never parts of two listings: a map from before a reshard next to a shard from after
 * it would send records to where they can't belong.
 */
export class ShardMapKeeper {
  readonly #options: ShardMapKeeperOptions
  #ranges: ReadonlyMap<string, HashRange> = new Map()
  /** Shards that answered and that a listing has to know, each with how many wait for it. */
  readonly #wanted = new Map<string, number>()
  /** Why the latest listing couldn't be used; undefined after one that could. */
  lastError: Error | undefined
  #refreshing: Promise<void> | undefined

  constructor(options: ShardMapKeeperOptions) {
    this.#options = options
  }

  rangeOf(shardId: string): HashRange | undefined {
    return this.#ranges.get(shardId)
  }

  /**
   * Lists the shards anew until the listing makes sense: its open shards cover every hash key once. Calls in the meantime
   * share one listing.
   *
   * @throws what ListShards was refused with for good
   */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#list().finally(() => {
      this.#refreshing = undefined
    })
    return this.#refreshing
  }

  /**
   * The range of a shard that answered, by a listing from after this call: an older one may not know of the reshard.
   *
   * @param signal ends the waiting: as long as somebody waits, no listing counts that doesn't know the shard
   */
  async refreshFor(shardId: string, signal: AbortSignal): Promise<HashRange> {
    this.#wanted.set(shardId, (this.#wanted.get(shardId) ?? 0) + 1)
    try {
      // One that is under way has begun before, and its failure says nothing about the next.
      await orAborted(this.#refreshing?.catch(() => {}) ?? Promise.resolve(), signal)
      for (;;) {
        await orAborted(this.refresh(), signal)
        const range = this.#ranges.get(shardId)
        if (range !== undefined) return range
      }
    } finally {
      const others = (this.#wanted.get(shardId) ?? 1) - 1
      if (others > 0) this.#wanted.set(shardId, others)
      else this.#wanted.delete(shardId)
    }
  }

  async #list(): Promise<void> {
    const { clock, random, signal, onMap, onRetry } = this.#options
    const { map, ranges } = await retry(() => this.#listOnce(), {
      clock,
      random,
      signal,
      backoff: BACKOFF,
      shouldRetry: (error) => error instanceof UnusableListing || classifyError(error) !== 'fatal',
      onRetry: (error, _attempt, waitMs) => {
        this.lastError = error
        onRetry(error, waitMs)
      },
    })
    this.lastError = undefined
    this.#ranges = ranges
    onMap(map)
  }

  async #listOnce(): Promise<Listing> {
    const { kinesis, stream, signal } = this.#options
    const shards = await listShards(kinesis, stream, { signal })
    const ranges = new Map(shards.map(({ shardId, hashRange }) => [shardId, hashRange]))
    const map = ShardMap.of(shards.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined))
    if (map.holes.length > 0 || map.overlaps.length > 0) {
      throw new UnusableListing(
        `the open shards leave ${map.holes.length} holes and overlap ${map.overlaps.length} times`,
      )
    }
    const missing = [...this.#wanted.keys()].filter((shardId) => !ranges.has(shardId))
    if (missing.length > 0) throw new UnusableListing(`the listing doesn't know ${missing.join(', ')} yet`)
    return { map, ranges }
  }
}
