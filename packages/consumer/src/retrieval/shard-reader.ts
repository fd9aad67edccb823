import type { Clock, Kinesis, Random } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import type { KinesisRecord } from '../processing/record-buffer.ts'
import type { Retention } from '../streams/described-stream.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import type { ShardReadAhead } from './read-ahead.ts'
import type { ChildShard } from './shard-children.ts'
import type { SharedListing } from './shared-listing.ts'

/** Reads one shard, in order and without a gap, as fast as there is room. */
export interface ShardReader {
  /** How far the last answer was behind the tip, as the service says; undefined before the first. */
  readonly millisBehindLatest: number | undefined
  /**
   * Runs once. Resolves to the shard's children when its last record has been passed on. Rejects when aborted, or on what trying
   * again can't mend.
   */
  run(signal: AbortSignal): Promise<readonly ChildShard[]>
}

/** Makes a reader for a shard of one stream. */
export type ReaderOf = (options: ShardReaderOptions) => ShardReader

export interface ShardReaderOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly shardId: string
  readonly checkpoint: Position
  /** Where to start if the checkpoint is LATEST or AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
  readonly maxRecords: number
  readonly idleTimeBetweenReads: number
  /** Whether to fail at the start if the shard may not be read; otherwise it is tried again and again. */
  readonly isRefusalFinal: boolean
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: StreamTelemetry
  readonly retention: Retention
  /** Lists the stream's shards, for all of its readers. Default: each lists for itself. */
  readonly listing?: SharedListing | undefined
  /** Says when more may be read. */
  readonly readAhead: ShardReadAhead
  /** Takes the records over. @returns how many bytes they take up from now on */
  readonly onRecords: (records: readonly KinesisRecord[]) => number
}
