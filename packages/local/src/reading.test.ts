import { MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { errorOf, MiB, SHARD_0, SHARD_1, SHARD_2, textsOf, World } from '../test/model-world.ts'

const HORIZON = { ShardIteratorType: 'TRIM_HORIZON' }

test('each type of iterator starts where it should', () => {
  const world = new World()
  const times: Date[] = []
  const numbers = ['a', 'b', 'c'].map((text) => {
    world.pass(1_000)
    times.push(new Date(world.wallMs))
    return world.put(text).SequenceNumber
  })
  const [, number] = numbers
  const [, time] = times
  const later = new Date(time!.getTime() + 1)
  expect(world.texts(SHARD_0, HORIZON)).toEqual(['a', 'b', 'c'])
  expect(world.texts(SHARD_0, { ShardIteratorType: 'LATEST' })).toEqual([])
  const at = { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: number }
  expect(world.texts(SHARD_0, at)).toEqual(['b', 'c'])
  const after = { ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', StartingSequenceNumber: number }
  expect(world.texts(SHARD_0, after)).toEqual(['c'])
  expect(world.texts(SHARD_0, { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: time })).toEqual(['b', 'c'])
  expect(world.texts(SHARD_0, { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: later })).toEqual(['c'])
})

test('a record tells when it arrived', () => {
  const world = new World()
  world.put('a')
  const { Records } = world.get(world.iterator(SHARD_0, HORIZON))
  expect(Records[0]).toMatchObject({ PartitionKey: 'a', ApproximateArrivalTimestamp: new Date(world.wallMs) })
})

test('an iterator of LATEST sees what is put after it was made', () => {
  const world = new World()
  world.put('before')
  const iterator = world.iterator(SHARD_0, { ShardIteratorType: 'LATEST' })
  world.put('after')
  expect(textsOf(world.get(iterator).Records)).toEqual(['after'])
})

test('reading goes on from the next iterator, and tells how far behind it is', () => {
  const world = new World()
  for (const text of ['a', 'b', 'c']) world.put(text)
  world.pass(5_000)
  const first = world.get(world.iterator(SHARD_0, HORIZON), 2)
  expect(textsOf(first.Records)).toEqual(['a', 'b'])
  expect(first.MillisBehindLatest).toBe(5_000)
  const second = world.get(first.NextShardIterator)
  expect(textsOf(second.Records)).toEqual(['c'])
  expect(second.MillisBehindLatest).toBe(0)
})

test('what arrived within this millisecond and was not read yet keeps the reader behind', () => {
  const world = new World()
  world.put('a')
  world.put('b')
  const first = world.get(world.iterator(SHARD_0, HORIZON), 1)
  expect(first.MillisBehindLatest).toBe(1)
  expect(world.get(first.NextShardIterator).MillisBehindLatest).toBe(0)
})

test('records are found by the time of their arrival even when the wall clock is set back', () => {
  const world = new World()
  const start = world.wallMs
  world.put('first')
  world.wallMs = start + 5_000
  world.put('second')
  world.wallMs = start
  world.put('third')
  world.wallMs = start + 10
  const position = { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: new Date(start + 5) }
  expect(world.texts(SHARD_0, position)).toEqual(['second', 'third'])
})

describe('the end of a closed shard', () => {
  test('names its children and gives no further iterator', () => {
    const world = new World()
    world.put('a')
    world.put('b')
    world.split(SHARD_0)
    const first = world.get(world.iterator(SHARD_0, HORIZON), 1)
    expect(first.ChildShards).toBeUndefined()
    const last = world.get(first.NextShardIterator)
    expect('NextShardIterator' in last).toBe(false)
    expect(last.ChildShards).toMatchObject([
      { ShardId: SHARD_1, ParentShards: [SHARD_0], HashKeyRange: { StartingHashKey: '0' } },
      { ShardId: SHARD_2, ParentShards: [SHARD_0], HashKeyRange: { EndingHashKey: MAX_HASH_KEY.toString() } },
    ])
  })

  test('comes at once for who starts behind it', () => {
    const world = new World()
    world.split(SHARD_0)
    for (const ShardIteratorType of ['LATEST', 'TRIM_HORIZON']) {
      const answer = world.get(world.iterator(SHARD_0, { ShardIteratorType }))
      expect(answer.ChildShards?.length).toBe(2)
    }
  })
})

describe('what is refused', () => {
  test('an iterator after five minutes, whatever the wall clock says', () => {
    const world = new World()
    const iterator = world.iterator(SHARD_0, HORIZON)
    world.wallMs += 3_600_000
    world.monotonicMs += 300_000
    world.get(iterator)
    world.monotonicMs += 1
    expect(errorOf(() => world.get(iterator)).type).toBe('ExpiredIteratorException')
  })

  test.each(['', 'nonsense', Buffer.from('[1,2]').toString('base64')])('the iterator %j', (iterator) => {
    expect(errorOf(() => new World().get(iterator)).type).toBe('InvalidArgumentException')
  })

  test('a limit of 10,001 records', () => {
    const world = new World()
    const iterator = world.iterator(SHARD_0, HORIZON)
    expect(errorOf(() => world.get(iterator, 10_001)).type).toBe('ValidationException')
  })

  test('a type of iterator that there is not', () => {
    expect(errorOf(() => new World().iterator(SHARD_0, { ShardIteratorType: 'NEXT' })).type).toBe('ValidationException')
  })

  test('a shard that there is not', () => {
    expect(errorOf(() => new World().iterator(SHARD_1, HORIZON)).type).toBe('ResourceNotFoundException')
  })

  test('a timestamp in the future, or as anything but a date', () => {
    const world = new World()
    const future = { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: new Date(world.wallMs + 1_000) }
    expect(errorOf(() => world.iterator(SHARD_0, future)).type).toBe('InvalidArgumentException')
    const seconds = { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: world.wallMs / 1000 }
    expect(errorOf(() => world.iterator(SHARD_0, seconds)).type).toBe('SerializationException')
  })

  test('a sequence number of another shard', () => {
    const world = new World({ shards: 2 })
    const { SequenceNumber } = world.put('high', MAX_HASH_KEY.toString())
    const position = { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: SequenceNumber }
    expect(errorOf(() => world.iterator(SHARD_0, position)).type).toBe('InvalidArgumentException')
    expect(world.texts(SHARD_1, position)).toEqual(['high'])
  })

  test('a sequence number beyond the end of a closed shard', () => {
    const world = new World()
    const { SequenceNumber } = world.put('last')
    world.split(SHARD_0)
    const beyond = (BigInt(SequenceNumber) + 2n ** 100n).toString()
    const position = { ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', StartingSequenceNumber: beyond }
    expect(errorOf(() => world.iterator(SHARD_0, position)).type).toBe('InvalidArgumentException')
  })

  test('a dry run, by saying that it would have succeeded', () => {
    const world = new World()
    const request = { StreamName: 's', ShardId: SHARD_0, ...HORIZON, DryRun: true }
    expect(world.refusal('GetShardIterator', request)).toBe('DryRunOperationException')
  })
})

describe('limits', () => {
  const put10MiB = (world: World): void => {
    const Records = Array(10).fill({ PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) })
    world.execute('PutRecords', { StreamName: 's', Records })
  }

  test('an answer holds at most 10 MiB', () => {
    const world = new World()
    put10MiB(world)
    put10MiB(world)
    const first = world.get(world.iterator(SHARD_0, HORIZON))
    expect(first.Records.length).toBe(10)
    expect(world.get(first.NextShardIterator).Records.length).toBe(10)
  })

  test('five calls a second, shared by all who poll the shard', () => {
    const world = new World({ limits: true })
    const [mine, others] = [world.iterator(SHARD_0, HORIZON), world.iterator(SHARD_0, HORIZON)]
    for (let call = 0; call < 5; call++) world.get(call % 2 === 0 ? mine : others)
    expect(errorOf(() => world.get(mine)).type).toBe('ProvisionedThroughputExceededException')
    world.pass(199)
    expect(errorOf(() => world.get(others)).type).toBe('ProvisionedThroughputExceededException')
    world.pass(1)
    world.get(others)
    expect(errorOf(() => world.get(mine)).type).toBe('ProvisionedThroughputExceededException')
  })

  test('2 MiB a second', () => {
    const world = new World({ limits: true })
    for (let put = 0; put < 5; put++) {
      world.execute('PutRecord', { StreamName: 's', PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) })
      world.pass(1_001)
    }
    const first = world.get(world.iterator(SHARD_0, HORIZON), 3)
    expect(errorOf(() => world.get(first.NextShardIterator)).type).toBe('ProvisionedThroughputExceededException')
    world.pass(501)
    world.get(first.NextShardIterator)
  })

  test('nothing for five seconds after an answer of 10 MiB', () => {
    const world = new World({ limits: true })
    for (let put = 0; put < 11; put++) {
      world.execute('PutRecord', { StreamName: 's', PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) })
      world.pass(1_001)
    }
    const first = world.get(world.iterator(SHARD_0, HORIZON))
    expect(first.Records.length).toBe(10)
    world.pass(4_999)
    expect(errorOf(() => world.get(first.NextShardIterator)).type).toBe('ProvisionedThroughputExceededException')
    world.pass(1)
    expect(world.get(first.NextShardIterator).Records.length).toBe(1)
  })

  test('five iterators a second', () => {
    const world = new World({ limits: true, shards: 2 })
    for (let call = 0; call < 5; call++) world.iterator(SHARD_0, HORIZON)
    expect(errorOf(() => world.iterator(SHARD_0, HORIZON)).type).toBe('ProvisionedThroughputExceededException')
    world.iterator(SHARD_1, HORIZON)
  })
})
