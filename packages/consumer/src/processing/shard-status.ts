import type { Position } from '@shardwise/records'

/**
 * What a held lease is at.
 *
 * - `waiting`: for its parents to be finished.
 * - `starting`: the hook `onShardStart` runs.
 * - `reading`: records are read and handled.
 * - `stopped`: at a record that failed for good. The lease is kept, and the shard is tried again after a while.
 * - `draining`: the lease goes to another worker or is given back; what has been begun is being finished.
 * - `ending`: everything is handled; the hook `onShardEnd` runs, and its children get their leases.
 * - `over`: the lease is no longer held.
 */
export type ShardState = 'waiting' | 'starting' | 'reading' | 'stopped' | 'draining' | 'ending' | 'over'

/** A record that isn't finished. */
export interface UnfinishedRecord extends Position {
  /** Undefined where it isn't known any more. */
  readonly partitionKey: string | undefined
  /** For how long it has been in hand. */
  readonly ageMs: number
}

/** Why a shard stands still, since `failurePolicy` is `stop`. */
export interface StoppedShard {
  /** What it stopped at; undefined where the hook `onShardEnd` failed. */
  readonly record: { readonly partitionKey: string; readonly position: Position } | undefined
  /** What the handler, the codec or the hook threw last. */
  readonly error: unknown
  /** How often it was tried. */
  readonly attempts: number
  /** When it stopped, and when it is tried again, by this machine's clock. */
  readonly since: Date
  readonly retryAt: Date
}

/** One held lease in {@link Consumer.status}. */
export interface ShardStatus {
  /** The stream's name or ARN. */
  readonly stream: string
  readonly shardId: string
  readonly state: ShardState
  /** `pause()` holds for it: nothing new is begun. */
  readonly paused: boolean
  /** The unfinished shards that must be finished before this one may be read; empty unless it is `waiting`. */
  readonly waitingFor: readonly string[]
  /** Set while it is `stopped`, and while a stopped one is tried again. */
  readonly stopped: StoppedShard | undefined
  /** What the table has. */
  readonly checkpoint: Position
  /** As of the last read; undefined before the first. */
  readonly millisBehindLatest: number | undefined
  /** Kinesis records of which anything is unfinished. */
  readonly bufferedRecords: number
  readonly bufferedBytes: number
  /** The record that holds the checkpoint back, if one has been begun. */
  readonly oldestUnfinished: UnfinishedRecord | undefined
  /** For how long that record has been in hand; undefined if nothing is. */
  readonly oldestUnfinishedMs: number | undefined
  /** Records from the oldest unfinished one to the newest that was begun, and their data in bytes: after a crash they come again. */
  readonly aheadRecords: number
  readonly aheadBytes: number
  /** That is as many as `maxAheadRecords` or `maxAheadBytes` allow: the shard waits for the oldest unfinished record. */
  readonly isAheadFull: boolean
}
