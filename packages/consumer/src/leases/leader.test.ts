import type { Clock } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
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
} from '../../test/coordinator.ts'
import { MemoryTable } from '../../test/memory-table.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { Streams } from '../streams/streams.ts'

let table: MemoryTable
let clock: ManualClock

beforeEach(() => {
  table = new MemoryTable()
  clock = new ManualClock()
})

const worker = (workerId: string, options: Partial<CoordinatorOptions> = {}): Coordinator =>
  new Coordinator(workerId, { table, clock, kinesis: listing(() => shardsOf(4)), ...options })

const alive =
  (...ids: string[]) =>
  (id: string): boolean =>
    ids.includes(id)

/** Time passes, in which the given workers live. */
async function live(ms: number, ...workers: Coordinator[]): Promise<void> {
  for (let passed = 0; passed < ms; passed += 100) {
    await clock.advance(100)
    if (passed % 300 === 0) {
      for (const each of workers) await each.beat()
      await hold(table, leasesIn(table), alive(...workers.map(({ workerId }) => workerId)))
    }
  }
}

const owners = (): (string | undefined)[] => leasesIn(table).map(({ owner }) => owner)

describe('a round', () => {
  test('creates the leases of a new stream and gives them out at once', async () => {
    const a = worker('a')
    await worker('b').beat()
    await a.beat()
    expect(await a.look()).toBe(true)
    expect(countsOf(table, ['a', 'b'])).toEqual([2, 2])
    expect(a.told('leaseAssigned')).toHaveLength(4)
    expect(a.told('leaseAssigned')[0]).toEqual({
      stream: 'orders',
      shardId: shardIdOf(0),
      from: undefined,
      to: 'a',
      reason: 'unowned',
    })
  })

  test('asks for handoffs when a worker joins, and nothing once all is even', async () => {
    const [a, b] = [worker('a'), worker('b')]
    await a.beat()
    await a.look()
    await live(300, a)
    await b.beat()
    await a.look()
    expect(a.told('leaseAssigned').slice(4)).toMatchObject([
      { from: 'a', to: 'b', reason: 'balance' },
      { from: 'a', to: 'b', reason: 'balance' },
    ])
    expect(leasesIn(table).filter(({ checkpointOwner }) => checkpointOwner === 'a')).toHaveLength(2)
    await live(300, a, b)
    await a.look()
    await live(300, a, b)
    await a.look()
    expect(a.told('leaseAssigned')).toHaveLength(6)
    expect(countsOf(table, ['a', 'b'])).toEqual([2, 2])
  })

  test('gives the leases of a worker that is gone to the others, and says why', async () => {
    const [a, b] = [worker('a'), worker('b')]
    for (const each of [a, b]) await each.beat()
    await a.look()
    for (let round = 0; round < 16; round++) {
      await live(100, a)
      await a.look()
    }
    expect(a.told('leaseAssigned').slice(4)).toMatchObject([
      { from: 'b', to: 'a', reason: 'expired' },
      { from: 'b', to: 'a', reason: 'expired' },
    ])
    expect(countsOf(table, ['a', 'b'])).toEqual([4, 0])
  })

  test('gives leases away at once that their holder does not hand off in time', async () => {
    const [a, b] = [worker('a'), worker('b')]
    await a.beat()
    await a.look()
    await live(300, a)
    await b.beat()
    for (let round = 0; round < 33; round++) {
      await a.look()
      await clock.advance(F)
      for (const each of [a, b]) await each.beat()
      await hold(table, leasesIn(table), alive('a', 'b'), () => false)
    }
    expect(a.told('leaseAssigned').slice(4)).toMatchObject([
      ...[0, 1].map((index) => ({ shardId: shardIdOf(index), from: 'a', to: 'b', reason: 'balance' })),
      ...[0, 1].map((index) => ({ shardId: shardIdOf(index), from: 'a', to: 'b', reason: 'stuck' })),
    ])
    expect(countsOf(table, ['a', 'b'])).toEqual([2, 2])
  })

  test('tells who takes part when that changes', async () => {
    const [a, b] = [worker('a'), worker('b')]
    await a.beat()
    await a.look()
    await a.look()
    await b.beat()
    await a.look()
    await b.presence.leave()
    await a.look()
    expect(a.told('workersChanged').map(({ workers }) => workers)).toEqual([['a'], ['a', 'b'], ['a']])
  })

  test('deletes entries of workers that have been gone for long, unless they come back meanwhile', async () => {
    const [a, b] = [worker('a'), worker('b')]
    await a.beat()
    await b.beat()
    await a.look()
    await live(30_000, a)
    await a.look()
    expect(table.items.has('b')).toBe(true)
    await live(100, a)
    await a.look()
    expect(table.items.has('b')).toBe(false)
  })

  test('does not fail because such an entry cannot be deleted: that is told, once a minute at most', async () => {
    const [a, b] = [worker('a'), worker('b')]
    await a.beat()
    await b.beat()
    await a.look()
    await live(30_100, a)
    const remove = table.delete.bind(table)
    let tries = 0
    table.delete = () => {
      tries++
      return Promise.reject(new Error('no access'))
    }
    for (let passed = 0; passed < 70_000; passed += 500) {
      expect(await a.look()).toBe(true)
      await live(500, a)
    }
    expect(tries).toBe(2)
    expect(a.told('callFailed')).toEqual(
      Array(2).fill({ doing: 'deleting the entries of workers that are gone', error: new Error('no access') }),
    )
    table.delete = remove
    await live(60_000, a)
    await a.look()
    expect(table.items.has('b')).toBe(false)
  })

  test('gives no more, for a while, to a worker that does not take up its leases, and tells it', async () => {
    const [a, b] = [worker('a'), worker('b')]
    const assignedTo = (to: string): number => a.told('leaseAssigned').filter((event) => event.to === to).length
    for (const each of [a, b]) await each.beat()
    await a.look()
    /** b beats, and its leases stay where they are. */
    const idle = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 100) {
        await clock.advance(100)
        if (passed % 300 === 0) {
          for (const each of [a, b]) await each.beat()
          await hold(table, leasesIn(table), alive('a'))
        }
        await a.look()
      }
    }
    await idle(3_200)
    expect(a.told('leaseNotTakenUp')).toEqual(
      [1, 3].map((index) => ({ stream: 'orders', shardId: shardIdOf(index), to: 'b', againInMs: 3 * F })),
    )
    expect([countsOf(table, ['a', 'b']), assignedTo('b')]).toEqual([[4, 0], 2])
    await idle(2_700)
    expect(assignedTo('b')).toBe(2)
    // It is given its share again, and the same comes of it.
    await idle(3_700)
    expect(a.told('leaseNotTakenUp').slice(2)).toMatchObject([{ againInMs: 6 * F }, { againInMs: 6 * F }])
    expect([countsOf(table, ['a', 'b']), assignedTo('b')]).toEqual([[4, 0], 4])
  })

  test('does not tell of untaken leases that the leader before it had to tell of', async () => {
    const [a, b, c] = [worker('a'), worker('b'), worker('c')]
    await a.beat()
    await a.look()
    await live(300, a)
    await c.scan()
    await b.beat()
    await a.look()
    await hold(table, leasesIn(table), alive('a'))
    for (let passed = 0; passed < 3_500; passed += 100) {
      await c.scan()
      c.leader.rest()
      await clock.advance(100)
      await b.beat()
    }
    await a.lock.release()
    expect(await c.look()).toBe(true)
    expect(c.view.workers().map(({ workerId }) => workerId)).toEqual(['c'])
    expect(c.told('leaseNotTakenUp')).toEqual([])
  })

  test('carries out what the own function decides, and nothing of what it may not', async () => {
    let to = 'b'
    const a = worker('a', { assign: (leases) => leases.map(({ leaseKey }) => ({ leaseKey, to })) })
    await worker('b').beat()
    await a.beat()
    await a.look()
    expect(owners()).toEqual(['b', 'b', 'b', 'b'])
    to = 'nobody'
    await expect(a.look()).rejects.toThrow(/Option "assign": .* got "nobody"/)
    expect(owners()).toEqual(['b', 'b', 'b', 'b'])
  })

  test('during which the worker is paused until others may lead writes nothing more', async () => {
    let pausedMs = 0
    const slow: Clock = {
      monotonicMs: () => clock.monotonicMs() + pausedMs,
      wallMs: () => clock.wallMs() + pausedMs,
      sleep: (ms, signal) => clock.sleep(ms, signal),
    }
    const a = worker('a', { kinesis: listing(() => shardsOf(40)), clock: slow })
    await a.beat()
    const update = table.update.bind(table)
    let writes = 0
    table.update = (change) => {
      if (change.set.leaseOwner !== undefined && ++writes === 1) pausedMs = 1.5 * F
      return update(change)
    }
    await a.look()
    expect([a.lock.held, writes, leasesIn(table).length]).toEqual([false, 1, 40])
  })
})

describe('a leader that stops', () => {
  test('names the others for what it holds, evenly, and nothing else', async () => {
    const [a, b, c] = [worker('a'), worker('b'), worker('c')]
    for (const each of [b, c, a]) await each.beat()
    await a.look()
    await live(300, a, b, c)
    await a.scan()
    const successors = a.leader.successorsOf('a')
    const held = leasesIn(table).filter(({ owner }) => owner === 'a')
    expect([...successors.keys()].sort()).toEqual(held.map(({ leaseKey }) => leaseKey).sort())
    expect([...successors.values()].sort()).toEqual(['b', 'c'])
  })

  test('names nobody who was not seen to live', async () => {
    const [a, b] = [worker('a'), worker('b')]
    for (const each of [b, a]) await each.beat()
    await a.look()
    expect(a.leader.successorsOf('a')).toEqual(new Map())
    await b.beat()
    await a.scan()
    expect(new Set(a.leader.successorsOf('a').values())).toEqual(new Set(['b']))
  })

  test('names nobody if it is alone, or if the function of the user fails', async () => {
    const a = worker('a')
    await a.beat()
    await a.look()
    expect(a.leader.successorsOf('a')).toEqual(new Map())
    const broken = worker('z', {
      assign: () => {
        throw new Error('no idea')
      },
    })
    await broken.scan()
    expect(broken.told('callFailed')).toEqual([])
    await a.beat()
    await broken.scan()
    expect(broken.leader.successorsOf('z')).toEqual(new Map())
    expect(broken.told('callFailed')).toMatchObject([{ error: new Error('no idea') }])
  })
})

describe('rounds that fail', () => {
  const failing = (): ReturnType<typeof listing> =>
    listing(() => {
      throw new Error('not now')
    })

  test('three in a row, and another worker leads; only a lock duration later this one may again', async () => {
    const [a, b] = [worker('a', { kinesis: failing() }), worker('b')]
    await b.beat()
    await a.beat()
    for (let round = 0; round < 3; round++) {
      expect(a.lock.held || round === 0).toBe(true)
      await expect(a.look()).rejects.toThrow('not now')
      await a.lock.renew()
      await live(1_000 * 2 ** round, a, b)
    }
    expect([a.lock.held, table.items.has('Leader')]).toEqual([false, false])
    expect(await b.look()).toBe(true)
    expect(leasesIn(table)).toHaveLength(4)
    expect(a.told('leaderChanged')).toEqual([{ leader: true }, { leader: false }])
  })

  test('because the table is throttled change nothing: another leader would be throttled too', async () => {
    const [a, b] = [worker('a'), worker('b')]
    await b.beat()
    await a.beat()
    await a.look()
    const scan = table.scan.bind(table)
    const throttled = Object.assign(new Error('too much'), { name: 'ProvisionedThroughputExceededException' })
    table.scan = () => Promise.reject(throttled)
    for (let round = 0; round < 5; round++) {
      await expect(a.look()).rejects.toThrow('too much')
      for (const each of [a, b]) await each.beat()
    }
    expect(a.lock.held).toBe(true)
    table.scan = () => Promise.reject(new Error('not now'))
    for (let round = 0; round < 3; round++) await expect(a.look()).rejects.toThrow('not now')
    table.scan = scan
    expect(a.lock.held).toBe(false)
  })

  test('of a lone worker change nothing: it goes on trying', async () => {
    const a = worker('a', { kinesis: failing() })
    for (let round = 0; round < 5; round++) {
      await a.beat()
      await a.look().catch(() => {})
      await live(10_000, a)
    }
    expect(a.lock.held).toBe(true)
  })

  test('do not keep leases from being assigned', async () => {
    const [a, b] = [worker('a', { kinesis: failing() }), worker('b')]
    await b.beat()
    await b.look()
    await b.lock.release()
    await b.presence.leave()
    await a.beat()
    await expect(a.look()).rejects.toThrow('not now')
    await live(1_100, a)
    await a.look().catch(() => {})
    expect(countsOf(table, ['a'])).toEqual([4])
  })

  test('because the one stream does not exist say so', async () => {
    const a = worker('a', {
      kinesis: listing(() => {
        throw Object.assign(new Error('gone'), { name: 'ResourceNotFoundException' })
      }),
    })
    await a.beat()
    await expect(a.look()).rejects.toMatchObject({ code: 'ERR_STREAM' })
  })
})

describe('with several streams', () => {
  const ORDERS = '123456789012:orders:1700000000'
  const TAXES = '123456789012:taxes:1700000000'
  const sourceOf = (identifier: string): StreamSource => ({
    stream: identifier.split(':')[1]!,
    identifier,
    initialPosition: 'TRIM_HORIZON',
  })
  let sources: StreamSource[]
  let asked: number
  let isUnsure: boolean
  const streams: Streams = {
    areSeveral: true,
    get sources() {
      return sources
    },
    find: (identifier) => sources.find((source) => source.identifier === identifier),
    lookSoon: () => {
      asked++
    },
    lookedAtMs: 0,
    get isUnsure() {
      return isUnsure
    },
    lose: () => true,
  }

  beforeEach(() => {
    sources = [ORDERS, TAXES].map(sourceOf)
    asked = 0
    isUnsure = false
  })

  test('creates and assigns the leases of each', async () => {
    const a = worker('a', { streams })
    await a.beat()
    await a.look()
    expect(leasesIn(table).map(({ leaseKey }) => leaseKey)).toContain(`${TAXES}:${shardIdOf(3)}`)
    expect(countsOf(table, ['a'])).toEqual([8])
    expect(new Set(a.told('leaseAssigned').map(({ stream }) => stream))).toEqual(new Set(['orders', 'taxes']))
  })

  test('one that cannot be listed does not stop the others, is told, and is tried again less and less often', async () => {
    let tries = 0
    const a = worker('a', {
      streams,
      kinesis: listing((stream) => {
        if (stream === 'orders') return shardsOf(4)
        tries++
        throw new Error('no access')
      }),
    })
    await a.beat()
    for (let passed = 0; passed < 30_000; passed += 500) {
      await a.look()
      await live(500, a)
    }
    expect(a.lock.held).toBe(true)
    expect(countsOf(table, ['a'])).toEqual([4])
    expect(a.told('callFailed')[0]).toMatchObject({ doing: 'comparing the shards and leases of taxes' })
    expect(a.told('callFailed')).toHaveLength(tries)
    expect(tries).toBeGreaterThanOrEqual(5)
    expect(tries).toBeLessThanOrEqual(7)
  })

  test('when none can be listed the round fails', async () => {
    const a = worker('a', {
      streams,
      kinesis: listing(() => {
        throw new Error('no access')
      }),
    })
    await a.beat()
    await expect(a.look()).rejects.toThrow('no access')
    expect(a.told('callFailed')).toHaveLength(2)
  })

  test('leases of a former stream are not assigned, and deleted after a while unless somebody renews them', async () => {
    const [a, b] = [worker('a', { streams, formerStreamWaitMs: 10_000 }), worker('b')]
    await b.beat()
    await a.beat()
    await a.look()
    sources = [sourceOf(ORDERS)]
    const former = (): number => leasesIn(table).filter(({ streamIdentifier }) => streamIdentifier === TAXES).length
    await a.look()
    expect(asked).toBe(1)
    for (let passed = 0; passed < 9_000; passed += 500) {
      await live(500, a, b)
      await a.look()
    }
    expect(former()).toBe(4)
    // b has stopped reading them, a goes on.
    const ofB = leasesIn(table).filter(({ streamIdentifier, owner }) => streamIdentifier === TAXES && owner === 'b')
    for (const { leaseKey } of ofB) {
      const { leaseOwner: _, ...item } = table.items.get(leaseKey)!
      table.items.set(leaseKey, item)
    }
    for (let passed = 0; passed < 2_000; passed += 500) {
      await live(500, a, b)
      await a.look()
    }
    expect(former()).toBe(2)
    expect(a.told('leaseDeleted')).toHaveLength(2)
    expect(a.told('leaseDeleted')[0]).toMatchObject({ stream: TAXES, reason: 'removed' })
    expect(asked).toBe(1)
  })

  test('leases of a former stream stay while it cannot be told of all streams what they are', async () => {
    const a = worker('a', { streams, formerStreamWaitMs: 1_000 })
    await a.beat()
    await a.look()
    sources = [sourceOf(ORDERS)]
    isUnsure = true
    for (let round = 0; round < 40; round++) {
      await a.look()
      await clock.advance(100)
      await a.beat()
    }
    expect(leasesIn(table)).toHaveLength(8)
    isUnsure = false
    await a.look()
    expect(leasesIn(table)).toHaveLength(4)
  })

  test('leases of a former stream that cannot be deleted do not fail the round', async () => {
    const a = worker('a', { streams, formerStreamWaitMs: 1_000 })
    await a.beat()
    await a.look()
    sources = [sourceOf(ORDERS)]
    table.delete = () => Promise.reject(new Error('no access'))
    for (let round = 0; round < 40; round++) {
      expect(await a.look()).toBe(true)
      await clock.advance(100)
      await a.beat()
    }
    expect(a.told('callFailed')).toEqual([
      { doing: 'deleting the leases of streams that were removed', error: new Error('no access') },
    ])
  })

  test('a stream that comes back keeps its leases', async () => {
    const a = worker('a', { streams, formerStreamWaitMs: 1_000 })
    await a.beat()
    await a.look()
    const both = sources
    for (let round = 0; round < 4; round++) {
      sources = [sourceOf(ORDERS)]
      await a.look()
      await live(900, a)
      sources = both
      await a.look()
    }
    expect(leasesIn(table)).toHaveLength(8)
  })
})
