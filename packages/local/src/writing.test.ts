import { MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { errorOf, MiB, type PutRecordsAnswer, SHARD_0, SHARD_1, STREAM_ARN, World } from '../test/model-world.ts'
import type { Request } from './requests.ts'

test('the hash key decides the shard, and the explicit one goes before the partition key', () => {
  const world = new World({ shards: 2 })
  expect(world.put('low', '0').ShardId).toBe(SHARD_0)
  expect(world.put('high', MAX_HASH_KEY.toString()).ShardId).toBe(SHARD_1)
})

test('sequence numbers have 56 digits beginning with 49 and grow, even when the wall clock is set back', () => {
  const world = new World()
  const numbers = Array.from({ length: 5 }, () => {
    world.wallMs -= 1_000
    return world.put('x').SequenceNumber
  })
  expect(numbers.every((number) => /^49\d{54}$/.test(number))).toBe(true)
  expect([...numbers].sort()).toEqual(numbers)
  expect(new Set(numbers).size).toBe(5)
})

const entry = (fields: Request = {}): Request => ({ PartitionKey: 'k', Data: Buffer.alloc(1), ...fields })

test.each([
  ['no records', [], 'ValidationException'],
  ['501 records', Array(501).fill(entry()), 'ValidationException'],
  ['an entry that is null', [null], 'ValidationException'],
  ['an empty partition key', [entry({ PartitionKey: '' })], 'ValidationException'],
  ['no partition key', [entry({ PartitionKey: undefined })], 'ValidationException'],
  ['a partition key of 257 characters', [entry({ PartitionKey: 'k'.repeat(257) })], 'ValidationException'],
  ['no data', [entry({ Data: undefined })], 'ValidationException'],
  ['data that is no bytes', [entry({ Data: 'x' })], 'ValidationException'],
  ['a record one byte over 1 MiB with its key', [entry({ Data: Buffer.alloc(MiB) })], 'ValidationException'],
  ['an explicit hash key that is not canonical', [entry({ ExplicitHashKey: '007' })], 'ValidationException'],
  [
    'an explicit hash key beyond the range',
    [entry({ ExplicitHashKey: (MAX_HASH_KEY + 1n).toString() })],
    'InvalidArgumentException',
  ],
  ['more than 10 MiB in all', Array(11).fill(entry({ Data: Buffer.alloc(MiB - 1) })), 'InvalidArgumentException'],
])('%s are refused as a whole', (_, bad, type) => {
  const world = new World()
  expect(world.refusal('PutRecords', { StreamName: 's', Records: bad })).toBe(type)
  expect(world.texts(SHARD_0)).toEqual([])
})

test('a partition key counts characters, not units of UTF-16', () => {
  new World().execute('PutRecord', { StreamName: 's', ...entry({ PartitionKey: '😀'.repeat(256) }) })
})

test('a record of 1 MiB with its key is taken', () => {
  new World().execute('PutRecords', { StreamName: 's', Records: [entry({ Data: Buffer.alloc(MiB - 1) })] })
})

test('a dry run is told that it would have succeeded, and nothing is written', () => {
  const world = new World()
  expect(world.refusal('PutRecord', { StreamName: 's', ...entry(), DryRun: true })).toBe('DryRunOperationException')
  expect(world.refusal('PutRecords', { StreamName: 's', Records: [entry()], DryRun: true })).toBe(
    'DryRunOperationException',
  )
  expect(world.texts(SHARD_0)).toEqual([])
})

describe('a stream that distributes its records itself', () => {
  const auto = (options = {}): World => {
    const world = new World(options)
    world.execute('UpdateStreamMode', { StreamARN: STREAM_ARN, StreamModeDetails: { StreamMode: 'ON_DEMAND' } })
    world.execute('UpdateStreamRecordDistributionStrategy', {
      StreamARN: STREAM_ARN,
      RecordDistributionStrategy: 'AUTO',
    })
    return world
  }

  test('spreads them evenly whatever their keys are', () => {
    const world = auto({ shards: 4 })
    const Records = Array.from({ length: 8 }, () => entry({ ExplicitHashKey: '0' }))
    const answer = world.execute<PutRecordsAnswer>('PutRecords', { StreamName: 's', Records })
    const shards = answer.Records.map(({ ShardId }) => ShardId!.slice(-1))
    expect([...shards].sort()).toEqual(['0', '0', '1', '1', '2', '2', '3', '3'])
  })

  test('takes records without a partition key, which readers then get without one', () => {
    const world = auto()
    world.execute('PutRecord', { StreamName: 's', Data: Buffer.from('a') })
    world.execute('PutRecord', { StreamName: 's', ...entry({ PartitionKey: 'kept' }) })
    const { Records } = world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' }))
    expect('PartitionKey' in Records[0]!).toBe(false)
    expect(Records[1]?.PartitionKey).toBe('kept')
  })

  test('goes back to keys at once', () => {
    const world = auto({ shards: 2 })
    world.execute('UpdateStreamRecordDistributionStrategy', {
      StreamARN: STREAM_ARN,
      RecordDistributionStrategy: 'USER_PARTITION_KEY',
    })
    expect([world.put('a', '0'), world.put('b', '0')].map(({ ShardId }) => ShardId)).toEqual([SHARD_0, SHARD_0])
    expect(world.refusal('PutRecord', { StreamName: 's', Data: Buffer.alloc(1) })).toBe('ValidationException')
  })
})

describe('the limits of a shard', () => {
  const records = (count: number, bytes: number): Request => ({
    StreamName: 's',
    Records: Array(count).fill(entry({ Data: Buffer.alloc(bytes - 1) })),
  })
  const failures = (world: World, request: Request): number =>
    world.execute<PutRecordsAnswer>('PutRecords', request).FailedRecordCount

  test('1,000 records a second, and the others are throttled one by one', () => {
    const world = new World({ limits: true })
    expect(failures(world, records(500, 10))).toBe(0)
    expect(failures(world, records(500, 10))).toBe(0)
    expect(failures(world, records(3, 10))).toBe(3)
    world.pass(2)
    expect(failures(world, records(3, 10))).toBe(1)
    world.pass(1_000)
    expect(failures(world, records(500, 10))).toBe(0)
  })

  test('1 MiB a second, into debt by one record, and then nothing goes until it is paid off', () => {
    const world = new World({ limits: true })
    expect(failures(world, records(2, MiB))).toBe(1)
    world.pass(500)
    expect(failures(world, records(2, MiB))).toBe(1)
    expect(failures(world, records(1, 10))).toBe(1)
    world.pass(500)
    expect(failures(world, records(1, 10))).toBe(1)
    world.pass(100)
    expect(failures(world, records(1, 10))).toBe(0)
  })

  test('a single record that is too much is refused with the name of the shard', () => {
    const world = new World({ limits: true })
    const [record] = records(1, MiB).Records as Request[]
    world.execute('PutRecord', { StreamName: 's', ...record })
    const error = errorOf(() => world.execute('PutRecord', { StreamName: 's', ...record }))
    expect(error.type).toBe('ProvisionedThroughputExceededException')
    expect(error.message).toBe('Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.')
  })

  test('are the same whatever happens to the wall clock', () => {
    const world = new World({ limits: true })
    failures(world, records(2, MiB))
    world.wallMs += 60_000
    expect(failures(world, records(1, 10))).toBe(1)
    world.wallMs -= 120_000
    world.monotonicMs += 1
    expect(failures(world, records(1, 10))).toBe(0)
  })

  test('are not there without limits', () => {
    const world = new World()
    for (let call = 0; call < 4; call++) expect(failures(world, records(500, 10))).toBe(0)
  })
})
