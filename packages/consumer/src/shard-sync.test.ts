import type { Shard } from '@shardwise/core'
import { FULL_HASH_RANGE, type HashRange, MAX_HASH_KEY, splitEvenly } from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import { deletableLeases, firstLeases, type InitialPosition, missingLeases, uncovered } from './shard-sync.ts'

const shard = (
  id: number,
  [start, end]: readonly [number, number],
  parents: readonly number[] = [],
  isOpen = false,
  born = 0,
): Shard => ({
  shardId: `s${id}`,
  hashRange: { start: BigInt(start), end: BigInt(end) },
  parentShardIds: parents.map((parent) => `s${parent}`),
  startingSequenceNumber: String(born * 100 + 1),
  endingSequenceNumber: isOpen ? undefined : String(born * 100 + 99),
})

/*
 * 0 1 2 3 4 5   first
 *  6   7  4 5   6 = 0+1, 7 = 2+3
 *    8    4 9,10   8 = 6+7, and 5 split; 4, 8, 9, 10 are open
 */
const TREE = [
  shard(0, [0, 9]),
  shard(1, [10, 19]),
  shard(2, [20, 29]),
  shard(3, [30, 39]),
  shard(4, [40, 49], [], true),
  shard(5, [50, 59]),
  shard(6, [0, 19], [0, 1], false, 1),
  shard(7, [20, 39], [2, 3], false, 1),
  shard(8, [0, 39], [6, 7], true, 2),
  shard(9, [50, 54], [5], true, 2),
  shard(10, [55, 59], [5], true, 2),
]

const leases = (...ids: number[]): Pick<Lease, 'leaseKey' | 'hashRange' | 'startMs'>[] =>
  ids.map((id) => ({ leaseKey: `s${id}`, hashRange: TREE[id]?.hashRange, startMs: undefined }))

const NOW = 1_000_000
const AT_TIME: InitialPosition = { timestamp: 5_000 }

function missing(ids: number[], position: InitialPosition, shards: readonly Shard[] = TREE): string[] {
  return missingLeases(shards, leases(...ids), position, NOW).map(({ shardId }) => shardId)
}

describe('missing leases', () => {
  test.each([
    { has: [4, 5, 7], latest: ['s6'], oldest: ['s0', 's1'] },
    { has: [3, 4, 5], latest: ['s2', 's6'], oldest: ['s0', 's1', 's2'] },
    { has: [2, 6], latest: ['s3', 's4', 's9', 's10'], oldest: ['s3', 's4', 's5'] },
    { has: [4, 9, 10], latest: ['s8'], oldest: ['s0', 's1', 's2', 's3'] },
    { has: [0, 1, 2, 3, 4, 5], latest: [], oldest: [] },
    { has: [4, 8, 9, 10], latest: [], oldest: [] },
    { has: [4, 5, 6, 7, 8, 9, 10], latest: [], oldest: [] },
    { has: [], latest: ['s4', 's8', 's9', 's10'], oldest: ['s0', 's1', 's2', 's3', 's4', 's5'] },
  ])('with leases $has', ({ has, latest, oldest }) => {
    expect(missing(has, 'LATEST').sort()).toEqual([...latest].sort())
    expect(missing(has, 'TRIM_HORIZON').sort()).toEqual([...oldest].sort())
    expect(missing(has, AT_TIME).sort()).toEqual([...oldest].sort())
  })

  test('the other side of a merge is read from its start, a shard with nothing leased above it from the position', () => {
    expect(missingLeases(TREE, leases(3, 5), 'LATEST', NOW)).toMatchObject([
      { shardId: 's2', checkpoint: { sequenceNumber: 'TRIM_HORIZON' }, startMs: undefined },
      { shardId: 's4', checkpoint: { sequenceNumber: 'LATEST' }, startMs: NOW },
      { shardId: 's6', checkpoint: { sequenceNumber: 'TRIM_HORIZON' }, startMs: undefined },
    ])
    expect(missingLeases(TREE, leases(6, 7, 9, 10), AT_TIME, NOW)).toMatchObject([
      { shardId: 's4', checkpoint: { sequenceNumber: 'AT_TIMESTAMP' }, startMs: 5_000 },
    ])
  })

  test('a merge parent that is no longer listed does not hide the other', () => {
    const shards = [shard(1, [10, 19]), shard(2, [0, 19], [0, 1], true, 1)]
    expect(missing([], 'TRIM_HORIZON', shards)).toEqual(['s1'])
    expect(missing([1], 'TRIM_HORIZON', shards)).toEqual([])
  })

  test('a creation that stopped half-way is completed by the next', () => {
    for (const position of ['TRIM_HORIZON', 'LATEST', AT_TIME] as const) {
      const all = missing([], position)
      for (let done = 1; done < all.length; done++) {
        const made = all.slice(0, done).map((id) => Number(id.slice(1)))
        expect(missing(made, position)).toEqual(all.slice(done))
      }
    }
  })

  test('a listing from before a reshard brings back no shard whose children are leased', () => {
    const before = [
      ...TREE.slice(0, 5),
      shard(5, [50, 59], [], true),
      shard(6, [0, 19], [0, 1], true, 1),
      shard(7, [20, 39], [2, 3], true, 1),
    ]
    for (const position of ['TRIM_HORIZON', 'LATEST', AT_TIME] as const) {
      expect(missing([4, 8, 9, 10], position, before)).toEqual([])
    }
  })

  test('where one child of a finished shard has lost its lease, that child alone gets a new one', () => {
    expect(missing([4, 8, 9], 'TRIM_HORIZON')).toEqual(['s10'])
    expect(missing([4, 8, 10], AT_TIME)).toEqual(['s9'])
  })

  test('a creation at the tip that stopped half-way is completed at the tip of then', () => {
    const [first, ...others] = leases(4, 8)
    const started = [{ ...first!, startMs: NOW - 60_000 }, ...others]
    expect(missingLeases(TREE, started, 'LATEST', NOW)).toMatchObject([
      { shardId: 's10', startMs: NOW - 60_000 },
      { shardId: 's9', startMs: NOW - 60_000 },
    ])
  })

  test('they come with ancestors first', () => {
    const created = missing([2], 'LATEST')
    expect(created.indexOf('s3')).toBeLessThan(created.indexOf('s8') === -1 ? Infinity : created.indexOf('s8'))
    expect(created[0]).toBe('s3')
  })
})

test('the first leases are those of every shard open at the position', () => {
  const open = TREE.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined)
  const ids = open.map(({ shardId }) => shardId).sort()
  for (const position of ['TRIM_HORIZON', 'LATEST', AT_TIME] as const) {
    expect(
      firstLeases(open, position, NOW)
        .map(({ shardId }) => shardId)
        .sort(),
    ).toEqual(ids)
  }
  expect(firstLeases(open, 'LATEST', NOW + 0.5)[0]).toMatchObject({
    checkpoint: { sequenceNumber: 'LATEST' },
    startMs: NOW,
  })
})

const toLease = (
  id: string,
  hashRange: HashRange | undefined,
  options: { checkpoint?: string; parents?: string[]; children?: string[] } = {},
): Lease => {
  const { checkpoint = '5', parents = [], children = [] } = options
  const position = { sequenceNumber: checkpoint, subSequenceNumber: 0 }
  const { set } = create({
    shardId: id,
    hashRange: hashRange ?? FULL_HASH_RANGE,
    parentShardIds: parents,
    checkpoint: position,
    startMs: undefined,
  })
  return { ...leaseFromItem({ ...set, leaseKey: { S: id } })!, childShardIds: children, hashRange }
}

/** Splits and merges at random; some parents are still being read, the rest are finished, as at any moment of a run. */
const randomTree = fc
  .array(fc.record({ pick: fc.nat(), merge: fc.boolean(), finished: fc.boolean() }), { maxLength: 30 })
  .map((steps) => {
    let open = splitEvenly(3).map((range, index) => ({ id: `s${index}`, range, blocked: false }))
    const all = new Map(open.map(({ id, range }) => [id, toLease(id, range)]))
    for (const { pick, merge, finished } of steps) {
      const index = pick % open.length
      const first = open[index]!
      const second = open[index + 1]
      const parents = merge && second !== undefined ? [first, second] : [first]
      if (parents.some(({ range }) => range.end - range.start < 4n || range.end > MAX_HASH_KEY)) continue
      const range = { start: first.range.start, end: parents.at(-1)!.range.end }
      const middle = range.start + (range.end - range.start) / 2n
      const ranges =
        parents.length === 2
          ? [range]
          : [
              { ...range, end: middle },
              { ...range, start: middle + 1n },
            ]
      const isDone = finished && parents.every(({ blocked }) => !blocked)
      const children = ranges.map((childRange, offset) => ({
        id: `s${all.size + offset}`,
        range: childRange,
        blocked: !isDone,
      }))
      if (isDone) {
        for (const { id, range: own } of parents) all.set(id, toLease(id, own, { checkpoint: 'SHARD_END' }))
      }
      // Children have leases once a parent has ended.
      if (isDone) for (const child of children) all.set(child.id, toLease(child.id, child.range))
      if (isDone) open = [...open.slice(0, index), ...children, ...open.slice(index + parents.length)]
    }
    return [...all.values()]
  })

describe('holes', () => {
  test('no split or merge, finished or under way, looks like a hole; a deleted lease does', () => {
    fc.assert(
      fc.property(randomTree, fc.nat(), (all, pick) => {
        expect(uncovered(all)).toEqual([])
        const unfinished = all.filter(({ checkpoint }) => checkpoint.sequenceNumber !== 'SHARD_END')
        const deleted = unfinished[pick % unfinished.length]!
        expect(uncovered(all.filter((lease) => lease !== deleted))).toEqual([deleted.hashRange])
      }),
    )
  })

  test('with a lease that does not tell its range nothing can be said', () => {
    expect(uncovered([toLease('s0', undefined)])).toEqual([])
  })
})

describe('finished leases', () => {
  const ended = { checkpoint: 'SHARD_END', children: ['s1', 's2'] }
  const deletable = (...all: Lease[]): string[] => deletableLeases(all).map(({ leaseKey }) => leaseKey)

  test('go when all their children have been started', () => {
    expect(
      deletable(toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', undefined), toLease('s2', undefined)),
    ).toEqual(['s0'])
  })

  test.each(['TRIM_HORIZON', 'AT_TIMESTAMP'])('stay while a child is at %s', (checkpoint) => {
    const child = toLease('s2', undefined, { checkpoint })
    expect(deletable(toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', undefined), child)).toEqual([])
  })

  test('stay while a child has no lease, or the children are not known', () => {
    expect(deletable(toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', undefined))).toEqual([])
    expect(deletable(toLease('s0', FULL_HASH_RANGE, { checkpoint: 'SHARD_END' }))).toEqual([])
  })

  test('go oldest first', () => {
    const grandparent = toLease('p', undefined, { checkpoint: 'SHARD_END', children: ['s0'] })
    const parent = toLease('s0', undefined, { ...ended, parents: ['p'] })
    expect(deletable(grandparent, parent, toLease('s1', undefined), toLease('s2', undefined))).toEqual(['p'])
  })

  test('an unfinished one never goes', () => {
    expect(deletable(toLease('s0', undefined, { children: ['s1'] }), toLease('s1', undefined))).toEqual([])
  })
})
