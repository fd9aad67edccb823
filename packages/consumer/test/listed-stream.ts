import type { ListShardsCommand, ShardFilter } from '@aws-sdk/client-kinesis'
import type { Kinesis, Shard } from '@shardwise/core'

type Answer = readonly Shard[] | Error | undefined

/** A stream as ListShards shows it. What it shows, and when, is the test's to set. */
export class ListedStream {
  shards: readonly Shard[]
  /** What the answer's Date header says. */
  serviceTime: Date = new Date('2026-01-01T00:00:00Z')
  /** Takes the place of the answer, if it gives one. */
  answer: (filter: ShardFilter | undefined) => Answer | Promise<Answer> = () => undefined
  readonly filters: (ShardFilter | undefined)[] = []

  constructor(shards: readonly Shard[] = []) {
    this.shards = shards
  }

  get kinesis(): Kinesis {
    return { send: (command: ListShardsCommand) => this.#list(command) } as unknown as Kinesis
  }

  async #list(command: ListShardsCommand): Promise<unknown> {
    const filter = command.input.ShardFilter
    this.filters.push(filter)
    const shards = (await this.answer(filter)) ?? this.shards
    if (shards instanceof Error) throw shards
    const response = { headers: { date: this.serviceTime.toUTCString() } }
    const output = { Shards: shards.map(toService), $metadata: {} }
    // The steps that the caller has added see the answer as the service's.
    const handler = command.middlewareStack.resolve(async () => ({ response, output }) as never, {})
    return (await handler({ input: command.input as never })).output
  }
}

export function notFound(): Error {
  return Object.assign(new Error('Stream orders under account 1 not found.'), { name: 'ResourceNotFoundException' })
}

function toService({
  shardId,
  hashRange,
  parentShardIds,
  startingSequenceNumber,
  endingSequenceNumber,
}: Shard): object {
  const [ParentShardId, AdjacentParentShardId] = parentShardIds
  return {
    ShardId: shardId,
    HashKeyRange: { StartingHashKey: String(hashRange.start), EndingHashKey: String(hashRange.end) },
    ParentShardId,
    AdjacentParentShardId,
    SequenceNumberRange: {
      StartingSequenceNumber: startingSequenceNumber,
      EndingSequenceNumber: endingSequenceNumber,
    },
  }
}
