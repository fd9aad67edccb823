import type { ConsumerRecord } from './consumer-record.ts'

/** What a handler is told besides the record. */
export interface HandlerContext {
  /**
   * Aborted when the handler should give up: the record is no longer this worker's because its lease was lost; the consumer, or the
   * shard, stops and has waited for `closeTimeout`; or the attempt has taken `handlerTimeoutMs`. Its `reason` is a {@link ConsumerError}
   * that says which. The attempt doesn't count as finished then, however it ends: the record comes again, here or elsewhere. What the handler
   * does afterwards may be done by another worker, or another attempt, at the same time.
   */
  readonly signal: AbortSignal
  /** 1 for the first attempt with this record, or batch. */
  readonly attempt: number
  /**
   * With `checkpointing: 'manual'`: everything up to `record` may be taken for finished after a restart, once it is finished indeed. Default: the
   * handler's own record, or the last of its batch.
   *
   * @throws {ConsumerError} `ERR_STATE` where checkpoints are automatic; `ERR_CHECKPOINT` for a record that wasn't delivered;
   *   `ERR_LEASE_LOST` once the lease is lost
   */
  checkpoint(record?: ConsumerRecord): void
  /**
   * With `checkpointing: 'manual'`: writes that a checkpoint is about to be made, and a note for who takes the shard over before it is; then the
   * checkpoint is made by {@link PreparedCheckpoint.commit}. For what must be done in another place exactly together with the checkpoint.
   *
   * @param state at most some KB: it is part of the lease
   * @throws {ConsumerError} `ERR_STATE` where checkpoints are automatic; `ERR_CHECKPOINT` for a record that wasn't delivered;
   *   `ERR_LEASE_LOST` once the lease is lost
   */
  prepareCheckpoint(record?: ConsumerRecord, state?: Uint8Array): Promise<PreparedCheckpoint>
}

/** What a handler of batches is told besides the records. */
export type BatchContext = HandlerContext

/** A checkpoint that the lease announces. */
export interface PreparedCheckpoint {
  /** Makes it the checkpoint, as {@link HandlerContext.checkpoint} would. */
  commit(): void
}

/** What stands behind the checkpoints of a {@link HandlerContext}; none where they are automatic. */
export interface ManualCheckpoints {
  checkpoint(record: ConsumerRecord): void
  prepareCheckpoint(record: ConsumerRecord, state: Uint8Array | undefined): Promise<PreparedCheckpoint>
}

/**
 * Handles one user record. It is finished when the function returns, or when its promise resolves; if it throws or
 * rejects, the same record comes again. A handler that has nothing to wait for should return no promise: the next record
 * then follows at once.
 */
export type EachRecord<Value = unknown> = (record: ConsumerRecord<Value>, context: HandlerContext) => unknown

/**
 * Handles a batch of user records of one shard, in the shard's order. All of them are finished when the function returns, or when its promise
 * resolves. If it throws or rejects, the batch comes again, then halves of it, down to the record that it fails for.
 */
export type EachBatch<Value = unknown> = (records: ConsumerRecord<Value>[], context: BatchContext) => unknown
