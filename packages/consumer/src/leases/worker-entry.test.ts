import { ManualClock, seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import type { Item } from './table.ts'
import { entryFromItem, WorkerPresence, type WorkerPresenceOptions } from './worker-entry.ts'

const random = seededRandom(1)
const clock = new ManualClock(60_000)

const presenceIn = (table: MemoryTable, more: Partial<WorkerPresenceOptions> = {}): WorkerPresence =>
  new WorkerPresence({
    table,
    workerId: 'a',
    maxLeases: Number.POSITIVE_INFINITY,
    periodMs: 500,
    clock,
    random,
    ...more,
  })

/** As a KCL on a machine whose CPU it can measure writes it. */
const kclEntry = (...samples: number[]): Item => ({
  leaseKey: { S: 'java' },
  entityType: { S: 'WORKER_METRIC_STATS' },
  lut: { N: '60' },
  sts: { M: { C: { L: samples.map((sample) => ({ N: String(sample) })) } } },
  opr: { M: { C: { L: [{ N: '100' }] } } },
})

test('an entry says how often it is written, and changes with each write', async () => {
  const table = new MemoryTable()
  const presence = presenceIn(table)
  await presence.show()
  const first = entryFromItem(table.items.get('a')!)!
  expect(first).toMatchObject({ workerId: 'a', timeoutMs: 1_500, writtenAtMs: 60_000, isFailing: false })
  expect(first.maxLeases).toBe(Number.POSITIVE_INFINITY)
  await presence.show()
  expect(entryFromItem(table.items.get('a')!)!.beat).not.toBe(first.beat)
})

test('a limit of leases is told, and taken back by a run that has none', async () => {
  const table = new MemoryTable()
  await presenceIn(table, { maxLeases: 7 }).show()
  expect(entryFromItem(table.items.get('a')!)!.maxLeases).toBe(7)
  await presenceIn(table).show()
  expect(table.items.get('a')).not.toHaveProperty('shardwiseMaxLeases')
})

test('CPU loads are told as the KCL tells them; without any, both maps are empty', async () => {
  const table = new MemoryTable()
  await presenceIn(table, { cpuLoads: () => [12.345, 50] }).show()
  expect(table.items.get('a')).toMatchObject({
    sts: { M: { C: { L: [{ N: '12.35' }, { N: '50.00' }] } } },
    opr: { M: { C: { L: [{ N: '100' }] } } },
  })
  await presenceIn(table).show()
  expect(table.items.get('a')).toMatchObject({ sts: { M: {} }, opr: { M: {} } })
})

test('a worker that leaves takes its entry along, but not that of its successor under the same name', async () => {
  const table = new MemoryTable()
  const [before, after] = [presenceIn(table), presenceIn(table)]
  await before.show()
  await after.show()
  await before.leave()
  expect(table.items.size).toBe(1)
  await after.leave()
  expect(table.items.size).toBe(0)
  await after.leave()
})

test('an entry of the KCL counts for a minute and is of no use after a day', () => {
  expect(entryFromItem(kclEntry(40))).toMatchObject({ timeoutMs: 60_000, staleMs: 86_400_000, isFailing: false })
})

test('a worker whose newest sample of a metric is -1 is failing; an older one does not matter', () => {
  expect(entryFromItem(kclEntry(40, -1))?.isFailing).toBe(true)
  expect(entryFromItem(kclEntry(-1, 40))?.isFailing).toBe(false)
})

test.each([{}, { lut: { S: '60' } }, { lut: { N: 'x' } }])('an item with %j for its time is no entry', (time) => {
  expect(entryFromItem({ leaseKey: { S: 'a' }, ...time } as Item)).toBeUndefined()
})
