import type { Position } from '@shardwise/records'
import type { ConsumerRecord } from './consumer-record.ts'

/** Why a Kinesis record can't be taken apart. */
export interface Undecodable {
  readonly reason: string
  /**
   * It was sound when it was read, and its bytes have gone since: only reading the shard again from the checkpoint brings them back, so it may be neither
   * dead-lettered nor skipped.
   */
  readonly isGone: boolean
}

/** What a handler is called with at once: a user record, or a batch of them. Or a Kinesis record that can't be handled. */
export interface Work {
  /** The user record, or the first of the batch. Of an undecodable Kinesis record all of it: its own partition key and its data as they came. */
  readonly record: ConsumerRecord
  /** All of a batch, in the shard's order; undefined where each record is handled alone. */
  readonly batch: readonly ConsumerRecord[] | undefined
  /** Set if this is a Kinesis record that no handler can be called with. */
  readonly undecodable: Undecodable | undefined
  /** The attempt that runs or comes next, from 1. */
  attempt: number
  /** When it first failed, on the monotonic clock; undefined until then. Set by who calls the handler. */
  failedAtMs: number | undefined
}

/**
 * What there is to do of a shard, as who calls the handler sees it.
 *
 * A work that was {@link take taken} runs at once; then exactly one of {@link finished}, {@link running} and {@link failed} is called for it,
 * and one of `finished` and `failed` after `running`. After `failed` follows {@link again}, whereupon `take` gives it once more; or
 * {@link bisect}; or `finished`, where it is given up and passed over.
 */
export interface WorkQueue {
  /** The next that may run now. Looks at a limited number of records only. */
  take(): Work | undefined
  /**
   * After a `take` that gave nothing: for how long a batch that isn't full may still wait for more. 0: there may be more to take at once, after the event loop
   * has had a turn. Undefined: nothing waits for time.
   */
  readonly waitMs: number | undefined
  /** The handler works on it. */
  running(work: Work): void
  /** The handler is done with it, or it is passed over. */
  finished(work: Work): void
  /** The handler failed: what it was called with stays begun, and its keys busy. Counts the attempt. */
  failed(work: Work): void
  /** A failed one may run once more. */
  again(work: Work): void
  /** Splits a failed batch of several in two. The first half is for {@link again}; the second comes out of `take` when its order allows it. */
  bisect(work: Work): Work
  /** Tells of progress since the last time, once for many. */
  report(): void
}

/**
 * What of a shard may run at once: of each partition key one at a time, in order; one of the whole shard; or anything.
 */
export type Ordering = 'key' | 'shard' | 'none'

/** When a batch goes to the handler: as soon as one of these is reached. */
export interface BatchLimits {
  readonly maxRecords: number
  /** Of data. A larger record goes alone. */
  readonly maxBytes: number
  /** Since its first record came. */
  readonly maxWaitMs: number
}

/** What a shard's queue knows, for the next queue of the same shard to go on with. Positions only, no data. */
export interface QueueMemory {
  /** Everything up to here is finished. */
  readonly checkpoint: Position
  /** User records beyond it that are finished, in the shard's order. */
  readonly finishedAbove: readonly Position[]
  /** User records that have failed and aren't finished, in the shard's order. */
  readonly tried: readonly TriedRecord[]
}

/** A user record whose handler has failed. */
export interface TriedRecord {
  readonly position: Position
  /** How often it was tried. */
  readonly attempts: number
  readonly failedAtMs: number | undefined
}
