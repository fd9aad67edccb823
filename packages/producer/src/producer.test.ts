import { silentLogger } from '@shardwise/core'
import { settle } from '@shardwise/core/testing'
import { deaggregate, MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import {
  HALF,
  ONE_SHARD,
  Scene,
  SPLIT,
  serviceError,
  settled,
  shard,
  taken,
  takenByChildren,
} from '../test/scripted-kinesis.ts'
import { Producer } from './producer.ts'

const HIGH = MAX_HASH_KEY.toString()
const never = (): Promise<never> => new Promise(() => {})
const throttled = { ErrorCode: 'ProvisionedThroughputExceededException', ErrorMessage: 'Rate exceeded' }
const internal = { ErrorCode: 'InternalFailure', ErrorMessage: 'Internal service failure.' }

describe('put', () => {
  test('nothing is called before the first put', async () => {
    const scene = new Scene()
    await scene.pass(1_000)
    expect([scene.listings, scene.sent.length]).toEqual([0, 0])
  })

  test('a lone user record goes out raw with its own key, and its receipt says where it is', async () => {
    const scene = new Scene()
    const outcome = scene.put('hello', 'ATL', '007')
    await scene.pass(100)
    expect(scene.texts).toEqual([['hello']])
    expect(scene.sent[0]?.[0]).toMatchObject({ PartitionKey: 'ATL', ExplicitHashKey: '7' })
    expect(outcome()).toEqual({
      shardId: 'p',
      sequenceNumber: '100',
      subSequenceNumber: 0,
      attempts: [{ sentMs: expect.any(Number), durationMs: 0, code: undefined, message: undefined }],
      earlierCopy: undefined,
    })
  })

  test('records put within the buffered time share an aggregate, and each is told its index', async () => {
    const scene = new Scene()
    const outcomes = ['a', 'b', 'c'].map((text) => scene.put(text, text))
    await scene.pass(99)
    expect(scene.sent).toEqual([])
    await scene.pass(1)
    expect(scene.sent.map((records) => records.length)).toEqual([1])
    const inside = deaggregate(scene.sent[0]?.[0]?.Data ?? new Uint8Array())
    expect(inside.kind === 'aggregate' && inside.records.map(({ partitionKey }) => partitionKey)).toEqual([
      'a',
      'b',
      'c',
    ])
    expect(outcomes.map((outcome) => outcome()?.subSequenceNumber)).toEqual([0, 1, 2])
  })

  test("a user's own data that is an aggregate is sent as it is, also when sent again", async () => {
    const scene = new Scene({ put: (records, call) => (call === 0 ? [internal] : taken(records)) })
    scene.put('a', 'a')
    scene.put('b', 'b')
    await scene.pass(100)
    const aggregate = scene.sent[0]?.[0]?.Data ?? new Uint8Array()
    await scene.pass(100)
    const outcome = scene.put(aggregate)
    await scene.pass(200)
    expect(scene.sent.slice(1).map((records) => records[0]?.Data)).toEqual([aggregate, aggregate])
    expect(outcome()?.subSequenceNumber).toBe(0)
  })

  test('puts that are an await apart share a request', async () => {
    const scene = new Scene({}, { aggregation: false })
    scene.put('first')
    await scene.pass(10)
    for (let index = 0; index < 50; index++) {
      await scene.producer.ready
      scene.put('x', `k${index}`)
    }
    await scene.pass(10)
    expect(scene.sent.map((records) => records.length)).toEqual([1, 50])
  })

  test.each([
    ['an empty partition key', { partitionKey: '', data: 'x' }, 'ERR_PARTITION_KEY'],
    ['a partition key of 257 characters', { partitionKey: 'k'.repeat(257), data: 'x' }, 'ERR_PARTITION_KEY'],
    ['a partition key with a lone surrogate', { partitionKey: '\ud800', data: 'x' }, 'ERR_PARTITION_KEY'],
    [
      'an explicit hash key above 2^128 - 1',
      { partitionKey: 'k', explicitHashKey: `${MAX_HASH_KEY + 1n}`, data: 'x' },
      'ERR_EXPLICIT_HASH_KEY',
    ],
    ['data that is neither bytes nor text', { partitionKey: 'k', data: 5 as unknown as string }, 'ERR_DATA'],
    [
      'a record above 1 MiB with its key',
      { partitionKey: 'é', data: new Uint8Array(2 ** 20 - 1) },
      'ERR_RECORD_TOO_LARGE',
    ],
  ])('%s is refused at the door with the record', async (_, record, code) => {
    const scene = new Scene()
    const outcome = settled(scene.producer.put(record))
    await scene.pass(0)
    expect(outcome()).toMatchObject({ code, outcome: 'refused', attempts: [], record })
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('a partition key of 256 characters outside the first plane is accepted', async () => {
    const scene = new Scene()
    const outcome = scene.put('x', '😀'.repeat(256))
    await scene.pass(100)
    expect(outcome()?.shardId).toBe('p')
  })

  test('a client that is no SDK client does no harm', async () => {
    const producer = new Producer({
      stream: 'flights',
      client: { send: never, config: { maxAttempts: () => Promise.reject(new Error('no config')) } } as never,
      logger: silentLogger,
    })
    settled(producer.put({ partitionKey: 'k', data: 'x' }))
    await settle()
    await producer.close({ signal: AbortSignal.abort() }).catch(() => {})
  })

  test('a client that retries by itself is warned of', async () => {
    const warnings: object[] = []
    const scene = new Scene({}, { logger: { ...silentLogger, warn: (fields) => warnings.push(fields) } })
    const options = { stream: 'flights', logger: { ...silentLogger, warn: (fields: object) => warnings.push(fields) } }
    const producer = new Producer({
      ...options,
      client: { send: never, config: { maxAttempts: async () => 3 } } as never,
    })
    settled(producer.put({ partitionKey: 'k', data: 'x' }))
    await scene.pass(0)
    expect(warnings).toEqual([{ maxAttempts: 3 }])
    await producer.close({ signal: AbortSignal.abort() }).catch(() => {})
  })
})

describe('a record that is refused or unanswered', () => {
  test('is sent again with the same bytes, before what was put after it', async () => {
    const scene = new Scene({ put: (records, call) => (call === 0 ? [internal] : taken(records)) })
    const first = scene.put('first')
    await scene.pass(100)
    const second = scene.put('second')
    await scene.pass(300)
    expect(scene.texts).toEqual([['first'], ['first'], ['second']])
    expect([first(), second()]).toMatchObject([
      { attempts: [{ code: 'InternalFailure' }, { code: undefined }], earlierCopy: undefined },
      { attempts: [{ code: undefined }] },
    ])
  })

  test('in a request of many is sent again alone', async () => {
    const scene = new Scene(
      {
        put: (records, call) => taken(records).map((result, index) => (call === 0 && index === 1 ? throttled : result)),
      },
      { aggregation: false },
    )
    const outcomes = ['a', 'b', 'c'].map((text) => scene.put(text, text))
    await scene.pass(1_000)
    expect(scene.texts).toEqual([['a', 'b', 'c'], ['b']])
    expect(outcomes.map((outcome) => outcome()?.attempts?.length)).toEqual([1, 2, 1])
  })

  test('after a lost answer says that another copy may be in the stream', async () => {
    const lost = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
    const scene = new Scene({
      put: (records, call) => {
        if (call === 0) throw lost
        return taken(records)
      },
    })
    const outcome = scene.put('x')
    await scene.pass(300)
    expect(outcome()).toMatchObject({ attempts: [{ code: 'ECONNRESET' }, { code: undefined }], earlierCopy: 'unknown' })
  })

  test('after an answer with too few results counts as unanswered', async () => {
    const scene = new Scene(
      { put: (records, call) => (call === 0 ? taken(records).slice(1) : taken(records)) },
      { aggregation: false },
    )
    const outcomes = ['a', 'b'].map((text) => scene.put(text, text))
    await scene.pass(1_000)
    expect(outcomes.map((outcome) => outcome()?.earlierCopy)).toEqual(['unknown', 'unknown'])
  })

  test.each(['AccessDeniedException', 'ResourceNotFoundException', 'ValidationException'])(
    'for good (%s) is rejected at once',
    async (name) => {
      const error = serviceError(name, 400)
      const scene = new Scene({
        put: () => {
          throw error
        },
      })
      const outcome = scene.put('x', 'key', '5')
      await scene.pass(100)
      expect(outcome()).toMatchObject({
        code: 'ERR_REFUSED',
        outcome: 'refused',
        attempts: [{ code: name }],
        cause: error,
        record: { partitionKey: 'key', explicitHashKey: '5', data: Uint8Array.from(Buffer.from('x')) },
      })
    },
  )

  test('for good does not hold back those behind it', async () => {
    const refusal = { ErrorCode: 'KMSDisabledException', ErrorMessage: 'disabled' }
    const scene = new Scene({ put: (records, call) => (call === 0 ? [refusal] : taken(records)) })
    const first = scene.put('first')
    await scene.pass(100)
    const second = scene.put('second')
    await scene.pass(100)
    expect([first()?.code, second()?.shardId]).toEqual(['ERR_REFUSED', 'p'])
  })

  test('until its time is over fails with the last cause, and says that it is not in the stream', async () => {
    const scene = new Scene({ put: (records) => records.map(() => throttled) }, { recordTtl: 1_000 })
    const outcome = scene.put('x')
    await scene.pass(5_000)
    expect(outcome()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'refused', retryable: true })
    expect(outcome()?.cause).toMatchObject({ name: throttled.ErrorCode })
  })

  test('until its time is over says that it may be in the stream, if an answer was lost', async () => {
    const scene = new Scene(
      {
        put: (records, call) => {
          if (call === 0) throw Object.assign(new Error('reset'), { code: 'ECONNRESET' })
          return records.map(() => throttled)
        },
      },
      { recordTtl: 1_000 },
    )
    const outcome = scene.put('x')
    await scene.pass(5_000)
    expect(outcome()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'unknown' })
  })

  test('many times in one answer slows its shard down once', async () => {
    const scene = new Scene(
      { put: (records, call) => (call === 0 ? records.map(() => throttled) : taken(records)) },
      { aggregation: false },
    )
    for (let index = 0; index < 20; index++) scene.put('x', `k${index}`)
    await scene.pass(10)
    expect(scene.eventsOf('throttled')).toHaveLength(1)
  })
})

describe('the shard map', () => {
  test('is waited for, and so is the description, but not for more than a second', async () => {
    const scene = new Scene({
      list: () => {
        throw serviceError('ServiceUnavailable', 503)
      },
    })
    const outcomes = ['a', 'b', 'b'].map((key) => scene.put(key, key))
    await scene.pass(999)
    expect(scene.sent).toEqual([])
    await scene.pass(1)
    expect(scene.texts).toEqual([['a', 'b'], ['b']])
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p', 'p'])
    expect(scene.eventsOf('shardMapMissing')).toMatchObject([{ error: { name: 'ServiceUnavailable' } }])
  })

  test('that comes late takes over, and nothing overtakes what is on its way without it', async () => {
    let isListed = false
    const answers: (() => void)[] = []
    const scene = new Scene({
      list: () => {
        if (isListed) return ONE_SHARD
        throw serviceError('ServiceUnavailable', 503)
      },
      put: (records) => new Promise((resolve) => answers.push(() => resolve(taken(records)))),
    })
    scene.put('1', 'a')
    await scene.pass(1_000)
    isListed = true
    await scene.pass(4_000)
    for (const text of ['2', '3']) scene.put(text, 'a')
    await scene.pass(500)
    expect(scene.texts).toEqual([['1']])
    answers[0]?.()
    await scene.pass(0)
    expect(scene.sent[1]?.map(({ PartitionKey }) => PartitionKey)).toEqual(['a'])
    const inside = deaggregate(scene.sent[1]?.[0]?.Data ?? new Uint8Array())
    expect(inside.kind === 'aggregate' && inside.records.length).toBe(2)
  })

  test('that may not be listed is done without, at once, and what to grant is said once', async () => {
    const warnings: string[] = []
    const logger = { ...silentLogger, warn: (_: object, message: string) => warnings.push(message) }
    const scene = new Scene(
      {
        list: () => {
          throw serviceError('AccessDeniedException', 400)
        },
        describe: () => ({}),
      },
      { logger },
    )
    const outcomes = ['1', '2'].map((text) => scene.put(text, 'a'))
    await scene.pass(10)
    expect(scene.texts).toEqual([['1'], ['2']])
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p'])
    expect(warnings).toEqual([expect.stringContaining('kinesis:ListShards')])
  })

  test('that may not be listed any more is done without: what can not be judged goes again alone', async () => {
    const scene = new Scene({
      put: takenByChildren,
      list: (call) => {
        if (call === 0) return ONE_SHARD
        throw serviceError('AccessDeniedException', 400)
      },
    })
    const outcomes = [scene.put('a', 'a', '1'), scene.put('b', 'b', HIGH)]
    await scene.pass(2_000)
    expect(outcomes.map((outcome) => outcome())).toMatchObject([
      { shardId: 'c1', attempts: [{ code: 'WrongShard' }, { code: undefined }], earlierCopy: 'misplaced' },
      { shardId: 'c2', attempts: [{ code: 'WrongShard' }, { code: undefined }], earlierCopy: 'misplaced' },
    ])
  })

  test('is fetched again every five minutes or so, while something is put, and then a scale-up is used', async () => {
    const scene = new Scene({ list: (call) => (call === 0 ? ONE_SHARD : SPLIT) })
    scene.put('x', 'k', '1')
    await scene.pass(1_000)
    await scene.pass(600_000)
    expect([scene.listings, scene.clock.sleeping]).toEqual([1, 0])
    scene.put('y', 'k', '1')
    await scene.pass(0)
    expect(scene.listings).toBe(2)
  })

  test.each([
    ['a hole', [shard('a', 0n, HALF - 1n)]],
    ['an overlap', [...ONE_SHARD, shard('b', HALF, MAX_HASH_KEY)]],
  ])('with %s is listed again', async (_, incomplete) => {
    const scene = new Scene({ list: (call) => (call === 0 ? incomplete : ONE_SHARD) })
    const outcome = scene.put('x')
    await scene.pass(10)
    expect(scene.sent).toEqual([])
    await scene.pass(1_000)
    expect([scene.listings, outcome()?.shardId]).toEqual([2, 'p'])
  })
})

describe('a reshard', () => {
  const reshardAfterFirstListing = (call: number): readonly object[] => (call === 0 ? ONE_SHARD : SPLIT)

  test('an aggregate that belongs wholly to the child that took it is acknowledged, and the map is renewed', async () => {
    const scene = new Scene({ put: takenByChildren, list: reshardAfterFirstListing })
    const outcomes = [scene.put('a', 'a', '1'), scene.put('b', 'b', '2')]
    await scene.pass(200)
    expect(outcomes.map((outcome) => outcome())).toMatchObject([
      { shardId: 'c1', attempts: [{ code: undefined }], earlierCopy: undefined },
      { shardId: 'c1', attempts: [{ code: undefined }], earlierCopy: undefined },
    ])
    expect(scene.listings).toBe(2)
  })

  test('of an aggregate that belongs to both children nothing is acknowledged until all of it is sent again, split', async () => {
    const scene = new Scene({ put: takenByChildren, list: reshardAfterFirstListing })
    const outcomes = [scene.put('a', 'a', '1'), scene.put('b', 'b', HIGH)]
    await scene.pass(200)
    expect(scene.texts[1]?.toSorted()).toEqual(['a', 'b'])
    expect(outcomes.map((outcome) => outcome())).toMatchObject([
      {
        shardId: 'c1',
        attempts: [{ code: 'WrongShard' }, { code: undefined }],
        earlierCopy: 'misplaced',
        subSequenceNumber: 0,
      },
      {
        shardId: 'c2',
        attempts: [{ code: 'WrongShard' }, { code: undefined }],
        earlierCopy: 'misplaced',
        subSequenceNumber: 0,
      },
    ])
  })

  test('what is sent again goes before what was put later for the same shard', async () => {
    let answer = (): void => {}
    const scene = new Scene({
      put: (records, call) => {
        if (call > 0) return takenByChildren(records)
        return new Promise((resolve) => {
          answer = () => resolve(takenByChildren(records))
        })
      },
      list: reshardAfterFirstListing,
    })
    scene.put('a', 'a', '1')
    scene.put('b', 'b', HIGH)
    await scene.pass(100)
    scene.put('later', 'b', HIGH)
    answer()
    await scene.pass(300)
    const inOrder = scene.sent
      .slice(1)
      .flat()
      .flatMap(({ Data }) => {
        const inside = deaggregate(Data ?? new Uint8Array())
        return inside.kind === 'aggregate'
          ? inside.records.map(({ data }) => Buffer.from(data).toString())
          : [Buffer.from(Data ?? []).toString()]
      })
    expect(inOrder.indexOf('b')).toBeLessThan(inOrder.indexOf('later'))
  })

  test('a record is split again only by a map that knows the shard which took it', async () => {
    const holey = SPLIT.slice(0, 2)
    const listings = [ONE_SHARD, holey, ONE_SHARD, SPLIT]
    const scene = new Scene({ put: takenByChildren, list: (call) => listings[Math.min(call, 3)] ?? SPLIT })
    const outcomes = [scene.put('a', 'a', '1'), scene.put('b', 'b', HIGH)]
    await scene.pass(5_000)
    expect(outcomes.map((outcome) => outcome()?.attempts?.length)).toEqual([2, 2])
  })

  test('a misplaced record whose shards can not be listed any more fails when its time is over', async () => {
    const scene = new Scene(
      {
        put: takenByChildren,
        list: (call) => {
          if (call === 0) return ONE_SHARD
          throw serviceError('ServiceUnavailable', 503)
        },
      },
      { recordTtl: 1_000 },
    )
    const outcome = scene.put('x')
    await scene.pass(5_000)
    expect(outcome()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'unknown' })
    expect(scene.producer.outstanding.records).toBe(0)
  })

  test('many strays of one answer share a listing', async () => {
    const scene = new Scene({ put: takenByChildren, list: reshardAfterFirstListing }, { aggregation: false })
    const outcomes = Array.from({ length: 50 }, (_, index) => scene.put('x', `k${index}`))
    await scene.pass(500)
    expect(outcomes.every((outcome) => outcome()?.attempts?.length === 1)).toBe(true)
    expect(scene.listings).toBe(2)
  })

  test('a record whose lane is gone waits for its backoff all the same', async () => {
    const quarters = [
      shard('p', 0n, HALF - 1n, 'closed'),
      shard('q', HALF, MAX_HASH_KEY, 'closed'),
      shard('q2', HALF, MAX_HASH_KEY),
      shard('c1', 0n, HALF / 2n - 1n),
      shard('c2', HALF / 2n, HALF - 1n),
    ]
    let answer = (): void => {}
    const scene = new Scene({
      put: (records, call) => {
        if (call > 0) return takenByQuarters(records)
        return new Promise((resolve) => {
          answer = () => resolve([internal])
        })
      },
      list: (call) => (call === 0 ? [shard('p', 0n, HALF - 1n), shard('q', HALF, MAX_HASH_KEY)] : quarters),
    })
    const takenByQuarters = (records: readonly { ExplicitHashKey?: string | undefined }[]): Record<string, string>[] =>
      records.map(({ ExplicitHashKey }) => ({
        ShardId: BigInt(ExplicitHashKey ?? '') < HALF ? 'c1' : 'q2',
        SequenceNumber: '1',
      }))
    const outcome = scene.put('x', 'k', '1')
    await scene.pass(110)
    scene.put('y', 'z', HIGH)
    await scene.pass(110)
    const answeredAtMs = scene.clock.monotonicMs()
    answer()
    await scene.pass(10)
    expect(scene.sentAtMs.filter((ms) => ms >= answeredAtMs)).toEqual([])
    await scene.pass(500)
    expect(outcome()).toMatchObject({ shardId: 'c1', attempts: [{ code: 'InternalFailure' }, { code: undefined }] })
  })
})

describe('a stream that distributes by itself', () => {
  const TWO_SHARDS = [shard('a', 0n, HALF - 1n), shard('b', HALF, MAX_HASH_KEY)]
  const elsewhere = (records: readonly { ExplicitHashKey?: string | undefined }[]): Record<string, string>[] =>
    records.map(({ ExplicitHashKey }) => ({
      ShardId: BigInt(ExplicitHashKey ?? '') < HALF ? 'b' : 'a',
      SequenceNumber: '1',
    }))

  test('gets plain records from the first, and none goes twice', async () => {
    const scene = new Scene({
      put: elsewhere,
      list: () => TWO_SHARDS,
      describe: () => ({ RecordDistributionStrategy: 'AUTO' }),
    })
    const outcomes = ['1', '2', '3'].map((text) => scene.put(text, text, text))
    await scene.pass(200)
    expect(scene.texts.flat().toSorted()).toEqual(['1', '2', '3'])
    expect(outcomes.map((outcome) => outcome()?.attempts?.length)).toEqual([1, 1, 1])
    expect(scene.events).toContainEqual({ type: 'distributionChanged', distribution: 'service' })
  })

  test('gets aggregates where they are wanted, and takes records without a partition key, alone', async () => {
    const scene = new Scene(
      { put: elsewhere, list: () => ONE_SHARD, describe: () => ({ RecordDistributionStrategy: 'AUTO' }) },
      { aggregation: 'always' },
    )
    const outcomes = [scene.put('1', 'a'), scene.put('2', 'b'), settled(scene.producer.put({ data: 'keyless' }))]
    await scene.pass(200)
    expect(outcomes.map((outcome) => outcome()?.attempts?.length)).toEqual([1, 1, 1])
    const sent = scene.sent.flat()
    expect(sent).toHaveLength(2)
    expect(sent.find(({ PartitionKey }) => PartitionKey === undefined)).toMatchObject({
      Data: Uint8Array.from(Buffer.from('keyless')),
    })
  })

  test('is not taken for one: a record without a partition key is refused where keys decide', async () => {
    const scene = new Scene({ describe: () => ({}) })
    const outcome = settled(scene.producer.put({ data: 'keyless' }))
    await scene.pass(10)
    expect(outcome()).toMatchObject({
      code: 'ERR_PARTITION_KEY',
      outcome: 'refused',
      attempts: [],
      record: { data: Uint8Array.from(Buffer.from('keyless')) },
    })
  })

  test.each([
    ['says so', true],
    ['may not be asked', false],
  ])(
    'from a moment on, and %s, gets each record of an aggregate once more, alone, and then no aggregates',
    async (_, isAllowed) => {
      let asked = 0
      const scene = new Scene({
        put: elsewhere,
        list: () => TWO_SHARDS,
        ...(isAllowed && { describe: () => (asked++ === 0 ? {} : { RecordDistributionStrategy: 'AUTO' }) }),
      })
      const outcomes = ['1', '2', '3'].map((text) => scene.put(text, text, text))
      await scene.pass(2_000)
      expect(outcomes.map((outcome) => outcome())).toMatchObject(
        outcomes.map(() => ({ attempts: [{ code: 'WrongShard' }, { code: undefined }], earlierCopy: 'misplaced' })),
      )
      expect(scene.events).toContainEqual({ type: 'distributionChanged', distribution: 'service' })
      const sentBefore = scene.sent.length
      const more = ['4', '5'].map((text) => scene.put(text, text, text))
      await scene.pass(200)
      expect(scene.texts.slice(sentBefore).flat().toSorted()).toEqual(['4', '5'])
      expect(more.map((outcome) => outcome()?.attempts?.length)).toEqual([1, 1])
    },
  )

  test('and goes back to keys is noticed, and aggregates again', async () => {
    let isKeyed = false
    const scene = new Scene({
      put: (records) =>
        isKeyed
          ? records.map(({ ExplicitHashKey }) => ({
              ShardId: BigInt(ExplicitHashKey ?? '') < HALF ? 'a' : 'b',
              SequenceNumber: '1',
            }))
          : elsewhere(records),
      list: () => TWO_SHARDS,
      describe: () => ({ RecordDistributionStrategy: isKeyed ? 'USER_PARTITION_KEY' : 'AUTO' }),
    })
    scene.put('x')
    await scene.pass(2_000)
    isKeyed = true
    for (let index = 0; index < 70; index++) scene.put('x', `k${index}`)
    await scene.pass(2_000)
    expect(scene.events.filter(({ type }) => type === 'distributionChanged')).toHaveLength(2)
    const sentBefore = scene.sent.length
    scene.put('x', 'a', '1')
    scene.put('y', 'b', '2')
    await scene.pass(200)
    expect(scene.sent.slice(sentBefore).map((records) => records.length)).toEqual([1])
  })
})

describe('back-pressure', () => {
  const MIB = 2 ** 20
  const options = { maxOutstandingBytes: MIB, recordMaxBufferedTime: 0 }
  const data = new Uint8Array(600_000)

  test('beyond the bound puts wait in line, in order, and beyond twice the bound they are refused', async () => {
    let answers: (() => void)[] = []
    const scene = new Scene(
      { put: (records) => new Promise((resolve) => answers.push(() => resolve(taken(records)))) },
      options,
    )
    const outcomes = Array.from({ length: 4 }, () => scene.put(data))
    await scene.pass(10)
    expect(outcomes[3]?.()).toMatchObject({
      code: 'ERR_BUFFER_FULL',
      retryable: true,
      record: { partitionKey: 'k', data },
    })
    expect(Object.keys(outcomes[3]?.()?.record ?? {}).toSorted()).toEqual(['data', 'explicitHashKey', 'partitionKey'])
    for (let round = 0; round < 3; round++) {
      const waiting = answers
      answers = []
      for (const answer of waiting) answer()
      await scene.pass(1_500)
    }
    expect(outcomes.slice(0, 3).map((outcome) => outcome()?.shardId)).toEqual(['p', 'p', 'p'])
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('ready resolves at once while there is room, otherwise when there is again', async () => {
    let answer = (): void => {}
    const scene = new Scene(
      {
        put: (records) =>
          new Promise((resolve) => {
            answer = () => resolve(taken(records))
          }),
      },
      options,
    )
    const before = settled(scene.producer.ready)
    scene.put(data)
    scene.put(data)
    const after = settled(scene.producer.ready)
    await scene.pass(10)
    expect([before(), after()]).toEqual([{}, undefined])
    answer()
    await scene.pass(10)
    expect(after()).toEqual({})
  })

  test('what waits in line expires there, even while a request gets no answer', async () => {
    const scene = new Scene({ put: never }, { ...options, recordTtl: 1_000 })
    scene.put(data)
    scene.put(data)
    const inLine = scene.put(data)
    await scene.pass(2_000)
    expect(inLine()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'refused' })
    await scene.producer.close({ signal: AbortSignal.abort() })
  })
})

describe('flush', () => {
  test('sends at once what waits for company, and resolves when it has its outcome', async () => {
    let answer = (): void => {}
    const scene = new Scene({
      put: (records) =>
        new Promise((resolve) => {
          answer = () => resolve(taken(records))
        }),
    })
    scene.put('x')
    const flushed = settled(scene.producer.flush())
    await scene.pass(0)
    expect([scene.sent.length, flushed()]).toEqual([1, undefined])
    answer()
    await scene.pass(0)
    expect(flushed()).toEqual({})
  })

  test('waits neither for what is put after it nor for less than what was put before it', async () => {
    const answers: (() => void)[] = []
    const scene = new Scene(
      { put: (records) => new Promise((resolve) => answers.push(() => resolve(taken(records)))) },
      { aggregation: false },
    )
    scene.put('before', 'a')
    const first = settled(scene.producer.flush())
    await scene.pass(0)
    scene.put('after', 'b')
    const second = settled(scene.producer.flush())
    await scene.pass(0)
    answers[1]?.()
    await scene.pass(0)
    expect([first(), second()]).toEqual([undefined, undefined])
    answers[0]?.()
    await scene.pass(0)
    expect([first(), second()]).toEqual([{}, {}])
  })

  test('resolves at once when nothing is outstanding, also when what was put was rejected', async () => {
    const scene = new Scene({
      put: () => {
        throw serviceError('AccessDeniedException', 400)
      },
    })
    await scene.producer.flush()
    scene.put('x')
    await scene.pass(200)
    const flushed = settled(scene.producer.flush())
    await scene.pass(0)
    expect(flushed()).toEqual({})
  })
})

describe('close', () => {
  test('drains, then refuses puts and leaves no timer', async () => {
    const scene = new Scene()
    const outcome = scene.put('x')
    const closed = settled(scene.producer.close())
    await scene.pass(0)
    expect([outcome()?.shardId, closed()]).toEqual(['p', {}])
    const late = scene.put('y')
    await scene.pass(0)
    expect(late()).toMatchObject({ code: 'ERR_CLOSED', outcome: 'refused', record: { data: 'y' } })
    expect(scene.clock.sleeping).toBe(0)
    await scene.producer.close()
    await scene.producer[Symbol.asyncDispose]()
  })

  test('cut short rejects everything at once, the line too, though the client never answers', async () => {
    const scene = new Scene({ put: never }, { maxOutstandingBytes: 2 ** 20, recordMaxBufferedTime: 0 })
    const data = new Uint8Array(600_000)
    const outcomes = [scene.put(data, 'a'), scene.put(data, 'b'), scene.put(data, 'c')]
    await scene.pass(10)
    const closed = settled(scene.producer.close({ signal: AbortSignal.abort() }))
    await scene.pass(0)
    expect(outcomes.map((outcome) => [outcome()?.code, outcome()?.outcome])).toEqual([
      ['ERR_CLOSED', 'unknown'],
      ['ERR_CLOSED', 'refused'],
      ['ERR_CLOSED', 'refused'],
    ])
    expect(closed()?.code).toBe('ERR_UNDELIVERED')
    expect(closed()?.undelivered?.map(({ record, outcome }) => [record?.partitionKey, outcome])).toEqual([
      ['c', 'refused'],
      ['b', 'refused'],
      ['a', 'unknown'],
    ])
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('a second call may cut the first short', async () => {
    const scene = new Scene({ put: never })
    const outcome = scene.put('x')
    const closed = settled(scene.producer.close())
    await scene.pass(200)
    expect(closed()).toBeUndefined()
    settled(scene.producer.close({ signal: AbortSignal.abort() }))
    await scene.pass(0)
    expect([outcome()?.code, closed()?.code]).toEqual(['ERR_CLOSED', 'ERR_UNDELIVERED'])
  })

  test('while the first shard map is awaited rejects what waits for it', async () => {
    const scene = new Scene({
      list: () => {
        throw serviceError('ServiceUnavailable', 503)
      },
    })
    const outcome = scene.put('x')
    await scene.pass(10)
    await expect(scene.producer.close({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_UNDELIVERED',
    })
    expect(outcome()).toMatchObject({ code: 'ERR_CLOSED', outcome: 'refused', attempts: [] })
    expect(scene.clock.sleeping).toBe(0)
  })
})

test('nothing keeps time, so nothing keeps the process alive, when nothing is outstanding', async () => {
  const scene = new Scene()
  const outcome = scene.put('x')
  await scene.pass(150)
  expect([outcome()?.shardId, scene.clock.sleeping]).toEqual(['p', 0])
})

test('a listener that throws breaks nothing', async () => {
  const scene = new Scene(
    {},
    {
      onEvent: () => {
        throw new Error('broken listener')
      },
    },
  )
  const outcome = scene.put('x')
  await scene.pass(100)
  expect(outcome()?.shardId).toBe('p')
})

test('with aggregation off, records of one key go one after the other, and others beside them', async () => {
  const scene = new Scene({}, { aggregation: false })
  for (const [text, key] of [
    ['1', 'a'],
    ['2', 'a'],
    ['3', 'b'],
  ] as const)
    scene.put(text, key)
  await scene.pass(100)
  expect(scene.texts).toEqual([['1', '3'], ['2']])
})

test('with aggregation off a shard is limited as well', async () => {
  const scene = new Scene({}, { aggregation: false, rateLimit: 100 })
  for (let index = 0; index < 2_500; index++) scene.put('x', `k${index}`)
  await scene.pass(10)
  const burst = scene.sent.flat().length
  await scene.pass(1_000)
  expect(burst).toBeLessThanOrEqual(1_011)
  expect(scene.sent.flat().length - burst).toBeLessThanOrEqual(1_010)
})
