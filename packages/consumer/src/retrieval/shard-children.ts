import type { ChildShard as ServiceChildShard } from '@aws-sdk/client-kinesis'
import { type Clock, type Kinesis, orAborted, type Shard } from '@shardwise/core'
import { type HashRange, parseHashKey } from '@shardwise/records'
import { shardsOf } from '../streams/shard-list.ts'
import type { SharedListing } from './shared-listing.ts'

/** A shard that goes on where another ended. */
export interface ChildShard {
  readonly shardId: string
  readonly hashRange: HashRange
  readonly parentShardIds: readonly string[]
}

export interface ShardChildrenOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly shardId: string
  readonly clock: Clock
  /** Shared by the stream's shards. Default: each lists for itself. */
  readonly listing?: SharedListing | undefined
}

/** What an answer says of the shard's end. */
interface EndAnswer {
  /** It says where the next one goes on. */
  readonly goesOn: boolean
  readonly children: readonly ServiceChildShard[] | undefined
  readonly millisBehindLatest: number
}

/** An end without children is believed when it has come so often in a row: some that speak Kinesis tell of no children. */
const BELIEVED_ENDS = 3
/** A shard counts as gone when so many listings in a row don't have it: its end is final. */
const LISTINGS = 3
const LISTING_PAUSE_MS = 3_000

/**
 * Judges whether an answer is the end of its shard: an end comes with the shard's children, and nothing else does. Believed too
 * early, what is left of the shard would never be read. One for each reader of a shard.
 */
export class EndJudge {
  readonly #shardId: string
  /** How often an end without children has come at the same place. */
  #doubtful = 0
  #at: string | undefined

  constructor(shardId: string) {
    this.#shardId = shardId
  }

  /**
   * @param at the last record known to be before the answer
   * @throws if the answer contradicts itself: nothing of it counts, and it is to be asked for again
   */
  isEnd({ goesOn, children, millisBehindLatest }: EndAnswer, at: string | undefined): boolean {
    if (goesOn && !children?.length) return false
    if (!goesOn && valid(children) !== undefined) return true
    if (at !== this.#at) this.#doubtful = 0
    this.#at = at
    if (!goesOn && millisBehindLatest === 0 && ++this.#doubtful >= BELIEVED_ENDS) return true
    throw new Error(
      `expected either where to go on or the children of ${this.#shardId}, got ` +
        (goesOn
          ? 'both'
          : `an end without children, or not all about them, ${millisBehindLatest} ms behind the latest`),
    )
  }
}

/**
 * The children of a shard that has been read to its end: as the service told with the end, otherwise as the stream lists them.
 *
 * @throws if there are none: such an end is not to be believed
 */
export async function childrenAtEnd(
  told: readonly ServiceChildShard[] | undefined,
  options: ShardChildrenOptions,
  signal: AbortSignal,
): Promise<readonly ChildShard[]> {
  const { shardId } = options
  const whole = valid(told)
  if (whole !== undefined) return whole.map((child) => fromService(child, shardId))
  const children = childrenOf(shardId, await listShards(options, signal))
  if (children.length > 0) return children
  throw new Error(`the service said that ${shardId} has ended, and the stream lists no children of it`)
}

/**
 * The children of a shard that the service said it doesn't find, if there are any; undefined if the stream lists the shard
 * all the same. Looks several times, which takes some seconds.
 *
 * @throws {ConsumerError} `ERR_STREAM` if the stream doesn't exist; other errors as they come
 */
export async function childrenIfGone(
  options: ShardChildrenOptions,
  signal: AbortSignal,
): Promise<readonly ChildShard[] | undefined> {
  const { shardId, clock } = options
  for (let listings = 1; ; listings++) {
    const shards = await listShards(options, signal)
    // No stream is without shards.
    if (shards.length === 0 || shards.some((shard) => shard.shardId === shardId)) return undefined
    if (listings === LISTINGS) return childrenOf(shardId, shards)
    await clock.sleep(LISTING_PAUSE_MS, signal)
  }
}

async function listShards(
  { kinesis, stream, listing }: ShardChildrenOptions,
  signal: AbortSignal,
): Promise<readonly Shard[]> {
  return await (listing?.list(signal) ?? orAborted(shardsOf(kinesis, stream, { signal }), signal))
}

/** The children, if there are some and everything is told of them. */
function valid(children: readonly ServiceChildShard[] | undefined): readonly ServiceChildShard[] | undefined {
  const isWhole = children?.every(
    ({ ShardId, ParentShards, HashKeyRange }) => ShardId && ParentShards?.length && HashKeyRange,
  )
  return children?.length && isWhole ? children : undefined
}

function fromService({ ShardId, HashKeyRange, ParentShards }: ServiceChildShard, shardId: string): ChildShard {
  return {
    shardId: ShardId ?? '',
    hashRange: {
      start: parseHashKey(HashKeyRange?.StartingHashKey ?? ''),
      end: parseHashKey(HashKeyRange?.EndingHashKey ?? ''),
    },
    parentShardIds: ParentShards ?? [shardId],
  }
}

function childrenOf(shardId: string, shards: readonly Shard[]): readonly ChildShard[] {
  return shards.filter((shard) => shard.parentShardIds.includes(shardId))
}
