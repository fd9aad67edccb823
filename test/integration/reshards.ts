import { type KinesisClient, MergeShardsCommand, SplitShardCommand } from '@aws-sdk/client-kinesis'
import { listShards, type Shard } from '@shardwise/core'

/** The open shards, by their hash keys. */
async function openShards(kinesis: KinesisClient, stream: string): Promise<Shard[]> {
  const shards = await listShards(kinesis, stream, { filter: { Type: 'AT_LATEST' } })
  return shards.sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
}

/** Splits one of the open shards in the middle. */
export async function split(kinesis: KinesisClient, stream: string, random: () => number): Promise<void> {
  const shards = await openShards(kinesis, stream)
  const { shardId, hashRange } = shards[Math.floor(random() * shards.length)]!
  const middle = String((hashRange.start + hashRange.end) / 2n)
  await kinesis.send(new SplitShardCommand({ StreamName: stream, ShardToSplit: shardId, NewStartingHashKey: middle }))
}

/** Merges two of the open shards; where there is only one, it is split. */
export async function merge(kinesis: KinesisClient, stream: string, random: () => number): Promise<void> {
  const shards = await openShards(kinesis, stream)
  if (shards.length === 1) return await split(kinesis, stream, random)
  const at = Math.floor(random() * (shards.length - 1))
  const [{ shardId }, { shardId: next }] = shards.slice(at, at + 2) as [Shard, Shard]
  await kinesis.send(new MergeShardsCommand({ StreamName: stream, ShardToMerge: shardId, AdjacentShardToMerge: next }))
}

export type Disturbance = 'kill' | 'split' | 'merge'

/** Every kind equally often, in an order of the seed's choosing. */
export function drawDisturbances(count: number, random: () => number): Disturbance[] {
  const drawn = Array.from({ length: count }, (_, index) => (['kill', 'split', 'merge'] as const)[index % 3]!)
  for (let last = drawn.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    ;[drawn[last], drawn[other]] = [drawn[other]!, drawn[last]!]
  }
  return drawn
}
