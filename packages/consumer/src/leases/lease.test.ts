import { readFileSync } from 'node:fs'
import { FULL_HASH_RANGE, SHARD_END, TRIM_HORIZON } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { beat } from '../../test/progress.ts'
import { oneStream } from '../streams/streams.ts'
import { FleetView } from './fleet-view.ts'
import { holderOf, isFinished, leaseFromItem } from './lease.ts'
import { acquire, assignTo, create, end, handOff, release, renew } from './lease-changes.ts'
import type { Item, ItemChange } from './table.ts'
import { entryFromItem, WorkerPresence } from './worker-entry.ts'

interface Vectors {
  readonly attributeTypes: Record<string, Record<string, string>>
  readonly tables: readonly { readonly label: string; readonly name: string; readonly items: readonly Item[] }[]
}

// Tables as the KCL 3.5.1 and 3.4.2 wrote them.
const vectors = JSON.parse(
  readFileSync(new URL('../../test-vectors/kcl-lease-tables.json', import.meta.url), 'utf8'),
) as Vectors

const typesOf = (item: Item): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(item).map(([name, value]) => [name, Object.keys(value)[0]]))

const viewOf = (items: readonly Item[]): { view: FleetView; skipped: string[] } => {
  const skipped: string[] = []
  const view = new FleetView({
    workerId: 'me',
    maxLeases: Number.POSITIVE_INFINITY,
    failoverTime: 1_000,
    closeTimeout: 1_000,
    streams: oneStream('flights', 'TRIM_HORIZON'),
    isOurs: ({ streamIdentifier }) => streamIdentifier === undefined,
    onSkipped: (key) => skipped.push(key),
  })
  view.observe(items, { sentAtMs: 0, nowMs: 0, wallMs: 0 })
  return { view, skipped }
}

describe('tables that the KCL wrote', () => {
  test.each(vectors.tables.filter(({ name }) => name === 'ltapp'))('$label: every item is understood', ({ items }) => {
    const { view, skipped } = viewOf(items)
    const leaseItems = items.filter((item) => item.entityType?.S === 'LEASE')
    expect(skipped).toEqual([])
    expect(view.leases).toHaveLength(leaseItems.length)
    expect(view.leaderItem?.ownerName?.S).toBe('wA')
    for (const item of leaseItems) {
      expect(leaseFromItem(item)).toMatchObject({
        leaseKey: item.leaseKey?.S,
        owner: item.leaseOwner?.S,
        counter: Number(item.leaseCounter?.N),
        checkpoint: { sequenceNumber: item.checkpoint?.S, subSequenceNumber: 0 },
        parentShardIds: item.parentShardId?.SS ?? [],
        childShardIds: item.childShardIds?.SS ?? [],
        hashRange: { start: BigInt(item.startingHashKey?.S ?? ''), end: BigInt(item.endingHashKey?.S ?? '') },
      })
    }
  })

  test('leases of the layout before 3.5, without entityType, are read as leases', () => {
    const old = vectors.tables.find(({ name }) => name === 'old342')
    const { view, skipped } = viewOf(old?.items ?? [])
    expect(skipped).toEqual([])
    expect(view.leases.map(({ leaseKey }) => leaseKey).sort()).toEqual(['shardId-000000000000', 'shardId-000000000001'])
  })

  test('leases of a multi-stream application are skipped, each told once', () => {
    const { items } = vectors.tables.find(({ name }) => name === 'msapp2')!
    const { view, skipped } = viewOf(items)
    view.observe(items, { sentAtMs: 1, nowMs: 1, wallMs: 1 })
    expect(view.leases).toEqual([])
    expect(skipped).toHaveLength(3)
  })

  test('a finished parent is told from a live child', () => {
    const { items } = vectors.tables[2]!
    const finished = items.map(leaseFromItem).filter((lease) => lease !== undefined && isFinished(lease))
    expect(finished).toMatchObject([{ checkpoint: SHARD_END, owner: 'wB' }])
    expect(holderOf(finished[0]!)).toBe('wB')
  })

  test('corrupt and unknown items are skipped, the others work', () => {
    const { items } = vectors.tables[0]!
    const { view, skipped } = viewOf([
      ...items,
      { leaseKey: { S: 'shardId-000000000007' }, entityType: { S: 'LEASE' }, checkpoint: { S: '1' } },
      { leaseKey: { S: 'shardId-000000000008' }, leaseCounter: { N: 'many' }, checkpoint: { S: '1' } },
      { leaseKey: { S: 'thing' }, entityType: { S: 'THING' } },
    ])
    expect(view.leases).toHaveLength(2)
    expect(skipped).toEqual(['shardId-000000000007', 'shardId-000000000008', 'thing'])
  })
})

describe('what this consumer writes', () => {
  const checkpoint = { sequenceNumber: '49', subSequenceNumber: 3 }

  async function write(...changes: ((item: Item) => ItemChange)[]): Promise<Item> {
    const table = new MemoryTable()
    let item: Item | undefined = {}
    for (const change of changes) {
      item = await table.update(change(item!))
      expect(item).toBeDefined()
    }
    return item!
  }

  const created = (): ItemChange =>
    create({
      streamIdentifier: undefined,
      shardId: 'shardId-000000000002',
      hashRange: FULL_HASH_RANGE,
      parentShardIds: ['shardId-000000000000', 'shardId-000000000001'],
      checkpoint: TRIM_HORIZON,
      startMs: undefined,
    })
  const lease = (item: Item): NonNullable<ReturnType<typeof leaseFromItem>> => leaseFromItem(item)!

  test('a lease has the attribute types of the KCL in every state', async () => {
    const types = { ...vectors.attributeTypes.LEASE, checkpointOwner: 'S', shardwiseToken: 'S', shardwiseStartMs: 'N' }
    const states = await Promise.all([
      write(created),
      write(created, (item) => assignTo(lease(item), 'a')),
      write(
        created,
        (item) => assignTo(lease(item), 'a'),
        (item) => acquire(lease(item), 'a', 'token', 5),
        (item) => renew(lease(item), 'a', beat(checkpoint)),
        (item) => handOff(lease(item), 'b'),
      ),
      write(
        created,
        (item) => assignTo(lease(item), 'a'),
        (item) => end(lease(item), 'a', ['shardId-000000000003']),
      ),
    ])
    for (const item of states) expect(types).toMatchObject(typesOf(item))
    expect(Object.keys(states[0]).sort()).toEqual(
      Object.keys(vectors.attributeTypes.LEASE!)
        .filter((name) => !['leaseOwner', 'throughputKBps', 'childShardIds', 'shardId', 'streamName'].includes(name))
        .sort(),
    )
  })

  test('a lease read back is what was written', async () => {
    const item = await write(
      created,
      (item) => assignTo(lease(item), 'a'),
      (item) => renew(lease(item), 'a', beat(checkpoint)),
    )
    expect(leaseFromItem(item)).toEqual({
      leaseKey: 'shardId-000000000002',
      streamIdentifier: undefined,
      shardId: 'shardId-000000000002',
      owner: 'a',
      checkpointOwner: undefined,
      counter: 2,
      checkpoint,
      ownerSwitches: 0,
      parentShardIds: ['shardId-000000000000', 'shardId-000000000001'],
      childShardIds: [],
      hashRange: FULL_HASH_RANGE,
      startMs: undefined,
      isTop: false,
      token: undefined,
    })
  })

  test('a lease of one of several streams is keyed and marked as the KCL does', async () => {
    const { items } = vectors.tables.find(({ name }) => name === 'msapp2')!
    const theirs = items.find((item) => item.leaseKey?.S === '000000000000:ms2:1795244793:shardId-000000000001')!
    expect(lease(theirs)).toMatchObject({
      streamIdentifier: '000000000000:ms2:1795244793',
      shardId: 'shardId-000000000001',
    })
    const { shardId, hashRange } = lease(theirs)
    const made = await write(() =>
      create({
        streamIdentifier: '000000000000:ms2:1795244793',
        shardId,
        hashRange: hashRange!,
        parentShardIds: [],
        checkpoint: TRIM_HORIZON,
        startMs: undefined,
      }),
    )
    const { leaseOwner, throughputKBps, ...unowned } = theirs
    expect(made).toEqual({ ...unowned, leaseCounter: { N: '0' }, checkpoint: { S: 'TRIM_HORIZON' } })
  })

  test.each([
    ['12', '7'],
    ['many', '7'],
    ['0', String(2n ** 128n)],
  ])('a hash range from %s to %s is none, and the lease is read all the same', (start, end) => {
    const { set } = created()
    const item = { ...set, leaseKey: { S: 'shardId-0' }, startingHashKey: { S: start }, endingHashKey: { S: end } }
    expect(lease(item)).toMatchObject({ shardId: 'shardId-0', hashRange: undefined })
  })

  test('attributes it does not know stay, a pending two-phase checkpoint goes with the next checkpoint', async () => {
    const table = new MemoryTable()
    const { items } = vectors.tables[0]!
    const before: Item = {
      ...items.find((item) => item.leaseKey?.S === 'shardId-000000000000'),
      pendingCheckpoint: { S: '50' },
      pendingCheckpointSubSequenceNumber: { N: '0' },
      pendingCheckpointState: { B: new Uint8Array([1]) },
      other: { S: 'theirs' },
    }
    table.items.set('shardId-000000000000', before)
    const heartbeat = await table.update(renew(lease(before), 'wA', beat()))
    expect(heartbeat).toEqual({ ...before, leaseCounter: { N: '60' }, throughputKBps: { N: '0' } })
    const after = await table.update(renew(lease(heartbeat!), 'wA', beat(checkpoint)))
    expect(after).toMatchObject({ other: { S: 'theirs' } })
    expect(Object.keys(after!).filter((name) => name.startsWith('pending'))).toEqual([])
    const released = await table.update(release(lease(after!), 'wA', undefined))
    expect(released).not.toHaveProperty('leaseOwner')
  })

  test('a worker entry has the attribute types of the KCL and reads back', async () => {
    const clock = { monotonicMs: () => 0, wallMs: () => 5_500, sleep: () => Promise.resolve() }
    const table = new MemoryTable()
    const presence = new WorkerPresence({
      table,
      workerId: 'me',
      maxLeases: 5,
      periodMs: 500,
      clock,
      random: () => 0,
    })
    await presence.show()
    const item = table.items.get('me')!
    const ours = { shardwisePeriodMs: 'N', shardwiseBeat: 'N', shardwiseRun: 'S', shardwiseMaxLeases: 'N' }
    expect(typesOf(item)).toEqual({ ...vectors.attributeTypes.WORKER_METRIC_STATS, ...ours })
    expect(entryFromItem(item)).toMatchObject({ workerId: 'me', maxLeases: 5, timeoutMs: 1_500, writtenAtMs: 5_000 })
  })

  test('an entry that the KCL wrote lives for a minute', () => {
    const { items } = vectors.tables[1]!
    const entry = entryFromItem(items.find((item) => item.leaseKey?.S === 'wB')!)
    expect(entry).toMatchObject({ workerId: 'wB', timeoutMs: 60_000, maxLeases: Number.POSITIVE_INFINITY })
  })
})
