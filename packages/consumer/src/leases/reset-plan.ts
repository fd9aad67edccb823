import type { Shard } from '@shardwise/core'
import { compareSequenceNumbers, type Position, SHARD_END } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import { compareShardIds, type Lease } from './lease.ts'
import { RangeIndex } from './range-index.ts'
import { firstLeases, type InitialPosition, type MissingLease } from './shard-sync.ts'

/** A position in one shard. */
export interface ShardPosition extends Position {
  readonly shardId: string
}

/**
 * What becomes of an application's leases of one stream, to be done in this order. Until the last step every old lease is still
 * there or has been set to its new place, so that whatever stops half-way skips nothing, and doing it again completes it.
 */
export interface ResetPlan {
  /**
   * Finished shards whose leases have been cleaned up, and are made again as finished: by the leases that go they are known to be
   * finished, and would be read again otherwise, such as the other parent in a merge.
   */
  readonly finished: readonly FinishedLease[]
  /** Where reading starts anew. No shard of them is above another. */
  readonly starts: readonly MissingLease[]
  /** Leases that go: those of shards below come again at their parents' end. Oldest first. */
  readonly surplus: readonly Lease[]
}

interface FinishedLease extends MissingLease {
  readonly childShardIds: readonly string[]
}

/** The whole stream: afterwards the application has the leases of a new one. @param open the shards open at the position */
export function planOfAll(
  open: readonly Shard[],
  leases: readonly Lease[],
  to: InitialPosition,
  nowMs: number,
): ResetPlan {
  const starts = firstLeases(open, to, nowMs)
  const kept = new Set(starts.map(({ shardId }) => shardId))
  return { finished: [], starts, surplus: oldestFirst(leases.filter(({ shardId }) => !kept.has(shardId))) }
}

/**
 * Some shards, and all below them; the others stay as they are.
 *
 * @param listed all shards of the stream that are listed
 * @throws {ConsumerError} `ERR_STREAM` for a shard that isn't listed, or is closed and to start at the tip; `ERR_RECORD` for a
 *   position outside its shard
 */
export function planOfSome(
  shardIds: readonly string[],
  listed: readonly Shard[],
  leases: readonly Lease[],
  to: InitialPosition | ShardPosition,
  nowMs: number,
): ResetPlan {
  const named = shardIds.map((shardId) => namedShard(shardId, listed, to))
  const below = descendants(shardIds, [...listed, ...leases])
  const tops = named.filter(({ shardId }) => !below.has(shardId))
  return {
    finished: finishedBeside(new Set([...shardIds, ...below]), below, listed, leases),
    starts: startsOf(tops, to, nowMs),
    surplus: oldestFirst(leases.filter(({ shardId }) => below.has(shardId))),
  }
}

export function isShardPosition(to: InitialPosition | ShardPosition): to is ShardPosition {
  return typeof to === 'object' && 'sequenceNumber' in to
}

function startsOf(shards: readonly Shard[], to: InitialPosition | ShardPosition, nowMs: number): MissingLease[] {
  if (!isShardPosition(to)) return firstLeases(shards, to, nowMs)
  const { sequenceNumber, subSequenceNumber } = to
  const checkpoint = { sequenceNumber, subSequenceNumber }
  return shards.map(({ shardId, hashRange, parentShardIds }) => {
    return { shardId, hashRange, parentShardIds, checkpoint, startMs: undefined }
  })
}

function namedShard(shardId: string, listed: readonly Shard[], to: InitialPosition | ShardPosition): Shard {
  const shard = listed.find((each) => each.shardId === shardId)
  if (shard === undefined) {
    throw new ConsumerError(
      'ERR_STREAM',
      `Expected the shards to reset to be in the stream, but ${shardId} is not, or no longer; it has ` +
        `${listed.map((each) => each.shardId).join(', ')}.`,
      { shardId },
    )
  }
  const { startingSequenceNumber: first, endingSequenceNumber: last } = shard
  if (to === 'LATEST' && last !== undefined) {
    throw new ConsumerError(
      'ERR_STREAM',
      `${shardId} is closed, so nothing comes at its tip: to skip what is unread, reset the open shards below it to LATEST.`,
      { shardId },
    )
  }
  if (isShardPosition(to)) {
    const isBefore = compareSequenceNumbers(to.sequenceNumber, first) < 0
    if (isBefore || (last !== undefined && compareSequenceNumbers(to.sequenceNumber, last) > 0)) {
      throw new ConsumerError(
        'ERR_RECORD',
        `Expected a sequence number of ${shardId}, which are those from ${first}${last === undefined ? '' : ` to ${last}`}, got ` +
          `${to.sequenceNumber}. Name the shard that the position is of, or reset to a timestamp.`,
        { shardId },
      )
    }
  }
  return shard
}

/** All below some shards, without those themselves unless they are below others of them. */
function descendants(
  shardIds: readonly string[],
  related: readonly Pick<Shard, 'shardId' | 'parentShardIds'>[],
): Set<string> {
  const children = new Map<string, string[]>()
  for (const { shardId, parentShardIds } of related) {
    for (const parent of parentShardIds) children.set(parent, [...(children.get(parent) ?? []), shardId])
  }
  const found = new Set<string>()
  const left = [...shardIds]
  for (let id = left.pop(); id !== undefined; id = left.pop()) {
    for (const child of children.get(id) ?? []) {
      if (found.has(child)) continue
      found.add(child)
      left.push(child)
    }
  }
  return found
}

/**
 * Parents of what is read again that aren't read again themselves and have no lease: a younger lease below says now that they
 * were finished, and may be among those that go.
 */
function finishedBeside(
  again: ReadonlySet<string>,
  below: ReadonlySet<string>,
  listed: readonly Shard[],
  leases: readonly Lease[],
): FinishedLease[] {
  const leased = new Set(leases.map(({ shardId }) => shardId))
  const ranges = new RangeIndex(
    leases.flatMap(({ shardId, hashRange }) => (hashRange === undefined ? [] : [{ shardId, hashRange }])),
  )
  const parents = new Set(listed.flatMap((shard) => (below.has(shard.shardId) ? shard.parentShardIds : [])))
  return listed.flatMap(({ shardId, hashRange, parentShardIds }) => {
    const isOf = parents.has(shardId) && !again.has(shardId) && !leased.has(shardId)
    if (!isOf || !ranges.some(hashRange, (lease) => compareShardIds(lease.shardId, shardId) > 0)) return []
    const children = listed.filter((child) => child.parentShardIds.includes(shardId))
    const childShardIds = children.map((child) => child.shardId)
    return [{ shardId, hashRange, parentShardIds, checkpoint: SHARD_END, startMs: undefined, childShardIds }]
  })
}

function oldestFirst(leases: readonly Lease[]): Lease[] {
  return [...leases].sort((a, b) => compareShardIds(a.shardId, b.shardId))
}
