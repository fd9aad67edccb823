import type { Shard } from '@shardwise/core'
import {
  FULL_HASH_RANGE,
  type HashRange,
  isSentinel,
  MAX_HASH_KEY,
  overlaps,
  type Position,
  SHARD_END,
  splitEvenly,
  TRIM_HORIZON,
} from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareShardIds, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import {
  deadEnds,
  deletableLeases,
  findMisfit,
  firstLeases,
  type InitialPosition,
  type MissingLease,
  missingLeases,
  repairs,
  startedAtMs,
  uncovered,
} from './shard-sync.ts'

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

const READING: Position = { sequenceNumber: '5', subSequenceNumber: 0 }

const leases = (...ids: number[]): Pick<Lease, 'shardId' | 'checkpoint' | 'hashRange' | 'startMs'>[] =>
  ids.map((id) => ({ shardId: `s${id}`, checkpoint: READING, hashRange: TREE[id]?.hashRange, startMs: undefined }))

const NOW = 1_000_000
const AT_TIME: InitialPosition = { timestamp: 5_000 }

function missing(ids: number[], position: InitialPosition, shards: readonly Shard[] = TREE): string[] {
  return missingLeases(shards, leases(...ids), position, NOW).map(({ shardId }) => shardId)
}

describe('missing leases', () => {
  test('a merge parent that is no longer listed does not hide the other', () => {
    const shards = [shard(1, [10, 19]), shard(2, [0, 19], [0, 1], true, 1)]
    expect(missing([], 'TRIM_HORIZON', shards)).toEqual(['s1'])
    expect(missing([1], 'TRIM_HORIZON', shards)).toEqual([])
  })

  test('at the tip, the other side of a merge starts where the application did, or, where that is not known, at its oldest record', () => {
    expect(missingLeases(TREE, leases(4, 5, 7), 'LATEST', NOW)).toMatchObject([
      { shardId: 's6', checkpoint: { sequenceNumber: 'TRIM_HORIZON' }, startMs: undefined },
    ])
    const since = leases(4, 5, 7).map((lease) => ({ ...lease, startMs: NOW - 60_000 }))
    expect(missingLeases(TREE, since, 'LATEST', NOW)).toMatchObject([
      { shardId: 's6', checkpoint: { sequenceNumber: 'LATEST' }, startMs: NOW - 60_000 },
    ])
  })

  test('at a time, every one starts there', () => {
    expect(missingLeases(TREE, leases(6, 7, 9, 10), AT_TIME, NOW)).toMatchObject([
      { shardId: 's4', checkpoint: { sequenceNumber: 'AT_TIMESTAMP' }, startMs: 5_000 },
    ])
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

  test('a creation at the tip that stopped half-way is completed at the tip of then', () => {
    const [first, ...others] = leases(4, 8)
    const started = [{ ...first!, startMs: NOW - 60_000 }, ...others]
    expect(missingLeases(TREE, started, 'LATEST', NOW)).toMatchObject([
      { shardId: 's9', startMs: NOW - 60_000 },
      { shardId: 's10', startMs: NOW - 60_000 },
    ])
  })

  test('it is completed with the shards of then, where they were split since', () => {
    const started = leases(4, 8).map((lease) => ({ ...lease, startMs: NOW - 60_000 }))
    const openAtStart = new Set(['s4', 's5', 's8'])
    expect(missingLeases(TREE, started, 'LATEST', NOW, openAtStart)).toMatchObject([
      { shardId: 's5', checkpoint: { sequenceNumber: 'LATEST' }, startMs: NOW - 60_000 },
    ])
    expect(missingLeases(TREE, leases(4, 8), AT_TIME, NOW, openAtStart)).toMatchObject([{ shardId: 's5' }])
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

  test.each(['LATEST', 'TRIM_HORIZON'] as const)(
    'below a finished lease it starts with its oldest record, at %s too',
    (position) => {
      const [ended, ...others] = leases(5, 4, 8, 9)
      const all = [{ ...ended!, checkpoint: SHARD_END }, ...others]
      expect(missingLeases(TREE, all, position, NOW)).toMatchObject([
        { shardId: 's10', checkpoint: { sequenceNumber: 'TRIM_HORIZON' }, startMs: undefined },
      ])
    },
  )

  describe('at the tip, where every leased shard has expired', () => {
    // Of a line s0, s1, s2, s3 the first are no longer listed.
    const line = [
      shard(0, [0, 9]),
      shard(1, [0, 9], [0], false, 1),
      shard(2, [0, 9], [1], false, 2),
      shard(3, [0, 9], [2], true, 3),
    ]
    const lease = { shardId: 's0', checkpoint: READING, hashRange: { start: 0n, end: 9n }, startMs: 1 }

    test('a child waits for its reader to find out', () => {
      expect(missingLeases(line.slice(1), [lease], 'LATEST', NOW)).toEqual([])
    })

    test('the oldest that is still listed is read from its oldest record, before those below it', () => {
      const found = missingLeases(line.slice(2), [lease], 'LATEST', NOW)
      expect(found).toMatchObject([{ shardId: 's2', checkpoint: { sequenceNumber: 'TRIM_HORIZON' } }])
    })

    test('so it is once its reader has ended it without children', () => {
      const ended = { ...lease, checkpoint: SHARD_END }
      const found = missingLeases(line.slice(1), [ended], 'LATEST', NOW)
      expect(found).toMatchObject([{ shardId: 's1', checkpoint: { sequenceNumber: 'TRIM_HORIZON' } }])
    })

    test('and so it is if the lease does not tell its hash range', () => {
      const found = missingLeases(line.slice(2), [{ ...lease, hashRange: undefined }], 'LATEST', NOW)
      expect(found).toMatchObject([{ shardId: 's2', checkpoint: { sequenceNumber: 'TRIM_HORIZON' } }])
    })
  })

  test('a shard that is listed as open beside its own children comes before them', () => {
    const between = TREE.map((each) => (each.shardId === 's5' ? { ...each, endingSequenceNumber: undefined } : each))
    expect(missing([], 'LATEST', between).sort()).toEqual(['s4', 's5', 's8'])
    expect(firstLeases(between.slice(4), 'LATEST', NOW).map(({ shardId }) => shardId)).toEqual(['s4', 's5', 's6', 's7'])
  })

  test('they come with ancestors first', () => {
    expect(missing([2], 'LATEST')).toEqual(['s3', 's4', 's6', 's9', 's10'])
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
    streamIdentifier: undefined,
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

type Step = {
  readonly act: 'split' | 'merge' | 'expire' | 'read' | 'sync' | 'half' | 'late' | 'clean'
  readonly pick: number
}

const ACTS = ['split', 'merge', 'merge', 'expire', 'read', 'read', 'read', 'sync', 'half', 'late', 'clean'] as const

const lives = fc.array(
  fc.record({
    act: fc.constantFrom<Step['act'][]>(...ACTS),
    pick: fc.nat(),
  }),
  { minLength: 5, maxLength: 60 },
)

interface ModelShard extends Shard {
  readonly bornAt: number
  closedAt: number
  /** The time from which on its records were read; undefined if they weren't. */
  readFrom: number | undefined
}

/** A stream that is resharded, and an application that reads it by what the functions here say. Time is counted in steps. */
class Application {
  readonly #position: InitialPosition
  readonly #shards: ModelShard[] = []
  readonly #expired = new Set<ModelShard>()
  readonly #leases = new Map<string, Lease>()
  readonly #finished = new Set<string>()
  #late: Shard[] = []
  #now = 1
  /** When the first leases were made. */
  startedAt: number | undefined

  constructor(position: InitialPosition) {
    this.#position = position
    for (const range of splitEvenly(3)) this.#add(range, [])
  }

  #add(hashRange: HashRange, parents: readonly ModelShard[]): void {
    const parentShardIds = parents.map(({ shardId }) => shardId)
    const startingSequenceNumber = String(this.#now * 100)
    const shardId = `s${this.#shards.length}`
    this.#shards.push({
      shardId,
      hashRange,
      parentShardIds,
      startingSequenceNumber,
      endingSequenceNumber: undefined,
      bornAt: this.#now,
      closedAt: Number.POSITIVE_INFINITY,
      readFrom: undefined,
    })
  }

  listing(): Shard[] {
    return this.#listed().map((shard) => ({
      ...shard,
      endingSequenceNumber: shard.closedAt === Number.POSITIVE_INFINITY ? undefined : String(shard.closedAt * 100 - 1),
    }))
  }

  all(): Lease[] {
    return [...this.#leases.values()]
  }

  #listed(): ModelShard[] {
    return this.#shards.filter((shard) => !this.#expired.has(shard))
  }

  get #open(): ModelShard[] {
    const open = this.#shards.filter(({ closedAt }) => closedAt === Number.POSITIVE_INFINITY)
    return open.sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
  }

  take({ act, pick }: Step): void {
    this.#now++
    if (act === 'split' || act === 'merge') this.#reshard(act, pick)
    else if (act === 'expire') this.#expire(pick)
    else if (act === 'read') this.#readOne(pick)
    else if (act === 'clean') this.#clean()
    else if (act !== 'late') this.#sync(this.listing(), act === 'sync' ? Number.POSITIVE_INFINITY : 1 + (pick % 3))
    // The first listing is by a filter, which is another thing.
    else if (this.#leases.size > 0) this.#sync(this.#late, Number.POSITIVE_INFINITY)
    if (pick % 4 === 0) this.#late = this.listing()
  }

  #reshard(act: 'split' | 'merge', pick: number): void {
    const open = this.#open
    const parents = open.slice(pick % open.length).slice(0, act === 'split' ? 1 : 2)
    if (act === 'merge' && parents.length < 2) return
    const range = { start: parents[0]!.hashRange.start, end: parents.at(-1)!.hashRange.end }
    for (const parent of parents) parent.closedAt = this.#now
    for (const part of act === 'split' ? splitEvenly(2, range) : [range]) this.#add(part, parents)
  }

  /** Records expire in the order in which shards were closed. */
  #expire(pick: number): void {
    const closed = this.#listed().filter(({ closedAt }) => closedAt < this.#now)
    closed.sort((a, b) => a.closedAt - b.closedAt)
    const until = closed[pick % Math.max(1, closed.length)]?.closedAt ?? 0
    for (const shard of closed) if (shard.closedAt <= until) this.#expired.add(shard)
  }

  #create(lease: MissingLease): void {
    if (this.#leases.has(lease.shardId)) return
    if (this.#finished.has(lease.shardId)) throw new Error(`${lease.shardId} was finished and is to be read again`)
    const { set } = create({ ...lease, streamIdentifier: undefined })
    this.#leases.set(lease.shardId, leaseFromItem({ ...set, leaseKey: { S: lease.shardId } })!)
  }

  #sync(shards: readonly Shard[], atMost: number): void {
    const leases = this.all()
    let missing: MissingLease[]
    if (leases.length === 0) {
      this.startedAt = this.#now
      // A listing may be seconds old, not from reshards before the one that the application began with.
      this.#late = this.listing()
      const open = shards.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined)
      const oldest = missingLeases(shards, [], 'TRIM_HORIZON', this.#now).map(({ shardId }) => shardId)
      const first = this.#position === 'LATEST' ? open : shards.filter(({ shardId }) => oldest.includes(shardId))
      missing = firstLeases(first, this.#position, this.#now)
    } else {
      const sinceMs = startedAtMs(this.#position, leases)
      const openThen = this.#listed().filter(({ bornAt, closedAt }) => bornAt <= sinceMs! && sinceMs! < closedAt)
      const openAtStart = sinceMs === undefined ? undefined : new Set(openThen.map(({ shardId }) => shardId))
      missing = missingLeases(shards, leases, this.#position, this.#now, openAtStart)
    }
    for (const lease of missing.slice(0, atMost)) this.#create(lease)
  }

  /** As a look at the stream does: only after all that was missing has been made. */
  #clean(): void {
    this.#sync(this.listing(), Number.POSITIVE_INFINITY)
    for (const { lease } of deletableLeases(this.all(), this.listing())) {
      this.#leases.delete(lease.shardId)
      this.#finished.add(lease.shardId)
    }
  }

  #readOne(pick: number): void {
    const unfinished = this.all().filter((lease) => !isFinished(lease))
    if (unfinished.length > 0) this.#read(unfinished[pick % unfinished.length]!)
  }

  /** Reads a shard as far as it goes, if its parents are finished, and ends it if it is closed. Returns whether it could. */
  #read(lease: Lease): boolean {
    const shard = this.#shards.find(({ shardId }) => shardId === lease.shardId)!
    if (!this.#mayBeRead(lease)) return false
    if (this.#expired.has(shard)) return this.#end(lease, shard)
    if (shard.readFrom === undefined) {
      this.#checkOrder(shard)
      shard.readFrom = Math.max(shard.bornAt, lease.checkpoint.sequenceNumber === 'LATEST' ? lease.startMs! : 0)
    }
    if (shard.closedAt < Number.POSITIVE_INFINITY) return this.#end(lease, shard)
    const checkpoint = { sequenceNumber: String(this.#now * 100), subSequenceNumber: 0 }
    this.#leases.set(lease.shardId, { ...lease, checkpoint })
    return false
  }

  #mayBeRead(lease: Lease): boolean {
    const parents = lease.parentShardIds.map((id) => this.#leases.get(id))
    if (parents.some((parent) => parent !== undefined && !isFinished(parent))) return false
    if (!parents.includes(undefined) || !isSentinel(lease.checkpoint)) return true
    return !this.all().some(
      (other) =>
        !isFinished(other) &&
        compareShardIds(other.shardId, lease.shardId) < 0 &&
        overlaps(other.hashRange!, lease.hashRange!),
    )
  }

  #end(lease: Lease, shard: ModelShard): boolean {
    const children = this.#listed().filter(({ parentShardIds }) => parentShardIds.includes(shard.shardId))
    const listed = new Set(this.#listed().map(({ shardId }) => shardId))
    const isDeferred = children.some(
      (child) =>
        !this.#leases.has(child.shardId) &&
        child.parentShardIds.some((id) => id !== shard.shardId && listed.has(id) && !this.#leases.has(id)),
    )
    if (isDeferred) return false
    for (const child of children) this.#create({ ...child, checkpoint: TRIM_HORIZON, startMs: undefined })
    const childShardIds = children.map(({ shardId }) => shardId)
    this.#leases.set(shard.shardId, { ...lease, checkpoint: SHARD_END, childShardIds })
    return true
  }

  /** What is above a shard, still there, and of the application's time, was read before. */
  #checkOrder(shard: ModelShard): void {
    for (const above of this.#shards) {
      if (compareShardIds(above.shardId, shard.shardId) >= 0 || !overlaps(above.hashRange, shard.hashRange)) continue
      if (this.#expired.has(above) || !this.#isDue(above)) continue
      const lease = this.#leases.get(above.shardId)
      const isRead = this.#finished.has(above.shardId) || (lease !== undefined && isFinished(lease))
      if (!isRead) throw new Error(`${shard.shardId} is read before ${above.shardId}`)
    }
  }

  #isDue({ closedAt }: ModelShard): boolean {
    return this.#position !== 'LATEST' || closedAt > this.startedAt!
  }

  /** Hands on until nothing moves any more, with nobody interfering. */
  settle(): void {
    for (let moves = true; moves; ) {
      const before = this.#leases.size
      this.#now++
      this.#sync(this.listing(), Number.POSITIVE_INFINITY)
      moves = this.#leases.size > before
      for (const lease of this.all()) if (!isFinished(lease)) moves = this.#read(lease) || moves
    }
  }

  /** Removes a lease by hand. */
  lose(pick: number): void {
    const all = this.all()
    if (all.length > 1) this.#leases.delete(all[pick % all.length]!.shardId)
    this.#finished.clear()
  }

  /** What should have been read and wasn't. */
  unread(): string[] {
    const due = this.#listed().filter((shard) => this.#isDue(shard))
    return due
      .filter(({ bornAt, readFrom }) => {
        const from = this.#position === 'LATEST' ? Math.max(bornAt, this.startedAt!) : bornAt
        return readFrom === undefined || readFrom > from
      })
      .map(({ shardId }) => shardId)
  }
}

describe('through splits, merges, expiry and creations that stop half-way', () => {
  test.each(['TRIM_HORIZON', 'LATEST'] as const)('from %s, all is read, in order, once', (position) => {
    fc.assert(
      fc.property(lives, (steps) => {
        const app = new Application(position)
        for (const step of steps) app.take(step)
        app.settle()
        expect(uncovered(app.all())).toEqual([])
        expect(app.unread()).toEqual([])
      }),
      { numRuns: 1000 },
    )
  })

  test.each(['TRIM_HORIZON', 'LATEST'] as const)(
    'from %s, a lease that was deleted by hand leaves no hole',
    (position) => {
      fc.assert(
        fc.property(lives, fc.nat(), (steps, pick) => {
          const app = new Application(position)
          for (const step of steps) app.take(step)
          app.settle()
          app.lose(pick)
          app.settle()
          expect(uncovered(app.all())).toEqual([])
        }),
        { numRuns: 300 },
      )
    },
  )
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
  const [LOW, HIGH] = splitEvenly(2) as [HashRange, HashRange]
  const deletable = (...all: Lease[]): string[] => deletableFrom(['s0', 's1', 's2'], ...all)
  const deletableFrom = (listed: readonly string[], ...all: Lease[]): string[] => {
    const shards = listed.map((shardId) => ({ ...shard(0, [0, 9]), shardId }))
    return deletableLeases(all, shards).map(({ lease, reason }) => `${lease.leaseKey} ${reason}`)
  }

  test('go when all their children have been started', () => {
    expect(
      deletable(toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', undefined), toLease('s2', undefined)),
    ).toEqual(['s0 finished'])
  })

  test.each(['TRIM_HORIZON', 'AT_TIMESTAMP'])('stay while a child is at %s', (checkpoint) => {
    const child = toLease('s2', undefined, { checkpoint })
    expect(deletable(toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', undefined), child)).toEqual([])
    expect(deletableFrom([], toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', FULL_HASH_RANGE), child)).toEqual([])
  })

  test('stay while a child has no lease, or the children are not known', () => {
    expect(deletable(toLease('s0', FULL_HASH_RANGE, ended), toLease('s1', undefined))).toEqual([])
    expect(deletable(toLease('s0', FULL_HASH_RANGE, { checkpoint: 'SHARD_END' }))).toEqual([])
  })

  test('go oldest first', () => {
    const grandparent = toLease('p', undefined, { checkpoint: 'SHARD_END', children: ['s0'] })
    const parent = toLease('s0', undefined, { ...ended, parents: ['p'] })
    expect(deletable(grandparent, parent, toLease('s1', undefined), toLease('s2', undefined))).toEqual(['p finished'])
  })

  test('whose children are not known go when the shard is no longer listed and all its hash keys are read below', () => {
    const gone = toLease('s0', FULL_HASH_RANGE, { checkpoint: 'SHARD_END' })
    const below = [toLease('s3', LOW), toLease('s4', HIGH)]
    expect(deletableFrom(['s3', 's4'], gone, ...below)).toEqual(['s0 gone'])
    expect(deletableFrom(['s0', 's3', 's4'], gone, ...below)).toEqual([])
    expect(deletableFrom(['s3', 's4'], gone, toLease('s3', LOW))).toEqual([])
    expect(
      deletableFrom(['s3', 's4'], gone, toLease('s3', LOW), toLease('s4', HIGH, { checkpoint: 'TRIM_HORIZON' })),
    ).toEqual([])
  })

  test('an unfinished one never goes', () => {
    expect(deletable(toLease('s0', undefined, { children: ['s1'] }), toLease('s1', undefined))).toEqual([])
    expect(deletableFrom([], toLease('s0', FULL_HASH_RANGE), toLease('s1', FULL_HASH_RANGE))).toEqual([])
  })
})

describe('a stream that was made anew', () => {
  const range = { start: 0n, end: 9n }

  test('shows in a checkpoint from before the beginning of its shard', () => {
    const shards = [shard(1, [0, 9], [], true, 7)]
    expect(findMisfit(shards, [toLease('s1', range, { checkpoint: '700' })])).toMatchObject({
      lease: { shardId: 's1' },
      shard: { shardId: 's1', startingSequenceNumber: '701' },
    })
    expect(findMisfit(shards, [toLease('s1', range, { checkpoint: '701' })])).toBeUndefined()
  })

  test('shows in a checkpoint below an open shard from before its beginning', () => {
    const shards = [shard(1, [0, 9], [], true, 7)]
    expect(findMisfit(shards, [toLease('s2', range, { checkpoint: '700' })])).toBeDefined()
    expect(findMisfit(shards, [toLease('s2', { start: 10n, end: 19n }, { checkpoint: '700' })])).toBeUndefined()
    expect(findMisfit(shards, [toLease('s2', range, { checkpoint: '702' })])).toBeUndefined()
  })

  test.each(['TRIM_HORIZON', 'LATEST', 'AT_TIMESTAMP', 'SHARD_END'])(
    'does not show in a checkpoint at %s',
    (checkpoint) => {
      expect(findMisfit([shard(1, [0, 9], [], true, 7)], [toLease('s1', range, { checkpoint })])).toBeUndefined()
    },
  )

  test('never shows in a stream that was not', () => {
    fc.assert(
      fc.property(lives, (steps) => {
        const app = new Application('TRIM_HORIZON')
        for (const step of steps) {
          app.take(step)
          expect(findMisfit(app.listing(), app.all())).toBeUndefined()
          expect(deadEnds(app.listing(), app.all())).toEqual([])
        }
      }),
      { numRuns: 200 },
    )
  })

  test('may show in an open shard that the leases say is finished, with nothing read below it', () => {
    const open = shard(1, [0, 9], [], true)
    const ended = { checkpoint: 'SHARD_END' }
    const ids = (...all: Lease[]): string[] => deadEnds([open], all).map(({ shardId }) => shardId)
    expect(ids(toLease('s1', range, ended))).toEqual(['s1'])
    expect(ids(toLease('s2', range, ended))).toEqual(['s1'])
    expect(ids(toLease('s1', range))).toEqual([])
    expect(ids(toLease('s1', range, ended), toLease('s2', range))).toEqual([])
    expect(ids()).toEqual([])
  })
})

test('what old versions of the KCL did not write is found by the listing', () => {
  const whole = toLease('s8', { start: 0n, end: 39n }, { parents: ['s6', 's7'] })
  const found = repairs(TREE, [
    whole,
    { ...whole, hashRange: undefined },
    { ...whole, parentShardIds: [] },
    toLease('s4', undefined),
    toLease('s99', undefined),
  ])
  expect(found.map(({ lacks }) => lacks)).toEqual([
    { hashRange: { start: 0n, end: 39n } },
    { parentShardIds: ['s6', 's7'] },
    { hashRange: { start: 40n, end: 49n } },
  ])
})
