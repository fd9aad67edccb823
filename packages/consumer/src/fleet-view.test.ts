import { FULL_HASH_RANGE, TRIM_HORIZON } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { FleetView } from './fleet-view.ts'
import { create } from './lease-changes.ts'
import type { Item } from './table.ts'
import { writeEntry } from './worker-entry.ts'

const F = 1_000
const NOON = Date.UTC(2026, 0, 1, 12)

function lease(counter: number, owner?: string, checkpointOwner?: string, key = 'shardId-0'): Item {
  const { set } = create({
    shardId: key,
    hashRange: FULL_HASH_RANGE,
    parentShardIds: [],
    checkpoint: TRIM_HORIZON,
    startMs: undefined,
  })
  return {
    ...set,
    leaseKey: { S: key },
    leaseCounter: { N: String(counter) },
    ...(owner && { leaseOwner: { S: owner } }),
    ...(checkpointOwner && { checkpointOwner: { S: checkpointOwner } }),
  }
}

function entry(workerId: string, beat: number, wallMs = NOON): Item {
  const clock = { monotonicMs: () => 0, wallMs: () => wallMs, sleep: () => Promise.resolve() }
  return { ...writeEntry(workerId, beat, F / 2, clock).set, leaseKey: { S: workerId } }
}

/** Looks at the table at the given moments; tells what it makes of it. */
function viewer(): {
  look: (atMs: number, ...items: Item[]) => { states: string[]; workers: string[]; view: FleetView }
} {
  const view = new FleetView({ workerId: 'me', failoverTime: F, onSkipped: () => {} })
  return {
    look: (atMs, ...items) => {
      view.observe(items, atMs, NOON + atMs)
      return { states: view.assignable().map(({ state }) => state), workers: view.workers(), view }
    },
  }
}

describe('a lease', () => {
  test('without an owner is free at once', () => {
    expect(viewer().look(0, lease(0)).states).toEqual(['free'])
  })

  test('expires when its counter has stood still for longer than failoverTime since it was first seen so', () => {
    const { look } = viewer()
    expect(look(50_000, lease(7, 'a')).states).toEqual(['live'])
    expect(look(50_000 + F, lease(7, 'a')).states).toEqual(['live'])
    expect(look(50_001 + F, lease(7, 'a')).states).toEqual(['free'])
  })

  test('that is renewed stays live', () => {
    const { look } = viewer()
    for (let beat = 0; beat < 10; beat++) expect(look(beat * 900, lease(beat, 'a')).states).toEqual(['live'])
  })

  test('in a handoff lives as long as its old owner renews it', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'))
    expect(look(100, lease(1, 'b', 'a')).states).toEqual(['moving'])
    expect(look(900, lease(2, 'b', 'a')).states).toEqual(['moving'])
    expect(look(901 + F, lease(2, 'b', 'a')).states).toEqual(['free'])
  })

  test('just given to a worker that lives has three times as long for its first renewal', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), entry('b', 1))
    look(100, lease(2, 'b'), entry('b', 2))
    expect(look(1_200, lease(2, 'b'), entry('b', 3)).states).toEqual(['live'])
    expect(look(2_200, lease(2, 'b'), entry('b', 4)).states).toEqual(['live'])
    expect(look(3_101, lease(2, 'b'), entry('b', 5)).states).toEqual(['free'])
  })

  test('just given to a worker that is gone has no more than any other', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'))
    look(100, lease(2, 'b'))
    expect(look(1_101, lease(2, 'b')).states).toEqual(['free'])
  })

  test('renewed once by its new owner, has no more than any other', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), entry('b', 1))
    look(100, lease(2, 'b'), entry('b', 2))
    look(400, lease(3, 'b'), entry('b', 3))
    expect(look(1_401, lease(3, 'b'), entry('b', 4)).states).toEqual(['free'])
  })
})

describe('a worker', () => {
  test('that looks is always among those that may get leases', () => {
    expect(viewer().look(0).workers).toEqual(['me'])
  })

  test('that left is forgotten: an entry of its name from long ago is judged anew', () => {
    const { look } = viewer()
    look(0, entry('a', 1))
    look(500, entry('a', 2))
    look(1_000)
    expect(look(1_500, entry('a', 3, NOON - 3_600_000)).workers).toEqual(['me'])
  })

  test('lives while its entry changes within three of its periods', () => {
    const { look } = viewer()
    look(0, entry('a', 1))
    look(500, entry('a', 2))
    expect(look(2_000, entry('a', 2)).workers).toEqual(['me', 'a'])
    expect(look(2_001, entry('a', 2)).workers).toEqual(['me'])
    expect(look(2_100, entry('a', 3)).workers).toEqual(['me', 'a'])
  })

  test('whose entry is old by its own time does not count until it is seen to change, however the clocks differ', () => {
    const { look } = viewer()
    const wrong = NOON - 3_600_000
    expect(look(0, entry('a', 1, wrong)).workers).toEqual(['me'])
    expect(look(500, entry('a', 2, wrong)).workers).toEqual(['me', 'a'])
  })

  test('that has not renewed a lease in time is gone, whatever its entry says, so it does not get that lease back', () => {
    const { look } = viewer()
    const other = (counter: number): Item => lease(counter, 'a', undefined, 'shardId-1')
    look(0, lease(1, 'a'), other(1), entry('a', 1))
    look(900, lease(1, 'a'), other(1), entry('a', 2))
    const seen = look(1_100, lease(1, 'a'), other(2), entry('a', 3))
    expect(seen).toMatchObject({ states: ['free', 'live'], workers: ['me'] })
    expect(look(1_200, lease(2, 'me'), other(2), entry('a', 3)).workers).toEqual(['me'])
    expect(look(1_300, lease(2, 'me'), other(2), entry('a', 4)).workers).toEqual(['me', 'a'])
  })

  test('that let its leases expire stays gone after others have taken them, until its entry changes', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), entry('a', 1))
    look(500, lease(1, 'a'), entry('a', 2))
    expect(look(1_100, lease(1, 'a'), entry('a', 2)).workers).toEqual(['me'])
    expect(look(1_200, lease(2, 'me'), entry('a', 2)).workers).toEqual(['me'])
    expect(look(1_300, lease(3, 'me'), entry('a', 3)).workers).toEqual(['me', 'a'])
  })

  test('of the KCL lives for a minute after its entry has changed', () => {
    const { look } = viewer()
    const java = (seconds: number): Item => ({
      leaseKey: { S: 'java' },
      entityType: { S: 'WORKER_METRIC_STATS' },
      lut: { N: String(NOON / 1_000 + seconds) },
    })
    look(0, java(0))
    expect(look(30_000, java(30)).workers).toEqual(['me', 'java'])
    expect(look(90_000, java(30)).workers).toEqual(['me', 'java'])
    expect(look(90_001, java(30)).workers).toEqual(['me'])
  })

  test('long gone leaves an entry to be deleted; one of the KCL is left to it', () => {
    const { look } = viewer()
    look(0, entry('a', 1), { leaseKey: { S: 'java' }, entityType: { S: 'WORKER_METRIC_STATS' }, lut: { N: '1' } })
    const { view } = look(30_001, entry('a', 1), {
      leaseKey: { S: 'java' },
      entityType: { S: 'WORKER_METRIC_STATS' },
      lut: { N: '1' },
    })
    expect(view.staleEntries().map(({ workerId }) => workerId)).toEqual(['a'])
  })
})
