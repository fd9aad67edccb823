import { settle } from '@shardwise/core/testing'
import {
  FULL_HASH_RANGE,
  type HashRange,
  type Position,
  SHARD_END,
  splitEvenly,
  TRIM_HORIZON,
} from '@shardwise/records'
import { describe, expect, test, vi } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import { Parents } from './parents.ts'
import type { Item } from './table.ts'

const READING: Position = { sequenceNumber: '7', subSequenceNumber: 0 }
const [LOW, HIGH] = splitEvenly(2) as [HashRange, HashRange]

interface Given {
  readonly hashRange?: HashRange | 'unknown'
  readonly parents?: readonly string[]
  readonly checkpoint?: Position
}

interface Asked {
  readonly table: MemoryTable
  readonly parents: Parents
  readonly isReadable: (id: string) => Promise<boolean>
  readonly finish: (id: string) => void
}

/** A table of leases, by the key of the lease. */
async function tableOf(leases: Readonly<Record<string, Given>>): Promise<Asked> {
  const table = new MemoryTable()
  for (const [key, { hashRange = FULL_HASH_RANGE, parents = [], checkpoint = TRIM_HORIZON }] of Object.entries(
    leases,
  )) {
    const [shardId = '', streamIdentifier] = key.split(' of ')
    const change = create({
      streamIdentifier,
      shardId,
      hashRange: hashRange === 'unknown' ? FULL_HASH_RANGE : hashRange,
      parentShardIds: parents,
      checkpoint,
      startMs: undefined,
    })
    const { startingHashKey, ...untold } = change.set
    await table.update(hashRange === 'unknown' ? { ...change, set: untold } : change)
  }
  const parents = new Parents(table)
  return {
    table,
    parents,
    isReadable: (key) => parents.areFinished(leaseFromItem(table.items.get(key)!) as Lease),
    finish: (key) => {
      table.items.set(key, { ...table.items.get(key), checkpoint: { S: 'SHARD_END' } })
    },
  }
}

test('a child is read when every parent is finished', async () => {
  const both = { parents: ['shard-0', 'shard-1'] }
  const half = { 'shard-0': { hashRange: LOW, checkpoint: SHARD_END }, 'shard-1': { hashRange: HIGH }, 'shard-2': both }
  expect(await (await tableOf(half)).isReadable('shard-2')).toBe(false)
  const whole = { ...half, 'shard-1': { hashRange: HIGH, checkpoint: SHARD_END } }
  expect(await (await tableOf(whole)).isReadable('shard-2')).toBe(true)
})

test('one that waits says for whom, its parents or what else is above it', async () => {
  const { parents, table, finish } = await tableOf({
    'shard-0': { hashRange: LOW },
    'shard-1': { hashRange: HIGH, checkpoint: SHARD_END },
    'shard-2': { parents: ['shard-0', 'shard-1'] },
    'shard-4': { hashRange: LOW, parents: ['shard-3'] },
  })
  const waitingFor = async (key: string): Promise<readonly string[]> => {
    const lease = leaseFromItem(table.items.get(key)!) as Lease
    await parents.areFinished(lease)
    return parents.waitingFor(lease)
  }
  expect(await waitingFor('shard-2')).toEqual(['shard-0'])
  expect(await waitingFor('shard-4')).toEqual(['shard-0', 'shard-2'])
  finish('shard-0')
  expect(await waitingFor('shard-2')).toEqual([])
  expect(await waitingFor('shard-4')).toEqual(['shard-2'])
})

test('one of the first leases of an application needs no look at the others', async () => {
  const { table, parents } = await tableOf({ 'shard-2': { parents: ['shard-1'] } })
  const scans: unknown[] = []
  table.scan = (...asked: unknown[]) => {
    scans.push(asked)
    return Promise.resolve([])
  }
  const lease = leaseFromItem(table.items.get('shard-2')!)!
  expect(await parents.areFinished({ ...lease, isTop: true })).toBe(true)
  expect(scans).toEqual([])
  expect(await parents.areFinished(lease)).toBe(true)
  expect(scans).toHaveLength(1)
})

test('a parent without a lease does not block', async () => {
  expect(await (await tableOf({ 'shard-2': { parents: ['shard-1'] } })).isReadable('shard-2')).toBe(true)
})

test('but a shard above it does, while it is being handled', async () => {
  const leases = { 'shard-0': { checkpoint: READING }, 'shard-2': { parents: ['shard-1'] } }
  expect(await (await tableOf(leases)).isReadable('shard-2')).toBe(false)
  const finished = { ...leases, 'shard-0': { checkpoint: SHARD_END } }
  expect(await (await tableOf(finished)).isReadable('shard-2')).toBe(true)
})

test('neither a shard beside it nor one below does', async () => {
  const leases = {
    'shard-0': { hashRange: LOW, checkpoint: READING },
    'shard-2': { hashRange: HIGH, parents: ['shard-1'] },
    'shard-3': { hashRange: HIGH, parents: ['shard-2'] },
  }
  expect(await (await tableOf(leases)).isReadable('shard-2')).toBe(true)
})

test('a child that was read before goes on, whatever the leases say', async () => {
  const leases = { 'shard-0': { checkpoint: READING }, 'shard-2': { parents: ['shard-1'], checkpoint: READING } }
  expect(await (await tableOf(leases)).isReadable('shard-2')).toBe(true)
})

test('leases of another stream are not above it', async () => {
  const leases = {
    'shard-0 of 1:a:7': { checkpoint: READING },
    'shard-1 of 1:b:7': {},
    'shard-2 of 1:b:7': { parents: ['shard-1'] },
    'shard-3 of 1:b:7': { parents: ['shard-9'] },
  }
  const { isReadable, finish } = await tableOf(leases)
  expect(await isReadable('1:b:7:shard-2')).toBe(false)
  expect(await isReadable('1:b:7:shard-3')).toBe(false)
  finish('1:b:7:shard-1')
  expect(await isReadable('1:b:7:shard-2')).toBe(true)
  finish('1:b:7:shard-2')
  expect(await isReadable('1:b:7:shard-3')).toBe(true)
})

test('a lease that does not tell its hash range may be above it', async () => {
  const { isReadable, finish } = await tableOf({
    'shard-0': { hashRange: 'unknown' },
    'shard-2': { parents: ['shard-1'] },
  })
  expect(await isReadable('shard-2')).toBe(false)
  finish('shard-0')
  expect(await isReadable('shard-2')).toBe(true)
})

describe('the leases are looked through', () => {
  const orphan = (hashRange: HashRange): Given => ({ hashRange, parents: ['shard-1'] })

  test('never where every parent has a lease, or the child was read before', async () => {
    const { table, isReadable } = await tableOf({
      'shard-1': { checkpoint: SHARD_END },
      'shard-2': orphan(LOW),
      'shard-3': { parents: ['shard-0'], checkpoint: READING },
      'shard-4': {},
    })
    const scan = vi.spyOn(table, 'scan')
    expect(await Promise.all(['shard-2', 'shard-3', 'shard-4'].map(isReadable))).toEqual([true, true, true])
    expect(scan).not.toHaveBeenCalled()
  })

  test('once for a child, however long it waits', async () => {
    const { table, isReadable, finish } = await tableOf({ 'shard-0': { checkpoint: READING }, 'shard-2': orphan(LOW) })
    const scan = vi.spyOn(table, 'scan')
    for (let poll = 0; poll < 5; poll++) expect(await isReadable('shard-2')).toBe(false)
    finish('shard-0')
    expect(await isReadable('shard-2')).toBe(true)
    expect(scan).toHaveBeenCalledTimes(1)
  })

  test('twice for all that begin at the same time: by the look under way for the first, by the next for the others', async () => {
    const ids = Array.from({ length: 50 }, (_, id) => `shard-${id + 10}`)
    const { table, isReadable } = await tableOf(Object.fromEntries(ids.map((id) => [id, orphan(LOW)])))
    const scan = vi.spyOn(table, 'scan')
    const first = await Promise.all(ids.map(isReadable))
    expect(first.filter(Boolean)).toHaveLength(1)
    expect(scan).toHaveBeenCalledTimes(2)
    expect(scan).toHaveBeenCalledWith({ consistent: true })
  })

  test('anew after a look that failed', async () => {
    const { table, isReadable } = await tableOf({ 'shard-2': orphan(LOW) })
    vi.spyOn(table, 'scan').mockRejectedValueOnce(new Error('throttled'))
    await expect(isReadable('shard-2')).rejects.toThrow('throttled')
    expect(await isReadable('shard-2')).toBe(true)
  })

  test('again by a look of its own where one is under way that began before', async () => {
    const { table, isReadable } = await tableOf({ 'shard-3': orphan(HIGH) })
    const early = Promise.withResolvers<Item[]>()
    const scan = vi.spyOn(table, 'scan').mockReturnValueOnce(early.promise)
    const waiting = isReadable('shard-3')
    await settle()
    const other = create({
      streamIdentifier: undefined,
      shardId: 'shard-0',
      hashRange: LOW,
      parentShardIds: [],
      checkpoint: READING,
      startMs: undefined,
    })
    await table.update(other)
    await table.update({
      ...other,
      key: 'shard-2',
      set: { ...other.set, checkpoint: { S: 'TRIM_HORIZON' }, parentShardId: { SS: ['shard-1'] } },
    })
    const late = isReadable('shard-2')
    await settle()
    expect(scan).toHaveBeenCalledTimes(1)
    early.resolve([])
    expect(await waiting).toBe(true)
    expect(await late).toBe(false)
    expect(scan).toHaveBeenCalledTimes(2)
  })
})
