import { MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { errorOf, SHARD_0, type ShardView, STREAM_ARN, World } from '../test/model-world.ts'

test('a stream is active with its shards over the whole range as soon as it is made', () => {
  const world = new World({ shards: 4 })
  const { Shards } = world.execute<{ Shards: ShardView[] }>('ListShards', { StreamName: 's' })
  expect(Shards[0]?.HashKeyRange.StartingHashKey).toBe('0')
  expect(Shards.at(-1)?.HashKeyRange.EndingHashKey).toBe(MAX_HASH_KEY.toString())
  expect(world.summary()).toMatchObject({
    StreamStatus: 'ACTIVE',
    OpenShardCount: 4,
    MaxRecordSizeInKiB: 1024,
    RetentionPeriodHours: 24,
    ConsumerCount: 0,
    EncryptionType: 'NONE',
    StreamCreationTimestamp: new Date(world.wallMs),
  })
})

test('a stream is created with the settings asked for', () => {
  const world = new World()
  world.execute('CreateStream', {
    StreamName: 'auto',
    StreamModeDetails: { StreamMode: 'ON_DEMAND' },
    RecordDistributionStrategy: 'AUTO',
    MaxRecordSizeInKiB: 2048,
    Tags: { team: 'a' },
  })
  expect(world.execute('DescribeStreamSummary', { StreamName: 'auto' })).toMatchObject({
    StreamDescriptionSummary: {
      OpenShardCount: 4,
      StreamModeDetails: { StreamMode: 'ON_DEMAND' },
      RecordDistributionStrategy: 'AUTO',
      MaxRecordSizeInKiB: 2048,
    },
  })
  expect(world.execute('ListTagsForStream', { StreamName: 'auto' })).toMatchObject({
    Tags: [{ Key: 'team', Value: 'a' }],
  })
})

test.each([
  ['a name with a space', { StreamName: 'a b', ShardCount: 1 }, 'ValidationException'],
  [
    'an unknown mode',
    { StreamName: 'a', ShardCount: 1, StreamModeDetails: { StreamMode: 'AUTOMATIC' } },
    'ValidationException',
  ],
  ['no number of shards', { StreamName: 'a' }, 'ValidationException'],
  ['10,001 shards', { StreamName: 'a', ShardCount: 10_001 }, 'ValidationException'],
  ['records of 20 MiB', { StreamName: 'a', ShardCount: 1, MaxRecordSizeInKiB: 20_480 }, 'ValidationException'],
  [
    'AUTO and provisioned shards',
    { StreamName: 'a', ShardCount: 1, RecordDistributionStrategy: 'AUTO' },
    'InvalidArgumentException',
  ],
  ['a name that is taken', { StreamName: 's', ShardCount: 1 }, 'ResourceInUseException'],
])('a stream with %s is refused', (_, request, type) => {
  expect(new World().refusal('CreateStream', request)).toBe(type)
})

describe('naming a stream', () => {
  test('by its ARN is as good as by its name', () => {
    expect(new World().execute('DescribeStream', { StreamARN: STREAM_ARN })).toMatchObject({
      StreamDescription: { StreamName: 's', StreamARN: STREAM_ARN },
    })
  })

  test('by a name and an ARN that contradict each other is refused', () => {
    const request = { StreamName: 't', StreamARN: STREAM_ARN }
    expect(new World().refusal('DescribeStream', request)).toBe('InvalidArgumentException')
  })

  test('by something that is no ARN is refused', () => {
    expect(new World().refusal('DescribeStream', { StreamARN: 's' })).toBe('ValidationException')
  })

  test('that is unknown, or not at all', () => {
    expect(new World().refusal('DescribeStream', { StreamName: 't' })).toBe('ResourceNotFoundException')
    expect(new World().refusal('DescribeStream', {})).toBe('ValidationException')
  })

  test('in a listing tells streams of the same name apart by their creation', () => {
    const world = new World()
    const createdAt = new Date(world.wallMs)
    world.execute('ListShards', { StreamName: 's', StreamCreationTimestamp: createdAt })
    const request = { StreamName: 's', StreamCreationTimestamp: new Date(createdAt.getTime() - 60_000) }
    expect(world.refusal('ListShards', request)).toBe('ResourceNotFoundException')
  })
})

test('streams are listed page by page', () => {
  const world = new World()
  for (const name of ['a', 'b', 'c']) world.execute('CreateStream', { StreamName: name, ShardCount: 1 })
  const first = world.execute<{ StreamNames: string[]; NextToken: string }>('ListStreams', { Limit: 2 })
  expect(first.StreamNames).toEqual(['a', 'b'])
  expect(world.execute('ListStreams', { NextToken: first.NextToken })).toMatchObject({
    StreamNames: ['c', 's'],
    HasMoreStreams: false,
    StreamSummaries: [{ StreamName: 'c' }, { StreamName: 's', StreamStatus: 'ACTIVE' }],
  })
})

describe('the time that streams take', () => {
  test('a stream is CREATING for it, and nothing can be put or read until it is over', () => {
    const world = new World({ createMs: 1_000 })
    world.pass(999)
    expect(world.status()).toBe('CREATING')
    expect(errorOf(() => world.put('x')).type).toBe('ResourceNotFoundException')
    expect(errorOf(() => world.split(SHARD_0)).type).toBe('ResourceInUseException')
    expect(errorOf(() => world.shardIds()).type).toBe('ResourceInUseException')
    expect(errorOf(() => world.register()).type).toBe('ResourceInUseException')
    expect(world.execute('DescribeStream', { StreamName: 's' })).toMatchObject({ StreamDescription: { Shards: [] } })
    world.pass(1)
    expect(world.status()).toBe('ACTIVE')
    world.put('x')
  })

  test('a stream is DELETING for it, and its name is taken until it is over', () => {
    const world = new World({ createMs: 1_000 })
    world.pass(1_000)
    world.execute('DeleteStream', { StreamName: 's' })
    expect(world.status()).toBe('DELETING')
    expect(errorOf(() => world.put('x')).type).toBe('ResourceNotFoundException')
    expect(world.refusal('CreateStream', { StreamName: 's', ShardCount: 1 })).toBe('ResourceInUseException')
    world.pass(1_000)
    expect(world.refusal('DescribeStream', { StreamName: 's' })).toBe('ResourceNotFoundException')
    world.execute('CreateStream', { StreamName: 's', ShardCount: 1 })
    expect(world.status()).toBe('CREATING')
  })

  test('without it a stream that is deleted is gone at once', () => {
    const world = new World()
    world.execute('DeleteStream', { StreamARN: STREAM_ARN })
    expect(world.execute('ListStreams', {})).toMatchObject({ StreamNames: [] })
  })
})

test('five streams are CREATING at once', () => {
  const world = new World({ createMs: 60_000, limits: true })
  const create = (name: string): object => world.execute('CreateStream', { StreamName: name, ShardCount: 1 })
  for (const name of ['a', 'b', 'c', 'd']) create(name)
  world.pass(1_000)
  expect(errorOf(() => create('e')).type).toBe('LimitExceededException')
  world.pass(60_000)
  create('e')
})

test('a stream that is there from the beginning takes no time and no call', () => {
  const world = new World({ createMs: 60_000, limits: true })
  for (let number = 0; number < 10; number++) world.model.addStream(`s${number}`, 2)
  expect(world.execute('DescribeStreamSummary', { StreamName: 's9' })).toMatchObject({
    StreamDescriptionSummary: { StreamStatus: 'ACTIVE', OpenShardCount: 2 },
  })
})

test('a stream with consumers is deleted only if that is asked for', () => {
  const world = new World()
  world.register()
  expect(world.refusal('DeleteStream', { StreamName: 's' })).toBe('ResourceInUseException')
  world.execute('DeleteStream', { StreamName: 's', EnforceConsumerDeletion: true })
  expect(world.refusal('ListShards', { StreamName: 's' })).toBe('ResourceNotFoundException')
})

test('an iterator of a stream is of no use for the next one of that name, even within the same millisecond', () => {
  const world = new World()
  const iterator = world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })
  world.execute('DeleteStream', { StreamName: 's' })
  world.execute('CreateStream', { StreamName: 's', ShardCount: 1 })
  expect(errorOf(() => world.get(iterator)).type).toBe('InvalidArgumentException')
})

test('the account tells how many shards are open and how many streams are on demand', () => {
  const world = new World({ shards: 3 })
  world.execute('CreateStream', { StreamName: 'd', StreamModeDetails: { StreamMode: 'ON_DEMAND' } })
  expect(world.execute('DescribeLimits', {})).toMatchObject({ OpenShardCount: 7, OnDemandStreamCount: 1 })
})

test('the account keeps its settings', () => {
  const world = new World()
  const settings = { MinimumThroughputBillingCommitment: { Status: 'ENABLED' } }
  expect(world.execute('DescribeAccountSettings', {})).toMatchObject({
    MinimumThroughputBillingCommitment: { Status: 'DISABLED' },
  })
  world.execute('UpdateAccountSettings', settings)
  expect(world.execute('DescribeAccountSettings', {})).toMatchObject(settings)
})

test.each(['toString', 'SubscribeToShard', ''])('%j is no operation of a request and an answer', (operation) => {
  expect(new World().refusal(operation, {})).toBe('UnknownOperationException')
})
