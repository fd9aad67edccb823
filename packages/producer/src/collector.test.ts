import { FULL_HASH_RANGE } from '@shardwise/records'
import { expect, test } from 'vitest'
import { pendingOf } from '../test/pending.ts'
import { collect } from './collector.ts'
import { Lane, type LaneMode } from './lane.ts'
import type { Lanes } from './lanes.ts'
import { BuilderPool } from './open-aggregate.ts'
import { RateBucket } from './rate-bucket.ts'

const PLAIN: LaneMode = { aggregates: false, ordered: true, keyed: true }
const settings = { aggregationMaxSize: 1_000, aggregationMaxCount: 100, recordMaxBufferedTime: 0, recordTtl: 30_000 }
const limits = { collectionMaxCount: 500, collectionMaxSize: 10_000 }

/** Lanes with so many plain records of so many bytes each. */
function lanesWith(count: number, records: number, bytes: number): Lanes {
  const active = new Set<Lane>()
  for (let index = 0; index < count; index++) {
    const lane = new Lane(`s${index}`, FULL_HASH_RANGE, PLAIN, new RateBucket(150, 0), settings, new BuilderPool())
    for (let number = 0; number < records; number++) {
      const record = {
        partitionKey: 'k',
        explicitHashKey: undefined,
        hashKey: BigInt(number),
        data: new Uint8Array(bytes - 1),
        bytes,
      }
      lane.add(record, pendingOf(0, bytes), 0, true)
    }
    active.add(lane)
  }
  const moveBack = (lane: Lane): void => {
    if (active.delete(lane)) active.add(lane)
  }
  return { active, deactivate: (lane: Lane) => active.delete(lane), moveBack } as unknown as Lanes
}

test('packs the records of many lanes into one request, every lane in its turn', () => {
  const batch = collect(lanesWith(3, 5, 100), 0, false, { ...limits, collectionMaxCount: 6 })
  expect(batch.map(({ lane }) => lane.shardId)).toEqual(['s0', 's1', 's2', 's0', 's1', 's2'])
})

test('stays within the size of a request, keys included', () => {
  expect(collect(lanesWith(1, 20, 1_000), 0, false, limits)).toHaveLength(10)
})

test('a record above the size of a request goes alone', () => {
  expect(collect(lanesWith(1, 2, 20_000), 0, false, limits)).toHaveLength(1)
})

test('leaves out lanes that have nothing until something comes', () => {
  const lanes = lanesWith(2, 0, 0)
  expect(collect(lanes, 0, false, limits)).toEqual([])
  expect([...lanes.active]).toEqual([])
})

test('a record that may be what a request was refused for goes alone', () => {
  const lanes = lanesWith(3, 1, 100)
  const [, second] = [...lanes.active].map((lane) => lane.next(0, false))
  if (second !== undefined) second.isSuspect = true
  const batches = [1, 2, 3].map(() => collect(lanes, 0, false, limits).map(({ lane }) => lane.shardId))
  expect(batches).toEqual([['s0', 's2'], ['s1'], []])
})

test('lanes that had no turn come first in the next request', () => {
  const lanes = lanesWith(4, 10, 100)
  const batches = [1, 2, 3].map(() => collect(lanes, 0, false, { ...limits, collectionMaxCount: 3 }))
  expect(batches.map((batch) => batch.map(({ lane }) => lane.shardId))).toEqual([
    ['s0', 's1', 's2'],
    ['s3', 's0', 's1'],
    ['s2', 's3', 's0'],
  ])
})
