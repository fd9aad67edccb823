import { silentLogger } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { Telemetry } from '../telemetry/telemetry.ts'
import { LeaderLock } from './leader-lock.ts'
import type { Item, ItemChange } from './table.ts'

let table: MemoryTable
let clock: ManualClock
let changes: string[]

beforeEach(() => {
  table = new MemoryTable()
  clock = new ManualClock()
  changes = []
})

const lockOf = (workerId: string): LeaderLock =>
  new LeaderLock({
    table,
    workerId,
    durationMs: 1_500,
    clock,
    random: Math.random,
    telemetry: new Telemetry(
      silentLogger,
      (event) => event.type === 'leaderChanged' && changes.push(`${workerId} ${event.leader}`),
      {},
    ),
  })

const now = (): { sentAtMs: number; nowMs: number } => ({ sentAtMs: clock.monotonicMs(), nowMs: clock.monotonicMs() })
const consider = (lock: LeaderLock): Promise<boolean> => lock.consider(table.items.get('Leader'), now())
const observe = (lock: LeaderLock): boolean => {
  lock.observe(table.items.get('Leader'), now())
  return lock.isStale
}
const kclLock = (leaseDuration = '120000', version = 'v'): Item => ({
  leaseKey: { S: 'Leader' },
  recordVersionNumber: { S: version },
  ownerName: { S: 'java' },
  leaseDuration: { S: leaseDuration },
  entityType: { S: 'LEADER' },
})

test('the first takes it, in the layout of the KCL, and the second does not', async () => {
  const [a, b] = [lockOf('a'), lockOf('b')]
  expect(await consider(a)).toBe(true)
  expect(await consider(b)).toBe(false)
  expect(table.items.get('Leader')).toEqual({
    leaseKey: { S: 'Leader' },
    ownerName: { S: 'a' },
    recordVersionNumber: {
      S: expect.stringMatching(/^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/),
    },
    leaseDuration: { S: '1500' },
    entityType: { S: 'LEADER' },
  })
})

test('of two that see it free at once only one gets it', async () => {
  const [a, b] = [lockOf('a'), lockOf('b')]
  expect(await Promise.all([a, b].map((lock) => lock.consider(undefined, now())))).toEqual([true, false])
})

test('a leader that renews keeps it; killed, another leads when the item has stood still for its duration', async () => {
  const [a, b] = [lockOf('a'), lockOf('b')]
  await consider(a)
  for (let beat = 0; beat < 5; beat++) {
    await clock.advance(700)
    await a.renew()
    expect(await consider(b)).toBe(false)
  }
  expect(a.held).toBe(true)
  await clock.advance(1_500)
  expect(a.held).toBe(false)
  expect(await consider(b)).toBe(false)
  await clock.advance(1)
  expect(await consider(b)).toBe(true)
})

test('how long it may stand still is what the item says, as a KCL has written it', async () => {
  table.items.set('Leader', kclLock())
  const lock = lockOf('a')
  expect(await consider(lock)).toBe(false)
  await clock.advance(120_000)
  expect(await consider(lock)).toBe(false)
  await clock.advance(1)
  expect(await consider(lock)).toBe(true)
})

test.each(['', 'soon', '0', '-1', '1e9', '15000.5', '9'.repeat(40)])(
  'where the item says %j, one goes by the own duration',
  async (duration) => {
    table.items.set('Leader', kclLock(duration))
    const lock = lockOf('a')
    await consider(lock)
    await clock.advance(1_500)
    expect(await consider(lock)).toBe(false)
    await clock.advance(1)
    expect(await consider(lock)).toBe(true)
  },
)

test('a pause of the own process inside a look is no standstill of the lock', async () => {
  table.items.set('Leader', kclLock('1500'))
  const lock = lockOf('b')
  await consider(lock)
  const sentAtMs = clock.monotonicMs()
  await clock.advance(60_000)
  expect(await lock.consider(table.items.get('Leader'), { sentAtMs, nowMs: clock.monotonicMs() })).toBe(false)
})

test('released, another takes it at once; so is one that says it is released', async () => {
  const [a, b] = [lockOf('a'), lockOf('b')]
  await consider(a)
  await a.release()
  expect(table.items.size).toBe(0)
  expect(await consider(b)).toBe(true)
  table.items.set('Leader', { ...table.items.get('Leader'), isReleased: { S: '1' } })
  expect(await consider(lockOf('c'))).toBe(true)
  expect(table.items.get('Leader')).not.toHaveProperty('isReleased')
})

test('a worker started again under the same name takes its own lock up at once', async () => {
  await consider(lockOf('a'))
  expect(await consider(lockOf('a'))).toBe(true)
})

test('one who has lost it knows at the next renewal, and its release does not touch the new leader', async () => {
  const [a, b] = [lockOf('a'), lockOf('b')]
  await consider(a)
  await consider(b)
  await clock.advance(1_501)
  await consider(b)
  await a.renew()
  expect([a.held, b.held]).toEqual([false, true])
  await a.release()
  expect(table.items.get('Leader')?.ownerName).toEqual({ S: 'b' })
  expect(changes).toEqual(['a true', 'b true', 'a false'])
})

describe('a follower', () => {
  test('begins to watch the leases when the leader has missed a heartbeat, and stops when it beats again', async () => {
    const [a, b] = [lockOf('a'), lockOf('b')]
    await consider(a)
    expect(observe(b)).toBe(false)
    await clock.advance(550)
    expect(observe(b)).toBe(false)
    await clock.advance(1)
    expect(observe(b)).toBe(true)
    await a.renew()
    expect(observe(b)).toBe(false)
  })

  test('lets a leader of the KCL miss a heartbeat of its own, a quarter of its duration', async () => {
    table.items.set('Leader', kclLock())
    const lock = lockOf('a')
    observe(lock)
    await clock.advance(33_000)
    expect(observe(lock)).toBe(false)
    await clock.advance(1)
    expect(observe(lock)).toBe(true)
  })

  test('begins at once where nobody leads', async () => {
    const [a, b] = [lockOf('a'), lockOf('b')]
    expect(observe(b)).toBe(true)
    await consider(a)
    expect(observe(b)).toBe(false)
    await a.release()
    expect(observe(b)).toBe(true)
  })
})

describe('of a large fleet', () => {
  /** Whose chance is as given, from 0 to 1. */
  const lockWith = (workerId: string, chance: number): LeaderLock =>
    new LeaderLock({
      table,
      workerId,
      durationMs: 1_500,
      clock,
      random: () => chance,
      telemetry: new Telemetry(silentLogger, undefined, {}),
    })

  beforeEach(async () => {
    const leader = lockOf('a')
    await consider(leader)
    leader.countWorkers(1_000)
    await leader.renew()
    expect(table.items.get('Leader')?.shardwiseWorkers).toEqual({ N: '1000' })
  })

  test('some watch when the leader is silent, and the others only if nobody has come to lead', async () => {
    const [some, other] = [lockWith('b', 0.009), lockWith('c', 0.01)]
    expect([observe(some), observe(other)]).toEqual([false, false])
    await clock.advance(551)
    expect([observe(some), observe(other)]).toEqual([true, false])
    await clock.advance(1_449)
    expect([observe(some), observe(other)]).toEqual([true, false])
    await clock.advance(1)
    expect([observe(some), observe(other)]).toEqual([true, true])
  })

  test('the same holds where the leader has gone in good order', async () => {
    const [some, other] = [lockWith('b', 0.009), lockWith('c', 0.01)]
    for (const lock of [some, other]) observe(lock)
    table.items.delete('Leader')
    expect([observe(some), observe(other)]).toEqual([true, false])
    await clock.advance(2_001)
    expect(observe(other)).toBe(true)
  })

  test('the leader itself, started again, takes its lock at once', () => {
    expect(observe(lockWith('a', 0.99))).toBe(true)
  })

  test('that shrinks, all watch again', async () => {
    const leader = lockOf('a')
    await consider(leader)
    leader.countWorkers(10)
    await leader.renew()
    expect(table.items.get('Leader')).not.toHaveProperty('shardwiseWorkers')
    const lock = lockWith('b', 0.99)
    observe(lock)
    await clock.advance(551)
    expect(observe(lock)).toBe(true)
  })
})

describe('a leader that abstains', () => {
  test('gives the lock up, and takes it again only after a lock duration', async () => {
    const [a, b] = [lockOf('a'), lockOf('b')]
    await consider(a)
    await a.abstain()
    expect([a.held, table.items.size, observe(a), observe(b)]).toEqual([false, 0, false, true])
    await clock.advance(1_499)
    expect(await consider(a)).toBe(false)
    await clock.advance(1)
    expect(await consider(a)).toBe(true)
  })

  test('has let go even if the table cannot be told', async () => {
    const a = lockOf('a')
    await consider(a)
    table.delete = () => Promise.reject(new Error('no network'))
    await expect(a.abstain()).rejects.toThrow('no network')
    expect([a.held, await consider(a)]).toEqual([false, false])
  })
})

describe('when an answer is lost', () => {
  /** The next write is done, and its answer doesn't come. */
  function loseNextAnswer(): void {
    const update = table.update.bind(table)
    table.update = async (change: ItemChange) => {
      table.update = update
      await update(change)
      throw new Error('connection reset')
    }
  }

  test('a renewal that was done is known at the next', async () => {
    const a = lockOf('a')
    await consider(a)
    loseNextAnswer()
    await expect(a.renew()).rejects.toThrow('connection reset')
    await clock.advance(1_000)
    await a.renew()
    await clock.advance(1_000)
    expect(a.held).toBe(true)
  })

  test('the release takes along what was written', async () => {
    const a = lockOf('a')
    await consider(a)
    loseNextAnswer()
    await expect(a.renew()).rejects.toThrow('connection reset')
    await a.release()
    expect(table.items.size).toBe(0)
  })

  test('one that was taken so is taken up at the next look', async () => {
    const a = lockOf('a')
    loseNextAnswer()
    await expect(consider(a)).rejects.toThrow('connection reset')
    expect(a.held).toBe(false)
    expect(await consider(a)).toBe(true)
  })
})

test('whose takes have failed for long names only the last in the condition of its release', async () => {
  const a = lockOf('a')
  table.update = () => Promise.reject(new Error('throttled'))
  for (let times = 0; times < 600; times++) await expect(consider(a)).rejects.toThrow('throttled')
  const written: ItemChange[] = []
  table.update = (change) => {
    written.push(change)
    return Promise.reject(new Error('throttled'))
  }
  await expect(consider(a)).rejects.toThrow('throttled')
  let named: unknown
  table.delete = (_kind, _key, when) => {
    named = when
    return Promise.resolve(false)
  }
  await a.release()
  expect(named).toHaveLength(10)
  expect(named).toContainEqual({ recordVersionNumber: written[0]?.set.recordVersionNumber })
})

test('a renewal that is still under way at the release leaves no lock behind', async () => {
  const a = lockOf('a')
  await consider(a)
  const update = table.update.bind(table)
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>()
  table.update = async (change: ItemChange) => {
    await arrived
    return await update(change)
  }
  const renewing = a.renew()
  const remove = table.delete.bind(table)
  table.delete = () => Promise.resolve(false)
  await a.release()
  table.delete = remove
  arrive()
  await renewing
  expect([a.held, table.items.size]).toEqual([false, 0])
})

test('a leader that was paused for longer than its lock lasts does not renew it, and takes it up if nobody else has', async () => {
  const a = lockOf('a')
  await consider(a)
  const { recordVersionNumber } = table.items.get('Leader')!
  await clock.advance(1_500)
  await a.renew()
  expect(table.items.get('Leader')?.recordVersionNumber).toEqual(recordVersionNumber)
  expect(changes).toEqual(['a true', 'a false'])
  expect(await consider(a)).toBe(true)
})
