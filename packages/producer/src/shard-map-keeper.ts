import { type Backoff, type Clock, classifyError, type Kinesis, listShards, type Random, retry } from '@shardwise/core'
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

/** A listing that can't be judged by: taken in mid-reshard, or too old. */
class UnusableListing extends Error {
  override readonly name = 'UnusableListing'
}

/** Keeps what is known of a stream's shards: the map of the open ones, and the ranges of all that were ever listed. */
export class ShardMapKeeper {
  readonly #options: ShardMapKeeperOptions
  readonly #ranges = new Map<string, HashRange>()
  /** Shards that answered, and that a listing has to know. */
  readonly #wanted = new Set<string>()
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

  /** Refreshes until the listing knows a shard: one that doesn't is older than the answer that named it. */
  async refreshUntilKnown(shardId: string): Promise<HashRange> {
    this.#wanted.add(shardId)
    try {
      for (;;) {
        // One that is under way may have been judged before this shard was wanted: then it takes another.
        await this.refresh()
        const range = this.#ranges.get(shardId)
        if (range !== undefined) return range
      }
    } finally {
      this.#wanted.delete(shardId)
    }
  }

  async #list(): Promise<void> {
    const { clock, random, signal, onMap, onRetry } = this.#options
    const map = await retry(() => this.#listOnce(), {
      clock,
      random,
      signal,
      backoff: BACKOFF,
      shouldRetry: (error) => error instanceof UnusableListing || classifyError(error) !== 'fatal',
      onRetry: (error, _attempt, waitMs) => onRetry(error, waitMs),
    })
    onMap(map)
  }

  async #listOnce(): Promise<ShardMap> {
    const { kinesis, stream, signal } = this.#options
    const shards = await listShards(kinesis, stream, { signal })
    for (const { shardId, hashRange } of shards) this.#ranges.set(shardId, hashRange)
    const map = ShardMap.of(shards.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined))
    if (map.holes.length > 0 || map.overlaps.length > 0) {
      throw new UnusableListing(
        `the open shards leave ${map.holes.length} holes and overlap ${map.overlaps.length} times`,
      )
    }
    const missing = [...this.#wanted].filter((shardId) => !this.#ranges.has(shardId))
    if (missing.length > 0) throw new UnusableListing(`the listing doesn't know ${missing.join(', ')} yet`)
    return map
  }
}
