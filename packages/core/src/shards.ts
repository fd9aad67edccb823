import { ListShardsCommand, type Shard as ServiceShard, type ShardFilter } from '@aws-sdk/client-kinesis'
import { type HashRange, parseHashKey } from '@shardwise/records'
import { type Kinesis, streamReference } from './stream.ts'

/** A shard as ListShards tells of it. */
export interface Shard {
  readonly shardId: string
  readonly hashRange: HashRange
  /** None for a first shard, one for a child of a split, two for a child of a merge. A parent may have been trimmed. */
  readonly parentShardIds: readonly string[]
  readonly startingSequenceNumber: string
  /** Absent while the shard is open. */
  readonly endingSequenceNumber: string | undefined
}

/**
 * Lists a stream's shards, all pages. An error in mid-listing fails the whole: a partial list is worse than none.
 *
 * @param filter which shards, such as `{ Type: 'AT_LATEST' }` for the open ones; default: all that still hold records
 */
export async function listShards(
  kinesis: Kinesis,
  stream: string,
  { filter, signal }: { readonly filter?: ShardFilter; readonly signal?: AbortSignal | undefined } = {},
): Promise<Shard[]> {
  const shards: Shard[] = []
  let token: string | undefined
  do {
    const page = await kinesis.send(
      new ListShardsCommand(
        // The service refuses a token together with the stream's name or a filter.
        token === undefined
          ? { ...streamReference(stream), MaxResults: 1000, ...(filter && { ShardFilter: filter }) }
          : { NextToken: token, MaxResults: 1000 },
      ),
      { ...(signal && { abortSignal: signal }) },
    )
    for (const shard of page.Shards ?? []) shards.push(fromService(shard))
    token = page.NextToken
  } while (token !== undefined)
  return shards
}

function fromService(shard: ServiceShard): Shard {
  return {
    shardId: shard.ShardId ?? '',
    hashRange: {
      start: parseHashKey(shard.HashKeyRange?.StartingHashKey ?? ''),
      end: parseHashKey(shard.HashKeyRange?.EndingHashKey ?? ''),
    },
    parentShardIds: [shard.ParentShardId, shard.AdjacentParentShardId].filter((id) => id !== undefined),
    startingSequenceNumber: shard.SequenceNumberRange?.StartingSequenceNumber ?? '0',
    endingSequenceNumber: shard.SequenceNumberRange?.EndingSequenceNumber,
  }
}
