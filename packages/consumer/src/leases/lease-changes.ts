import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import type { HashRange, Position } from '@shardwise/records'
import { AT_TIMESTAMP, LATEST, SHARD_END } from '@shardwise/records'
import { leaseKeyOf } from '../streams/stream-source.ts'
import { holderOf, type Lease, leaseFromItem, START_MS, TOKEN, TOP } from './lease.ts'
import type { InitialPosition, MissingLease } from './shard-sync.ts'
import type { Condition, Item, ItemChange } from './table.ts'

/**
 * Every way in which a lease changes, as conditional writes. The counter in each condition makes a write from outdated
 * knowledge fail; where it and `checkpointOwner` are as seen, the writer is the only one who can succeed.
 *
 * (owner, checkpointOwner) goes: (-, -) unowned → (A, -) A holds → (B, A) handed off, A still holds → (B, -) B holds.
 */

/** A lease that doesn't exist yet. */
export interface NewLease extends MissingLease {
  /** Of the stream, where the application has several. */
  readonly streamIdentifier: string | undefined
  /**
   * Whether its maker has just seen, in the table and the stream, that nothing unfinished is above it: then its readers need not
   * look for that.
   */
  readonly isTop?: boolean
}

/** Creates the lease unless it exists. */
export function create(lease: NewLease): ItemChange {
  return {
    kind: 'lease',
    key: leaseKeyOf(lease.streamIdentifier, lease.shardId),
    when: [{ leaseKey: undefined }],
    set: {
      entityType: { S: 'LEASE' },
      ...(lease.streamIdentifier !== undefined && {
        streamName: { S: lease.streamIdentifier },
        shardId: { S: lease.shardId },
      }),
      leaseCounter: { N: '0' },
      ...checkpointAttributes(lease.checkpoint),
      startingHashKey: { S: lease.hashRange.start.toString() },
      endingHashKey: { S: lease.hashRange.end.toString() },
      ...(lease.parentShardIds.length > 0 && { parentShardId: { SS: [...lease.parentShardIds] } }),
      ...(lease.startMs !== undefined && { [START_MS]: number(lease.startMs) }),
      ...(lease.isTop && { [TOP]: number(1) }),
    },
  }
}

/**
 * Adds what old versions of the KCL did not write, where it is absent and the lease exists. The counter stays, so that its
 * holder isn't disturbed.
 */
export function repair(
  lease: Lease,
  { hashRange, parentShardIds }: { readonly hashRange?: HashRange; readonly parentShardIds?: readonly string[] },
): ItemChange {
  return {
    kind: 'lease',
    key: lease.leaseKey,
    when: [
      {
        leaseKey: { S: lease.leaseKey },
        ...(hashRange && { startingHashKey: undefined, endingHashKey: undefined }),
        ...(parentShardIds && { parentShardId: undefined }),
      },
    ],
    set: {
      ...(hashRange && {
        startingHashKey: { S: hashRange.start.toString() },
        endingHashKey: { S: hashRange.end.toString() },
      }),
      ...(parentShardIds && { parentShardId: { SS: [...parentShardIds] } }),
    },
  }
}

/**
 * The first write of a holder: it proves that the lease is still as seen, and shuts out an earlier holder of the same id.
 *
 * @param startMs where reading starts, for a lease that lacks it: see {@link missingStart}
 */
export function acquire(lease: Lease, worker: string, token: string, startMs: number | undefined): ItemChange {
  return {
    kind: 'lease',
    key: lease.leaseKey,
    when: [
      { leaseCounter: number(lease.counter), leaseOwner: { S: worker }, checkpointOwner: undefined },
      { leaseCounter: number(lease.counter), leaseOwner: { S: worker }, checkpointOwner: { S: worker } },
    ],
    set: {
      leaseCounter: number(lease.counter + 1),
      [TOKEN]: { S: token },
      ...(lease.startMs === undefined && startMs !== undefined && { [START_MS]: number(startMs) }),
    },
    remove: ['checkpointOwner'],
  }
}

/** This machine's clock may be ahead of the service's, which refuses a time that it hasn't come to. */
const CLOCK_TOLERANCE_MS = 60_000

/**
 * Where reading starts in a lease at LATEST or AT_TIMESTAMP that a KCL has made, which holds no time: at LATEST a minute ago,
 * so that nothing is skipped that comes from now on, however the clock goes; otherwise at the time that the application is told to start at, or, if it isn't told any, at the oldest record. From
 * its first holder on the lease holds it, so that a restart before the first checkpoint skips nothing.
 */
export function missingStart(lease: Lease, initialPosition: InitialPosition, nowMs: number): number | undefined {
  if (lease.startMs !== undefined) return undefined
  const { sequenceNumber } = lease.checkpoint
  if (sequenceNumber === LATEST.sequenceNumber) return Math.floor(nowMs) - CLOCK_TOLERANCE_MS
  if (sequenceNumber !== AT_TIMESTAMP.sequenceNumber || typeof initialPosition === 'string') return undefined
  return Number(initialPosition.timestamp)
}

const THROUGHPUT = 'throughputKBps'

/** What a holder writes with its heartbeat. */
export interface Progress {
  /** Only if it has moved. */
  readonly checkpoint: Position | undefined
  /** What was handled of the shard lately, in 1024 bytes of user data a second: KCL workers that lead assign by it. */
  readonly throughputKBps: number
  /** What the holder has announced lies behind the checkpoint, and stays announced. */
  readonly keepsPending?: boolean
}

/** Heartbeat and checkpoint in one. */
export function renew(
  lease: Lease,
  worker: string,
  { checkpoint, throughputKBps, keepsPending = false }: Progress,
): ItemChange {
  return {
    kind: 'lease',
    key: lease.leaseKey,
    when: heldBy(lease, worker),
    set: {
      leaseCounter: number(lease.counter + 1),
      [THROUGHPUT]: number(Number(throughputKBps.toFixed(6))),
      ...(checkpoint && checkpointAttributes(checkpoint)),
    },
    ...(checkpoint && !keepsPending && { remove: PENDING }),
  }
}

export interface Announcement {
  readonly position: Position
  readonly state: Uint8Array | undefined
  /** Only if it has moved. */
  readonly checkpoint: Position | undefined
}

/** The first phase of a checkpoint in two: announces it, with a note for who has to finish what it is about. */
export function prepare(lease: Lease, worker: string, { position, state, checkpoint }: Announcement): ItemChange {
  return {
    kind: 'lease',
    key: lease.leaseKey,
    when: heldBy(lease, worker),
    set: {
      leaseCounter: number(lease.counter + 1),
      pendingCheckpoint: { S: position.sequenceNumber },
      pendingCheckpointSubSequenceNumber: number(position.subSequenceNumber),
      ...(state && { pendingCheckpointState: { B: state } }),
      ...(checkpoint && checkpointAttributes(checkpoint)),
    },
    ...(state === undefined && { remove: ['pendingCheckpointState'] }),
  }
}

/**
 * The last write of a holder. In a handoff the lease goes to its next owner, otherwise to the successor, or to nobody. A handoff
 * that the holder doesn't know of makes the condition fail, so that it isn't undone by mistake.
 */
export function release(
  lease: Lease,
  worker: string,
  checkpoint: Position | undefined,
  successor?: string | undefined,
  keepsPending = false,
): ItemChange {
  const handoff = lease.checkpointOwner === worker
  const seen = { leaseCounter: number(lease.counter) }
  return {
    kind: 'lease',
    key: lease.leaseKey,
    when: [
      handoff
        ? { ...seen, checkpointOwner: { S: worker } }
        : { ...seen, leaseOwner: { S: worker }, checkpointOwner: undefined },
    ],
    set: {
      leaseCounter: number(lease.counter + 1),
      ...(!handoff && successor !== undefined && { leaseOwner: { S: successor } }),
      ...(checkpoint && checkpointAttributes(checkpoint)),
    },
    remove: [
      ...(handoff ? ['checkpointOwner'] : successor === undefined ? ['leaseOwner'] : []),
      ...(checkpoint && !keepsPending ? PENDING : []),
    ],
  }
}

/** The shard is finished. Only to be written when the leases of all its children exist. */
export function end(lease: Lease, worker: string, childShardIds: readonly string[]): ItemChange {
  return {
    kind: 'lease',
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
    kind: 'lease',
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
    kind: 'lease',
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
  const gaveUp =
    removed.includes('leaseOwner') || removed.includes('checkpointOwner') || change.set.leaseOwner !== undefined
  const asWritten =
    Object.entries(change.set).every(([name, value]) => name === THROUGHPUT || isSame(item[name], value)) &&
    removed.every((name) => item[name] === undefined)
  return asWritten && (ours || gaveUp) ? 'written' : 'lost'
}

/** A number may come back in another form than it was sent in. */
function isSame(a: AttributeValue | undefined, b: AttributeValue): boolean {
  return (
    a?.S === b.S &&
    (a?.N === b.N || Number(a?.N) === Number(b.N)) &&
    (b.B === undefined || (a?.B !== undefined && Buffer.compare(a.B, b.B) === 0))
  )
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
