/**
 * What an operation costs in a stream of many shards, beside one of few.
 *
 *   node --conditions=shardwise-source packages/local/bench/shards.ts
 */
import { KinesisModel } from '@shardwise/local'

const STREAM = 'bench'
const ROUNDS = 5_000
/** Each halves the last shard. */
const SPLITS = 60

function modelOf(shards: number): KinesisModel {
  const clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() }
  const model = new KinesisModel({ clock, limits: false, retentionBytes: 2 ** 28 })
  model.addStream(STREAM, shards)
  return model
}

function microseconds(rounds: number, act: (round: number) => unknown): string {
  const startedAt = performance.now()
  for (let round = 0; round < rounds; round++) act(round)
  return `${(((performance.now() - startedAt) * 1_000) / rounds).toFixed(1)} µs`
}

for (const shards of [10, 10_000, 10, 10_000]) {
  const model = modelOf(shards)
  const idOf = (round: number): string => `shardId-${String(round % shards).padStart(12, '0')}`
  const data = Buffer.alloc(100)
  const put = microseconds(ROUNDS, (round) =>
    model.execute('PutRecord', { StreamName: STREAM, PartitionKey: `key-${round}`, Data: data }),
  )
  const get = microseconds(ROUNDS, (round) => {
    const { ShardIterator } = model.execute('GetShardIterator', {
      StreamName: STREAM,
      ShardId: idOf(round),
      ShardIteratorType: 'LATEST',
    }) as { ShardIterator: string }
    return model.execute('GetRecords', { ShardIterator })
  })
  const list = microseconds(ROUNDS / 10, () => model.execute('ListShards', { StreamName: STREAM, MaxResults: 100 }))
  const split = microseconds(SPLITS, () => {
    const shard = model.streamNamed(STREAM).openShards.at(-1)!
    const { start, end } = shard.hashRange
    return model.execute('SplitShard', {
      StreamName: STREAM,
      ShardToSplit: shard.id,
      NewStartingHashKey: String(start + (end - start) / 2n),
    })
  })
  console.log(
    `${String(shards).padStart(6)} shards: PutRecord ${put}, iterator and GetRecords ${get}, ListShards of ${Math.min(100, shards)} ${list}, SplitShard ${split}`,
  )
}

const model = modelOf(5_000)
const startedAt = performance.now()
model.execute('UpdateShardCount', { StreamName: STREAM, TargetShardCount: 10_000, ScalingType: 'UNIFORM_SCALING' })
console.log(`UpdateShardCount from 5,000 to 10,000: ${(performance.now() - startedAt).toFixed(0)} ms`)
