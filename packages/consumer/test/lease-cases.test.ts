/** Leases, their holders and their leader, case by case: as the KCL has it, and where this differs on purpose. */
import { silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom, settle } from '@shardwise/core/testing'
import { FULL_HASH_RANGE, type Position, TRIM_HORIZON } from '@shardwise/records'
import { beforeEach, expect, test } from 'vitest'
import { assignByCount } from '../src/leases/assignment.ts'
import { Fleet } from '../src/leases/fleet.ts'
import { holderOf, type Lease, leaseFromItem } from '../src/leases/lease.ts'
import { assignTo, create, end, handOff, release, renew } from '../src/leases/lease-changes.ts'
import { LeaseHolder, type LeaseHolderContext } from '../src/leases/lease-holder.ts'
import type { Item, ItemChange } from '../src/leases/table.ts'
import { oneStream } from '../src/streams/streams.ts'
import { Telemetry } from '../src/telemetry/telemetry.ts'
import {
  Coordinator,
  type CoordinatorOptions,
  countsOf,
  F,
  hold,
  leasesIn,
  listing,
  shardIdOf,
  shardsOf,
} from './coordinator.ts'
import { IdleShard } from './idle-shard.ts'
import { MemoryTable } from './memory-table.ts'
import { beat } from './progress.ts'

/** A table whose next updates go wrong as the test says. */
class FaultyTable extends MemoryTable {
  faults: ('lost request' | 'lost answer')[] = []

  override async update(change: ItemChange): Promise<Item | undefined> {
    const fault = this.faults.shift()
    if (fault === 'lost request') throw new Error('timeout')
    const item = await super.update(change)
    if (fault === 'lost answer') throw new Error('timeout')
    return item
  }
}

let table: FaultyTable
let clock: ManualClock
/** How many shards the stream has. */
let shards: number

beforeEach(() => {
  table = new FaultyTable()
  clock = new ManualClock()
  shards = 8
})

const worker = (workerId: string, options: Partial<CoordinatorOptions> = {}): Coordinator =>
  new Coordinator(workerId, { table, clock, kinesis: listing(() => shardsOf(shards)), ...options })

const X = shardIdOf(0)
const at = (number: number): Position => ({ sequenceNumber: String(number), subSequenceNumber: 0 })
const leaseOf = (leaseKey: string): Lease => leaseFromItem(table.items.get(leaseKey)!)!
const telemetry = new Telemetry(silentLogger, undefined, {})

const contextOf = (workerId: string): LeaseHolderContext => ({
  table,
  clock,
  workerId,
  failoverTime: F,
  random: Math.random,
  initialPosition: 'TRIM_HORIZON',
  telemetry,
})

/** A lease of the given owner, where the stream has only those that are put. */
async function put(leaseKey: string, owner?: string): Promise<Lease> {
  shards = leasesIn(table).length + 1
  await table.update(
    create({
      streamIdentifier: undefined,
      shardId: leaseKey,
      hashRange: FULL_HASH_RANGE,
      parentShardIds: [],
      checkpoint: TRIM_HORIZON,
      startMs: undefined,
    }),
  )
  if (owner !== undefined) await table.update(assignTo(leaseOf(leaseKey), owner))
  return leaseOf(leaseKey)
}

const take = async (workerId: string, leaseKey = X): Promise<LeaseHolder> =>
  (await LeaseHolder.acquire(leaseOf(leaseKey), contextOf(workerId)))!

/**
 * Rounds of 0.3 failover times: the leader looks, the workers show that they live, and the holders among them do what they
 * must.
 */
async function rounds(count: number, leader: Coordinator, others: readonly Coordinator[] = [], hangs: string[] = []) {
  for (let round = 0; round < count; round++) {
    for (const each of [leader, ...others]) await each.beat()
    await leader.look()
    const living = new Set([leader, ...others].map(({ workerId }) => workerId))
    await hold(
      table,
      leasesIn(table),
      (id) => living.has(id),
      (id) => !hangs.includes(id),
    )
    await clock.advance(0.3 * F)
  }
}

/** A whole worker, with shards of which nothing is read. */
function runFleet(workerId: string): { fleet: Fleet<IdleShard>; stop: () => Promise<void> } {
  const stopping = new AbortController()
  const fleet: Fleet<IdleShard> = new Fleet<IdleShard>({
    table,
    kinesis: listing(() => shardsOf(shards)),
    streams: oneStream('orders', 'TRIM_HORIZON'),
    assign: assignByCount,
    failoverTime: F,
    closeTimeout: 10_000,
    formerStreamWaitMs: 3_600_000,
    maxLeases: Number.POSITIVE_INFINITY,
    clock,
    random: seededRandom(workerId.charCodeAt(0)),
    telemetry,
    workerId,
    consume: (holder) => new IdleShard(holder, clock, 0.45 * F),
  })
  const running = fleet.run(stopping.signal)
  const stop = async (): Promise<void> => {
    stopping.abort()
    await running
    await fleet.stop()
  }
  return { fleet, stop }
}

const held = (fleet: Fleet<IdleShard>): number => fleet.shards.filter(({ holder }) => holder.isHeld()).length

test('case 39: a free lease is taken', async () => {
  await put(X)
  const a = worker('a')
  await a.beat()
  await a.look()
  expect(leaseOf(X).owner).toBe('a')
})

test('case 39: a lease that is renewed from look to look is not taken, whatever else its holder does not show', async () => {
  await put(X, 'silent')
  const a = worker('a')
  for (let round = 0; round < 20; round++) {
    await a.beat()
    await a.look()
    await table.update(renew(leaseOf(X), 'silent', beat()))
    await clock.advance(0.9 * F)
  }
  expect(leaseOf(X).owner).toBe('silent')
})

test('case 39: a lease seen for the first time counts as alive, however long it has stood still', async () => {
  await put(X, 'gone')
  await clock.advance(3_600_000)
  const a = worker('a')
  await a.beat()
  await a.look()
  expect(leaseOf(X).owner).toBe('gone')
  await clock.advance(F + 1)
  await a.beat()
  await a.look()
  expect(leaseOf(X).owner).toBe('a')
})

test('case 39: a worker that is started again under its name takes its leases up at once', async () => {
  await put(X, 'a')
  const before = await take('a')
  const after = await take('a')
  expect(after.isHeld()).toBe(true)
  expect(await before.renew(beat())).toBe(false)
})

test('case 39: a lease just given to a live worker is not given to another before that one had time to find it', async () => {
  const [a, b] = [worker('a'), worker('b')]
  await put(X)
  await b.beat()
  await a.beat()
  for (let round = 0; round < 2; round++) {
    await a.look()
    await clock.advance(100)
  }
  await table.update(assignTo(leaseOf(X), 'b'))
  const given = leaseOf(X)
  for (let passed = 0; passed < 2.8 * F; passed += 300) {
    for (const each of [a, b]) await each.beat()
    await a.look()
    expect(leaseOf(X)).toEqual(given)
    await clock.advance(300)
  }
  for (const each of [a, b]) await each.beat()
  await clock.advance(300)
  await a.look()
  expect(leaseOf(X).counter).toBe(given.counter + 1)
})

test('case 40: a worker takes no more than its share, and leases that nobody ever had are spread', async () => {
  const [a, b, c] = [worker('a'), worker('b'), worker('c')]
  for (const each of [c, b, a]) await each.beat()
  await a.look()
  expect(countsOf(table, ['a', 'b', 'c'])).toEqual([3, 3, 2])
})

test('case 40: nobody is given more than it takes; what is left over waits', async () => {
  const [a, b] = [worker('a', { maxLeases: 2 }), worker('b', { maxLeases: 3 })]
  for (const each of [b, a]) await each.beat()
  await rounds(5, a, [b])
  expect(countsOf(table, ['a', 'b'])).toEqual([2, 3])
  expect(leasesIn(table).filter(({ owner }) => owner === undefined)).toHaveLength(3)
})

test('case 41: a live lease moves only when no free one makes it even, and only for a difference of two', async () => {
  const [a, b] = [worker('a'), worker('b')]
  const owners = ['a', 'a', 'a', 'b', undefined, undefined]
  for (const [index, owner] of owners.entries()) await put(shardIdOf(index), owner)
  await rounds(8, a, [b])
  expect(countsOf(table, ['a', 'b'])).toEqual([3, 3])
  expect(a.told('leaseAssigned').map(({ reason }) => reason)).toEqual(['unowned', 'unowned'])
})

test.each([
  ['aab', 0],
  ['aaab', 1],
])('case 41: leases held as %s: %i moves', async (owners, moves) => {
  const [a, b] = [worker('a'), worker('b')]
  for (const [index, owner] of [...owners].entries()) await put(shardIdOf(index), owner)
  await rounds(8, a, [b])
  expect(a.told('leaseAssigned').filter(({ reason }) => reason === 'balance')).toHaveLength(moves)
})

test('case 42: a renewal that finds the counter moved loses the lease', async () => {
  await put(X, 'a')
  const holder = await take('a')
  await table.update(assignTo(leaseOf(X), 'b'))
  expect(await holder.renew(beat(at(5)))).toBe(false)
  expect([holder.isHeld(), holder.lost.aborted]).toEqual([false, true])
  expect(leaseOf(X)).toMatchObject({ owner: 'b', checkpoint: TRIM_HORIZON })
})

test('case 42: a lease that ran out here is not renewed any more, and its checkpoint is not written', async () => {
  await put(X, 'a')
  const holder = await take('a')
  const before = leaseOf(X)
  await clock.advance(F)
  expect(await holder.renew(beat(at(5)))).toBe(false)
  expect(await holder.release(at(5))).toBe(false)
  expect(leaseOf(X)).toEqual(before)
})

test('case 43: who lost a lease and has got it again cannot checkpoint by what it knew before', async () => {
  await put(X, 'a')
  const before = await take('a')
  await table.update(assignTo(leaseOf(X), 'b'))
  await table.update(assignTo(leaseOf(X), 'a'))
  const after = await take('a')
  expect(await before.renew(beat(at(5)))).toBe(false)
  expect(await before.release(at(5))).toBe(false)
  expect(leaseOf(X)).toEqual(after.lease)
  expect(await after.renew(beat(at(3)))).toBe(true)
  expect(leaseOf(X).checkpoint).toEqual(at(3))
})

test('case 44: a checkpoint whose write failed is not taken for written', async () => {
  await put(X, 'a')
  const holder = await take('a')
  table.faults = ['lost request']
  const renewed = holder.renew(beat(at(5)))
  await settle()
  expect(holder.lease.checkpoint).toEqual(TRIM_HORIZON)
  expect(holder.isBehind(at(5))).toBe(true)
  await clock.advance(100)
  expect(await renewed).toBe(true)
  expect(holder.isBehind(at(5))).toBe(false)
  expect(leaseOf(X).checkpoint).toEqual(at(5))
})

test('case 45: a write whose answer was lost is known by its traces, and not done twice', async () => {
  await put(X, 'a')
  const holder = await take('a')
  const { counter } = holder.lease
  table.faults = ['lost answer']
  const renewed = holder.renew(beat(at(5)))
  await settle()
  await clock.advance(100)
  expect(await renewed).toBe(true)
  expect(leaseOf(X)).toMatchObject({ counter: counter + 1, checkpoint: at(5) })
  expect(await holder.renew(beat())).toBe(true)
})

test.each([
  ['an assignment', (lease: Lease) => assignTo(lease, 'b')],
  ['a handoff', (lease: Lease) => handOff(lease, 'b')],
  ['a renewal', (lease: Lease) => renew(lease, 'a', beat())],
  ['a release', (lease: Lease) => release(lease, 'a', undefined)],
  ['an end', (lease: Lease) => end(lease, 'a', [])],
])('case 46: %s of a deleted lease is refused, and makes no item', async (_, changeOf) => {
  const unowned = await put(shardIdOf(1))
  const owned = await put(X, 'a')
  table.items.clear()
  for (const lease of [owned, unowned]) expect(await table.update(changeOf(lease))).toBeUndefined()
  expect(table.items.size).toBe(0)
})

test('case 46: a leader whose lease is deleted under its hands goes on with the others', async () => {
  await put(X)
  await put(shardIdOf(1))
  const a = worker('a', {
    assign: (leases, workers) => {
      table.items.delete(X)
      return assignByCount(leases, workers)
    },
  })
  await a.beat()
  await a.scan()
  await a.look()
  expect(table.items.get(X)).toBeUndefined()
  expect(leaseOf(shardIdOf(1)).owner).toBe('a')
})

test('case 47: a handoff names both and leaves the counter; the old holder renews; the next waits until it is done', async () => {
  await put(X, 'a')
  const old = await take('a')
  const { counter } = old.lease
  await table.update(handOff(leaseOf(X), 'b'))
  expect(leaseOf(X)).toMatchObject({ owner: 'b', checkpointOwner: 'a', counter })
  expect(await LeaseHolder.acquire(leaseOf(X), contextOf('b'))).toBeUndefined()
  expect(await old.renew(beat(at(5)))).toBe(true)
  expect(old.handoffTo).toBe('b')
  expect(await LeaseHolder.acquire(leaseOf(X), contextOf('b'))).toBeUndefined()
  expect(await old.release(at(7))).toBe(true)
  expect(leaseOf(X)).toMatchObject({ owner: 'b', checkpointOwner: undefined, checkpoint: at(7) })
  expect((await take('b')).isHeld()).toBe(true)
})

test.each([
  ['before it has noticed', false],
  ['while it finishes', true],
])('case 48: the old holder of a handoff dies %s: the lease goes to who lives', async (_, hasNoticed) => {
  const [a, b] = [worker('a'), worker('b')]
  await put(X, 'old')
  const old = await take('old')
  await rounds(3, a, [b], ['old'])
  await old.renew(beat())
  await table.update(handOff(leaseOf(X), 'b'))
  if (hasNoticed) await old.renew(beat())
  await rounds(5, a, [b])
  expect(holderOf(leaseOf(X))).toMatch(/^[ab]$/)
  expect(leaseOf(X).checkpointOwner).toBeUndefined()
})

test('case 48: the next owner dies in a handoff: the lease arrives, and goes on to who lives', async () => {
  const [a, b] = [worker('a'), worker('b')]
  await put(X, 'a')
  const old = await take('a')
  await b.beat()
  await a.look()
  await table.update(handOff(leaseOf(X), 'b'))
  await old.renew(beat())
  await old.release(at(5))
  await rounds(8, a)
  expect(leaseOf(X)).toMatchObject({ owner: 'a', checkpointOwner: undefined, checkpoint: at(5) })
})

test('case 48: a worker started again under its name in a handoff has nothing in hand, and lets go', async () => {
  await put(X, 'a')
  await take('a')
  await table.update(handOff(leaseOf(X), 'elsewhere'))
  const { stop } = runFleet('a')
  await clock.advance(100)
  expect(leaseOf(X)).toMatchObject({ owner: 'elsewhere', checkpointOwner: undefined })
  const stopped = stop()
  await clock.advance(10_000)
  await stopped
})

test('case 48: a holder that beats and never hands off loses the lease when its time is over', async () => {
  const [a, b] = [worker('a'), worker('b')]
  for (const index of [0, 1]) await put(shardIdOf(index), 'a')
  await rounds(2, a)
  await b.beat()
  await rounds(110, a, [b], ['a'])
  expect(countsOf(table, ['a', 'b'])).toEqual([1, 1])
  expect(leasesIn(table).filter(({ checkpointOwner }) => checkpointOwner !== undefined)).toEqual([])
  expect(a.told('leaseAssigned').map(({ reason }) => reason)).toEqual(['balance', 'stuck'])
})

test('case 49: a leader lets go of the lock after three rounds that failed', async () => {
  const [a, b] = [
    worker('a', {
      kinesis: listing(() => {
        throw new Error('not now')
      }),
    }),
    worker('b'),
  ]
  await b.beat()
  for (let round = 0; round < 3; round++) {
    for (const each of [a, b]) await each.beat()
    await expect(a.look()).rejects.toThrow('not now')
    for (let beats = 0; beats < 8; beats++) {
      await clock.advance(0.5 * F)
      for (const each of [a, b]) await each.beat()
    }
  }
  expect(a.lock.held).toBe(false)
  expect(await b.look()).toBe(true)
})

test('case 49: a leader is killed: another leads within its lock duration and a look, and knows by then what has expired', async () => {
  const [a, b] = [worker('a'), worker('b')]
  await rounds(4, a, [b])
  expect(countsOf(table, ['a', 'b'])).toEqual([4, 4])
  let tookOverMs: number | undefined
  let allMs: number | undefined
  for (let passed = 0; passed < 3 * F; passed += 100) {
    await clock.advance(100)
    if (passed % 300 === 0) await b.beat()
    await hold(table, leasesIn(table), (id) => id === 'b')
    if (await b.look()) tookOverMs ??= passed
    if (countsOf(table, ['b'])[0] === 8) allMs ??= passed
  }
  expect(tookOverMs).toBeLessThanOrEqual(1.5 * F + 200)
  expect(allMs).toBeLessThanOrEqual(2 * F)
})

test('case 50: a worker whose metrics fail gets nothing, nor does one whose entry stands still', async () => {
  const entry = (leaseKey: string, sample: number): Item => ({
    leaseKey: { S: leaseKey },
    entityType: { S: 'WORKER_METRIC_STATS' },
    lut: { N: String(Math.floor(clock.wallMs() / 1000)) },
    sts: { M: { C: { L: [{ N: '40' }, { N: String(sample) }] } } },
    opr: { M: { C: { L: [{ N: '100' }] } } },
  })
  table.items.set('ill', entry('ill', -1))
  table.items.set('stale', { ...entry('stale', 40), lut: { N: '1' } })
  table.items.set('well', entry('well', 40))
  const a = worker('a')
  await a.beat()
  await a.scan()
  // All but the stale one write their entries.
  await clock.advance(1_000)
  table.items.set('ill', entry('ill', -1))
  table.items.set('well', entry('well', 40))
  await a.look()
  expect(countsOf(table, ['a', 'well', 'ill', 'stale'])).toEqual([4, 4, 0, 0])
})

test('case 50: where not all can be given, those that nobody had go before those that expired', async () => {
  for (const index of [0, 1, 2]) await put(shardIdOf(index), 'gone')
  const a = worker('a', { maxLeases: 2 })
  await a.beat()
  await a.scan()
  await clock.advance(F + 1)
  for (const index of [3, 4]) await put(shardIdOf(index))
  await a.beat()
  await a.look()
  expect(
    leasesIn(table)
      .filter(({ owner }) => owner === 'a')
      .map(({ shardId }) => shardId),
  ).toEqual([3, 4].map(shardIdOf))
})

test('case 50: entries that have stood still for long are deleted', async () => {
  const [a, b] = [worker('a'), worker('b')]
  await b.beat()
  await rounds(101, a)
  expect([table.items.has('a'), table.items.has('b')]).toEqual([true, true])
  await rounds(2, a)
  expect([table.items.has('a'), table.items.has('b')]).toEqual([true, false])
})

// The KCL moves load, and its share of ten percent keeps small loads moving; here leases are counted.
test('case 51: an even fleet stays as it is, whatever flows, for as long as nobody comes or goes', async () => {
  const [a, b, c] = [worker('a'), worker('b'), worker('c')]
  for (const each of [c, b]) await each.beat()
  await rounds(3, a, [b, c])
  const before = leasesIn(table).map(({ owner }) => owner)
  for (let round = 0; round < 100; round++) {
    for (const [key, item] of table.items) {
      if (item.entityType?.S === 'LEASE') {
        table.items.set(key, { ...item, throughputKBps: { N: String(round % 7 === 0 ? 5_000 : 0.1) } })
      }
    }
    await rounds(1, a, [b, c])
  }
  expect(leasesIn(table).map(({ owner }) => owner)).toEqual(before)
  expect(a.told('leaseAssigned')).toHaveLength(8)
})

test('case 51: what was moved is not moved back in a while, even if workers come and go', async () => {
  const [a, b] = [worker('a'), worker('b')]
  const ofA = (): string[] => leasesIn(table).flatMap(({ owner, shardId }) => (owner === 'a' ? [shardId] : []))
  for (let index = 0; index < 8; index++) await put(shardIdOf(index), 'a')
  await rounds(3, b, [a])
  const left = ofA()
  expect(left).toHaveLength(4)
  await rounds(5, b)
  expect(ofA()).toEqual([])
  await rounds(3, b, [a])
  expect(ofA()).toEqual(left)
})

test('case 52: the leases of a worker that stops are free at once, and it gets none', async () => {
  const a = runFleet('a')
  await clock.advance(200)
  const b = runFleet('b')
  await clock.advance(2 * F)
  expect([held(a.fleet), held(b.fleet)]).toEqual([4, 4])
  const stopped = b.stop()
  await clock.advance(300)
  await stopped
  expect(table.items.has('b')).toBe(false)
  expect(held(a.fleet)).toBe(8)
  expect(countsOf(table, ['a', 'b'])).toEqual([8, 0])
  const end = a.stop()
  await clock.advance(10_000)
  await end
})

test('case 52: a leader that stops passes its leases on, and others lead at once', async () => {
  const a = runFleet('a')
  await clock.advance(200)
  const [b, c] = [runFleet('b'), runFleet('c')]
  await clock.advance(2 * F)
  expect(a.fleet.isLeader).toBe(true)
  const stopped = a.stop()
  await clock.advance(50)
  await stopped
  expect(countsOf(table, ['b', 'c'])).toEqual([4, 4])
  await clock.advance(0.4 * F)
  expect([held(b.fleet), held(c.fleet)]).toEqual([4, 4])
  expect(b.fleet.isLeader || c.fleet.isLeader).toBe(true)
  const ends = [b.stop(), c.stop()]
  await clock.advance(10_000)
  await Promise.all(ends)
})

test('case 53: items of unknown types and damaged ones are left alone, told once, and the others work', async () => {
  const odd: Record<string, Item> = {
    zebra: { entityType: { S: 'ZEBRA' } },
    empty: {},
    'no-counter': { checkpoint: { S: 'TRIM_HORIZON' } },
    'no-checkpoint': { leaseCounter: { N: '3' } },
    'odd-checkpoint': { checkpoint: { S: 'banana' }, leaseCounter: { N: '3' } },
    'odd-counter': { checkpoint: { S: 'LATEST' }, leaseCounter: { S: 'three' } },
    'odd-entry': { entityType: { S: 'WORKER_METRIC_STATS' }, lut: { S: 'noon' } },
    '123456789012:other:1700000000:shardId-000000000000': {
      checkpoint: { S: 'LATEST' },
      leaseCounter: { N: '3' },
      streamName: { S: '123456789012:other:1700000000' },
    },
  }
  for (const [key, item] of Object.entries(odd)) table.items.set(key, { ...item, leaseKey: { S: key } })
  table.items.set('Migration3.0', { leaseKey: { S: 'Migration3.0' }, entityType: { S: 'CLIENT_VERSION_MIGRATION' } })
  const before = new Map(table.items)
  const [a, b] = [worker('a'), worker('b')]
  await b.beat()
  await rounds(6, a, [b])
  expect(
    a
      .told('itemSkipped')
      .map(({ leaseKey }) => leaseKey)
      .sort(),
  ).toEqual(Object.keys(odd).sort())
  for (const [key, item] of before) expect(table.items.get(key)).toEqual(item)
  expect(countsOf(table, ['a', 'b'])).toEqual([4, 4])
})
