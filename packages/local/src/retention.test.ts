import { MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { errorOf, HOUR_MS, SHARD_0, SHARD_1, World } from '../test/model-world.ts'

const DAY_MS = 24 * HOUR_MS
const HORIZON = { ShardIteratorType: 'TRIM_HORIZON' }

test('beyond its bytes a stream drops its oldest records, over all shards', () => {
  const world = new World({ shards: 2, retentionBytes: 3 * 1_400 })
  for (let number = 0; number < 6; number++) {
    const ExplicitHashKey = number % 2 === 0 ? '0' : MAX_HASH_KEY.toString()
    const Data = Buffer.alloc(1_000, `${number}`)
    world.execute('PutRecord', { StreamName: 's', PartitionKey: `${number}`, ExplicitHashKey, Data })
  }
  const left = [SHARD_0, SHARD_1].flatMap((shard) => world.texts(shard))
  expect(left.map((text) => text[0]).sort()).toEqual(['3', '4', '5'])
})

test('records are dropped after the retention', () => {
  const world = new World()
  world.put('old')
  world.pass(DAY_MS)
  expect(world.texts(SHARD_0)).toEqual(['old'])
  world.put('new')
  world.pass(1)
  expect(world.texts(SHARD_0)).toEqual(['new'])
})

test('retention can be shorter than the service has it', () => {
  const world = new World({ retentionMs: 1_000 })
  world.put('old')
  world.pass(1_001)
  expect(world.texts(SHARD_0)).toEqual([])
})

describe('a closed shard that is past the retention', () => {
  const splitLongAgo = (): { world: World; iterator: string } => {
    const world = new World()
    world.put('old')
    world.split(SHARD_0)
    world.pass(DAY_MS)
    const iterator = world.iterator(SHARD_0, HORIZON)
    expect(world.shardIds()).toEqual(['0', '1', '2'])
    world.pass(1)
    return { world, iterator }
  }

  test('is not listed or described any more', () => {
    const { world } = splitLongAgo()
    expect(world.shardIds()).toEqual(['1', '2'])
    expect(world.shardIds({ Type: 'AT_TRIM_HORIZON' })).toEqual(['1', '2'])
    expect(world.execute('DescribeStream', { StreamName: 's' })).toMatchObject({
      StreamDescription: { Shards: [{ ShardId: SHARD_1, ParentShardId: SHARD_0 }, {}] },
    })
  })

  test('is not found, by an iterator that there is neither', () => {
    const { world, iterator } = splitLongAgo()
    expect(errorOf(() => world.get(iterator)).type).toBe('ResourceNotFoundException')
    expect(errorOf(() => world.iterator(SHARD_0, HORIZON)).type).toBe('ResourceNotFoundException')
    const arn = world.register()
    expect(errorOf(() => world.subscribe(arn)).type).toBe('ResourceNotFoundException')
  })

  test('does not come back with a longer retention', () => {
    const { world } = splitLongAgo()
    world.execute('IncreaseStreamRetentionPeriod', { StreamName: 's', RetentionPeriodHours: 48 })
    expect(world.shardIds()).toEqual(['1', '2'])
  })

  test('goes no earlier when the wall clock was set back between reshards', () => {
    const world = new World({ shards: 5 })
    world.pass(HOUR_MS)
    for (const [index, backMs] of [0, 0, 10, 10, 10].entries()) {
      world.wallMs -= backMs * 60_000
      const id = `shardId-00000000000${index}`
      const { start, end } = world.model.streamNamed('s').openShards.find((shard) => shard.id === id)!.hashRange
      world.split(id, (start + end) / 2n)
      if (index === 0) world.pass(HOUR_MS)
    }
    world.pass(DAY_MS + 25 * 60_000)
    expect(world.shardIds().length).toBe(14)
    world.pass(HOUR_MS)
    expect(world.shardIds().length).toBe(10)
  })

  test('goes generation by generation, in the order of closing', () => {
    const world = new World({ shards: 2 })
    world.split(SHARD_1, 2n ** 127n + 2n ** 126n)
    world.pass(HOUR_MS)
    world.split(SHARD_0, 2n ** 126n)
    world.pass(DAY_MS - HOUR_MS + 1)
    expect(world.shardIds()).toEqual(['0', '2', '3', '4', '5'])
    world.pass(HOUR_MS)
    expect(world.shardIds()).toEqual(['2', '3', '4', '5'])
  })
})

describe('changing the retention', () => {
  const change = (world: World, operation: string, hours: number): object =>
    world.execute(operation, { StreamName: 's', RetentionPeriodHours: hours })

  test('keeps records longer, or lets go of them at once', () => {
    const world = new World()
    change(world, 'IncreaseStreamRetentionPeriod', 48)
    expect(world.summary().RetentionPeriodHours).toBe(48)
    world.put('old')
    world.pass(DAY_MS + 1)
    expect(world.texts(SHARD_0)).toEqual(['old'])
    change(world, 'DecreaseStreamRetentionPeriod', 24)
    expect(world.texts(SHARD_0)).toEqual([])
  })

  test.each([
    ['IncreaseStreamRetentionPeriod', 8_761],
    ['IncreaseStreamRetentionPeriod', 47],
    ['DecreaseStreamRetentionPeriod', 23],
    ['DecreaseStreamRetentionPeriod', 49],
  ])('%s from 48 to %i hours is refused', (operation, hours) => {
    const world = new World()
    change(world, 'IncreaseStreamRetentionPeriod', 48)
    expect(errorOf(() => change(world, operation, hours)).type).toBe('InvalidArgumentException')
  })
})
