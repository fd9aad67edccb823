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

export interface ListShardsOptions {
  /** Which shards, such as `{ Type: 'AT_LATEST' }` for the open ones. Default: all that may still hold records. */
  readonly filter?: ShardFilter
  readonly signal?: AbortSignal | undefined
  /**
   * Told of the service's own time of the first answer, in milliseconds since 1970, in whole seconds. Not called where the
   * client hides the answer's headers.
   */
  readonly onServiceTime?: (ms: number) => void
}

/**
 * Lists a stream's shards, all pages. An error in mid-listing fails the whole: a partial list is worse than none.
 */
export async function listShards(
  kinesis: Kinesis,
  stream: string,
  { filter, signal, onServiceTime }: ListShardsOptions = {},
): Promise<Shard[]> {
  const shards: Shard[] = []
  let token: string | undefined
  do {
    const command = new ListShardsCommand(
      // The service refuses a token together with the stream's name or a filter.
      token === undefined
        ? { ...streamReference(stream), MaxResults: 1000, ...(filter && { ShardFilter: filter }) }
        : { NextToken: token, MaxResults: 1000 },
    )
    if (token === undefined && onServiceTime !== undefined) tellServiceTime(command, onServiceTime)
    const page = await kinesis.send(command, { ...(signal && { abortSignal: signal }) })
    for (const shard of page.Shards ?? []) shards.push(fromService(shard))
    token = page.NextToken
  } while (token !== undefined)
  return shards
}

/** The SDK doesn't hand the Date header out; a step before its deserializer sees it. */
function tellServiceTime(command: ListShardsCommand, onServiceTime: (ms: number) => void): void {
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      const { headers } = Object(result.response) as { headers?: Readonly<Record<string, string>> }
      const ms = Date.parse(headers?.date ?? '')
      if (Number.isFinite(ms)) onServiceTime(ms)
      return result
    },
    { step: 'deserialize', name: 'tellServiceTime' },
  )
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
