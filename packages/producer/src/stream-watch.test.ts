import { silentLogger } from '@shardwise/core'
import { deaggregate, MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import {
  HALF,
  HIGH,
  never,
  ONE_SHARD,
  Scene,
  type Settled,
  SPLIT,
  serviceError,
  settled,
  shard,
  taken,
  takenByChildren,
} from '../test/scripted-kinesis.ts'

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

test('shards that may not be listed are not asked for with every answer, on a stream that distributes by itself', async () => {
  const scene = new Scene({
    list: (call) => {
      if (call === 0) return ONE_SHARD
      throw serviceError('AccessDeniedException', 400)
    },
    put: (records) => taken(records, 'unheard-of'),
    describe: () => ({ RecordDistributionStrategy: 'AUTO' }),
  })
  for (let index = 0; index < 50; index++) {
    scene.put('x', `k${index}`)
    await scene.pass(200)
  }
  expect([scene.sent.length, scene.listings]).toEqual([50, 2])
})

test('a stream that distributes by itself and is not described is found out by a lone record within a second or so', async () => {
  const scene = new Scene({
    list: () => [shard('a', 0n, HALF - 1n), shard('b', HALF, MAX_HASH_KEY)],
    put: (records) => records.map(() => ({ ShardId: 'b', SequenceNumber: '1' })),
    describe: never,
  })
  const outcome = scene.put('x', 'k', '1')
  await scene.pass(1_000)
  expect(outcome()).toBeUndefined()
  await scene.pass(1_000)
  expect(outcome()?.shardId).toBe('b')
  expect(scene.events).toContainEqual({ type: 'distributionChanged', distribution: 'service' })
})

describe('the description of a stream', () => {
  const logging = (): { warnings: string[]; logger: typeof silentLogger } => {
    const warnings: string[] = []
    return { warnings, logger: { ...silentLogger, warn: (_, message) => warnings.push(message) } }
  }

  test('that may not be had is said once to be missing, with what to grant, and records go on', async () => {
    const { warnings, logger } = logging()
    const scene = new Scene({}, { logger })
    const outcomes = [scene.put('a')]
    await scene.pass(100)
    await scene.pass(600_000)
    outcomes.push(scene.put('b'))
    await scene.pass(100)
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p'])
    expect(warnings).toEqual([expect.stringContaining('grant kinesis:DescribeStreamSummary')])
    expect(scene.eventsOf('descriptionMissing')).toMatchObject([{ error: { name: 'AccessDeniedException' } }])
  })

  test('that comes late is not waited for longer than a second, and counts when it comes', async () => {
    let answer: ((summary: object) => void) | undefined
    const scene = new Scene({
      describe: () =>
        new Promise((resolve) => {
          answer = resolve
        }),
    })
    const outcomes = ['1', '2'].map((key) => scene.put(key, key))
    await scene.pass(999)
    expect(scene.sent).toEqual([])
    await scene.pass(1)
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p'])
    expect(scene.eventsOf('descriptionMissing')).toEqual([{ type: 'descriptionMissing', error: undefined }])
    answer?.({ RecordDistributionStrategy: 'AUTO' })
    await scene.pass(0)
    scene.put('3', '3')
    scene.put('4', '4')
    await scene.pass(100)
    expect(scene.texts.slice(1).flat()).toEqual(['3', '4'])
  })

  test('says how large a record may be: one of 2 MiB goes where the stream takes it', async () => {
    const scene = new Scene({ describe: () => ({ MaxRecordSizeInKiB: 4_096 }) })
    const outcomes = [scene.put(new Uint8Array(2 * 2 ** 20)), scene.put(new Uint8Array(5 * 2 ** 20))]
    await scene.pass(200)
    expect(outcomes[0]?.()?.shardId).toBe('p')
    expect(outcomes[1]?.()).toMatchObject({ code: 'ERR_RECORD_TOO_LARGE', outcome: 'refused', attempts: [] })
    expect(outcomes[1]?.()?.message).toContain(
      'have 5242881 bytes together, a record of flights may have at most 4194304',
    )
    expect(scene.producer.outstanding.records).toBe(0)
  })

  test('is waited for by a large record, and by what is put after it, whatever the patience', async () => {
    let answer: ((summary: object) => void) | undefined
    const scene = new Scene({
      describe: () =>
        new Promise((resolve) => {
          answer = resolve
        }),
    })
    const outcomes = [scene.put(new Uint8Array(2 * 2 ** 20)), scene.put('small')]
    await scene.pass(5_000)
    expect(scene.sent).toEqual([])
    answer?.({ MaxRecordSizeInKiB: 10_240 })
    await scene.pass(5_000)
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p'])
  })

  test('that may not be had leaves records at 1 MiB, and the error says why', async () => {
    const scene = new Scene()
    const outcome = scene.put(new Uint8Array(2 ** 20))
    await scene.pass(10)
    expect(outcome()?.message).toContain('at most 1048576')
    expect(outcome()?.message).toContain('grant kinesis:DescribeStreamSummary')
  })

  test('is told of when it is known and when it has changed', async () => {
    let isAuto = false
    const scene = new Scene({ describe: () => ({ RecordDistributionStrategy: isAuto ? 'AUTO' : undefined }) })
    scene.put('x')
    await scene.pass(200)
    isAuto = true
    await scene.pass(600_000)
    scene.put('y')
    await scene.pass(200)
    expect(scene.eventsOf('streamDescribed')).toMatchObject([
      { distribution: 'key', isOnDemand: false, maxRecordBytes: 2 ** 20 },
      { distribution: 'service' },
    ])
  })
})

test('a listener that puts something when the shards are found missing harms nothing', async () => {
  const outcomes: (() => Settled | undefined)[] = []
  const scene = new Scene(
    {
      list: () => {
        throw serviceError('AccessDeniedException', 400)
      },
    },
    {
      onEvent: ({ type }) => {
        if (type === 'shardMapMissing') outcomes.push(scene.put('told', 't'))
      },
    },
  )
  outcomes.push(scene.put('first', 'f'))
  await scene.pass(100)
  expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p'])
  expect(scene.producer.outstanding.records).toBe(0)
})
