import type { Position } from '@shardwise/records'
import type { PendingCheckpoint } from '../leases/lease.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { PreparedCheckpoint } from './handlers.ts'

/** A shard in the hands of this worker, as its hooks see it. */
export interface HeldShardInfo {
  /** The stream's name or ARN. */
  readonly stream: string
  readonly shardId: string
  /** Up to where the shard is finished; of a new one where it starts. */
  readonly checkpoint: Position
  /** What an earlier holder announced with `prepareCheckpoint`, and didn't commit. */
  readonly pendingCheckpoint: PendingCheckpoint | undefined
}

export interface HookContext {
  /**
   * Aborted when the hook should give up: the lease was lost, or the consumer stops and has waited for `closeTimeout`; of
   * `onShardStart` as soon as the shard is to be given up. What hasn't settled 250 ms later is waited for no longer.
   */
  readonly signal: AbortSignal
  /** 1 for the first attempt. */
  readonly attempt: number
  /**
   * With `checkpointing: 'manual'`: everything up to `record` may be taken for finished after a restart, once it is finished indeed.
   * Default: everything that is finished.
   *
   * @throws {ConsumerError} `ERR_STATE` where checkpoints are automatic; `ERR_CHECKPOINT` for a record that wasn't delivered;
   *   `ERR_LEASE_LOST`
   */
  checkpoint(record?: ConsumerRecord): void
  /**
   * With `checkpointing: 'manual'`: announces a checkpoint in the lease, as {@link HandlerContext.prepareCheckpoint}.
   *
   * @throws {ConsumerError} as `checkpoint`
   */
  prepareCheckpoint(record: ConsumerRecord, state?: Uint8Array): Promise<PreparedCheckpoint>
}

/** Is called at a turn in the life of a shard; a promise is waited for. */
export type ShardHook = (shard: HeldShardInfo, context: HookContext) => unknown

/**
 * What `run` calls besides the handler. After each `onShardStart` that has succeeded comes one of the other three, unless the process
 * ends before; another one only if that was still under way when things changed, or has failed. A start that fails, or is aborted, has to
 * take back itself what it did.
 */
export interface ShardHooks {
  /**
   * The lease is held and every parent is finished; no record comes before it has returned, or its promise has resolved. One that
   * fails is called again, with a growing pause, without end.
   */
  readonly onShardStart?: ShardHook | undefined
  /**
   * The shard's last record is finished. Only after it the shard is marked as finished, whatever checkpoints were made, and its
   * children are read: what was gathered has to be written here. One that fails is tried as often as a record; then the shard stops.
   */
  readonly onShardEnd?: ShardHook | undefined
  /**
   * The consumer stops, or the lease goes to another worker: what was in hand is finished, and the lease still held. The last chance to
   * write what was gathered, and to make a checkpoint of it. One that fails isn't called again. It shares `closeTimeout` with the
   * handlers.
   */
  readonly onShardRelease?: ShardHook | undefined
  /**
   * The lease is lost: another worker may read the shard now, and nothing can be written for it. Called when the handlers have settled,
   * or have ignored their signal for too long. Its signal is aborted `closeTimeout` after the loss, and may be so from the start.
   */
  readonly onLeaseLost?: ShardHook | undefined
}
