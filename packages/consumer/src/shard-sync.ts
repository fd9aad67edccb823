import type { Shard } from '@shardwise/core'
import {
  AT_TIMESTAMP,
  compareSequenceNumbers,
  findHoles,
  type HashRange,
  LATEST,
  overlaps,
  type Position,
  TRIM_HORIZON,
} from '@shardwise/records'
import { compareShardIds, isFinished, type Lease } from './lease.ts'
import type { NewLease } from './lease-changes.ts'

/** Where an application starts in a shard of which it knows nothing yet. */
export type InitialPosition = 'TRIM_HORIZON' | 'LATEST' | { readonly timestamp: Date | number }

/**
 * An application's first leases: every shard that was open at its initial position starts there.
 *
 * @param shards as ListShards gives them for that position
 * @param nowMs when they were listed, on the service's clock
 */
export function firstLeases(shards: readonly Shard[], initialPosition: InitialPosition, nowMs: number): NewLease[] {
  return inOrder(shards).map((shard) => newLease(shard, startAt(initialPosition, nowMs)))
}

/**
 * Which leases are missing in an application that has some. A shard below a leased one isn't: it gets its lease when its
 * parent ends. So this heals what was deleted, and a creation that stopped half-way.
 *
 * A shard with a younger one leased below it was finished, and its lease was cleaned up; a listing from before the reshard may
 * still show it as open.
 *
 * For each open shard, upwards. With nothing leased above it, it starts at the oldest shards still listed, or for LATEST
 * at the open shard itself. With something leased above it, only what a merge joins from the other side may be missing.
 *
 * @param shards all that are listed
 * @param nowMs when they were listed, on the service's clock
 */
export function missingLeases(
  shards: readonly Shard[],
  leases: readonly Pick<Lease, 'leaseKey' | 'hashRange' | 'startMs'>[],
  initialPosition: InitialPosition,
  nowMs: number,
): NewLease[] {
  const listed = new Map(shards.map((shard) => [shard.shardId, shard]))
  const leased = new Set(leases.map(({ leaseKey }) => leaseKey))
  // The tip is where it was when the first of them were created: what came since in a shard that got none must not be skipped.
  const initial = startAt(initialPosition, Math.min(nowMs, ...leases.flatMap(({ startMs }) => startMs ?? [])))
  const missing = new Map<string, NewLease>()
  const known = new Map<string, boolean>()
  const visited = new Set<string>()

  function isPast({ shardId, hashRange }: Shard): boolean {
    if (leased.has(shardId)) return false
    return leases.some(
      (lease) =>
        lease.hashRange !== undefined &&
        compareShardIds(lease.leaseKey, shardId) > 0 &&
        overlaps(lease.hashRange, hashRange),
    )
  }

  function parentsOf(shard: Shard): Shard[] {
    return shard.parentShardIds
      .map((id) => listed.get(id))
      .filter((parent) => parent !== undefined)
      .filter((parent) => !isPast(parent))
  }

  function isBelowLease(shard: Shard): boolean {
    let result = known.get(shard.shardId)
    if (result === undefined) {
      result = leased.has(shard.shardId) || parentsOf(shard).some(isBelowLease)
      known.set(shard.shardId, result)
    }
    return result
  }

  function visit(shard: Shard): void {
    if (leased.has(shard.shardId) || visited.has(shard.shardId)) return
    visited.add(shard.shardId)
    const parents = parentsOf(shard)
    if (!isBelowLease(shard)) {
      if (initialPosition === 'LATEST' || parents.length === 0) missing.set(shard.shardId, newLease(shard, initial))
      else for (const parent of parents) visit(parent)
      return
    }
    for (const parent of parents) {
      // A merge's other side ended before the application could have been at its tip: all of it counts.
      if (initialPosition === 'LATEST' && !isBelowLease(parent)) missing.set(parent.shardId, newLease(parent, OLDEST))
      else visit(parent)
    }
  }

  for (const shard of shards) if (shard.endingSequenceNumber === undefined && !isPast(shard)) visit(shard)
  return inOrder(shards).flatMap(({ shardId }) => missing.get(shardId) ?? [])
}

/** The hash ranges that no unfinished lease covers, while every lease tells its range; a hole that stays means a missing lease. */
export function uncovered(leases: readonly Lease[]): HashRange[] {
  const unfinished = leases.filter((lease) => !isFinished(lease))
  const ranges = unfinished.map(({ hashRange }) => hashRange).filter((range) => range !== undefined)
  return ranges.length < unfinished.length ? [] : findHoles(ranges)
}

/**
 * Finished leases that nothing needs any more: their children are being read, so they need not be found again through
 * them, and their own parents' leases are gone, so the oldest go first.
 */
export function deletableLeases(leases: readonly Lease[]): Lease[] {
  const byKey = new Map(leases.map((lease) => [lease.leaseKey, lease]))
  const isStarted = (leaseKey: string): boolean => {
    const checkpoint = byKey.get(leaseKey)?.checkpoint.sequenceNumber
    return (
      checkpoint !== undefined &&
      checkpoint !== TRIM_HORIZON.sequenceNumber &&
      checkpoint !== AT_TIMESTAMP.sequenceNumber
    )
  }
  return leases.filter(
    (lease) =>
      isFinished(lease) &&
      lease.childShardIds.length > 0 &&
      lease.childShardIds.every(isStarted) &&
      !lease.parentShardIds.some((id) => byKey.has(id)),
  )
}

interface Start {
  readonly checkpoint: Position
  readonly startMs: number | undefined
}

const OLDEST: Start = { checkpoint: TRIM_HORIZON, startMs: undefined }

function startAt(initialPosition: InitialPosition, nowMs: number): Start {
  if (initialPosition === 'TRIM_HORIZON') return OLDEST
  if (initialPosition === 'LATEST') return { checkpoint: LATEST, startMs: Math.floor(nowMs) }
  return { checkpoint: AT_TIMESTAMP, startMs: Number(initialPosition.timestamp) }
}

function newLease({ shardId, hashRange, parentShardIds }: Shard, start: Start): NewLease {
  return { shardId, hashRange, parentShardIds, ...start }
}

/** Ancestors first, so that a creation that stops half-way leaves no lease whose parent's is still to come. */
function inOrder(shards: readonly Shard[]): Shard[] {
  return [...shards].sort(
    (a, b) =>
      compareSequenceNumbers(a.startingSequenceNumber, b.startingSequenceNumber) || (a.shardId < b.shardId ? -1 : 1),
  )
}
