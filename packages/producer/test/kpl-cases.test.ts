/**
 * What users of a KPL rely on, by number, each as one or more sentences; and where this producer does better on purpose:
 * it limits shards without aggregation too (21), never bursts by more than a second's quota (22), slows down when throttled
 * (23), gives up at once what will never be taken (25), acknowledges nothing of an aggregate that doesn't fit its shard
 * (28–30), splits what waits by every new map (31), and keeps the order of each key through all of it (38).
 */
import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom } from '@shardwise/core/testing'
import { contains, deaggregate, type HashRange, hashKeyOf, MAX_HASH_KEY, parseHashKey } from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Producer, type ProducerOptions } from '../src/index.ts'
import { Lane } from '../src/lane.ts'
import { BuilderPool } from '../src/open-aggregate.ts'
import { RateBucket } from '../src/rate-bucket.ts'
import { type Unsealed, unseal } from '../src/sealed-record.ts'
import { pendingOf } from './pending.ts'
import {
  HALF,
  HIGH,
  internal,
  never,
  ONE_SHARD,
  Scene,
  type SentRecord,
  type Settled,
  SPLIT,
  serviceError,
  settled,
  shard,
  taken,
  takenByChildren,
  throttled,
} from './scripted-kinesis.ts'

const KIB = 2 ** 10
const MIB = 2 ** 20
const LOW = '1'
const TWO_SHARDS = [shard('a', 0n, HALF - 1n), shard('b', HALF, MAX_HASH_KEY)]

/** The answer of a stream of the shards a and b. */
function takenByTwo(records: readonly SentRecord[]): Record<string, string>[] {
  return takenByChildren(records).map((result) => ({ ...result, ShardId: result.ShardId === 'c1' ? 'a' : 'b' }))
}

interface SentUser {
  readonly text: string
  readonly partitionKey: string
  readonly hashKey: bigint
}

/** The user records in a Kinesis record, in order. */
function usersIn({ Data = new Uint8Array(), PartitionKey = '', ExplicitHashKey = '' }: SentRecord): SentUser[] {
  const inside = deaggregate(Data)
  if (inside.kind !== 'aggregate') {
    return [{ text: textOf(Data), partitionKey: PartitionKey, hashKey: BigInt(ExplicitHashKey) }]
  }
  return inside.records.map(({ data, partitionKey, explicitHashKey }) => ({
    text: textOf(data),
    partitionKey,
    hashKey: explicitHashKey === undefined ? hashKeyOf(partitionKey) : parseHashKey(explicitHashKey),
  }))
}

function textOf(data: Uint8Array): string {
  return Buffer.from(data).toString()
}

const usersOf = (records: readonly SentRecord[]): string[][] =>
  records.map((record) => usersIn(record).map((u) => u.text))

const outcomesOf = (looks: readonly (() => Settled | undefined)[]): (Settled | undefined)[] =>
  looks.map((look) => look())

const numbered = (count: number, prefix = ''): string[] => Array.from({ length: count }, (_, index) => prefix + index)

/** Answers that a test gives when it wants to. */
function answersByHand(): {
  readonly put: (records: SentRecord[]) => Promise<Record<string, string>[]>
  readonly answer: (call: number, by?: (records: SentRecord[]) => Record<string, string>[]) => void
} {
  const waiting: { records: SentRecord[]; resolve: (results: Record<string, string>[]) => void }[] = []
  return {
    put: (records) => new Promise((resolve) => waiting.push({ records, resolve })),
    answer: (call, by = (records) => taken(records)) => waiting[call]!.resolve(by(waiting[call]!.records)),
  }
}

const LANE = { aggregationMaxSize: 1_000, aggregationMaxCount: 100, recordMaxBufferedTime: 100, recordTtl: 30_000 }

function laneOf(settings: typeof LANE = LANE): Lane {
  const range = { start: 0n, end: MAX_HASH_KEY }
  return new Lane(
    's',
    range,
    { aggregates: true, ordered: true, keyed: true },
    new RateBucket(150, 0),
    settings,
    new BuilderPool(),
  )
}

function addTo(lane: Lane, text: string, arrivedMs: number, nowMs: number): void {
  const data = Buffer.from(text)
  const record = { partitionKey: 'k', explicitHashKey: undefined, hashKey: hashKeyOf('k'), data, bytes: data.length }
  lane.add(record, pendingOf(arrivedMs, data.length), nowMs, true)
}

/** A scene whose stream is known, so that nothing waits for that. */
async function knownScene(...args: ConstructorParameters<typeof Scene>): Promise<Scene> {
  const scene = new Scene(...args)
  scene.put('first', 'first', LOW)
  await scene.pass(200)
  return scene
}

describe('an aggregate', () => {
  test('16 the hundredth record closes an aggregate of a hundred, in order, three times over', async () => {
    const scene = await knownScene({}, { aggregationMaxCount: 100 })
    for (let round = 0; round < 3; round++) {
      const texts = numbered(100, `${round}-`)
      const sentBefore = scene.sent.length
      for (const text of texts.slice(0, 99)) scene.put(text)
      await scene.pass(0)
      expect(scene.sent).toHaveLength(sentBefore)
      scene.put(texts[99]!)
      await scene.pass(0)
      expect(scene.sent.slice(sentBefore).map(usersOf)).toEqual([[texts]])
    }
    const sentBefore = scene.sent.length
    await scene.pass(1_000)
    expect([scene.sent.length, scene.clock.sleeping]).toEqual([sentBefore, 0])
  })

  test('17 what goes out and what waits is what came in, in its order, and no aggregate exceeds its size', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(sizes, async (lengths) => {
        const scene = await knownScene({}, { aggregationMaxSize: 4_000 })
        const texts = lengths.map((length, index) => `${index} `.padEnd(length, 'x'))
        for (const text of texts) {
          scene.put(text)
          await scene.pass(0)
        }
        await scene.pass(100)
        const sent = scene.sent.slice(1).flat()
        expect(sent.flatMap(usersIn).map(({ text }) => text)).toEqual(texts)
        for (const { Data } of sent) expect(Data?.length).toBeLessThanOrEqual(4_000)
      }),
      { numRuns: 20 },
    )
  })

  test('17 an aggregate grows beyond its size only while its shard has no turn, and never beyond a quarter second of its rate', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene({ put }, { aggregationMaxSize: 4_000, rateLimit: 100 })
    scene.put('x'.repeat(4_000))
    await scene.pass(10)
    const texts = numbered(400).map((text) => text.padEnd(1_000, '.'))
    for (const text of texts) scene.put(text)
    for (let call = 0; call < 10 && scene.sent.flatMap(usersOf).flat().length < 401; call++) {
      answer(call)
      await scene.pass(1_000)
    }
    const sent = scene.sent.slice(1).flat()
    expect(usersOf(sent).flat()).toEqual(texts)
    const largest = Math.max(...sent.map(({ Data }) => Data?.length ?? 0))
    expect(largest).toBeGreaterThan(4_000)
    expect(largest).toBeLessThanOrEqual(MIB / 4)
  })

  test('18 a record with a nearer deadline that comes last sets the alarm, and keeps its place behind the others', () => {
    const lane = laneOf()
    addTo(lane, 'later', 80, 80)
    expect(lane.waitMs(80, true, false)).toBe(100)
    addTo(lane, 'nearer', 10, 80)
    expect(lane.waitMs(80, true, false)).toBe(30)
    expect(lane.next(109, false)).toBeUndefined()
    const sealed = lane.next(110, false)
    expect(sealed && unseal(sealed).map(({ record }) => textOf(record.data))).toEqual(['later', 'nearer'])
  })

  test('18 after a merge the oldest record of both shards decides when all go', async () => {
    const before = [shard('a', 0n, 99n), shard('b', 100n, HALF - 1n), shard('c', HALF, MAX_HASH_KEY)]
    const after = [shard('m', 0n, HALF - 1n), shard('d', HALF, MAX_HASH_KEY)]
    const scene = new Scene({
      list: (call) => (call === 0 ? before : after),
      put: (records) =>
        takenByChildren(records).map((each) => ({ ...each, ShardId: each.ShardId === 'c1' ? 'm' : 'd' })),
    })
    scene.put('nearer', 'b', '100')
    await scene.pass(60)
    scene.put('later', 'a', '1')
    // What is as large as an aggregate goes at once, and shows that the map is out of date.
    scene.put('x'.repeat(60_000), 'c', HIGH)
    await scene.pass(39)
    expect([scene.listings, scene.sent.length]).toEqual([2, 1])
    await scene.pass(1)
    expect(usersOf(scene.sent[1]!)).toEqual([['later', 'nearer']])
  })

  test('19 what is left over has a deadline of its own, and nothing waiting has no timer', async () => {
    const scene = await knownScene({}, { aggregationMaxSize: 1_000 })
    const startMs = scene.clock.monotonicMs()
    scene.put('a'.repeat(600))
    await scene.pass(30)
    scene.put('b'.repeat(600))
    await scene.pass(0)
    expect(scene.sentAtMs.slice(1)).toEqual([startMs + 30])
    expect(scene.clock.sleeping).toBe(1)
    await scene.pass(500)
    expect(scene.sentAtMs.slice(1)).toEqual([startMs + 30, startMs + 130])
    expect(scene.clock.sleeping).toBe(0)
  })

  test('19 a lane with nothing in it waits for nothing', () => {
    const lane = laneOf()
    expect([lane.isIdle, lane.waitMs(0, true, false)]).toEqual([true, Number.POSITIVE_INFINITY])
    addTo(lane, 'x', 0, 0)
    expect([lane.isIdle, lane.waitMs(0, true, false)]).toEqual([false, 100])
    expect(lane.drain()).toHaveLength(1)
    expect([lane.isIdle, lane.waitMs(0, true, false)]).toEqual([true, Number.POSITIVE_INFINITY])
  })

  test('20 a record larger than an aggregate may be waits for no other: it goes alone, as it is, and nothing empty beside it', async () => {
    const scene = await knownScene({}, { aggregationMaxSize: 1_000 })
    const giant = 'g'.repeat(5_000)
    scene.put('before', 'a')
    scene.put(giant, 'b')
    await scene.pass(0)
    expect(scene.sent.slice(1).flat()).toHaveLength(2)
    scene.put('after', 'c')
    await scene.pass(500)
    const sent = scene.sent.slice(1).flat()
    expect(usersOf(sent)).toEqual([['before'], [giant], ['after']])
    expect(sent.map(({ PartitionKey }) => PartitionKey)).toEqual(['a', 'b', 'c'])
    expect(sent[1]?.Data).toEqual(Uint8Array.from(Buffer.from(giant)))
  })
})

describe('prediction and limits', () => {
  test('21 without a shard map each record goes alone, with its own key, and those of a key in their order', async () => {
    const scene = new Scene({
      list: () => {
        throw serviceError('ServiceUnavailable', 503)
      },
    })
    const outcomes = ['a', 'a', 'b', 'c'].map((key, index) => scene.put(`${index}`, key))
    await scene.pass(1_000)
    expect(scene.texts).toEqual([['0', '2', '3'], ['1']])
    expect(scene.sent[0]?.map(({ PartitionKey }) => PartitionKey)).toEqual(['a', 'b', 'c'])
    expect(scene.sent[0]?.map(({ ExplicitHashKey }) => ExplicitHashKey)).toEqual(
      ['a', 'b', 'c'].map((key) => `${hashKeyOf(key)}`),
    )
    expect(outcomesOf(outcomes).map((outcome) => outcome?.shardId)).toEqual(['p', 'p', 'p', 'p'])
  })

  test('21 with aggregation off each record goes alone at once, and its shard is predicted and limited all the same', async () => {
    const scene = new Scene({ list: () => TWO_SHARDS, put: takenByTwo }, { aggregation: false, rateLimit: 100 })
    for (const text of numbered(3_000)) scene.put(text, text, text)
    const other = scene.put('other', 'k', HIGH)
    await scene.pass(0)
    const burst = scene.sent.flat().length
    expect(burst).toBeGreaterThan(1)
    expect(burst).toBeLessThanOrEqual(1_002)
    expect(other()?.shardId).toBe('b')
    await scene.pass(1_000)
    expect(scene.sent.flat().length - burst).toBeLessThanOrEqual(1_001)
    expect(scene.sent.flat().every((record) => usersIn(record).length === 1)).toBe(true)
  })

  test('21 with aggregation off a throttled shard is the predicted one, and the other is not slowed', async () => {
    const scene = new Scene(
      {
        list: () => TWO_SHARDS,
        put: (records) => takenByTwo(records).map((result) => (result.ShardId === 'a' ? throttled : result)),
      },
      { aggregation: false },
    )
    scene.put('x', 'a', LOW)
    const other = scene.put('y', 'b', HIGH)
    await scene.pass(10)
    expect(scene.eventsOf('throttled')).toMatchObject([{ shardId: 'a' }])
    expect(other()?.shardId).toBe('b')
    const next = scene.put('z', 'c', HIGH)
    await scene.pass(0)
    expect(next()?.shardId).toBe('b')
  })

  test('22 what is too old is rejected though its shard has no room for it, and is never sent', async () => {
    const scene = await knownScene({}, { rateLimit: 1, recordTtl: 1_000 })
    scene.put('x'.repeat(MIB - 100))
    await scene.pass(0)
    await scene.pass(300)
    const late = scene.put('late')
    const sentBefore = scene.sent.length
    await scene.pass(999)
    expect(late()).toBeUndefined()
    await scene.pass(1)
    expect(late()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'refused', attempts: [] })
    expect(scene.sent).toHaveLength(sentBefore)
  })

  test('22 what is too old is rejected also where it waits behind something younger, as after a merge', () => {
    const settings = {
      aggregationMaxSize: 1_000,
      aggregationMaxCount: 1,
      recordMaxBufferedTime: 100,
      recordTtl: 1_000,
    }
    const lane = laneOf(settings)
    addTo(lane, 'younger', 900, 900)
    addTo(lane, 'older', 0, 900)
    expect(lane.waitMs(900, false, false)).toBe(100)
    const expired: Unsealed[] = []
    lane.replaceExpired(1_000, (sealed) => {
      expired.push(...unseal(sealed))
      return []
    })
    expect(expired.map(({ record }) => textOf(record.data))).toEqual(['older'])
  })

  test('22 what waits for the limit goes in the order of its put', async () => {
    const scene = new Scene({}, { aggregation: false, rateLimit: 100 })
    const texts = numbered(1_500)
    for (const text of texts) scene.put(text, text)
    await scene.pass(5_000)
    expect(scene.texts.flat()).toEqual(texts)
    expect(scene.sentAtMs.at(-1)).toBeGreaterThan(400)
  })

  test.each([
    ['bytes', 300 * KIB, 40],
    ['records', 10, 4_000],
  ])('22 the first burst at a shard is a second of its quota in %s at most, not ten', async (_, bytes, count) => {
    const scene = new Scene({}, { aggregation: false })
    for (const text of numbered(count)) scene.put(text.padEnd(bytes, '.'), text)
    await scene.pass(10)
    const sent = scene.sent.flat()
    expect(sent.length).toBeGreaterThan(0)
    // Beside the second, what has grown meanwhile, and the one that puts it into debt.
    expect(sent.length).toBeLessThanOrEqual(1_000 + 15 + 1)
    expect(sent.reduce((sum, { Data }) => sum + (Data?.length ?? 0), 0)).toBeLessThanOrEqual(1.015 * MIB + bytes)
  })

  test("23 throttling lowers a shard's rate, each time anew, and time without it raises it again", () => {
    const bucket = new RateBucket(150, 0)
    const rates = [bucket.bytesPerSecond]
    for (const nowMs of [10, 2_010]) {
      bucket.take(1_000, nowMs)
      bucket.throttled(nowMs, nowMs + 5)
      rates.push(bucket.bytesPerSecond)
    }
    expect(rates).toEqual(rates.toSorted((a, b) => b - a))
    expect(new Set(rates).size).toBe(3)
    for (let nowMs = 3_000; nowMs < 300_000; nowMs += 200) {
      if (bucket.waitMs(nowMs) === 0) bucket.take(1_000, nowMs)
    }
    expect(bucket.bytesPerSecond).toBeGreaterThan(rates[2]!)
    expect(bucket.bytesPerSecond).toBeLessThanOrEqual(rates[0]!)
  })

  test('23 a producer tells of the lower rate, once for all records of an answer', async () => {
    const scene = new Scene(
      { put: (records, call) => (call < 2 ? records.map(() => throttled) : taken(records)) },
      { aggregation: false },
    )
    for (const text of numbered(20)) scene.put(text, text)
    await scene.pass(10_000)
    const rates = scene.eventsOf('throttled').map((event) => ('bytesPerSecond' in event ? event.bytesPerSecond : 0))
    expect(rates).toHaveLength(2)
    expect(rates[0]).toBeLessThan(1.5 * MIB)
    expect(rates[1]).toBeLessThan(rates[0]!)
  })
})

describe('answers', () => {
  test('24 each record that is taken has one attempt, with its start and duration, and where it is', async () => {
    const scene = new Scene({
      list: () => TWO_SHARDS,
      put: async (records) => {
        await scene.clock.sleep(40)
        return takenByTwo(records)
      },
    })
    const outcomes = [scene.put('1', 'x', LOW), scene.put('2', 'y', LOW), scene.put('3', 'z', HIGH)]
    const putAtMs = scene.clock.wallMs()
    await scene.pass(139)
    expect(outcomesOf(outcomes)).toEqual([undefined, undefined, undefined])
    await scene.pass(1)
    const attempts = [{ sentMs: putAtMs + 100, durationMs: 40, code: undefined, message: undefined }]
    expect(outcomesOf(outcomes)).toEqual([
      { shardId: 'a', sequenceNumber: '100', subSequenceNumber: 0, attempts, earlierCopy: undefined },
      { shardId: 'a', sequenceNumber: '100', subSequenceNumber: 1, attempts, earlierCopy: undefined },
      { shardId: 'b', sequenceNumber: '101', subSequenceNumber: 0, attempts, earlierCopy: undefined },
    ])
  })

  test('25 a call that fails is an attempt of every record in it, with code and message, and each goes again', async () => {
    const scene = new Scene(
      {
        put: (records, call) => {
          if (call === 0) throw serviceError('ServiceUnavailable', 503)
          return taken(records)
        },
      },
      { aggregation: false },
    )
    const outcomes = numbered(3).map((text) => scene.put(text, text))
    await scene.pass(1_000)
    const attempts = [{ code: 'ServiceUnavailable', message: 'ServiceUnavailable!' }, { code: undefined }]
    expect(outcomesOf(outcomes)).toMatchObject([{ attempts }, { attempts }, { attempts }])
    expect(scene.texts.flat().toSorted()).toEqual(['0', '0', '1', '1', '2', '2'])
  })

  test.each(['AccessDeniedException', 'ResourceNotFoundException', 'ValidationException', 'KMSAccessDeniedException'])(
    '25 a call that fails for good (%s) is not tried again: the record is back at once, with the reason',
    async (name) => {
      const scene = new Scene({
        put: () => {
          throw serviceError(name, 400)
        },
      })
      const outcome = scene.put('x')
      await scene.pass(100)
      expect(outcome()).toMatchObject({
        code: 'ERR_REFUSED',
        outcome: 'refused',
        retryable: false,
        cause: { name },
        attempts: [{ code: name, message: `${name}!` }],
      })
      await scene.pass(30_000)
      expect(scene.sent).toHaveLength(1)
    },
  )

  test('26 of a mixed answer those taken are done, and only the others go again', async () => {
    const scene = new Scene(
      {
        put: (records, call) =>
          taken(records).map((result, index) => {
            if (call > 0) return result
            return [result, throttled, internal, result][index % 4]!
          }),
      },
      { aggregation: false },
    )
    const outcomes = numbered(8).map((text) => scene.put(text, text))
    await scene.pass(0)
    expect(outcomesOf(outcomes).map((outcome) => outcome?.shardId)).toEqual([
      'p',
      undefined,
      undefined,
      'p',
      'p',
      undefined,
      undefined,
      'p',
    ])
    await scene.pass(5_000)
    expect(outcomesOf(outcomes).map((outcome) => outcome?.attempts?.map(({ code }) => code))).toEqual(
      [0, 4].flatMap(() => [
        [undefined],
        [throttled.ErrorCode, undefined],
        [internal.ErrorCode, undefined],
        [undefined],
      ]),
    )
    expect(scene.texts.slice(1).flat().toSorted()).toEqual(['1', '2', '5', '6'])
  })

  test('26 an answer of another length says nothing of any record: all go again, and say that a copy may be there', async () => {
    const scene = new Scene(
      { put: (records, call) => (call === 0 ? taken(records).slice(1) : taken(records)) },
      { aggregation: false },
    )
    const outcomes = numbered(3).map((text) => scene.put(text, text))
    await scene.pass(1_000)
    for (const outcome of outcomesOf(outcomes)) {
      expect(outcome).toMatchObject({
        shardId: 'p',
        earlierCopy: 'unknown',
        attempts: [{ message: 'PutRecords gave 2 results for 3 records' }, { code: undefined }],
      })
    }
  })

  test('26 answers of another length until the time is over leave the outcome unknown', async () => {
    const scene = new Scene({ put: () => [] }, { recordTtl: 1_000 })
    const outcome = scene.put('x')
    await scene.pass(3_000)
    expect(outcome()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'unknown' })
    expect(scene.sent.length).toBeGreaterThan(1)
  })

  test('27 with failIfThrottled a throttled record fails with the first throttle, and those beside it are taken', async () => {
    const scene = new Scene(
      { put: (records) => taken(records).map((result, index) => (index === 1 ? throttled : result)) },
      { aggregation: false, failIfThrottled: true },
    )
    const outcomes = numbered(3).map((text) => scene.put(text, text))
    await scene.pass(5_000)
    expect(outcomesOf(outcomes).map((outcome) => outcome?.code)).toEqual([undefined, 'ERR_THROTTLED', undefined])
    expect(outcomes[1]?.()).toMatchObject({
      attempts: [{ code: throttled.ErrorCode, message: throttled.ErrorMessage }],
    })
    expect(scene.sent).toHaveLength(1)
  })

  test('27 with failIfThrottled all of a call that is throttled as a whole fails, and other failures go again', async () => {
    const scene = new Scene(
      {
        put: (records, call) => {
          if (call === 0) throw serviceError('ServiceUnavailable', 503)
          if (call === 1) throw serviceError('ProvisionedThroughputExceededException', 400)
          return taken(records)
        },
      },
      { failIfThrottled: true },
    )
    const outcomes = numbered(2).map((text) => scene.put(text, text))
    await scene.pass(5_000)
    for (const outcome of outcomesOf(outcomes)) {
      expect(outcome).toMatchObject({
        code: 'ERR_THROTTLED',
        retryable: true,
        attempts: [{ code: 'ServiceUnavailable' }, { code: 'ProvisionedThroughputExceededException' }],
      })
    }
    expect(scene.sent).toHaveLength(2)
  })
})

describe('a shard that was not predicted', () => {
  const splitAfterFirst = (call: number): readonly object[] => (call === 0 ? ONE_SHARD : SPLIT)

  test('28 what an unknown shard took is judged by a map that knows it: until then it is neither acknowledged nor sent again', async () => {
    const scene = new Scene({ put: takenByChildren, list: (call) => (call < 3 ? ONE_SHARD : SPLIT) })
    const outcomes = [scene.put('low', 'a', LOW), scene.put('high', 'b', HIGH)]
    await scene.pass(100)
    expect(outcomesOf(outcomes)).toEqual([undefined, undefined])
    // The listings after 0, 50 and 100 more milliseconds; only the last knows the children.
    await scene.pass(149)
    expect([outcomesOf(outcomes), scene.sent.length, scene.listings]).toEqual([[undefined, undefined], 1, 3])
    await scene.pass(1)
    expect([scene.listings, scene.sent.map(usersOf)]).toEqual([4, [[['low', 'high']], [['low'], ['high']]]])
    for (const outcome of outcomesOf(outcomes)) {
      expect(outcome?.attempts).toMatchObject([
        { code: 'WrongShard', message: expect.stringContaining('c1') },
        { code: undefined },
      ])
    }
  })

  test('28 one listing answers for all Kinesis records that an unknown shard took', async () => {
    const scene = new Scene({ put: takenByChildren, list: splitAfterFirst }, { aggregation: false })
    const outcomes = numbered(60).map((text) => scene.put(text, text))
    await scene.pass(1_000)
    expect([scene.listings, scene.sent.flat().length]).toEqual([2, 60])
    expect(outcomesOf(outcomes).every((outcome) => outcome?.earlierCopy === undefined)).toBe(true)
  })

  test('29 an aggregate that belongs wholly to the shard that took it is acknowledged, and the map is renewed', async () => {
    const scene = new Scene({ put: takenByChildren, list: splitAfterFirst })
    const outcomes = [scene.put('1', 'a', LOW), scene.put('2', 'b', '2')]
    await scene.pass(100)
    expect(outcomesOf(outcomes).map((outcome) => [outcome?.shardId, outcome?.attempts?.length])).toEqual([
      ['c1', 1],
      ['c1', 1],
    ])
    expect(scene.events).toContainEqual({ type: 'shardMapChanged', shardIds: ['c1', 'c2'] })
    expect([scene.listings, scene.sent.length]).toEqual([2, 1])
  })

  test('29 one of which anything lies outside of it is sent again, all of it, and says that a copy is there', async () => {
    const scene = new Scene({ put: takenByChildren, list: splitAfterFirst })
    const outcomes = ['1', '2', '3'].map((key) => scene.put(key, key, key))
    outcomes.push(scene.put('high', 'b', HIGH))
    await scene.pass(100)
    expect(scene.sent.map(usersOf)).toEqual([[['1', '2', '3', 'high']], [['1', '2', '3'], ['high']]])
    for (const outcome of outcomesOf(outcomes)) {
      expect(outcome).toMatchObject({
        earlierCopy: 'misplaced',
        attempts: [{ code: 'WrongShard' }, { code: undefined }],
      })
    }
    expect(scene.eventsOf('misplaced')).toMatchObject([{ predictedShardId: 'p', shardId: 'c1', userRecords: 4 }])
  })

  test('29 a copy that is there for certain is told of, though an answer is lost later', async () => {
    const scene = new Scene({
      put: (records, call) => {
        if (call === 1) throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
        return takenByChildren(records)
      },
      list: splitAfterFirst,
    })
    const outcomes = [scene.put('low', 'a', LOW), scene.put('high', 'b', HIGH)]
    await scene.pass(1_000)
    for (const outcome of outcomesOf(outcomes)) {
      expect(outcome).toMatchObject({
        earlierCopy: 'misplaced',
        attempts: [{ code: 'WrongShard' }, { code: 'ECONNRESET' }, { code: undefined }],
      })
    }
  })

  test('30 no part of an aggregate that two children share is acknowledged before it is written where all of it belongs', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene({ put, list: splitAfterFirst })
    const outcomes = [scene.put('low', 'a', LOW), scene.put('high', 'b', HIGH)]
    await scene.pass(100)
    answer(0, takenByChildren)
    await scene.pass(0)
    expect([scene.sent.length, outcomesOf(outcomes)]).toEqual([2, [undefined, undefined]])
    answer(1, takenByChildren)
    await scene.pass(0)
    expect(outcomesOf(outcomes).map((outcome) => [outcome?.shardId, outcome?.sequenceNumber])).toEqual([
      ['c1', '100'],
      ['c2', '101'],
    ])
  })

  test('30 nor of one that was on its way while the map changed, though the shard that takes it is known by then', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene({ put, list: splitAfterFirst }, { ordering: 'none', recordMaxBufferedTime: 0 })
    const pair = (name: string): (() => Settled | undefined)[] => [
      scene.put(`${name} low`, 'a', LOW),
      scene.put(`${name} high`, 'b', HIGH),
    ]
    const first = pair('first')
    await scene.pass(0)
    const second = pair('second')
    await scene.pass(0)
    expect(scene.sent.map(usersOf)).toEqual([[['first low', 'first high']], [['second low', 'second high']]])
    answer(0, takenByChildren)
    await scene.pass(0)
    expect(scene.sent.slice(2).map(usersOf)).toEqual([[['first low'], ['first high']]])
    answer(1, takenByChildren)
    await scene.pass(100)
    expect(outcomesOf([...first, ...second])).toEqual([undefined, undefined, undefined, undefined])
    expect(scene.sent.slice(3).map(usersOf)).toEqual([[['second low'], ['second high']]])
    for (const call of [2, 3]) answer(call, takenByChildren)
    await scene.pass(0)
    expect(outcomesOf([...first, ...second]).map((outcome) => outcome?.shardId)).toEqual(['c1', 'c2', 'c1', 'c2'])
  })

  test('31 what waits when the map changes, sealed or open, is split by the new one before it is sent', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene({ put, list: splitAfterFirst }, { aggregationMaxCount: 4 })
    const first = scene.put('first', 'k', LOW)
    await scene.pass(100)
    const waiting = numbered(10).map((text) => scene.put(text, text, Number(text) % 2 === 0 ? LOW : HIGH))
    await scene.pass(1_000)
    expect(scene.sent).toHaveLength(1)
    answer(0, takenByChildren)
    await scene.pass(0)
    for (let call = 1; call < scene.sent.length && call < 10; call++) {
      answer(call, takenByChildren)
      await scene.pass(200)
    }
    expect(first()?.shardId).toBe('c1')
    expect(outcomesOf(waiting).map((outcome) => [outcome?.shardId, outcome?.attempts?.length])).toEqual(
      numbered(10).map((text) => [Number(text) % 2 === 0 ? 'c1' : 'c2', 1]),
    )
    const halves = scene.sent.flat().map((record) => new Set(usersIn(record).map(({ hashKey }) => hashKey < HALF)).size)
    expect(Math.max(...halves)).toBe(1)
    expect(scene.eventsOf('misplaced')).toEqual([])
  })

  test("31 what waits for a shard's limit is split by the new map too", async () => {
    const scene = new Scene(
      { put: takenByChildren, list: splitAfterFirst },
      { rateLimit: 10, recordMaxBufferedTime: 0 },
    )
    scene.put('x'.repeat(MIB - 10), 'k', LOW)
    await scene.pass(0)
    expect([scene.sent.length, scene.listings]).toEqual([1, 2])
    const later = [scene.put('low', 'k', LOW), scene.put('high', 'k', HIGH)]
    await scene.pass(30_000)
    expect(outcomesOf(later).map((outcome) => outcome?.shardId)).toEqual(['c1', 'c2'])
    expect(scene.eventsOf('misplaced')).toEqual([])
  })
})

test('32 a record whose time is over fails as expired, and its attempts are the real ones, each with its cause', async () => {
  const reset = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
  const scene = new Scene(
    {
      put: (_, call) => {
        if (call === 1) throw reset
        return [call === 0 ? throttled : internal]
      },
    },
    { recordTtl: 1_000 },
  )
  const outcome = scene.put('x')
  await scene.pass(999)
  expect(outcome()).toBeUndefined()
  await scene.pass(1_500)
  const codes = outcome()?.attempts?.map(({ code }) => code)
  expect(outcome()).toMatchObject({
    code: 'ERR_EXPIRED',
    retryable: true,
    outcome: 'unknown',
    cause: { name: internal.ErrorCode, message: internal.ErrorMessage },
  })
  expect(codes?.slice(0, 3)).toEqual([throttled.ErrorCode, 'ECONNRESET', internal.ErrorCode])
  expect(codes).toHaveLength(scene.sent.length)
  expect(codes?.slice(2).every((code) => code === internal.ErrorCode)).toBe(true)
})

describe('the shard map', () => {
  /** A producer whose ListShards is answered page by page. */
  function paged(list: (call: number) => { Shards: readonly object[]; NextToken?: string }): {
    readonly clock: ManualClock
    readonly producer: Producer
    readonly tokens: (string | undefined)[]
    readonly listedAtMs: number[]
    readonly sent: SentRecord[]
  } {
    const clock = new ManualClock()
    const [tokens, listedAtMs, sent]: [(string | undefined)[], number[], SentRecord[]] = [[], [], []]
    const send = async ({ input }: { input: { Records?: SentRecord[]; NextToken?: string; MaxResults?: number } }) => {
      if (input.MaxResults !== undefined) {
        listedAtMs.push(clock.monotonicMs())
        return list(tokens.push(input.NextToken) - 1)
      }
      if (input.Records === undefined) return { StreamDescriptionSummary: {} }
      sent.push(...input.Records)
      return { Records: takenByTwo(input.Records) }
    }
    const client = { send } as unknown as Kinesis
    const options: ProducerOptions = { stream: 'flights', client, clock, random: () => 0.5, logger: silentLogger }
    return { clock, producer: new Producer(options), tokens, listedAtMs, sent }
  }

  test('33 is listed in pages, and a failure between them begins it again', async () => {
    const [a, b] = TWO_SHARDS
    const { clock, producer, tokens, listedAtMs, sent } = paged((call) => {
      if (call === 1) throw serviceError('LimitExceededException', 400)
      return call === 3 ? { Shards: [b!] } : { Shards: [a!], NextToken: `after ${call}` }
    })
    const outcomes = [LOW, HIGH].map((key) =>
      settled(producer.put({ partitionKey: key, explicitHashKey: key, data: key })),
    )
    await clock.advance(50)
    await clock.advance(100)
    expect(tokens).toEqual([undefined, 'after 0', undefined, 'after 2'])
    expect(listedAtMs).toEqual([0, 0, 50, 50])
    expect(outcomesOf(outcomes).map((outcome) => outcome?.shardId)).toEqual(['a', 'b'])
    expect(usersOf(sent)).toEqual([[LOW], [HIGH]])
    await producer.close()
  })

  test('33 is tried again after random waits of up to 100 ms at first, up to 10 s in the end', async () => {
    const listedAtMs: number[] = []
    const scene = new Scene({
      list: (call) => {
        listedAtMs.push(scene.clock.monotonicMs())
        if (call < 9) throw serviceError('ServiceUnavailable', 503)
        return ONE_SHARD
      },
    })
    scene.put('x')
    await scene.pass(60_000)
    const waits = listedAtMs.slice(1).map((ms, index) => ms - listedAtMs[index]!)
    // Half of the longest, by the scripted randomness.
    expect(waits).toEqual([50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000])
  })

  test('33 never predicts a closed shard', async () => {
    const scene = new Scene({ list: () => SPLIT, put: takenByChildren })
    const outcomes = numbered(20).map((text) => scene.put(text, text))
    await scene.pass(200)
    expect(scene.sent.flat()).toHaveLength(2)
    for (const outcome of outcomesOf(outcomes)) expect(outcome?.attempts).toHaveLength(1)
    expect(scene.listings).toBe(1)
  })

  test('34 is not listed again for what was sent by an older one, whose shard is closed by then', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene(
      { put, list: (call) => (call === 0 ? ONE_SHARD : SPLIT) },
      { aggregation: false, maxRequestsInFlight: 4 },
    )
    const outcomes: (() => Settled | undefined)[] = []
    for (const key of ['1', '2', '3', '4']) {
      outcomes.push(scene.put(key, key))
      await scene.pass(0)
    }
    expect(scene.sent).toHaveLength(4)
    answer(0, takenByChildren)
    await scene.pass(0)
    expect(scene.listings).toBe(2)
    for (const call of [1, 2, 3]) {
      answer(call, takenByChildren)
      await scene.pass(1_000)
    }
    expect(scene.listings).toBe(2)
    expect(outcomesOf(outcomes).map((outcome) => outcome?.attempts?.length)).toEqual([1, 1, 1, 1])
  })

  test('34 is listed once more for all answers that come while it is being listed', async () => {
    const { put, answer } = answersByHand()
    let isDown = false
    const scene = new Scene(
      {
        put,
        list: (call) => {
          if (isDown) throw serviceError('ServiceUnavailable', 503)
          return call === 0 ? ONE_SHARD : SPLIT
        },
      },
      { aggregation: false },
    )
    const outcomes: (() => Settled | undefined)[] = []
    for (const key of numbered(8)) {
      outcomes.push(scene.put(key, key))
      await scene.pass(0)
    }
    isDown = true
    for (const call of numbered(8).map(Number)) {
      answer(call, takenByChildren)
      await scene.pass(5)
    }
    expect(outcomesOf(outcomes).filter((outcome) => outcome !== undefined)).toEqual([])
    // The one that is under way is at its first wait.
    expect(scene.listings).toBe(2)
    isDown = false
    await scene.pass(1_000)
    expect(scene.listings).toBeLessThanOrEqual(4)
    expect(outcomesOf(outcomes).map((outcome) => outcome?.attempts?.length)).toEqual([1, 1, 1, 1, 1, 1, 1, 1])
  })

  test('34 is listed anew for a stream that was deleted and made again, though a record of the old one was on its way', async () => {
    const remade = [shard('x', 0n, HALF - 1n), shard('y', HALF, MAX_HASH_KEY)]
    const scene = new Scene(
      {
        put: (records, call) =>
          call === 0
            ? taken(records, 'gone')
            : takenByChildren(records).map((result) => ({
                ...result,
                ShardId: result.ShardId === 'c1' ? 'x' : 'y',
              })),
        list: (call) => (call === 0 ? ONE_SHARD : remade),
      },
      { recordTtl: 5_000 },
    )
    const lost = scene.put('taken by a shard that no listing knows')
    await scene.pass(6_000)
    expect(lost()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'unknown' })
    const outcomes = [scene.put('low', 'a', LOW), scene.put('high', 'b', HIGH)]
    await scene.pass(6_000)
    expect(outcomesOf(outcomes).map((outcome) => outcome?.shardId)).toEqual(['x', 'y'])
    expect(scene.clock.sleeping).toBe(0)
  })
})

describe('a request', () => {
  test('35 has 500 Kinesis records at most', async () => {
    const scene = new Scene({ put: never }, { aggregation: false, rateLimit: Number.POSITIVE_INFINITY })
    for (const text of numbered(1_200)) scene.put(text, text)
    await scene.pass(0)
    expect(scene.sent.map((records) => records.length)).toEqual([500, 500, 200])
  })

  test('35 has no more bytes than collectionMaxSize, partition keys included', async () => {
    const options = { aggregation: false, rateLimit: Number.POSITIVE_INFINITY, collectionMaxSize: 100_000 } as const
    const scene = new Scene({ put: never }, options)
    for (const text of numbered(250)) scene.put('x'.repeat(900), text.padEnd(100, '-'))
    await scene.pass(0)
    expect(scene.sent.map((records) => records.length)).toEqual([100, 100, 50])
  })

  test('35 has 10 MiB at most, unless asked for less', async () => {
    const scene = new Scene({ put: never }, { aggregation: false, rateLimit: Number.POSITIVE_INFINITY })
    for (const text of numbered(24)) scene.put('x'.repeat(MIB - 2), text.padStart(2, '0'))
    await scene.pass(0)
    expect(scene.sent.map((records) => records.length)).toEqual([10, 10, 4])
  })

  test('35 goes as soon as one is free, with whatever is ready by then, much or little', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene(
      { put },
      { aggregation: false, rateLimit: Number.POSITIVE_INFINITY, maxRequestsInFlight: 1 },
    )
    scene.put('little', 'a')
    await scene.pass(0)
    expect(scene.texts).toEqual([['little']])
    // Far more than 256 KiB for one shard.
    for (const text of numbered(10)) scene.put(text.padEnd(100 * KIB, '.'), text)
    await scene.pass(1_000)
    expect(scene.sent).toHaveLength(1)
    answer(0)
    await scene.pass(0)
    expect(scene.sent.map((records) => records.length)).toEqual([1, 10])
  })
})

describe('what is outstanding', () => {
  test('36 is bounded: at the bound a put waits in line, and the line moves up in order', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene({ put }, { maxOutstandingBytes: MIB, aggregationMaxCount: 1 })
    const outcomes = numbered(5).map((text) => scene.put(text.padEnd(380_000, '.')))
    await scene.pass(1_000)
    expect(scene.sent).toHaveLength(1)
    expect(scene.producer.outstanding.records).toBe(5)
    const ready = settled(scene.producer.ready)
    await scene.pass(0)
    expect(ready()).toBeUndefined()
    for (let call = 0; call < 5; call++) {
      answer(call)
      await scene.pass(2_000)
    }
    expect(scene.texts.flat().map((text) => text[0])).toEqual(['0', '1', '2', '3', '4'])
    expect(outcomesOf(outcomes).map((outcome) => outcome?.shardId)).toEqual(['p', 'p', 'p', 'p', 'p'])
    expect(ready()).toEqual({})
  })

  test('36 is sent by close, the line too, and close resolves when all of it is acknowledged', async () => {
    const { put, answer } = answersByHand()
    const scene = new Scene({ put }, { maxOutstandingBytes: MIB, aggregationMaxCount: 1 })
    const outcomes = numbered(4).map((text) => scene.put(text.padEnd(500_000, '.')))
    await scene.pass(100)
    const closed = settled(scene.producer.close())
    for (let call = 0; call < 4; call++) {
      expect(closed()).toBeUndefined()
      answer(call)
      await scene.pass(2_000)
    }
    expect([closed(), outcomesOf(outcomes).map((outcome) => outcome?.shardId)]).toEqual([{}, ['p', 'p', 'p', 'p']])
    expect(scene.clock.sleeping).toBe(0)
  })

  test('36 is handed back by a close that is cut short: each record with its data, and whether it may be in the stream', async () => {
    const scene = new Scene({ put: never }, { maxOutstandingBytes: MIB, aggregationMaxCount: 1 })
    const texts = numbered(4).map((text) => text.padEnd(500_000, '.'))
    const outcomes = texts.map((text) => scene.put(text, text[0]))
    await scene.pass(100)
    const closed = settled(scene.producer.close({ signal: AbortSignal.abort() }))
    await scene.pass(0)
    const handedBack = new Map(
      closed()?.undelivered?.map(({ record, outcome }) => [
        record?.partitionKey,
        [record?.data === undefined ? '' : textOf(record.data as Uint8Array), outcome],
      ]),
    )
    expect(closed()?.code).toBe('ERR_UNDELIVERED')
    expect(handedBack).toEqual(
      new Map([
        ['0', [texts[0], 'unknown']],
        ['1', [texts[1], 'refused']],
        ['2', [texts[2], 'refused']],
        ['3', [texts[3], 'refused']],
      ]),
    )
    expect(outcomesOf(outcomes).map((outcome) => outcome?.code)).toEqual(numbered(4).map(() => 'ERR_CLOSED'))
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('37 flush sends at once, and resolves in the moment in which all that was put before it has its outcome', async () => {
    const scene = new Scene({
      list: () => TWO_SHARDS,
      put: async (records, call) => {
        await scene.clock.sleep(30)
        return call === 0
          ? takenByTwo(records).map((result, index) => (index === 0 ? result : internal))
          : takenByTwo(records)
      },
    })
    const outcomes = [scene.put('a', 'a', LOW), scene.put('b', 'b', HIGH)]
    let flushedAtMs = -1
    void scene.producer.flush().then(() => {
      flushedAtMs = scene.clock.monotonicMs()
    })
    await scene.pass(1_000)
    // 30 ms for the first answer, 25 ms of backoff for what it refused, 30 ms for the second.
    expect([scene.sentAtMs, flushedAtMs]).toEqual([[0, 55], 85])
    expect(outcomesOf(outcomes).map((outcome) => outcome?.shardId)).toEqual(['a', 'b'])
  })

  test('37 flush sends everything that waits, however much it is, at once and without another call', async () => {
    const scene = await knownScene({ list: () => TWO_SHARDS, put: takenByTwo })
    const startMs = scene.clock.monotonicMs()
    const outcomes = numbered(300).map((text) => scene.put(text.padEnd(700, '.'), text))
    const flushed = settled(scene.producer.flush())
    await scene.pass(0)
    expect([flushed(), scene.clock.monotonicMs()]).toEqual([{}, startMs])
    expect(outcomesOf(outcomes).every((outcome) => outcome?.shardId !== undefined)).toBe(true)
    const few = scene.put('few')
    await scene.pass(50)
    expect(few()).toBeUndefined()
    await scene.producer.flush()
    expect([few()?.shardId, scene.clock.monotonicMs()]).toEqual([expect.any(String), startMs + 50])
  })
})

describe('the order of a key', () => {
  interface Stored extends SentUser {
    readonly shardId: string
  }

  const RANGES: Readonly<Record<string, HashRange>> = {
    p: { start: 0n, end: MAX_HASH_KEY },
    c1: { start: 0n, end: HALF - 1n },
    c2: { start: HALF, end: MAX_HASH_KEY },
  }
  const KEYS = numbered(8, 'key ')

  /** A stream that throttles, fails and loses answers, and is split in the middle; each record takes it a while. */
  function disturbed(
    seed: number,
    options: Partial<ProducerOptions>,
  ): { scene: Scene; stored: Stored[]; split: () => void } {
    const random = seededRandom(seed)
    const stored: Stored[] = []
    let isSplit = false
    const store = (record: SentRecord): Record<string, string> => {
      const shardId = isSplit ? takenByChildren([record])[0]!.ShardId! : 'p'
      stored.push(...usersIn(record).map((user) => ({ ...user, shardId })))
      return { ShardId: shardId, SequenceNumber: `${stored.length}` }
    }
    const scene = new Scene(
      {
        put: async (records) => {
          await scene.clock.sleep(5 + 60 * random())
          if (random() < 0.1) throw serviceError('ServiceUnavailable', 503)
          const results = records.map((record) => {
            const chance = random()
            return chance < 0.2 ? throttled : chance < 0.3 ? internal : store(record)
          })
          await scene.clock.sleep(60 * random())
          if (random() < 0.15) throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })
          return results
        },
        list: () => (isSplit ? SPLIT : ONE_SHARD),
      },
      { recordTtl: 600_000, rateLimit: Number.POSITIVE_INFINITY, random, ...options },
    )
    return {
      scene,
      stored,
      split: () => {
        isSplit = true
      },
    }
  }

  test.each([
    ['with aggregation', { aggregation: true, recordMaxBufferedTime: 20 }],
    ['without aggregation', { aggregation: false }],
  ] as const)('38 is that of its puts, %s, through throttles, lost answers and a split', async (_, options) => {
    const seen = { misplaced: 0, again: 0, children: 0 }
    for (let seed = 1; seed <= 10; seed++) {
      const { scene, stored, split } = disturbed(seed, options)
      const outcomes: (() => Settled | undefined)[] = []
      const puts = new Map(KEYS.map((key): [string, string[]] => [key, []]))
      for (let round = 0; round < 40; round++) {
        if (round === 20) split()
        for (const key of KEYS) {
          const text = `${key} ${round}`
          puts.get(key)!.push(text)
          outcomes.push(scene.put(text, key))
        }
        await scene.pass(10)
      }
      for (let wait = 0; wait < 200 && scene.producer.outstanding.records > 0; wait++) await scene.pass(500)
      expect(outcomesOf(outcomes).every((outcome) => outcome?.shardId !== undefined)).toBe(true)
      const placed = stored.filter(({ shardId, hashKey }) => contains(RANGES[shardId]!, hashKey))
      for (const [key, texts] of puts) {
        const first = new Set(placed.filter(({ partitionKey }) => partitionKey === key).map(({ text }) => text))
        expect([...first], `seed ${seed}, ${key}`).toEqual(texts)
      }
      seen.misplaced += stored.length - placed.length
      seen.again += stored.length - outcomes.length
      seen.children += outcomesOf(outcomes).filter((outcome) => outcome?.shardId !== 'p').length
    }
    // Otherwise nothing was tried.
    expect(seen.again).toBeGreaterThan(50)
    expect(seen.children).toBeGreaterThan(500)
    if (options.aggregation) expect(seen.misplaced).toBeGreaterThan(0)
  })
})
