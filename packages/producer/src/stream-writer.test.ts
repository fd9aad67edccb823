import { deaggregate, MAX_HASH_KEY, splitEvenly } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import {
  HALF,
  HIGH,
  internal,
  never,
  ONE_SHARD,
  Scene,
  SPLIT,
  serviceError,
  settled,
  shard,
  taken,
  takenByChildren,
  throttled,
} from '../test/scripted-kinesis.ts'

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

describe('a request without an answer', () => {
  test('is given up after requestTimeout, and what was in it goes again, before what was put later', async () => {
    const scene = new Scene({ put: (records, call) => (call === 0 ? never() : taken(records)) })
    const outcomes = [scene.put('1', 'a')]
    await scene.pass(100)
    outcomes.push(scene.put('2', 'a'))
    await scene.pass(9_999)
    expect(scene.texts).toEqual([['1']])
    await scene.pass(500)
    expect(scene.texts).toEqual([['1'], ['1'], ['2']])
    expect(outcomes.map((outcome) => outcome())).toMatchObject([
      { attempts: [{ code: 'TimeoutError', durationMs: 10_000 }, { code: undefined }], earlierCopy: 'unknown' },
      { attempts: [{ code: undefined }], earlierCopy: undefined },
    ])
  })

  test('leaves time for another attempt within a short recordTtl', async () => {
    const scene = new Scene({ put: (records, call) => (call === 0 ? never() : taken(records)) }, { recordTtl: 2_000 })
    const outcome = scene.put('x')
    await scene.pass(1_500)
    expect(outcome()?.attempts?.map(({ code }) => code)).toEqual(['TimeoutError', undefined])
  })
})

describe('failIfThrottled', () => {
  test('fails a throttled record at once, and no other', async () => {
    const scene = new Scene(
      { put: (records) => taken(records).map((result, index) => (index === 1 ? throttled : result)) },
      { aggregation: false, failIfThrottled: true },
    )
    const outcomes = ['a', 'b', 'c'].map((key) => scene.put(key, key))
    await scene.pass(100)
    expect(outcomes.map((outcome) => outcome()?.code)).toEqual([undefined, 'ERR_THROTTLED', undefined])
    expect(outcomes[1]?.()).toMatchObject({
      outcome: 'refused',
      retryable: true,
      attempts: [{ code: throttled.ErrorCode }],
    })
  })

  test('fails all of a request that is throttled as a whole', async () => {
    const scene = new Scene(
      {
        put: () => {
          throw serviceError('ProvisionedThroughputExceededException', 400)
        },
      },
      { failIfThrottled: true },
    )
    const outcomes = ['a', 'b'].map((key) => scene.put(key, key))
    await scene.pass(100)
    expect([outcomes.map((outcome) => outcome()?.code), scene.sent.length]).toEqual([
      ['ERR_THROTTLED', 'ERR_THROTTLED'],
      1,
    ])
  })

  test('retries everything else as ever', async () => {
    const scene = new Scene(
      { put: (records, call) => (call === 0 ? [internal] : taken(records)) },
      { failIfThrottled: true },
    )
    const outcome = scene.put('x')
    await scene.pass(500)
    expect(outcome()?.shardId).toBe('p')
  })
})

describe("ordering 'none'", () => {
  test('lets any number of aggregates be in flight to a shard', async () => {
    const unanswered = { put: never }
    const options = { ordering: 'none', aggregationMaxCount: 2, recordMaxBufferedTime: 0 } as const
    const scene = new Scene(unanswered, options)
    scene.put('0')
    await scene.pass(0)
    for (let index = 1; index < 5; index++) scene.put(`${index}`)
    await scene.pass(10)
    expect(scene.sent.flat()).toHaveLength(3)
    const ordered = new Scene(unanswered, { ...options, ordering: 'key' })
    ordered.put('0')
    await ordered.pass(0)
    for (let index = 1; index < 5; index++) ordered.put(`${index}`)
    await ordered.pass(10)
    expect(ordered.sent.flat()).toHaveLength(1)
  })

  test('lets records of one key be in flight at once without aggregation', async () => {
    const scene = new Scene({ put: never }, { ordering: 'none', aggregation: false })
    for (const text of ['1', '2', '3']) scene.put(text, 'same')
    await scene.pass(10)
    expect(scene.texts).toEqual([['1', '2', '3']])
  })

  test('waits at no barrier', async () => {
    const scene = new Scene(
      {
        put: (records, call) => (call === 0 ? never() : takenByChildren(records)),
        list: (call) => (call === 0 ? ONE_SHARD : SPLIT),
      },
      { ordering: 'none' },
    )
    scene.put('stuck', 'k', '1')
    await scene.pass(100)
    const outcomes = [scene.put('a', 'a', '1'), scene.put('b', 'b', '2')]
    await scene.pass(200)
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['c1', 'c1'])
    const later = scene.put('c', 'c', '3')
    await scene.pass(200)
    expect(later()?.shardId).toBe('c1')
  })
})

test('of a request that is refused as invalid each record goes again by itself, and only the bad one is rejected', async () => {
  const scene = new Scene(
    {
      put: (records) => {
        const isBad = records.some(({ Data }) => Buffer.from(Data ?? []).toString() === 'bad')
        if (isBad) throw serviceError('InvalidArgumentException', 400)
        return taken(records)
      },
    },
    { aggregation: false },
  )
  const outcomes = ['1', 'bad', '2'].map((text) => scene.put(text, text))
  const behind = scene.put('behind', 'bad')
  await scene.pass(100)
  expect(outcomes.map((outcome) => outcome()?.code)).toEqual([undefined, 'ERR_REFUSED', undefined])
  expect(behind()?.shardId).toBe('p')
  expect(scene.texts.slice(0, 4).map((texts) => texts.length)).toEqual([3, 1, 1, 1])
})

test('an on-demand stream is not held back by what a provisioned shard takes', async () => {
  const put = (describeStream: () => object): Promise<number> => {
    const scene = new Scene({ describe: describeStream }, { aggregation: false, rateLimit: 100 })
    for (let index = 0; index < 4_000; index++) scene.put('x', `k${index}`)
    return scene.pass(10).then(() => scene.sent.flat().length)
  }
  expect(await put(() => ({ StreamModeDetails: { StreamMode: 'ON_DEMAND' } }))).toBe(4_000)
  expect(await put(() => ({ StreamModeDetails: { StreamMode: 'PROVISIONED' } }))).toBeLessThan(1_100)
})

test('each record has its whole time, however old those are that it waits with', async () => {
  let isThrottling = true
  const scene = new Scene(
    { put: (records) => (isThrottling ? records.map(() => throttled) : taken(records)) },
    { recordTtl: 10_000 },
  )
  const outcomes = [scene.put('blocker', 'a')]
  await scene.pass(150)
  outcomes.push(scene.put('old', 'b'))
  await scene.pass(9_000)
  outcomes.push(scene.put('young', 'c'))
  await scene.pass(3_000)
  expect(outcomes.map((outcome) => outcome()?.code)).toEqual(['ERR_EXPIRED', 'ERR_EXPIRED', undefined])
  isThrottling = false
  await scene.pass(3_000)
  expect(outcomes[2]?.()?.shardId).toBe('p')
  expect(scene.producer.outstanding.records).toBe(0)
})

test('a record that is given up comes back with its own bytes, though another takes its place when that is told', async () => {
  const answers: (() => void)[] = []
  const scene = new Scene(
    {
      list: () => [shard('low', 0n, HALF - 1n), shard('high', HALF, MAX_HASH_KEY)],
      put: (records) => new Promise((resolve) => answers.push(() => resolve(records.map(() => throttled)))),
    },
    { recordTtl: 1_000, requestTimeout: 5_000, onError: () => scene.put('B'.repeat(800), 'b', HIGH) },
  )
  const textOf = (index: number): string => `A${index} `.padEnd(400, 'A')
  const outcomes = Array.from({ length: 120 }, (_, index) => scene.put(textOf(index), `a${index}`, '1'))
  await scene.pass(1_100)
  answers[0]?.()
  await scene.pass(0)
  expect(outcomes.map((outcome) => Buffer.from(outcome()?.record?.data ?? '').toString())).toEqual(
    outcomes.map((_, index) => textOf(index)),
  )
})

test('of a stream that was made anew with a shard of the same name, an aggregate that does not belong there goes again', async () => {
  const remade = [shard('p', 0n, HALF - 1n), shard('q', HALF, MAX_HASH_KEY)]
  let answer = (): void => {}
  const scene = new Scene(
    {
      put: (records, call) => {
        if (call > 0) {
          return records.map(({ ExplicitHashKey }) => ({
            ShardId: BigInt(ExplicitHashKey ?? '') < HALF ? 'p' : 'q',
            SequenceNumber: '1',
          }))
        }
        return new Promise((resolve) => {
          answer = () => resolve(taken(records))
        })
      },
      list: (call) => (call === 0 ? ONE_SHARD : remade),
    },
    { requestTimeout: 1_000_000, recordTtl: 2_000_000 },
  )
  const outcomes = [scene.put('low', 'a', '1'), scene.put('high', 'b', HIGH)]
  await scene.pass(200)
  // The listing of every five minutes finds the stream as it is now.
  await scene.pass(400_000)
  scene.put('later', 'c', HIGH)
  await scene.pass(200)
  answer()
  await scene.pass(1_000)
  expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'q'])
})

test('a stream that is gone is written to without a map, so that it may come back with any shards', async () => {
  let isGone = false
  const scene = new Scene({
    put: (records) => {
      if (isGone) throw serviceError('ResourceNotFoundException', 400)
      return taken(records)
    },
  })
  scene.put('x', 'k')
  await scene.pass(200)
  isGone = true
  const lost = scene.put('x', 'k')
  await scene.pass(200)
  isGone = false
  const outcomes = ['1', '2'].map((text) => scene.put(text, text))
  await scene.pass(50)
  expect([lost()?.code, ...outcomes.map((outcome) => outcome()?.shardId)]).toEqual(['ERR_REFUSED', 'p', 'p'])
  expect(scene.texts.at(-1)).toEqual(['1', '2'])
})

test('a listener that closes the producer when records are to go again leaves nothing hanging', async () => {
  const scene = new Scene(
    { put: (records) => records.map(() => throttled) },
    {
      onEvent: ({ type }) => {
        if (type === 'sentAgain') scene.producer.close({ signal: AbortSignal.abort() }).catch(() => {})
      },
    },
  )
  const outcome = scene.put('x')
  await scene.pass(1_000)
  const closed = settled(scene.producer.close())
  await scene.pass(0)
  expect([outcome()?.code, closed()?.code]).toEqual(['ERR_CLOSED', 'ERR_UNDELIVERED'])
  expect(scene.producer.outstanding.records).toBe(0)
})

test('a record that may be to blame for a refusal gets its turn, and the others keep theirs', async () => {
  const shards = splitEvenly(8).map(({ start, end }, index) => shard(`s${index}`, start, end))
  const scene = new Scene(
    {
      list: () => shards,
      put: (records) => {
        if (records.some(({ Data }) => Buffer.from(Data ?? []).toString() === 'bad')) {
          throw serviceError('InvalidArgumentException', 400)
        }
        return records.map(({ ExplicitHashKey }) => ({
          ShardId: `s${(BigInt(ExplicitHashKey ?? '') * 8n) >> 128n}`,
          SequenceNumber: '1',
        }))
      },
    },
    { aggregation: false, maxRequestsInFlight: 1 },
  )
  const bad = scene.put('bad', 'k', HIGH)
  const others = Array.from({ length: 400 }, (_, index) => scene.put('x', `k${index}`))
  for (let request = 0; request < 500; request++) await scene.pass(5)
  expect(bad()?.code).toBe('ERR_REFUSED')
  expect(others.every((outcome) => outcome()?.shardId !== undefined)).toBe(true)
})
