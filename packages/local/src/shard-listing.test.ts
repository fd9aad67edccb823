import { expect, test } from 'vitest'
import { errorOf, SHARD_0, SHARD_1, SHARD_2, type ShardView, STREAM_ARN, World } from '../test/model-world.ts'

interface Page {
  readonly Shards: readonly ShardView[]
  readonly NextToken?: string
}

const digits = ({ Shards }: Page): string[] => Shards.map(({ ShardId }) => ShardId.slice(-1))

test('filters list the shards of their time', () => {
  const world = new World()
  world.pass(1_000)
  const beforeSplit = new Date(world.wallMs)
  world.pass(1_000)
  world.split(SHARD_0)
  world.pass(1_000)
  world.merge(SHARD_1, SHARD_2)
  const between = new Date(beforeSplit.getTime() + 1_500)
  expect(world.shardIds()).toEqual(['0', '1', '2', '3'])
  expect(world.shardIds({ Type: 'AT_LATEST' })).toEqual(['3'])
  expect(world.shardIds({ Type: 'AT_TRIM_HORIZON' })).toEqual(['0'])
  expect(world.shardIds({ Type: 'FROM_TRIM_HORIZON' })).toEqual(['0', '1', '2', '3'])
  expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: beforeSplit })).toEqual(['0'])
  expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: between })).toEqual(['1', '2'])
  expect(world.shardIds({ Type: 'FROM_TIMESTAMP', Timestamp: between })).toEqual(['1', '2', '3'])
  expect(world.shardIds({ Type: 'AFTER_SHARD_ID', ShardId: SHARD_1 })).toEqual(['2', '3'])
})

test('a shard closed at that very moment is among those of a timestamp, since it may hold records of it', () => {
  const world = new World()
  world.pass(10)
  world.put('last')
  world.split(SHARD_0)
  expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: new Date(world.wallMs) })).toEqual(['0', '1', '2'])
})

test.each([{ Type: 'AT_END' }, { Type: 'AT_TIMESTAMP' }])('the filter %j is refused', (ShardFilter) => {
  expect(new World().refusal('ListShards', { StreamName: 's', ShardFilter })).toBe('InvalidArgumentException')
})

test('a listing goes on by its token, with the filter of its first page', () => {
  const world = new World({ shards: 4 })
  world.split(SHARD_0, 5n)
  const first = world.execute<Page>('ListShards', {
    StreamName: 's',
    MaxResults: 3,
    ShardFilter: { Type: 'AT_LATEST' },
  })
  const second = world.execute<Page>('ListShards', { NextToken: first.NextToken })
  expect([...digits(first), ...digits(second)]).toEqual(['1', '2', '3', '4', '5'])
  expect(second.NextToken).toBeUndefined()
})

test('a timestamp in the filter survives the token', () => {
  const world = new World({ shards: 2 })
  world.pass(1_000)
  const ShardFilter = { Type: 'AT_TIMESTAMP', Timestamp: new Date(world.wallMs) }
  world.pass(1_000)
  world.split(SHARD_0, 5n)
  const { NextToken } = world.execute<Page>('ListShards', { StreamName: 's', MaxResults: 1, ShardFilter })
  expect(digits(world.execute<Page>('ListShards', { NextToken }))).toEqual(['1'])
})

test.each([
  { StreamName: 's' },
  { StreamARN: STREAM_ARN },
  { ExclusiveStartShardId: SHARD_0 },
  { StreamCreationTimestamp: new Date() },
])('a token is never given with %j beside it', (beside) => {
  const world = new World({ shards: 2 })
  const { NextToken } = world.execute<Page>('ListShards', { StreamName: 's', MaxResults: 1 })
  expect(world.refusal('ListShards', { NextToken, ...beside })).toBe('InvalidArgumentException')
})

test('an answer has at most 1,000 shards, however many are asked for', () => {
  const world = new World({ shards: 1_001 })
  const { Shards, NextToken } = world.execute<Page>('ListShards', { StreamName: 's', MaxResults: 10_000 })
  expect(Shards.length).toBe(1_000)
  expect(world.execute<Page>('ListShards', { NextToken }).Shards.length).toBe(1)
})

test('DescribeStream has at most 100 shards in an answer, and goes on behind the last', () => {
  const world = new World({ shards: 101 })
  const describe = (ExclusiveStartShardId?: string) =>
    world.execute<{ StreamDescription: Page & { HasMoreShards: boolean } }>('DescribeStream', {
      StreamName: 's',
      Limit: 1_000,
      ...(ExclusiveStartShardId && { ExclusiveStartShardId }),
    }).StreamDescription
  const first = describe()
  expect([first.Shards.length, first.HasMoreShards]).toEqual([100, true])
  const second = describe(first.Shards.at(-1)?.ShardId)
  expect([second.Shards.length, second.HasMoreShards]).toEqual([1, false])
})

test('a token expires after 300 seconds, and with its stream', () => {
  const world = new World({ shards: 2 })
  const { NextToken } = world.execute<Page>('ListShards', { StreamName: 's', MaxResults: 1 })
  world.pass(300_000)
  world.execute('ListShards', { NextToken })
  world.pass(1)
  expect(errorOf(() => world.execute('ListShards', { NextToken })).type).toBe('ExpiredNextTokenException')
  const fresh = world.execute<Page>('ListShards', { StreamName: 's', MaxResults: 1 })
  world.execute('DeleteStream', { StreamName: 's' })
  world.execute('CreateStream', { StreamName: 's', ShardCount: 2 })
  expect(world.refusal('ListShards', { NextToken: fresh.NextToken })).toBe('InvalidArgumentException')
})

test.each([Buffer.from('{}').toString('base64'), 'nonsense'])('the token %j is refused', (NextToken) => {
  expect(new World().refusal('ListShards', { NextToken })).toBe('InvalidArgumentException')
})
