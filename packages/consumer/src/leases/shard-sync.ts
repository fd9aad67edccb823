import type { Shard } from '@shardwise/core'
import {
  AT_TIMESTAMP,
  compareSequenceNumbers,
  FULL_HASH_RANGE,
  findHoles,
  type HashRange,
  LATEST,
  MAX_HASH_KEY,
  overlaps,
  type Position,
  TRIM_HORIZON,
} from '@shardwise/records'
import { compareShardIds, isFinished, type Lease } from './lease.ts'
import { RangeIndex } from './range-index.ts'

/** A lease that a shard of the stream should have and hasn't. */
export interface MissingLease {
  readonly shardId: string
  readonly hashRange: HashRange
  readonly parentShardIds: readonly string[]
  readonly checkpoint: Position
  /** Where reading starts if the checkpoint is LATEST or AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
}

/** Where an application starts in a shard of which it knows nothing yet. */
export type InitialPosition = 'TRIM_HORIZON' | 'LATEST' | { readonly timestamp: Date | number }

export function isInitialPosition(value: unknown): value is InitialPosition {
  if (value === 'TRIM_HORIZON' || value === 'LATEST') return true
  const { timestamp } = Object(value) as { timestamp?: unknown }
  return (timestamp instanceof Date || typeof timestamp === 'number') && Number.isFinite(Number(timestamp))
}

/**
 * An application's first leases: every shard that was open at its initial position starts there. A shard that is listed beside
 * its own parent isn't leased: the listing is from the middle of a reshard, and the parent's end brings the child.
 *
 * @param shards as ListShards gives them for that position
 * @param nowMs when they were listed, on the service's clock
 */
export function firstLeases(shards: readonly Shard[], initialPosition: InitialPosition, nowMs: number): MissingLease[] {
  return inOrder(topmost(shards, shards)).map((shard) => newLease(shard, startAt(initialPosition, nowMs)))
}

type KnownLease = Pick<Lease, 'shardId' | 'checkpoint' | 'hashRange' | 'startMs'>

/**
 * Which leases are missing in an application that has some. It heals what was deleted, a creation that stopped half-way, and
 * a line of shards that has expired in the middle.
 *
 * What is above a shard is judged by its parents, and by hash keys, since a parent that has expired is no longer listed. An
 * application's leases always cover all hash keys, so:
 *
 * - A shard without a lease that has a younger one leased below it was finished, and its lease cleaned up, or it is from before the
 *   application's time. A listing from before a reshard may still show it as open.
 * - A shard below an unfinished lease isn't missing: it gets its lease when its parent ends. In a merge the line of the other
 *   parent may be missing.
 * - Where all that is leased above it is finished, or expired with the line between, the oldest shards that are still listed
 *   start with their oldest record.
 * - With nothing leased above it, it is where the application starts: the oldest shards still listed at the initial position;
 *   for LATEST, those that were open when the application started, at that time. Where that isn't known, because a KCL started it,
 *   it is the shard itself: open ones at the tip as of now, and closed ones from their oldest record, since nothing of a closed
 *   shard comes after the tip.
 *
 * No shard is in the answer together with one above it.
 *
 * @param shards all that are listed
 * @param nowMs when they were listed, on the service's clock
 * @param openAtStart the shards that were open at {@link startedAtMs}, if that has been asked for: nothing above them is leased
 */
export function missingLeases(
  shards: readonly Shard[],
  leases: readonly KnownLease[],
  initialPosition: InitialPosition,
  nowMs: number,
  openAtStart?: ReadonlySet<string>,
): MissingLease[] {
  const listed = new Map(shards.map((shard) => [shard.shardId, shard]))
  const leased = new Map(leases.map((lease) => [lease.shardId, lease]))
  // A lease that doesn't tell its hash range may be above any shard; below one only what is known to be counts.
  const leaseRanges = new RangeIndex(
    leases.map(({ shardId, hashRange: own }) => {
      const known = own ?? listed.get(shardId)?.hashRange
      return { shardId, hashRange: known ?? FULL_HASH_RANGE, isTold: known !== undefined }
    }),
  )
  const sinceMs = startedAtMs(initialPosition, leases)
  const missing = new Map<string, MissingLease>()
  const visited = new Set<string>()

  const isPast = ({ shardId, hashRange }: Shard): boolean =>
    leaseRanges.some(hashRange, (lease) => lease.isTold && compareShardIds(lease.shardId, shardId) > 0)
  const isAfterStart = ({ shardId, hashRange }: Shard): boolean =>
    leaseRanges.some(hashRange, (lease) => compareShardIds(lease.shardId, shardId) < 0)

  const unread = memoized((shardId): Shard | undefined => {
    const shard = leased.has(shardId) ? undefined : listed.get(shardId)
    return shard === undefined || isPast(shard) ? undefined : shard
  })
  const isCarried = memoized((shardId): boolean => {
    const lease = leased.get(shardId)
    if (lease !== undefined) return !isFinished(lease)
    return unread(shardId)?.parentShardIds.some(isCarried) ?? false
  })

  const startOf = (shard: Shard): Start => {
    if (initialPosition !== 'LATEST') return startAt(initialPosition, nowMs)
    const isWhole = isAfterStart(shard) || (sinceMs === undefined && shard.endingSequenceNumber !== undefined)
    return isWhole ? OLDEST : startAt('LATEST', Math.min(nowMs, sinceMs ?? nowMs))
  }
  const isStart = (shard: Shard): boolean =>
    openAtStart?.has(shard.shardId) ?? (initialPosition === 'LATEST' && !isAfterStart(shard))

  function visit(shard: Shard): void {
    if (visited.has(shard.shardId)) return
    visited.add(shard.shardId)
    const parents = shard.parentShardIds.flatMap((id) => unread(id) ?? [])
    if (!isCarried(shard.shardId) && (parents.length === 0 || isStart(shard))) {
      missing.set(shard.shardId, newLease(shard, startOf(shard)))
    } else {
      for (const parent of parents) visit(parent)
    }
  }

  for (const { shardId, endingSequenceNumber } of shards) {
    const shard = endingSequenceNumber === undefined ? unread(shardId) : undefined
    if (shard !== undefined) visit(shard)
  }
  const found = shards.filter(({ shardId }) => missing.has(shardId))
  return inOrder(topmost(found, shards)).flatMap(({ shardId }) => missing.get(shardId) ?? [])
}

/**
 * When the application started, in milliseconds since 1970, as far as its position or its leases tell; undefined if it starts at
 * the oldest record or they don't tell.
 */
export function startedAtMs(
  initialPosition: InitialPosition,
  leases: readonly Pick<Lease, 'startMs'>[],
): number | undefined {
  if (initialPosition === 'TRIM_HORIZON') return undefined
  if (initialPosition !== 'LATEST') return Number(initialPosition.timestamp)
  const known = leases.map(({ startMs }) => startMs).filter((ms) => ms !== undefined)
  return known.length === 0 ? undefined : known.reduce((least, ms) => Math.min(least, ms))
}

/** What a lease lacks and the listing tells: old versions of the KCL wrote neither hash ranges nor parents. */
export interface Repair {
  readonly lease: Lease
  readonly lacks: { readonly hashRange?: HashRange; readonly parentShardIds?: readonly string[] }
}

/** Which leases lack what the listing tells of their shards. */
export function repairs(shards: readonly Shard[], leases: readonly Lease[]): Repair[] {
  const listed = new Map(shards.map((shard) => [shard.shardId, shard]))
  return leases.flatMap((lease) => {
    const shard = listed.get(lease.shardId)
    if (shard === undefined) return []
    const lacksParents = lease.parentShardIds.length === 0 && shard.parentShardIds.length > 0
    if (lease.hashRange !== undefined && !lacksParents) return []
    const { hashRange, parentShardIds } = shard
    return [
      {
        lease,
        lacks: { ...(lease.hashRange === undefined && { hashRange }), ...(lacksParents && { parentShardIds }) },
      },
    ]
  })
}

/** The hash ranges that no unfinished lease covers, while every lease tells its range; a hole that stays means a missing lease. */
export function uncovered(leases: readonly Pick<Lease, 'checkpoint' | 'hashRange'>[]): HashRange[] {
  const unfinished = leases.filter((lease) => !isFinished(lease))
  const ranges = unfinished.map(({ hashRange }) => hashRange).filter((range) => range !== undefined)
  return ranges.length < unfinished.length ? [] : findHoles(ranges)
}

/** A lease that nothing needs any more, and why. */
export interface Deletable {
  readonly lease: Lease
  readonly reason: 'finished' | 'gone'
}

/**
 * Finished leases that nothing needs any more; those whose own parents' leases are gone, so that the oldest go first.
 *
 * - `finished`: the shard's children are being read, so they need not be found again through it.
 * - `gone`: its children aren't known or have no leases, as when the rest of the shard expired before it was read. The shard is
 *   no longer listed, and all its hash keys are being read in younger shards.
 *
 * A lease is never deleted on the listing's word alone, which may be late or wrong: all that it covered was handled, and as
 * long as younger leases are there for all its hash keys, {@link missingLeases} takes the shard for past, whatever is listed;
 * and those go only when still younger ones are there. An unfinished lease is never deleted: its reader finds out that the shard
 * is gone, says so, and ends it.
 */
export function deletableLeases(leases: readonly Lease[], shards: readonly Shard[]): Deletable[] {
  const byId = new Map(leases.map((lease) => [lease.shardId, lease]))
  const listed = new Set(shards.map(({ shardId }) => shardId))
  const started = new RangeIndex(told(leases.filter(isStarted)))
  const isBeingReadBelow = ({ shardId, hashRange = FULL_HASH_RANGE }: Lease): boolean => {
    const below = started
      .filter(hashRange, (other) => compareShardIds(other.shardId, shardId) > 0)
      .map((other) => other.hashRange)
    return findHoles([...below, ...outside(hashRange)]).length === 0
  }
  return leases.flatMap((lease): Deletable[] => {
    if (!isFinished(lease) || lease.parentShardIds.some((id) => byId.has(id))) return []
    const children = lease.childShardIds.map((id) => byId.get(id))
    if (children.length > 0 && children.every((child) => child !== undefined && isStarted(child))) {
      return [{ lease, reason: 'finished' }]
    }
    if (children.some((child) => child !== undefined && !isStarted(child))) return []
    return !listed.has(lease.shardId) && isBeingReadBelow(lease) ? [{ lease, reason: 'gone' }] : []
  })
}

/** A checkpoint that can't be one of the stream that is listed. */
export interface Misfit {
  readonly lease: Lease
  readonly shard: Shard
}

/**
 * A lease that proves that the stream was deleted and made anew under the same name: its checkpoint is before the first
 * sequence number of its own shard, or of an open shard above it. In one stream sequence numbers grow along a line of
 * shards. Checkpoints that are no numbers prove nothing.
 */
export function findMisfit(shards: readonly Shard[], leases: readonly Lease[]): Misfit | undefined {
  const numbered = leases.filter(({ checkpoint }) => /^\d+$/.test(checkpoint.sequenceNumber))
  const leased = new Set(leases.map(({ shardId }) => shardId))
  const byId = new Map(numbered.map((lease) => [lease.shardId, lease]))
  const isOdd = ({ shardId, endingSequenceNumber }: Shard): boolean =>
    endingSequenceNumber === undefined && !leased.has(shardId)
  const ranges = new RangeIndex(shards.some(isOdd) ? told(numbered) : [])
  const below = ({ shardId, hashRange }: Shard): Lease[] =>
    ranges.filter(hashRange, (lease) => compareShardIds(lease.shardId, shardId) > 0)
  for (const shard of shards) {
    const own = byId.get(shard.shardId)
    const candidates = own !== undefined ? [own] : isOdd(shard) ? below(shard) : []
    const lease = candidates.find(
      ({ checkpoint }) => compareSequenceNumbers(checkpoint.sequenceNumber, shard.startingSequenceNumber) < 0,
    )
    if (lease !== undefined) return { lease, shard }
  }
  return undefined
}

/**
 * Open shards that by the leases nobody will ever read, though nothing is read below them: their leases are finished, or
 * younger ones are, and none covers their hash keys any more. In one stream a shard that has been read to its end is closed; so
 * either the listing is from before that, which passes, or the leases are of an earlier stream of the same name.
 */
export function deadEnds(shards: readonly Shard[], leases: readonly Lease[]): Shard[] {
  const holes = uncovered(leases)
  if (holes.length === 0) return []
  const finished = new Set(leases.filter(isFinished).map(({ shardId }) => shardId))
  const ranges = new RangeIndex(told(leases))
  const isBelow = ({ shardId, hashRange }: Shard): boolean =>
    ranges.some(hashRange, (lease) => compareShardIds(lease.shardId, shardId) > 0)
  return shards.filter(
    (shard) =>
      shard.endingSequenceNumber === undefined &&
      holes.some((hole) => overlaps(hole, shard.hashRange)) &&
      (finished.has(shard.shardId) || isBelow(shard)),
  )
}

/** Those that tell their hash range. */
function told(leases: readonly Lease[]): (Lease & { readonly hashRange: HashRange })[] {
  return leases.flatMap((lease) => (lease.hashRange === undefined ? [] : { ...lease, hashRange: lease.hashRange }))
}

/** As the KCL judges it: LATEST counts as started. */
function isStarted({ checkpoint }: Lease): boolean {
  return (
    checkpoint.sequenceNumber !== TRIM_HORIZON.sequenceNumber &&
    checkpoint.sequenceNumber !== AT_TIMESTAMP.sequenceNumber
  )
}

function outside({ start, end }: HashRange): HashRange[] {
  return [
    ...(start > 0n ? [{ start: 0n, end: start - 1n }] : []),
    ...(end < MAX_HASH_KEY ? [{ start: end + 1n, end: MAX_HASH_KEY }] : []),
  ]
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

function newLease({ shardId, hashRange, parentShardIds }: Shard, start: Start): MissingLease {
  return { shardId, hashRange, parentShardIds, ...start }
}

/** Those of `some` that have none of them above. @param all what is listed, through which they are related */
function topmost(some: readonly Shard[], all: readonly Shard[]): Shard[] {
  const wanted = new Set(some.map(({ shardId }) => shardId))
  const listed = new Map(all.map((shard) => [shard.shardId, shard]))
  const isBelowOne = memoized((shardId): boolean =>
    (listed.get(shardId)?.parentShardIds ?? []).some((id) => wanted.has(id) || isBelowOne(id)),
  )
  return some.filter(({ shardId }) => !isBelowOne(shardId))
}

/** Oldest first, so that a creation that stops half-way leaves no lease whose ancestor's is still to come. */
function inOrder(shards: readonly Shard[]): Shard[] {
  return [...shards].sort(
    (a, b) =>
      compareSequenceNumbers(a.startingSequenceNumber, b.startingSequenceNumber) ||
      compareShardIds(a.shardId, b.shardId),
  )
}

function memoized<T>(compute: (shardId: string) => T): (shardId: string) => T {
  const known = new Map<string, { readonly value: T }>()
  return (shardId) => {
    let found = known.get(shardId)
    if (found === undefined) {
      found = { value: compute(shardId) }
      known.set(shardId, found)
    }
    return found.value
  }
}
