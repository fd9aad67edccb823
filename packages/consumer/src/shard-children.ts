import type { ChildShard as ServiceChildShard } from '@aws-sdk/client-kinesis'
import { type Clock, type Kinesis, orAborted, type Shard } from '@shardwise/core'
import { type HashRange, parseHashKey } from '@shardwise/records'
import { shardsOf } from './shard-list.ts'

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
}

/** A shard counts as gone when so many listings in a row don't have it: its end is final. */
const LISTINGS = 3
const LISTING_PAUSE_MS = 3_000

/**
 * The children of a shard that has been read to its end: as the service told with the end, otherwise as the stream lists them.
 *
 * @throws if there are none: such an end is not to be believed
 */
export async function childrenAtEnd(
  told: readonly ServiceChildShard[] | undefined,
  { kinesis, stream, shardId }: ShardChildrenOptions,
  signal: AbortSignal,
): Promise<readonly ChildShard[]> {
  if (told?.length) return told.map((child) => fromService(child, shardId))
  const children = childrenOf(shardId, await orAborted(shardsOf(kinesis, stream, { signal }), signal))
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
  { kinesis, stream, shardId, clock }: ShardChildrenOptions,
  signal: AbortSignal,
): Promise<readonly ChildShard[] | undefined> {
  for (let listings = 1; ; listings++) {
    const shards = await orAborted(shardsOf(kinesis, stream, { signal }), signal)
    // No stream is without shards.
    if (shards.length === 0 || shards.some((shard) => shard.shardId === shardId)) return undefined
    if (listings === LISTINGS) return childrenOf(shardId, shards)
    await clock.sleep(LISTING_PAUSE_MS, signal)
  }
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
