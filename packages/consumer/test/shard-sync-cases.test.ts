import { type Shard, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { FULL_HASH_RANGE, type HashRange, SHARD_END, splitEvenly } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { Chore } from '../src/chore.ts'
import { type Lease, leaseFromItem } from '../src/leases/lease.ts'
import { create } from '../src/leases/lease-changes.ts'
import { Parents } from '../src/leases/parents.ts'
import { createChildLeases } from '../src/leases/shard-end.ts'
import {
  deletableLeases,
  firstLeases,
  type InitialPosition,
  missingLeases,
  uncovered,
} from '../src/leases/shard-sync.ts'
import { StreamSync } from '../src/leases/stream-sync.ts'
import { leaseKeyOf } from '../src/streams/stream-source.ts'
import { type StreamEvent, Telemetry } from '../src/telemetry/telemetry.ts'
import { ListedStream, notFound } from './listed-stream.ts'
import { MemoryTable } from './memory-table.ts'
import { read, clock as readingClock, refusal } from './reading.ts'
import { TREE_A, TREE_B, TREE_C } from './shard-trees.ts'

const NOW = 1_000_000
const AT_TIME: InitialPosition = { timestamp: 1_000 }
const POSITIONS = { LATEST: 'LATEST', TRIM_HORIZON: 'TRIM_HORIZON', AT_TIMESTAMP: AT_TIME } as const
const signal = new AbortController().signal
const [LOW, HIGH] = splitEvenly(2) as [HashRange, HashRange]

let stream: ListedStream
let table: MemoryTable
let clock: ManualClock
let events: StreamEvent[]

beforeEach(() => {
  stream = new ListedStream()
  table = new MemoryTable()
  clock = new ManualClock()
  events = []
})

interface Given {
  readonly checkpoint?: string
  readonly hashRange?: HashRange
  readonly parents?: readonly string[]
  readonly children?: readonly string[]
  readonly startMs?: number
}

function lease(shardId: string, given: Given = {}): Lease {
  const { checkpoint = '7000', hashRange = FULL_HASH_RANGE, parents = [], children = [], startMs } = given
  const position = { sequenceNumber: checkpoint, subSequenceNumber: 0 }
  const { set } = create({
    streamIdentifier: undefined,
    shardId,
    hashRange,
    parentShardIds: parents,
    checkpoint: position,
    startMs,
  })
  return { ...leaseFromItem({ ...set, leaseKey: { S: shardId } })!, childShardIds: children }
}

/** Leases of a tree's shards, by their numbers. */
function leasesOf(tree: readonly Shard[], ids: readonly number[], given: Given = {}): Lease[] {
  return ids.map((id) => {
    const { shardId, hashRange, parentShardIds } = tree[id]!
    return lease(shardId, { hashRange, parents: parentShardIds, ...given })
  })
}

const numbersOf = (found: readonly { readonly shardId: string }[]): number[] =>
  found.map(({ shardId }) => Number(shardId.replace('shardId-', ''))).sort((a, b) => a - b)

const stored = (): Lease[] => [...table.items.values()].flatMap((item) => leaseFromItem(item) ?? [])

function syncOf(initialPosition: InitialPosition, identifier?: string): StreamSync {
  return new StreamSync({
    source: { stream: 'orders', identifier, initialPosition },
    table,
    kinesis: stream.kinesis,
    clock,
    telemetry: { emit: (event) => events.push(event) },
    deleting: new Chore('deleting', { clock, telemetry: new Telemetry(silentLogger, undefined, {}) }),
  })
}

describe('case 54: the leases that are missing', () => {
  const CASES = [
    // Partial: some hash keys have no lease.
    { tree: TREE_A, name: 'A', has: [4, 5, 7], LATEST: [6], TRIM_HORIZON: [0, 1] },
    { tree: TREE_A, name: 'A', has: [3, 4, 5], LATEST: [2, 6], TRIM_HORIZON: [0, 1, 2] },
    { tree: TREE_A, name: 'A', has: [2, 6], LATEST: [3, 4, 9, 10], TRIM_HORIZON: [3, 4, 5] },
    { tree: TREE_A, name: 'A', has: [4, 9, 10], LATEST: [8], TRIM_HORIZON: [0, 1, 2, 3] },
    { tree: TREE_A, name: 'A', has: [1, 2, 3, 4, 5, 7, 9, 10], LATEST: [0], TRIM_HORIZON: [0] },
    { tree: TREE_B, name: 'B', has: [6], LATEST: [7], TRIM_HORIZON: [7] },
    { tree: TREE_C, name: 'C', has: [9, 10], LATEST: [1, 6, 7, 8], TRIM_HORIZON: [1, 2, 3, 4] },
    // Complete, with and without those of finished ancestors, and of shards that were never open together.
    { tree: TREE_A, name: 'A', has: [4, 5, 6, 7], LATEST: [], TRIM_HORIZON: [] },
    { tree: TREE_A, name: 'A', has: [0, 1, 2, 3, 4, 5, 6, 7], LATEST: [], TRIM_HORIZON: [] },
    { tree: TREE_A, name: 'A', has: [0, 1, 4, 7, 9, 10], LATEST: [], TRIM_HORIZON: [] },
    { tree: TREE_B, name: 'B', has: [5], LATEST: [], TRIM_HORIZON: [] },
    { tree: TREE_B, name: 'B', has: [0, 1, 2, 3, 4, 5], LATEST: [], TRIM_HORIZON: [] },
    // None at all.
    { tree: TREE_A, name: 'A', has: [], LATEST: [4, 8, 9, 10], TRIM_HORIZON: [0, 1, 2, 3, 4, 5] },
    { tree: TREE_B, name: 'B', has: [], LATEST: [9, 10], TRIM_HORIZON: [0, 1] },
    { tree: TREE_C, name: 'C', has: [], LATEST: [1, 6, 7, 8, 9, 10], TRIM_HORIZON: [0, 1, 2, 3] },
  ]

  test.each(CASES)('tree $name with $has: LATEST $LATEST, TRIM_HORIZON and AT_TIMESTAMP $TRIM_HORIZON', (given) => {
    const found = (position: InitialPosition): number[] =>
      numbersOf(missingLeases(given.tree, leasesOf(given.tree, given.has), position, NOW))
    expect(found('LATEST')).toEqual(given.LATEST)
    expect(found('TRIM_HORIZON')).toEqual(given.TRIM_HORIZON)
    expect(found(AT_TIME)).toEqual(given.TRIM_HORIZON)
  })

  test.each(['LATEST', 'TRIM_HORIZON', 'AT_TIMESTAMP'] as const)('they are at %s', (position) => {
    const has = leasesOf(TREE_A, [4, 5, 7], { startMs: 5_000 })
    for (const { checkpoint } of missingLeases(TREE_A, has, POSITIONS[position], NOW)) {
      expect(checkpoint.sequenceNumber).toBe(position)
    }
  })

  test('a closed shard at LATEST would be skipped: where it is not known since when, it is read from its oldest record', () => {
    const found = missingLeases(TREE_A, leasesOf(TREE_A, [4, 5, 7]), 'LATEST', NOW)
    expect(found).toMatchObject([{ shardId: 'shardId-6', checkpoint: { sequenceNumber: 'TRIM_HORIZON' } }])
  })

  test('a closed shard that nothing open comes from is none', () => {
    const shards = [
      { ...TREE_A[0]!, shardId: 'shardId-0' },
      { ...TREE_A[4]!, shardId: 'shardId-1' },
      { ...TREE_A[5]!, shardId: 'shardId-2' },
    ]
    const has = [lease('shardId-2', { hashRange: shards[2]!.hashRange })]
    expect(numbersOf(missingLeases(shards, has, 'LATEST', NOW))).toEqual([1])
  })

  test('they get the keys and attributes of their stream where the application has several', async () => {
    const identifier = '123456789012:orders:1700000000'
    stream.shards = TREE_A
    for (const { shardId, hashRange, parentShardIds, checkpoint, startMs } of leasesOf(TREE_A, [4, 5, 7])) {
      await table.update(
        create({ streamIdentifier: identifier, shardId, hashRange: hashRange!, parentShardIds, checkpoint, startMs }),
      )
    }
    await syncOf('TRIM_HORIZON', identifier).sync(stored(), signal)
    expect(table.items.get(leaseKeyOf(identifier, 'shardId-0'))).toMatchObject({
      streamName: { S: identifier },
      shardId: { S: 'shardId-0' },
    })
    expect(table.items.size).toBe(5)
  })
})

describe('case 55: an empty table', () => {
  test.each([
    { position: 'LATEST' as const, filter: { Type: 'AT_LATEST' }, checkpoint: 'LATEST' },
    { position: 'TRIM_HORIZON' as const, filter: { Type: 'AT_TRIM_HORIZON' }, checkpoint: 'TRIM_HORIZON' },
    { position: AT_TIME, filter: { Type: 'AT_TIMESTAMP', Timestamp: new Date(1_000) }, checkpoint: 'AT_TIMESTAMP' },
  ])('gets a lease for each shard that was open at $checkpoint', async ({ position, filter, checkpoint }) => {
    stream.shards = TREE_A.slice(4, 8)
    await syncOf(position).sync([], signal)
    expect(stream.filters).toEqual([filter])
    expect(numbersOf(stored())).toEqual([4, 5, 6, 7])
    for (const { checkpoint: at } of stored()) expect(at.sequenceNumber).toBe(checkpoint)
  })

  test('with shards that leave hash keys out is an error after three tries, a second apart', async () => {
    stream.shards = TREE_A.slice(5, 8)
    const synced = syncOf('LATEST').sync([], signal)
    synced.catch(() => {})
    await settle()
    expect(stream.filters).toHaveLength(1)
    await clock.advance(999)
    expect(stream.filters).toHaveLength(1)
    await clock.advance(1)
    expect(stream.filters).toHaveLength(2)
    await clock.advance(1_000)
    await expect(synced).rejects.toThrow(/of the 3 that ListShards gave none covers 400-499, 3 times in a row/)
    expect(stream.filters).toHaveLength(3)
    expect(table.items.size).toBe(0)
  })

  test('with shards that cover all at the third try is filled', async () => {
    stream.answer = () => (stream.filters.length < 3 ? TREE_A.slice(5, 8) : TREE_A.slice(4, 8))
    const synced = syncOf('LATEST').sync([], signal)
    await clock.advance(2_000)
    expect(await synced).toBe(true)
    expect(numbersOf(stored())).toEqual([4, 5, 6, 7])
  })
})

describe('case 56: a parent that is listed as open beside its children', () => {
  const between = TREE_A.map((shard) =>
    shard.shardId === 'shardId-5' ? { ...shard, endingSequenceNumber: undefined } : shard,
  )

  test('gets a lease, and its children get theirs when it has ended; it is no error', () => {
    expect(numbersOf(missingLeases(between, [], 'LATEST', NOW))).toEqual([4, 5, 8])
    expect(numbersOf(missingLeases(between, [], 'TRIM_HORIZON', NOW))).toEqual([0, 1, 2, 3, 4, 5])
    const open = between.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined)
    expect(numbersOf(firstLeases(open, 'LATEST', NOW))).toEqual([4, 5, 8])
  })

  test('is left alone once its children have leases', () => {
    expect(missingLeases(between, leasesOf(between, [4, 8, 9, 10]), 'TRIM_HORIZON', NOW)).toEqual([])
  })
})

describe('case 57: a creation that fails midway', () => {
  test('is completed by the next, and begins with the oldest', async () => {
    stream.shards = TREE_A
    const all = missingLeases(TREE_A, leasesOf(TREE_A, [2, 6]), 'LATEST', NOW)
    expect(all.map(({ shardId }) => shardId)).toEqual(['shardId-3', 'shardId-4', 'shardId-9', 'shardId-10'])
    for (const made of leasesOf(TREE_A, [2, 6])) {
      await table.update(create({ ...made, hashRange: made.hashRange! }))
    }
    const sync = syncOf('LATEST')
    const update = table.update.bind(table)
    let writes = 0
    table.update = (change) => (++writes === 3 ? Promise.reject(new Error('throttled')) : update(change))
    await expect(sync.sync(stored(), signal)).rejects.toThrow('throttled')
    expect(sync.isDue(stored())).toBe(true)
    await sync.sync(stored(), signal)
    expect(numbersOf(stored())).toEqual([2, 3, 4, 6, 9, 10])
    const told = events.flatMap((event) => (event.type === 'leasesCreated' ? event.shardIds : []))
    expect(told.sort()).toEqual(['shardId-10', 'shardId-3', 'shardId-4', 'shardId-9'])
  })
})

describe('case 58: a merge', () => {
  test('one of whose parents was trimmed is found below the other', () => {
    const shards = TREE_A.filter(({ shardId }) => shardId !== 'shardId-0')
    expect(numbersOf(missingLeases(shards, [], 'TRIM_HORIZON', NOW))).toEqual([1, 2, 3, 4, 5])
    expect(numbersOf(missingLeases(shards, leasesOf(TREE_A, [1, 2, 3, 4, 5]), 'TRIM_HORIZON', NOW))).toEqual([])
  })

  test('whose parents are both listed is read once, after both', () => {
    const shards = [TREE_A[0]!, TREE_A[1]!, { ...TREE_A[6]!, endingSequenceNumber: undefined }]
    expect(numbersOf(missingLeases(shards, [], 'TRIM_HORIZON', NOW))).toEqual([0, 1])
    const isFinished = leasesOf(TREE_A, [0, 1], { checkpoint: 'SHARD_END' })
    expect(numbersOf(missingLeases(shards, isFinished, 'TRIM_HORIZON', NOW))).toEqual([6])
  })
})

const child = (shardId: string, ...parentShardIds: string[]) => ({
  shardId,
  hashRange: FULL_HASH_RANGE,
  parentShardIds,
})
const source = { stream: 'orders', identifier: undefined, initialPosition: 'TRIM_HORIZON' } as const
const endOf = (shardId: string, ...children: ReturnType<typeof child>[]): Promise<boolean> =>
  createChildLeases(shardId, children, { table, kinesis: stream.kinesis, source, isHeld: () => true }, signal)

describe('case 59: at the end of a merged shard', () => {
  const has = (...ids: string[]): Promise<unknown> =>
    Promise.all(ids.map((id) => table.update(create({ ...lease(id), hashRange: FULL_HASH_RANGE }))))

  beforeEach(() => {
    stream.shards = ['p', 'q', 'm'].map((shardId) => ({ ...TREE_A[0]!, shardId }))
  })

  test('the child waits while the other parent has no lease', async () => {
    await has('p')
    expect(await endOf('p', child('m', 'p', 'q'))).toBe(false)
    expect(table.items.has('m')).toBe(false)
  })

  test('the child is made where both parents have leases', async () => {
    await has('p', 'q')
    expect(await endOf('p', child('m', 'p', 'q'))).toBe(true)
    expect(table.items.has('m')).toBe(true)
  })

  test('the child is made where the other parent is not in the stream any more', async () => {
    await has('p')
    stream.shards = stream.shards.filter(({ shardId }) => shardId !== 'q')
    expect(await endOf('p', child('m', 'p', 'q'))).toBe(true)
  })

  test('the lease that it waits for is made at the next look at the stream', async () => {
    stream.shards = [TREE_A[0]!, TREE_A[1]!, { ...TREE_A[6]!, endingSequenceNumber: undefined }]
    const parents = leasesOf(TREE_A, [0])
    expect(numbersOf(missingLeases(stream.shards, parents, 'TRIM_HORIZON', NOW))).toEqual([1])
    expect(numbersOf(missingLeases(stream.shards, parents, 'LATEST', NOW))).toEqual([1])
  })
})

describe('case 60: at the end of a split shard', () => {
  test('both children have leases before it is marked finished, and a crash in between does no harm', async () => {
    const children = [child('a', 'p'), child('b', 'p')]
    const update = table.update.bind(table)
    table.update = (change) => (change.key === 'b' ? Promise.reject(new Error('crashed')) : update(change))
    await expect(endOf('p', ...children)).rejects.toThrow('crashed')
    expect([...table.items.keys()]).toEqual(['a'])
    table.update = update
    expect(await endOf('p', ...children)).toBe(true)
    const before = new Map(table.items)
    expect([...before.keys()]).toEqual(['a', 'b'])
    expect(await endOf('p', ...children)).toBe(true)
    expect(table.items).toEqual(before)
  })
})

describe('case 61: a child', () => {
  const isReadable = (): Promise<boolean> =>
    new Parents(table).areFinished(leaseFromItem(table.items.get('shardId-6')!) as Lease)
  const put = (id: number, checkpoint: string): Promise<unknown> => {
    const [made] = leasesOf(TREE_A, [id], { checkpoint })
    return table.update({ ...create({ ...made!, hashRange: made!.hashRange! }), when: [] })
  }

  test('waits until every parent that has a lease is finished', async () => {
    await put(6, 'TRIM_HORIZON')
    await put(0, '77')
    await put(1, '77')
    expect(await isReadable()).toBe(false)
    await put(0, 'SHARD_END')
    expect(await isReadable()).toBe(false)
    await put(1, 'SHARD_END')
    expect(await isReadable()).toBe(true)
  })

  test('is not held up by a parent without a lease', async () => {
    await put(6, 'TRIM_HORIZON')
    expect(await isReadable()).toBe(true)
    await put(0, '77')
    expect(await isReadable()).toBe(false)
  })
})

describe('case 62: a hole', () => {
  const [first, second] = [lease('a', { hashRange: LOW }), lease('b', { hashRange: HIGH })]
  let sync: StreamSync

  beforeEach(async () => {
    stream.shards = TREE_A.slice(4, 8)
    sync = syncOf('LATEST')
    await sync.sync([], signal)
  })

  test('is where no unfinished lease is', () => {
    expect(uncovered([first, second])).toEqual([])
    expect(uncovered([second, first])).toEqual([])
    expect(uncovered([first, second, lease('c', { hashRange: HIGH })])).toEqual([])
    expect(uncovered([first])).toEqual([HIGH])
    expect(uncovered([first, { ...second, checkpoint: SHARD_END }])).toEqual([HIGH])
  })

  test('that is the same three times in a row makes a look at the stream due', () => {
    expect([1, 2, 3].map(() => sync.isDue([first]))).toEqual([false, false, true])
  })

  test('that moves does not', () => {
    expect([first, second, first, second].map((each) => sync.isDue([each]))).toEqual(Array(4).fill(false))
  })

  test('is looked for after the hash ranges that leases lack have been added', async () => {
    const untold = { ...lease('shardId-4'), hashRange: undefined }
    expect(uncovered([untold])).toEqual([])
    stream.shards = TREE_A
    await table.update(create({ ...untold, hashRange: FULL_HASH_RANGE }))
    const { startingHashKey, ...item } = table.items.get('shardId-4')!
    table.items.set('shardId-4', item)
    await sync.sync([untold], signal)
    expect(events).toContainEqual({ type: 'leasesCreated', shardIds: ['shardId-8', 'shardId-9', 'shardId-10'] })
  })
})

describe('case 63: a finished lease', () => {
  const ended = lease('p', { checkpoint: 'SHARD_END', children: ['a', 'b'] })
  const shards = ['p', 'a', 'b'].map((shardId) => ({ ...TREE_A[0]!, shardId }))
  const deleted = (...leases: Lease[]): string[] =>
    deletableLeases(leases, shards).map(({ lease: { shardId } }) => shardId)

  test.each(['TRIM_HORIZON', 'AT_TIMESTAMP'])('is kept while a child is at %s', (checkpoint) => {
    expect(deleted(ended, lease('a'), lease('b', { checkpoint }))).toEqual([])
  })

  test('is deleted when all children are started; at LATEST they are', () => {
    expect(deleted(ended, lease('a'), lease('b'))).toEqual(['p'])
    expect(deleted(ended, lease('a', { checkpoint: 'LATEST' }), lease('b'))).toEqual(['p'])
  })

  test('is kept while it has parents itself', () => {
    const grandparent = lease('o', { checkpoint: 'SHARD_END', children: ['p'] })
    expect(deleted(grandparent, { ...ended, parentShardIds: ['o'] }, lease('a'), lease('b'))).toEqual(['o'])
  })

  test('is kept while a child has no lease', () => {
    expect(deleted(ended, lease('a'))).toEqual([])
  })

  test('whose shard does not exist any more is deleted, once all its hash keys are read below it', () => {
    const gone = lease('shardId-1', { checkpoint: 'SHARD_END' })
    expect(deletableLeases([gone, lease('shardId-2', { hashRange: LOW })], [])).toEqual([])
    expect(deletableLeases([gone, lease('shardId-2')], [])).toEqual([{ lease: gone, reason: 'gone' }])
  })
})

describe('case 64: a stream that was deleted', () => {
  test('ends the reader with an error that says so', async () => {
    const { failed } = read([refusal('ResourceNotFoundException')], { shards: notFound() })
    await readingClock.advance(1_000)
    expect(failed()).toMatchObject({ code: 'ERR_STREAM', message: expect.stringContaining('no stream "flights"') })
  })

  test('ends the leader with an error that says so', async () => {
    stream.answer = notFound
    await expect(syncOf('LATEST').sync([first()], signal)).rejects.toMatchObject({ code: 'ERR_STREAM' })
  })

  test('one of several streams is told, and ends nothing', async () => {
    stream.answer = notFound
    expect(await syncOf('LATEST', '1:orders:7').sync([first()], signal)).toBe(false)
    expect(events).toMatchObject([{ type: 'streamMissing' }])
  })

  const first = (): Lease => lease('shardId-0')
})
