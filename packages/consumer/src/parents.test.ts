import {
  FULL_HASH_RANGE,
  type HashRange,
  type Position,
  SHARD_END,
  splitEvenly,
  TRIM_HORIZON,
} from '@shardwise/records'
import { expect, test } from 'vitest'
import { MemoryTable } from '../test/memory-table.ts'
import { type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import { parentsFinished } from './parents.ts'

const READING: Position = { sequenceNumber: '7', subSequenceNumber: 0 }
const [LOW, HIGH] = splitEvenly(2) as [HashRange, HashRange]

interface Given {
  readonly hashRange?: HashRange
  readonly parents?: readonly string[]
  readonly checkpoint?: Position
}

/** A table of leases, by the number of the shard. */
async function tableOf(
  leases: Readonly<Record<string, Given>>,
): Promise<{ isReadable: (id: string) => Promise<boolean> }> {
  const table = new MemoryTable()
  for (const [shardId, { hashRange = FULL_HASH_RANGE, parents = [], checkpoint = TRIM_HORIZON }] of Object.entries(
    leases,
  )) {
    await table.update(create({ shardId, hashRange, parentShardIds: parents, checkpoint, startMs: undefined }))
  }
  return { isReadable: (id) => parentsFinished(leaseFromItem(table.items.get(id)!) as Lease, table) }
}

test('a child is read when every parent is finished', async () => {
  const both = { parents: ['shard-0', 'shard-1'] }
  const half = { 'shard-0': { hashRange: LOW, checkpoint: SHARD_END }, 'shard-1': { hashRange: HIGH }, 'shard-2': both }
  expect(await (await tableOf(half)).isReadable('shard-2')).toBe(false)
  const whole = { ...half, 'shard-1': { hashRange: HIGH, checkpoint: SHARD_END } }
  expect(await (await tableOf(whole)).isReadable('shard-2')).toBe(true)
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
