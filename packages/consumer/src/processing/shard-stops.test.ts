import { ManualClock } from '@shardwise/core/testing'
import type { Position } from '@shardwise/records'
import { beforeEach, expect, test } from 'vitest'
import type { Failure } from './shard-session.ts'
import { ShardStops } from './shard-stops.ts'

const at = (sequence: number): Position => ({ sequenceNumber: String(sequence), subSequenceNumber: 0 })
const failureAt = (sequence: number): Failure => ({
  record: { partitionKey: 'key', position: at(sequence) },
  error: new Error('no good'),
  attempts: 10,
})

let clock: ManualClock
let stops: ShardStops

beforeEach(() => {
  clock = new ManualClock()
  stops = new ShardStops({ clock, stoppedRetryMs: 60_000 })
})

test('the rest doubles up to ten times while nothing more is finished, and begins anew when something is', () => {
  const rests = [2, 2, 2, 2, 2, 2, 5, 5].map((finished) => stops.add(failureAt(9), at(finished), undefined))
  expect(rests.map((ms) => ms / 60_000)).toEqual([1, 2, 4, 8, 10, 10, 1, 2])
})

test('what is finished while it settles is not progress of the next try, and the rest goes on meanwhile', async () => {
  stops.add(failureAt(9), at(2), undefined)
  await clock.advance(4_000)
  stops.settled(at(5))
  expect(stops.restMs).toBe(56_000)
  expect(stops.add(failureAt(9), at(5), undefined)).toBe(120_000)
  await clock.advance(200_000)
  expect(stops.restMs).toBe(0)
})

test('it says since when it has stood still, and when it is tried again', async () => {
  const startedAt = clock.wallMs()
  stops.add(failureAt(9), at(2), undefined)
  await clock.advance(60_000)
  stops.add(failureAt(8), at(2), undefined)
  expect(stops.current).toEqual({
    ...failureAt(8),
    since: new Date(startedAt),
    retryAt: new Date(startedAt + 60_000 + 120_000),
  })
})

test('it is over when everything up to what it stopped at is finished', () => {
  stops.add(failureAt(9), at(2), undefined)
  stops.passed(at(8))
  expect(stops.current).toBeDefined()
  stops.passed(at(9))
  expect(stops.current).toBeUndefined()
})

test('one of a hook is over when that is said', () => {
  stops.add({ record: undefined, error: new Error('no good'), attempts: 3 }, at(9), undefined)
  stops.passed(at(99))
  expect(stops.current).toBeDefined()
  stops.clear()
  expect(stops.current).toBeUndefined()
})

test('the oldest unfinished record keeps its age through stops', async () => {
  const oldest = { ...at(9), partitionKey: 'key', ageMs: 500 }
  expect(stops.oldest(oldest)).toBe(oldest)
  stops.add(failureAt(9), at(2), oldest)
  await clock.advance(1_000)
  expect(stops.oldest(undefined)).toEqual({ ...oldest, ageMs: 1_500 })
  stops.add(failureAt(9), at(2), { ...oldest, ageMs: 3 })
  await clock.advance(1_000)
  expect(stops.oldest({ ...oldest, ageMs: 7 })).toEqual({ ...oldest, ageMs: 2_500 })
  const next = { ...at(12), partitionKey: 'key', ageMs: 7 }
  expect(stops.oldest(next)).toBe(next)
})
