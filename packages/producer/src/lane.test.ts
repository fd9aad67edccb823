import { FULL_HASH_RANGE, hashKeyOf } from '@shardwise/records'
import { expect, test } from 'vitest'
import { pendingOf } from '../test/pending.ts'
import { Lane, type LaneMode } from './lane.ts'
import { BuilderPool } from './open-aggregate.ts'
import { RateBucket } from './rate-bucket.ts'
import { type SealedRecord, unseal } from './sealed-record.ts'

const AGGREGATED: LaneMode = { aggregates: true, ordered: true, keyed: true }
const PLAIN: LaneMode = { aggregates: false, ordered: true, keyed: true }
const UNORDERED: LaneMode = { aggregates: false, ordered: false, keyed: true }

const settings = { aggregationMaxSize: 1_000, aggregationMaxCount: 100, recordMaxBufferedTime: 100, recordTtl: 30_000 }

function laneOf(overrides: Partial<typeof settings> = {}, mode: LaneMode = AGGREGATED, rateLimit = 150): Lane {
  return new Lane(
    's',
    FULL_HASH_RANGE,
    mode,
    new RateBucket(rateLimit, 0),
    { ...settings, ...overrides },
    new BuilderPool(),
  )
}

function add(lane: Lane, name: string, nowMs = 0, bytes = 10, hasRoom = true): boolean {
  const data = Buffer.alloc(bytes, name)
  const pending = pendingOf(nowMs, data.length + name.length)
  const record = {
    partitionKey: name,
    explicitHashKey: undefined,
    hashKey: hashKeyOf(name),
    data,
    bytes: pending.bytes,
  }
  return lane.add(record, pending, nowMs, hasRoom)
}

const keysIn = (sealed: SealedRecord | undefined): string[] =>
  sealed === undefined ? [] : unseal(sealed).map(({ record }) => record.partitionKey ?? '')

/** The keys of what counts as expired by then, taken out. */
function expiredIn(lane: Lane, nowMs: number): string[] {
  const keys: string[] = []
  lane.replaceExpired(nowMs, (sealed) => {
    keys.push(...keysIn(sealed))
    return []
  })
  return keys
}

/** Everything the lane gives, one after the other, as if each were accepted at once. */
function sendAll(lane: Lane, nowMs: number): string[][] {
  const sent: string[][] = []
  for (let next = lane.next(nowMs, true); next !== undefined; next = lane.next(nowMs, true)) {
    lane.take(nowMs)
    sent.push(keysIn(next))
    lane.settle(next)
  }
  return sent
}

test('an aggregate goes with its hundredth user record, in order, three times over', () => {
  const lane = laneOf({ aggregationMaxSize: 50_000 })
  for (let round = 0; round < 3; round++) {
    const names = Array.from({ length: 100 }, (_, index) => `k${index}`)
    for (const name of names.slice(0, 99)) add(lane, name)
    expect(lane.next(0, false)).toBeUndefined()
    add(lane, names[99] as string)
    expect(sendAll(lane, 0)).toEqual([names])
  }
})

test('an aggregate goes when the next user record does not fit, and never exceeds its size', () => {
  const lane = laneOf()
  for (let index = 0; index < 3; index++) add(lane, `k${index}`, 0, 400)
  const first = lane.next(0, false)
  expect(keysIn(first)).toEqual(['k0', 'k1'])
  expect(first?.data.length).toBeLessThanOrEqual(1_000)
})

test('an aggregate goes when its oldest user record has waited long enough', () => {
  const lane = laneOf()
  add(lane, 'a', 0)
  add(lane, 'b', 60)
  expect([lane.next(99, false), lane.waitMs(60, true, false)]).toEqual([undefined, 40])
  expect(keysIn(lane.next(100, false))).toEqual(['a', 'b'])
})

test('a user record above the size of an aggregate goes alone at once', () => {
  const lane = laneOf()
  expect(add(lane, 'large', 0, 5_000)).toBe(true)
  expect(keysIn(lane.next(0, false))).toEqual(['large'])
})

test('while a Kinesis record is in flight the next aggregate grows, up to a quarter second of the rate', () => {
  const lane = laneOf({ aggregationMaxCount: 10_000 })
  add(lane, 'first', 0, 1_200)
  const first = lane.next(0, false) as SealedRecord
  lane.take(0)
  for (let index = 0; index < 900; index++) add(lane, 'k', 0, 1_000)
  expect(lane.next(0, true)).toBeUndefined()
  lane.settle(first)
  const second = lane.next(0, false) as SealedRecord
  expect(second.data.length).toBeGreaterThan(380_000)
  expect(second.data.length).toBeLessThanOrEqual(1.5 * 2 ** 18)
})

test('without a limit of the rate an aggregate still grows no larger than a record may be', () => {
  const lane = laneOf({ aggregationMaxCount: 10_000 }, AGGREGATED, Number.POSITIVE_INFINITY)
  for (let index = 0; index < 3_000; index++) add(lane, 'k', 0, 1_000, false)
  expect(lane.next(0, false)?.bytes).toBeLessThanOrEqual(2 ** 20)
})

test('a refused Kinesis record comes again after its pause, before all others', () => {
  const lane = laneOf()
  add(lane, 'a', 0, 1_200)
  add(lane, 'b', 0, 1_200)
  const first = lane.next(0, false) as SealedRecord
  lane.take(0)
  lane.retry(first, 50)
  expect(lane.next(49, true)).toBeUndefined()
  expect(sendAll(lane, 50)).toEqual([['a'], ['b']])
})

test('a barred lane sends nothing until every barrier is gone', () => {
  const lane = laneOf()
  const other = laneOf()
  lane.barriers.add(other)
  add(lane, 'a')
  expect([lane.next(1_000, true), lane.waitMs(1_000, true, true)]).toEqual([undefined, 29_000])
  lane.barriers.delete(other)
  expect(keysIn(lane.next(1_000, true))).toEqual(['a'])
})

test('without aggregation one key has one in flight, and unordered has any number', () => {
  const taken = (mode: LaneMode): string[] => {
    const lane = laneOf({}, mode)
    for (const name of ['a', 'a', 'b']) add(lane, name)
    const names: string[] = []
    for (let next = lane.next(0, false); next !== undefined; next = lane.next(0, false)) {
      lane.take(0)
      names.push(...keysIn(next))
    }
    return names
  }
  expect([taken(PLAIN), taken(UNORDERED)]).toEqual([
    ['a', 'b'],
    ['a', 'a', 'b'],
  ])
})

test('what is too old is taken out even while the bucket is in debt', () => {
  const lane = laneOf({ recordTtl: 1_000 }, AGGREGATED, 1)
  lane.bucket.take(100 * 2 ** 20, 0)
  add(lane, 'old', 0)
  expect(expiredIn(lane, 999)).toEqual([])
  expect(lane.waitMs(0, true, false)).toBe(1_000)
  expect(expiredIn(lane, 1_000)).toEqual(['old'])
  expect(lane.isIdle).toBe(true)
})

test('what is left of an expired aggregate stays where it was', () => {
  const lane = laneOf({ aggregationMaxCount: 1, recordTtl: 1_000 })
  for (const [name, arrivedMs] of [
    ['young', 900],
    ['old', 0],
    ['younger', 950],
  ] as const)
    add(lane, name, arrivedMs)
  lane.replaceExpired(1_000, (sealed) => [{ ...sealed, partitionKey: 'rest', expiresMs: 1_100 }])
  expect(lane.waitMs(1_000, false, false)).toBe(100)
  expect(sendAll(lane, 1_000)).toEqual([['young'], ['rest'], ['younger']])
})

test('where there is no order, what is left of an expired aggregate can be sent like any other', () => {
  const lane = laneOf({ aggregationMaxCount: 1, recordTtl: 1_000 }, { aggregates: true, ordered: false, keyed: true })
  add(lane, 'old')
  lane.replaceExpired(1_000, (sealed) => [{ ...sealed, partitionKey: 'rest', expiresMs: 1_100 }])
  expect(sendAll(lane, 1_000)).toEqual([['rest']])
  expect([lane.inFlight, lane.isIdle]).toEqual([0, true])
})

test('draining gives everything in order and leaves nothing', () => {
  const lane = laneOf()
  for (const name of ['a', 'b', 'c']) add(lane, name, 0, 900)
  expect(lane.drain().flatMap(keysIn)).toEqual(['a', 'b', 'c'])
  expect(lane.isIdle).toBe(true)
})

test('many small aggregates do not hold a large buffer each', () => {
  const lane = laneOf({ aggregationMaxCount: 2 })
  const before = process.memoryUsage().arrayBuffers
  for (let index = 0; index < 4_000; index++) add(lane, 'k')
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 2 ** 20)
})
