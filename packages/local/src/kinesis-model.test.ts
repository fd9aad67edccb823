import { MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { KinesisModel } from './kinesis-model.ts'
import type { Request } from './requests.ts'
import { ServiceError } from './service-error.ts'

const MiB = 2 ** 20

interface ShardView {
  readonly ShardId: string
  readonly ParentShardId?: string
  readonly AdjacentParentShardId?: string
  readonly HashKeyRange: { readonly StartingHashKey: string; readonly EndingHashKey: string }
  readonly SequenceNumberRange: { readonly StartingSequenceNumber: string; readonly EndingSequenceNumber?: string }
}

interface RecordView {
  readonly SequenceNumber: string
  readonly PartitionKey: string
  readonly Data: Uint8Array
}

interface GetRecordsAnswer {
  readonly Records: readonly RecordView[]
  readonly NextShardIterator?: string
  readonly MillisBehindLatest: number
  readonly ChildShards?: readonly { readonly ShardId: string; readonly ParentShards: readonly string[] }[]
}

/** A stream "s" on a clock that the test moves. */
class World {
  now = Date.UTC(2026, 0, 1)
  readonly model: KinesisModel

  constructor({ shards = 1, limits = false, retentionBytes = 2 ** 30 } = {}) {
    this.model = new KinesisModel({ clock: { wallMs: () => this.now }, limits, retentionBytes })
    this.execute('CreateStream', { StreamName: 's', ShardCount: shards })
  }

  execute<Answer>(operation: string, request: Request): Answer {
    return this.model.execute(operation, request) as Answer
  }

  put(text: string, explicitHashKey = '0'): { ShardId: string; SequenceNumber: string } {
    return this.execute('PutRecord', {
      StreamName: 's',
      PartitionKey: text,
      ExplicitHashKey: explicitHashKey,
      Data: Buffer.from(text),
    })
  }

  iterator(shardId: string, request: Request): string {
    return this.execute<{ ShardIterator: string }>('GetShardIterator', {
      StreamName: 's',
      ShardId: shardId,
      ...request,
    }).ShardIterator
  }

  get(iterator: string | undefined, limit?: number): GetRecordsAnswer {
    return this.execute('GetRecords', { ShardIterator: iterator, ...(limit && { Limit: limit }) })
  }

  texts(shardId: string, request: Request): string[] {
    return this.get(this.iterator(shardId, request)).Records.map(({ Data }) => Buffer.from(Data).toString())
  }

  shardIds(filter?: Request): string[] {
    const request = { StreamName: 's', ...(filter && { ShardFilter: filter }) }
    return this.execute<{ Shards: ShardView[] }>('ListShards', request).Shards.map(({ ShardId }) => ShardId.slice(-1))
  }

  split(shardId: string, at: bigint): void {
    this.execute('SplitShard', { StreamName: 's', ShardToSplit: shardId, NewStartingHashKey: at.toString() })
  }

  merge(shardId: string, adjacent: string): void {
    this.execute('MergeShards', { StreamName: 's', ShardToMerge: shardId, AdjacentShardToMerge: adjacent })
  }
}

const SHARD_0 = 'shardId-000000000000'
const SHARD_1 = 'shardId-000000000001'
const SHARD_2 = 'shardId-000000000002'

function errorOf(action: () => unknown): ServiceError {
  try {
    action()
  } catch (error) {
    if (error instanceof ServiceError) return error
    throw error
  }
  throw new Error('expected a ServiceError, nothing was thrown')
}

describe('streams', () => {
  test('a stream is active with its shards over the whole range as soon as it is made', () => {
    const world = new World({ shards: 4 })
    const { Shards } = world.execute<{ Shards: ShardView[] }>('ListShards', { StreamName: 's' })
    expect(Shards.map(({ HashKeyRange }) => HashKeyRange.StartingHashKey)[0]).toBe('0')
    expect(Shards.at(-1)?.HashKeyRange.EndingHashKey).toBe(MAX_HASH_KEY.toString())
    const { StreamDescriptionSummary: summary } = world.execute<{ StreamDescriptionSummary: Request }>(
      'DescribeStreamSummary',
      { StreamName: 's' },
    )
    expect(summary).toMatchObject({ StreamStatus: 'ACTIVE', OpenShardCount: 4, MaxRecordSizeInKiB: 1024 })
  })

  test('a stream is found by its ARN as by its name', () => {
    const world = new World()
    const arn = 'arn:aws:kinesis:us-east-1:000000000000:stream/s'
    expect(world.execute('DescribeStream', { StreamARN: arn })).toMatchObject({
      StreamDescription: { StreamName: 's', StreamARN: arn },
    })
  })

  test('a name that is taken is refused, one that is unknown is not found', () => {
    const world = new World()
    expect(errorOf(() => world.execute('CreateStream', { StreamName: 's', ShardCount: 1 })).type).toBe(
      'ResourceInUseException',
    )
    world.execute('DeleteStream', { StreamName: 's' })
    expect(errorOf(() => world.execute('ListShards', { StreamName: 's' })).type).toBe('ResourceNotFoundException')
  })

  test('streams are listed page by page', () => {
    const world = new World()
    for (const name of ['a', 'b', 'c']) world.execute('CreateStream', { StreamName: name, ShardCount: 1 })
    const first = world.execute<{ StreamNames: string[]; NextToken: string }>('ListStreams', { Limit: 2 })
    expect(first.StreamNames).toEqual(['a', 'b'])
    expect(world.execute('ListStreams', { NextToken: first.NextToken })).toMatchObject({
      StreamNames: ['c', 's'],
      HasMoreStreams: false,
    })
  })

  test('an operation that nobody knows is refused', () => {
    expect(errorOf(() => new World().execute('toString', {})).type).toBe('UnknownOperationException')
  })
})

describe('putting', () => {
  test('the hash key decides the shard, and the explicit one goes before the partition key', () => {
    const world = new World({ shards: 2 })
    expect(world.put('low', '0').ShardId).toBe(SHARD_0)
    expect(world.put('high', MAX_HASH_KEY.toString()).ShardId).toBe(SHARD_1)
  })

  test('sequence numbers have 56 digits beginning with 49 and grow, even when the clock is set back', () => {
    const world = new World()
    const numbers = Array.from({ length: 5 }, () => {
      world.now -= 1_000
      return world.put('x').SequenceNumber
    })
    expect(numbers.every((number) => /^49\d{54}$/.test(number))).toBe(true)
    expect([...numbers].sort()).toEqual(numbers)
    expect(new Set(numbers).size).toBe(5)
  })

  test.each([
    ['no records', { Records: [] }, 'ValidationException'],
    ['501 records', { Records: Array(501).fill({ PartitionKey: 'k', Data: Buffer.alloc(1) }) }, 'ValidationException'],
    ['an empty partition key', { Records: [{ PartitionKey: '', Data: Buffer.alloc(1) }] }, 'ValidationException'],
    [
      'a partition key of 257 characters',
      { Records: [{ PartitionKey: 'k'.repeat(257), Data: Buffer.alloc(1) }] },
      'ValidationException',
    ],
    ['no data', { Records: [{ PartitionKey: 'k' }] }, 'ValidationException'],
    [
      'a record one byte over 1 MiB with its key',
      { Records: [{ PartitionKey: 'k', Data: Buffer.alloc(MiB) }] },
      'ValidationException',
    ],
    [
      'an explicit hash key beyond the range',
      { Records: [{ PartitionKey: 'k', ExplicitHashKey: (MAX_HASH_KEY + 1n).toString(), Data: Buffer.alloc(1) }] },
      'InvalidArgumentException',
    ],
    [
      'more than 10 MiB in all',
      { Records: Array(11).fill({ PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) }) },
      'InvalidArgumentException',
    ],
  ])('%s are refused as a whole', (_, request, type) => {
    const world = new World()
    expect(errorOf(() => world.execute('PutRecords', { StreamName: 's', ...request })).type).toBe(type)
    expect(world.texts(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })).toEqual([])
  })

  test('a record of 1 MiB with its key is taken', () => {
    const world = new World()
    world.execute('PutRecords', { StreamName: 's', Records: [{ PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) }] })
  })
})

describe('limits', () => {
  const records = (count: number, bytes: number): Request => ({
    StreamName: 's',
    Records: Array(count).fill({ PartitionKey: 'k', Data: Buffer.alloc(bytes - 1) }),
  })
  const failures = (world: World, request: Request): number =>
    world.execute<{ FailedRecordCount: number }>('PutRecords', request).FailedRecordCount

  test('a shard takes 1,000 records a second and throttles the others one by one', () => {
    const world = new World({ limits: true })
    expect(failures(world, records(500, 10))).toBe(0)
    expect(failures(world, records(500, 10))).toBe(0)
    expect(failures(world, records(3, 10))).toBe(3)
    world.now += 1_000
    expect(failures(world, records(3, 10))).toBe(0)
  })

  test('a record may put a shard into debt, and then nothing goes until it is paid off', () => {
    const world = new World({ limits: true })
    expect(failures(world, records(2, MiB))).toBe(1)
    world.now += 500
    expect(failures(world, records(2, MiB))).toBe(1)
    expect(failures(world, records(1, 10))).toBe(1)
    world.now += 500
    expect(failures(world, records(1, 10))).toBe(1)
    world.now += 100
    expect(failures(world, records(1, 10))).toBe(0)
  })

  test('the sixth read of a shard within a second is throttled', () => {
    const world = new World({ limits: true })
    const iterator = world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })
    for (let call = 0; call < 5; call++) world.get(iterator)
    expect(errorOf(() => world.get(iterator)).type).toBe('ProvisionedThroughputExceededException')
    world.now += 300
    world.get(iterator)
  })

  test('without limits nothing is throttled', () => {
    const world = new World()
    for (let call = 0; call < 4; call++) expect(failures(world, records(500, 10))).toBe(0)
  })
})

describe('reading', () => {
  test('each type of iterator starts where it should', () => {
    const world = new World()
    const at: number[] = []
    const numbers = ['a', 'b', 'c'].map((text) => {
      world.now += 1_000
      at.push(world.now / 1000)
      return world.put(text).SequenceNumber
    })
    expect(world.texts(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })).toEqual(['a', 'b', 'c'])
    expect(world.texts(SHARD_0, { ShardIteratorType: 'LATEST' })).toEqual([])
    const [, second] = numbers
    expect(world.texts(SHARD_0, { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: second })).toEqual([
      'b',
      'c',
    ])
    expect(
      world.texts(SHARD_0, { ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', StartingSequenceNumber: second }),
    ).toEqual(['c'])
    expect(world.texts(SHARD_0, { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: at[1] })).toEqual(['b', 'c'])
    expect(world.texts(SHARD_0, { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: at[1]! + 0.001 })).toEqual(['c'])
  })

  test('an iterator of LATEST sees what is put after it was made', () => {
    const world = new World()
    world.put('before')
    const iterator = world.iterator(SHARD_0, { ShardIteratorType: 'LATEST' })
    world.put('after')
    expect(world.get(iterator).Records.map(({ PartitionKey }) => PartitionKey)).toEqual(['after'])
  })

  test('reading goes on from the next iterator, and tells how far behind it is', () => {
    const world = new World()
    for (const text of ['a', 'b', 'c']) world.put(text)
    world.now += 5_000
    const first = world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' }), 2)
    expect(first.Records.map(({ PartitionKey }) => PartitionKey)).toEqual(['a', 'b'])
    expect(first.MillisBehindLatest).toBe(5_000)
    const second = world.get(first.NextShardIterator)
    expect(second.Records.map(({ PartitionKey }) => PartitionKey)).toEqual(['c'])
    expect(second.MillisBehindLatest).toBe(0)
  })

  test('an answer holds at most 10 MiB', () => {
    const world = new World()
    const Records = Array(10).fill({ PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) })
    world.execute('PutRecords', { StreamName: 's', Records })
    world.execute('PutRecords', { StreamName: 's', Records })
    const first = world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' }))
    expect(first.Records.length).toBe(10)
    expect(world.get(first.NextShardIterator).Records.length).toBe(10)
  })

  test('an iterator expires after five minutes', () => {
    const world = new World()
    const iterator = world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })
    world.now += 300_000
    world.get(iterator)
    world.now += 1
    expect(errorOf(() => world.get(iterator)).type).toBe('ExpiredIteratorException')
  })

  test.each(['', 'nonsense', Buffer.from('[1,2]').toString('base64')])('the iterator %j is refused', (iterator) => {
    expect(errorOf(() => new World().get(iterator)).type).toBe('InvalidArgumentException')
  })

  test('a sequence number of another shard is refused', () => {
    const world = new World()
    const { SequenceNumber } = world.put('x')
    world.split(SHARD_0, 2n ** 127n)
    expect(
      errorOf(() =>
        world.iterator(SHARD_1, { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: SequenceNumber }),
      ).type,
    ).toBe('InvalidArgumentException')
  })

  test('a closed shard read to its end names its children and gives no further iterator', () => {
    const world = new World()
    world.put('a')
    world.put('b')
    world.split(SHARD_0, 2n ** 127n)
    const first = world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' }), 1)
    expect(first.ChildShards).toBeUndefined()
    const last = world.get(first.NextShardIterator)
    expect(last.NextShardIterator).toBeUndefined()
    expect(last.ChildShards?.map(({ ShardId, ParentShards }) => [ShardId, ParentShards])).toEqual([
      [SHARD_1, [SHARD_0]],
      [SHARD_2, [SHARD_0]],
    ])
  })
})

describe('retention', () => {
  test('beyond its bytes a stream drops its oldest records, over all shards', () => {
    const world = new World({ shards: 2, retentionBytes: 3 * 1_400 })
    for (let number = 0; number < 6; number++) {
      const Data = Buffer.alloc(1_000, `${number}`)
      const ExplicitHashKey = number % 2 === 0 ? '0' : MAX_HASH_KEY.toString()
      world.execute('PutRecord', { StreamName: 's', PartitionKey: `${number}`, ExplicitHashKey, Data })
    }
    const left = [SHARD_0, SHARD_1].flatMap((shard) => world.texts(shard, { ShardIteratorType: 'TRIM_HORIZON' }))
    expect(left.map((text) => text[0]).sort()).toEqual(['3', '4', '5'])
  })

  test('records are dropped after a day, and closed shards leave the listing', () => {
    const world = new World()
    world.put('old')
    world.split(SHARD_0, 2n ** 127n)
    world.now += 24 * 3_600_000 + 1
    world.put('new')
    expect(world.shardIds()).toEqual(['1', '2'])
    expect(world.texts(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })).toEqual([])
    expect(world.texts(SHARD_1, { ShardIteratorType: 'TRIM_HORIZON' })).toEqual(['new'])
  })
})

describe('resharding', () => {
  test('filters list the shards of their time', () => {
    const world = new World()
    world.now += 1_000
    const beforeSplit = world.now / 1000
    world.now += 1_000
    world.split(SHARD_0, 2n ** 127n)
    world.now += 1_000
    world.merge(SHARD_1, SHARD_2)
    expect(world.shardIds()).toEqual(['0', '1', '2', '3'])
    expect(world.shardIds({ Type: 'AT_LATEST' })).toEqual(['3'])
    expect(world.shardIds({ Type: 'AT_TRIM_HORIZON' })).toEqual(['0'])
    expect(world.shardIds({ Type: 'FROM_TRIM_HORIZON' })).toEqual(['0', '1', '2', '3'])
    expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: beforeSplit })).toEqual(['0'])
    expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: beforeSplit + 1.5 })).toEqual(['1', '2'])
    expect(world.shardIds({ Type: 'FROM_TIMESTAMP', Timestamp: beforeSplit + 1.5 })).toEqual(['1', '2', '3'])
    expect(world.shardIds({ Type: 'AFTER_SHARD_ID', ShardId: SHARD_1 })).toEqual(['2', '3'])
  })

  test('a listing goes on by its token, with the filter of its first page, and never with a name beside it', () => {
    const world = new World({ shards: 4 })
    world.split(SHARD_0, 5n)
    const first = world.execute<{ Shards: ShardView[]; NextToken: string }>('ListShards', {
      StreamName: 's',
      MaxResults: 3,
      ShardFilter: { Type: 'AT_LATEST' },
    })
    const second = world.execute<{ Shards: ShardView[]; NextToken?: string }>('ListShards', {
      NextToken: first.NextToken,
    })
    expect([...first.Shards, ...second.Shards].map(({ ShardId }) => ShardId.slice(-1))).toEqual([
      '1',
      '2',
      '3',
      '4',
      '5',
    ])
    expect(second.NextToken).toBeUndefined()
    expect(errorOf(() => world.execute('ListShards', { StreamName: 's', NextToken: first.NextToken })).type).toBe(
      'InvalidArgumentException',
    )
  })

  test('a merge names both parents, the shard asked for first', () => {
    const world = new World({ shards: 2 })
    world.merge(SHARD_1, SHARD_0)
    const { Shards } = world.execute<{ Shards: ShardView[] }>('ListShards', { StreamName: 's' })
    expect(Shards[2]).toMatchObject({ ParentShardId: SHARD_1, AdjacentParentShardId: SHARD_0 })
  })

  test.each([
    ['at its very start', 0n],
    ['beyond its end', 2n ** 127n],
  ])('a shard is not split %s', (_, at) => {
    const world = new World({ shards: 2 })
    expect(errorOf(() => world.split(SHARD_0, at)).type).toBe('InvalidArgumentException')
  })

  test('a closed shard is not split again, and shards that are no neighbours are not merged', () => {
    const world = new World({ shards: 3 })
    expect(errorOf(() => world.merge(SHARD_0, SHARD_2)).type).toBe('InvalidArgumentException')
    world.split(SHARD_0, 5n)
    expect(errorOf(() => world.split(SHARD_0, 6n)).type).toBe('ResourceInUseException')
  })

  test.each([1, 2, 3, 5, 7, 8])('UpdateShardCount from 4 to %i leaves so many even shards', (target) => {
    const world = new World({ shards: 4 })
    world.execute('UpdateShardCount', { StreamName: 's', TargetShardCount: target, ScalingType: 'UNIFORM_SCALING' })
    const { Shards } = world.execute<{ Shards: ShardView[] }>('ListShards', {
      StreamName: 's',
      ShardFilter: { Type: 'AT_LATEST' },
    })
    const fresh = new World({ shards: target })
    const even = fresh.execute<{ Shards: ShardView[] }>('ListShards', { StreamName: 's' }).Shards
    const ranges = (shards: ShardView[]): string[] =>
      shards.map(({ HashKeyRange }) => `${HashKeyRange.StartingHashKey}-${HashKeyRange.EndingHashKey}`).sort()
    expect(ranges(Shards)).toEqual(ranges(even))
  })
})

describe('a clock that is set back', () => {
  test('records are still found by the time of their arrival', () => {
    const world = new World()
    const start = world.now
    world.put('first')
    world.now = start + 5_000
    world.put('second')
    world.now = start
    world.put('third')
    world.put('fourth')
    world.now = start + 10
    expect(world.texts(SHARD_0, { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: (start + 5) / 1000 })).toEqual([
      'second',
      'third',
      'fourth',
    ])
  })

  test('a shard is not throttled for it', () => {
    const world = new World({ limits: true })
    world.put('before')
    world.now -= 10_000
    world.put('after')
  })
})

describe('what the service refuses', () => {
  const refused = (world: World, operation: string, request: Request): string =>
    errorOf(() => world.execute(operation, request)).type

  test('an explicit hash key that is not canonical', () => {
    const request = { StreamName: 's', PartitionKey: 'k', ExplicitHashKey: '007', Data: Buffer.alloc(1) }
    expect(refused(new World(), 'PutRecord', request)).toBe('ValidationException')
  })

  test('an entry that is null', () => {
    expect(refused(new World(), 'PutRecords', { StreamName: 's', Records: [null] })).toBe('ValidationException')
  })

  test.each([{ StreamName: 'a b' }, { StreamName: 'a', StreamModeDetails: { StreamMode: 'AUTOMATIC' } }])(
    'a stream like %j',
    (stream) => {
      expect(refused(new World(), 'CreateStream', { ShardCount: 1, ...stream })).toBe('ValidationException')
    },
  )

  test('a timestamp in the future', () => {
    const world = new World()
    const request = { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: world.now / 1000 + 1 }
    expect(errorOf(() => world.iterator(SHARD_0, request)).type).toBe('InvalidArgumentException')
  })

  test('a sequence number of a sibling', () => {
    const world = new World({ shards: 2 })
    const { SequenceNumber } = world.put('high', MAX_HASH_KEY.toString())
    const request = { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: SequenceNumber }
    expect(errorOf(() => world.iterator(SHARD_0, request)).type).toBe('InvalidArgumentException')
    expect(world.texts(SHARD_1, request)).toEqual(['high'])
  })

  test('a split at the last hash key of a shard', () => {
    expect(errorOf(() => new World().split(SHARD_0, MAX_HASH_KEY)).type).toBe('InvalidArgumentException')
  })
})

test('what arrived within this millisecond and was not read yet keeps the reader behind', () => {
  const world = new World()
  world.put('a')
  world.put('b')
  const first = world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' }), 1)
  expect(first.MillisBehindLatest).toBe(1)
  expect(world.get(first.NextShardIterator).MillisBehindLatest).toBe(0)
})

describe('listing', () => {
  test('a shard closed at that very moment is among those of a timestamp, since it may hold records of it', () => {
    const world = new World()
    world.now += 10
    world.put('last')
    world.split(SHARD_0, 2n ** 127n)
    expect(world.shardIds({ Type: 'AT_TIMESTAMP', Timestamp: world.now / 1000 })).toEqual(['0', '1', '2'])
  })

  test('an answer has at most 1,000 shards, however many are asked for', () => {
    const world = new World()
    world.execute('CreateStream', { StreamName: 'wide', ShardCount: 1_001 })
    const { Shards, NextToken } = world.execute<{ Shards: ShardView[]; NextToken: string }>('ListShards', {
      StreamName: 'wide',
      MaxResults: 10_000,
    })
    expect(Shards.length).toBe(1_000)
    expect(world.execute<{ Shards: ShardView[] }>('ListShards', { NextToken }).Shards.length).toBe(1)
  })

  test('a token expires after 300 seconds, and with its stream', () => {
    const world = new World({ shards: 2 })
    const { NextToken } = world.execute<{ NextToken: string }>('ListShards', { StreamName: 's', MaxResults: 1 })
    world.now += 300_000
    world.execute('ListShards', { NextToken })
    world.now += 1
    expect(errorOf(() => world.execute('ListShards', { NextToken })).type).toBe('ExpiredNextTokenException')
    const fresh = world.execute<{ NextToken: string }>('ListShards', { StreamName: 's', MaxResults: 1 })
    world.execute('DeleteStream', { StreamName: 's' })
    world.execute('CreateStream', { StreamName: 's', ShardCount: 2 })
    expect(errorOf(() => world.execute('ListShards', { NextToken: fresh.NextToken })).type).toBe(
      'InvalidArgumentException',
    )
  })

  test.each([Buffer.from('{}').toString('base64'), 'nonsense'])('the token %j is refused', (NextToken) => {
    expect(errorOf(() => new World().execute('ListShards', { NextToken })).type).toBe('InvalidArgumentException')
  })

  test('DescribeStream leaves out the shards that ListShards leaves out', () => {
    const world = new World()
    world.split(SHARD_0, 2n ** 127n)
    world.now += 24 * 3_600_000 + 1
    const { StreamDescription } = world.execute<{ StreamDescription: { Shards: ShardView[] } }>('DescribeStream', {
      StreamName: 's',
    })
    expect(StreamDescription.Shards.map(({ ShardId }) => ShardId.slice(-1))).toEqual(world.shardIds())
  })
})

test('tags are added, replaced and listed', () => {
  const world = new World()
  world.execute('AddTagsToStream', { StreamName: 's', Tags: { team: 'a', stage: 'test' } })
  world.execute('AddTagsToStream', { StreamName: 's', Tags: { team: 'b' } })
  expect(world.execute('ListTagsForStream', { StreamName: 's' })).toEqual({
    Tags: [
      { Key: 'team', Value: 'b' },
      { Key: 'stage', Value: 'test' },
    ],
    HasMoreTags: false,
  })
})

test('retention can be shorter than a day', () => {
  let now = 0
  const model = new KinesisModel({
    clock: { wallMs: () => now },
    limits: false,
    retentionBytes: MiB,
    retentionMs: 1_000,
  })
  model.execute('CreateStream', { StreamName: 's', ShardCount: 1 })
  model.execute('PutRecord', { StreamName: 's', PartitionKey: 'old', Data: Buffer.alloc(1) })
  now = 1_001
  const { ShardIterator } = model.execute('GetShardIterator', {
    StreamName: 's',
    ShardId: SHARD_0,
    ShardIteratorType: 'TRIM_HORIZON',
  }) as { ShardIterator: string }
  expect(model.execute('GetRecords', { ShardIterator })).toMatchObject({ Records: [] })
})
