import { findHoles, findOverlaps } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { errorOf, SHARD_0, SHARD_1, SHARD_2, type ShardView, STREAM_ARN, textsOf, World } from '../test/model-world.ts'

const scale = (world: World, target: number): object =>
  world.execute('UpdateShardCount', {
    StreamName: 's',
    TargetShardCount: target,
    ScalingType: 'UNIFORM_SCALING',
  })

const openRanges = (world: World): string[] =>
  world
    .execute<{ Shards: ShardView[] }>('ListShards', { StreamName: 's', ShardFilter: { Type: 'AT_LATEST' } })
    .Shards.map(({ HashKeyRange }) => `${HashKeyRange.StartingHashKey}-${HashKeyRange.EndingHashKey}`)
    .sort()

test('a merge names both parents, the shard asked for first', () => {
  const world = new World({ shards: 2 })
  world.merge(SHARD_0, SHARD_1)
  const { Shards } = world.execute<{ Shards: ShardView[] }>('ListShards', { StreamName: 's' })
  expect(Shards[2]).toMatchObject({ ParentShardId: SHARD_0, AdjacentParentShardId: SHARD_1 })
})

describe('a split is refused', () => {
  test.each([
    ['at the start of the shard', 0n],
    ['one after the start', 1n],
    ['at the end', 2n ** 127n - 1n],
    ['beyond the end', 2n ** 127n],
  ])('%s', (_, at) => {
    expect(errorOf(() => new World({ shards: 2 }).split(SHARD_0, at)).type).toBe('InvalidArgumentException')
  })

  test('at something that is no hash key', () => {
    const request = { StreamName: 's', ShardToSplit: SHARD_0, NewStartingHashKey: '0x1' }
    expect(new World().refusal('SplitShard', request)).toBe('ValidationException')
  })

  test('of a shard that is closed, or that there is not', () => {
    const world = new World()
    world.split(SHARD_0)
    expect(errorOf(() => world.split(SHARD_0, 6n)).type).toBe('ResourceInUseException')
    expect(errorOf(() => world.split('shardId-000000000009', 6n)).type).toBe('ResourceNotFoundException')
  })
})

test('shards that are no neighbours are not merged', () => {
  expect(errorOf(() => new World({ shards: 3 }).merge(SHARD_0, SHARD_2)).type).toBe('InvalidArgumentException')
})

test('a shard is merged with the one above it only, as the service has it', () => {
  expect(errorOf(() => new World({ shards: 2 }).merge(SHARD_1, SHARD_0)).type).toBe('InvalidArgumentException')
})

test('the service itself sets the shards of an on-demand stream', () => {
  const world = new World()
  world.execute('UpdateStreamMode', { StreamARN: STREAM_ARN, StreamModeDetails: { StreamMode: 'ON_DEMAND' } })
  expect(errorOf(() => world.split(SHARD_0)).type).toBe('ValidationException')
  expect(errorOf(() => scale(world, 2)).type).toBe('ValidationException')
})

describe('the time that a reshard takes', () => {
  test('the stream is UPDATING for it, and the old shards take records until it is over', () => {
    const world = new World({ reshardMs: 1_000 })
    world.split(SHARD_0)
    world.pass(999)
    expect(world.status()).toBe('UPDATING')
    expect(world.put('before').ShardId).toBe(SHARD_0)
    expect(world.shardIds()).toEqual(['0'])
    world.pass(1)
    expect(world.put('after').ShardId).toBe(SHARD_1)
    expect(world.status()).toBe('ACTIVE')
    expect(world.texts(SHARD_0)).toEqual(['before'])
  })

  test('nothing else is resharded meanwhile', () => {
    const world = new World({ shards: 2, reshardMs: 1_000 })
    world.split(SHARD_0, 5n)
    const error = errorOf(() => world.merge(SHARD_0, SHARD_1))
    expect(error.type).toBe('ResourceInUseException')
    expect(error.message).toBe('Stream s under account 000000000000 not ACTIVE, instead in state UPDATING')
    expect(errorOf(() => scale(world, 3)).type).toBe('ResourceInUseException')
    world.pass(1_000)
    scale(world, 3)
  })

  test('is over when it is over, however late somebody looks', () => {
    const world = new World({ reshardMs: 1_000 })
    world.split(SHARD_0)
    const closedAt = world.wallMs + 1_000
    world.pass(60_000)
    expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: new Date(closedAt + 1) })).toEqual(['1', '2'])
  })
})

describe('UpdateShardCount', () => {
  test.each([2, 3, 5, 7, 8])('from 4 to %i leaves so many even shards', (target) => {
    const world = new World({ shards: 4 })
    expect(scale(world, target)).toEqual({
      StreamName: 's',
      StreamARN: STREAM_ARN,
      CurrentShardCount: 4,
      TargetShardCount: target,
    })
    expect(openRanges(world)).toEqual(openRanges(new World({ shards: target })))
  })

  test.each([1, 9])('from 4 to %i is too far', (target) => {
    expect(errorOf(() => scale(new World({ shards: 4 }), target)).type).toBe('LimitExceededException')
  })

  test('beyond 10,000 is over the limit', () => {
    expect(errorOf(() => scale(new World({ shards: 6_000 }), 10_001)).type).toBe('LimitExceededException')
  })

  test('is done by uniform scaling alone', () => {
    const request = { StreamName: 's', TargetShardCount: 2, ScalingType: 'OTHER' }
    expect(new World().refusal('UpdateShardCount', request)).toBe('ValidationException')
  })

  test('goes ten times within 24 hours', () => {
    const world = new World({ shards: 4, limits: true })
    for (let time = 0; time < 10; time++) {
      scale(world, time % 2 === 0 ? 5 : 4)
      world.pass(1_000)
    }
    expect(errorOf(() => scale(world, 5)).type).toBe('LimitExceededException')
    world.pass(24 * 3_600_000 - 10_000)
    scale(world, 5)
    expect(errorOf(() => scale(world, 4)).type).toBe('LimitExceededException')
  })
})

test('ten thousand shards are resharded, written to and listed within a second or two', () => {
  const world = new World({ shards: 5_000 })
  const startedAt = performance.now()
  scale(world, 10_000)
  const { openShards } = world.model.streamNamed('s')
  expect(openShards.length).toBe(10_000)
  const ranges = openShards.map(({ hashRange }) => hashRange)
  expect([findHoles(ranges), findOverlaps(ranges)]).toEqual([[], []])

  for (let number = 0; number < 2_000; number++) world.put(`${number}`, (BigInt(number) * 2n ** 116n).toString())
  const { id } = openShards[0]!
  expect(textsOf(world.get(world.iterator(id, { ShardIteratorType: 'TRIM_HORIZON' })).Records)).toEqual(['0'])

  const listed = new Set<string>()
  let token: string | undefined
  do {
    const request = token === undefined ? { StreamName: 's' } : { NextToken: token }
    const page = world.execute<{ Shards: ShardView[]; NextToken?: string }>('ListShards', request)
    for (const { ShardId } of page.Shards) listed.add(ShardId)
    token = page.NextToken
  } while (token !== undefined)
  expect(listed.size).toBe(15_000)
  scale(world, 5_000)
  expect(world.summary().OpenShardCount).toBe(5_000)
  expect(performance.now() - startedAt).toBeLessThan(3_000)
})
