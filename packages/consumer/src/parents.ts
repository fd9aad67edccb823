import { isSentinel, overlaps } from '@shardwise/records'
import { compareShardIds, isFinished, type Lease, leaseFromItem } from './lease.ts'
import type { Table } from './table.ts'

/**
 * Whether a shard may be read: everything that came before it under its hash keys is finished.
 *
 * A parent without a lease doesn't block: it is from before the application's time, or was finished and cleaned up. But it may
 * also have expired before it ever had a lease, while a shard above it is still being handled. So before a child's first read
 * the leases are looked through for that.
 */
export async function parentsFinished(lease: Lease, table: Table): Promise<boolean> {
  const items = await Promise.all(lease.parentShardIds.map((id) => table.read(id)))
  const parents = items.map((item) => item && leaseFromItem(item))
  if (parents.some((parent) => parent !== undefined && !isFinished(parent))) return false
  if (!parents.includes(undefined) || !isSentinel(lease.checkpoint)) return true
  const leases = (await table.scan({ consistent: true })).flatMap((item) => leaseFromItem(item) ?? [])
  return !leases.some((other) => !isFinished(other) && isAbove(other, lease))
}

function isAbove(other: Lease, { leaseKey, hashRange }: Lease): boolean {
  return (
    compareShardIds(other.leaseKey, leaseKey) < 0 &&
    other.hashRange !== undefined &&
    hashRange !== undefined &&
    overlaps(other.hashRange, hashRange)
  )
}
