import type { HashRange, Position } from '@shardwise/records'
import { AT_TIMESTAMP, LATEST, SHARD_END } from '@shardwise/records'
import { holderOf, type Lease, leaseFromItem, START_MS, TOKEN } from './lease.ts'
import type { Condition, Item, ItemChange } from './table.ts'

/**
 * Every way in which a lease changes, as conditional writes. The counter in each condition makes a write from outdated
 * knowledge fail; where it and `checkpointOwner` are as seen, the writer is the only one who can succeed.
 *
 * (owner, checkpointOwner) goes: (-, -) unowned → (A, -) A holds → (B, A) handed off, A still holds → (B, -) B holds.
 */

/** A lease that doesn't exist yet. */
export interface NewLease {
  readonly shardId: string
  readonly hashRange: HashRange
  readonly parentShardIds: readonly string[]
  readonly checkpoint: Position
  /** Where reading starts if the checkpoint is LATEST or AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
}

/** Creates the lease unless it exists. */
export function create(lease: NewLease): ItemChange {
  return {
    key: lease.shardId,
    when: [{ leaseKey: undefined }],
    set: {
      entityType: { S: 'LEASE' },
      leaseCounter: { N: '0' },
      ...checkpointAttributes(lease.checkpoint),
      startingHashKey: { S: lease.hashRange.start.toString() },
      endingHashKey: { S: lease.hashRange.end.toString() },
      ...(lease.parentShardIds.length > 0 && { parentShardId: { SS: [...lease.parentShardIds] } }),
      ...(lease.startMs !== undefined && { [START_MS]: number(lease.startMs) }),
    },
  }
}

/** The first write of a holder: it proves that the lease is still as seen, and shuts out an earlier holder of the same id. */
export function acquire(lease: Lease, worker: string, token: string, nowMs: number): ItemChange {
  const { sequenceNumber } = lease.checkpoint
  // A KCL-made lease at LATEST holds no time; from here on a reader that comes before the first checkpoint knows where to start.
  const needsStart =
    lease.startMs === undefined &&
    (sequenceNumber === LATEST.sequenceNumber || sequenceNumber === AT_TIMESTAMP.sequenceNumber)
  return {
    key: lease.leaseKey,
    when: [
      { leaseCounter: number(lease.counter), leaseOwner: { S: worker }, checkpointOwner: undefined },
      { leaseCounter: number(lease.counter), leaseOwner: { S: worker }, checkpointOwner: { S: worker } },
    ],
    set: {
      leaseCounter: number(lease.counter + 1),
      [TOKEN]: { S: token },
      ...(needsStart && { [START_MS]: number(nowMs) }),
    },
    remove: ['checkpointOwner'],
  }
}

/** Heartbeat and checkpoint in one. @param checkpoint only if it has moved */
export function renew(lease: Lease, worker: string, checkpoint: Position | undefined): ItemChange {
  return {
    key: lease.leaseKey,
    when: heldBy(lease, worker),
    set: { leaseCounter: number(lease.counter + 1), ...(checkpoint && checkpointAttributes(checkpoint)) },
    ...(checkpoint && { remove: PENDING }),
  }
}

/**
 * The last write of a holder. In a handoff the lease goes to its next owner, otherwise it has none afterwards. A handoff
 * that the holder doesn't know of makes the condition fail, so that it isn't undone by mistake.
 */
export function release(lease: Lease, worker: string, checkpoint: Position | undefined): ItemChange {
  const handoff = lease.checkpointOwner === worker
  const seen = { leaseCounter: number(lease.counter) }
  return {
    key: lease.leaseKey,
    when: [
      handoff
        ? { ...seen, checkpointOwner: { S: worker } }
        : { ...seen, leaseOwner: { S: worker }, checkpointOwner: undefined },
    ],
    set: { leaseCounter: number(lease.counter + 1), ...(checkpoint && checkpointAttributes(checkpoint)) },
    remove: [handoff ? 'checkpointOwner' : 'leaseOwner', ...(checkpoint ? PENDING : [])],
  }
}

/** The shard is finished. Only to be written when the leases of all its children exist. */
export function end(lease: Lease, worker: string, childShardIds: readonly string[]): ItemChange {
  return {
    key: lease.leaseKey,
    when: heldBy(lease, worker),
    set: {
      leaseCounter: number(lease.counter + 1),
      ...checkpointAttributes(SHARD_END),
      ...(childShardIds.length > 0 && { childShardIds: { SS: [...childShardIds] } }),
    },
    remove: ['checkpointOwner', ...PENDING],
  }
}

/** The leader gives a lease that nobody holds, or whose holder is gone, to a worker. */
export function assignTo(lease: Lease, worker: string): ItemChange {
  const switched = holderOf(lease) !== undefined && holderOf(lease) !== worker
  return {
    key: lease.leaseKey,
    when: [asSeen(lease)],
    set: {
      leaseOwner: { S: worker },
      leaseCounter: number(lease.counter + 1),
      ...(switched && { ownerSwitchesSinceCheckpoint: number(lease.ownerSwitches + 1) }),
    },
    remove: ['checkpointOwner'],
  }
}

/**
 * The leader asks a live holder to hand its lease to another worker. The counter stays: the holder goes on renewing. It is in
 * the condition so that a shard that has ended meanwhile isn't handed to anybody.
 */
export function handOff(lease: Lease, worker: string): ItemChange {
  const holder = holderOf(lease)
  return {
    key: lease.leaseKey,
    when: [{ leaseCounter: number(lease.counter), leaseOwner: text(holder), checkpointOwner: undefined }],
    set: { leaseOwner: { S: worker }, checkpointOwner: { S: holder ?? '' } },
  }
}

/** When a finished lease may be deleted: as it was seen. */
export function unchanged(lease: Lease): Condition {
  return { leaseCounter: number(lease.counter), checkpoint: { S: lease.checkpoint.sequenceNumber } }
}

/**
 * What the item says after the table has refused a holder's write.
 *
 * - `written`: an earlier try of the same write was done and its answer lost.
 * - `held`: still ours, but changed in between (a handoff has begun): try again from the item as read.
 * - `lost`: somebody else's.
 */
export function judgeRefusal(
  change: ItemChange,
  before: Lease,
  worker: string,
  item: Item | undefined,
): 'written' | 'held' | 'lost' {
  const now = item && leaseFromItem(item)
  if (item === undefined || now === undefined || now.token !== before.token) return 'lost'
  const ours = holderOf(now) === worker
  if (ours && now.counter === before.counter) return 'held'
  const removed = change.remove ?? []
  const gaveUp = removed.includes('leaseOwner') || removed.includes('checkpointOwner')
  const asWritten =
    Object.entries(change.set).every(([name, value]) => item[name]?.S === value.S && item[name]?.N === value.N) &&
    removed.every((name) => item[name] === undefined)
  return asWritten && (ours || gaveUp) ? 'written' : 'lost'
}

function heldBy(lease: Lease, worker: string): Condition[] {
  const seen = { leaseCounter: number(lease.counter) }
  return [
    { ...seen, checkpointOwner: { S: worker } },
    { ...seen, leaseOwner: { S: worker }, checkpointOwner: undefined },
  ]
}

function asSeen(lease: Lease): Condition {
  return {
    leaseCounter: number(lease.counter),
    leaseOwner: text(lease.owner),
    checkpointOwner: text(lease.checkpointOwner),
  }
}

/** The KCL's two-phase checkpoint, void once a later checkpoint is written. */
const PENDING = ['pendingCheckpoint', 'pendingCheckpointSubSequenceNumber', 'pendingCheckpointState'] as const

function checkpointAttributes({ sequenceNumber, subSequenceNumber }: Position): Item {
  return {
    checkpoint: { S: sequenceNumber },
    checkpointSubSequenceNumber: number(subSequenceNumber),
    ownerSwitchesSinceCheckpoint: { N: '0' },
  }
}

function number(value: number): { N: string } {
  return { N: String(value) }
}

function text(value: string | undefined): { S: string } | undefined {
  return value === undefined ? undefined : { S: value }
}
