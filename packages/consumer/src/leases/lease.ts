import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { type HashRange, type Position, SHARD_END, tryParseHashKey } from '@shardwise/records'
import type { Item } from './table.ts'

/** The right to read one shard, as its item in the table says. */
export interface Lease {
  /** The shard's id, behind the stream's identifier where the application has several streams. */
  readonly leaseKey: string
  /** Which of the application's streams the shard is of; undefined where it has one. */
  readonly streamIdentifier: string | undefined
  readonly shardId: string
  /** Who holds it; in a handoff, who gets it next. */
  readonly owner: string | undefined
  /** Only in a handoff: who still holds it. */
  readonly checkpointOwner: string | undefined
  /** Grows by one with each write of the holder: heartbeat and fence in one. */
  readonly counter: number
  readonly checkpoint: Position
  /** Announced by a holder, and not made the checkpoint yet; with the note that it has written. */
  readonly pendingCheckpoint?: PendingCheckpoint | undefined
  readonly ownerSwitches: number
  readonly parentShardIds: readonly string[]
  readonly childShardIds: readonly string[]
  /** Absent in items of old KCL versions. */
  readonly hashRange: HashRange | undefined
  /** Ours: where reading starts while the checkpoint is LATEST or AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
  /** Ours: made with nothing unfinished above it, as its maker has just seen. */
  readonly isTop: boolean
  /** Ours: names one acquisition, so that two holders with the same worker id can be told apart. */
  readonly token: string | undefined
}

/** A checkpoint that was prepared, in two phases. */
export interface PendingCheckpoint extends Position {
  /** The note that was written with it. */
  readonly state: Uint8Array | undefined
}

/** Attributes that only Shardwise writes; the KCL leaves them alone. */
export const START_MS = 'shardwiseStartMs'
export const TOKEN = 'shardwiseToken'
export const TOP = 'shardwiseTop'

/** Who may read and checkpoint the shard now. */
export function holderOf(lease: Lease): string | undefined {
  return lease.checkpointOwner ?? lease.owner
}

/** Whether the shard has been read to its end. */
export function isFinished(lease: Pick<Lease, 'checkpoint'>): boolean {
  return lease.checkpoint.sequenceNumber === SHARD_END.sequenceNumber
}

/**
 * Compares the ages of two shards: negative if the first is older. The service numbers shards in the order it makes them; and
 * of two that share hash keys one is above the other, since they are never open together.
 */
export function compareShardIds(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : Number(a > b))
}

export function isSamePosition(a: Position, b: Position): boolean {
  return a.sequenceNumber === b.sequenceNumber && a.subSequenceNumber === b.subSequenceNumber
}

/** Returns undefined if the item lacks what a lease must have. */
export function leaseFromItem(item: Item): Lease | undefined {
  const leaseKey = item.leaseKey?.S
  const checkpoint = item.checkpoint?.S
  const counter = numberOf(item.leaseCounter)
  if (leaseKey === undefined || checkpoint === undefined || counter === undefined) return undefined
  return {
    leaseKey,
    streamIdentifier: item.streamName?.S,
    shardId: item.shardId?.S ?? leaseKey.slice(leaseKey.lastIndexOf(':') + 1),
    owner: item.leaseOwner?.S,
    checkpointOwner: item.checkpointOwner?.S,
    counter,
    checkpoint: {
      sequenceNumber: checkpoint,
      subSequenceNumber: numberOf(item.checkpointSubSequenceNumber) ?? 0,
    },
    pendingCheckpoint: pendingOf(item),
    ownerSwitches: numberOf(item.ownerSwitchesSinceCheckpoint) ?? 0,
    parentShardIds: item.parentShardId?.SS ?? [],
    childShardIds: item.childShardIds?.SS ?? [],
    hashRange: rangeOf(item.startingHashKey?.S, item.endingHashKey?.S),
    startMs: numberOf(item[START_MS]),
    isTop: item[TOP] !== undefined,
    token: item[TOKEN]?.S,
  }
}

function pendingOf(item: Item): PendingCheckpoint | undefined {
  const sequenceNumber = item.pendingCheckpoint?.S
  // What isn't a position is nobody's announcement; the next checkpoint removes it.
  if (sequenceNumber === undefined || !/^\d+$/.test(sequenceNumber)) return undefined
  return {
    sequenceNumber,
    subSequenceNumber: numberOf(item.pendingCheckpointSubSequenceNumber) ?? 0,
    state: item.pendingCheckpointState?.B,
  }
}

function numberOf(value: AttributeValue | undefined): number | undefined {
  if (value?.N === undefined) return undefined
  const number = Number(value.N)
  return Number.isFinite(number) ? number : undefined
}

function rangeOf(start: string | undefined, end: string | undefined): HashRange | undefined {
  const first = tryParseHashKey(start ?? '')
  const last = tryParseHashKey(end ?? '')
  return first === undefined || last === undefined || first > last ? undefined : { start: first, end: last }
}
