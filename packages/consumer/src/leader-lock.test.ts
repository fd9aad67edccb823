import { silentLogger } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { beforeEach, expect, test } from 'vitest'
import { MemoryTable } from '../test/memory-table.ts'
import { LeaderLock } from './leader-lock.ts'
import { Telemetry } from './telemetry.ts'

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

const consider = (lock: LeaderLock): Promise<boolean> => lock.consider(table.items.get('Leader'))

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
  expect(await Promise.all([a.consider(undefined), b.consider(undefined)])).toEqual([true, false])
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
  const item = { recordVersionNumber: { S: 'v' }, ownerName: { S: 'java' }, leaseDuration: { S: '120000' } }
  table.items.set('Leader', item)
  const lock = lockOf('a')
  expect(await consider(lock)).toBe(false)
  await clock.advance(120_000)
  expect(await consider(lock)).toBe(false)
  await clock.advance(1)
  expect(await consider(lock)).toBe(true)
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
