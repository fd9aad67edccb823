import type { Outcome } from '@shardwise/core'

/** Everything that a producer tells of, besides the outcome of each `put`. */
export type ProducerEvent =
  /** The stream's open shards are known, for the first time or anew. */
  | { readonly type: 'shardMapChanged'; readonly shardIds: readonly string[] }
  /** What DescribeStreamSummary says of the stream, for the first time or changed. */
  | {
      readonly type: 'streamDescribed'
      readonly distribution: 'key' | 'service'
      readonly isOnDemand: boolean
      readonly maxRecordBytes: number
    }
  /** The shards are not known: they may not be listed, or not in time. Records go alone, until they are. */
  | { readonly type: 'shardMapMissing'; readonly error: Error | undefined }
  /** The stream may not be described, or not in time: it is taken to distribute by key, with records of 1 MiB at most. */
  | { readonly type: 'descriptionMissing'; readonly error: Error | undefined }
  /** The shards could not be listed, or the listing made no sense; it is tried again. Meanwhile records may wait. */
  | { readonly type: 'shardMapRetried'; readonly error: Error; readonly waitMs: number }
  /** A whole PutRecords failed; its records are sent again or rejected, as the outcome says. */
  | {
      readonly type: 'requestFailed'
      readonly error: Error
      readonly outcome: Outcome
      readonly kinesisRecords: number
    }
  /** The stream was found to distribute records as it likes (`service`), or by hash key again (`key`). */
  | { readonly type: 'distributionChanged'; readonly distribution: 'key' | 'service' }
  /**
   * Kinesis records of one answer go again: refused for now (`throttled`, `retryable`), without an answer (`unknown`), or each in
   * a request of its own after one with several was refused as invalid (`fatal`).
   */
  | {
      readonly type: 'sentAgain'
      readonly cause: Outcome
      readonly shardId: string
      readonly userRecords: number
      readonly error: Error
    }
  /** A shard refused a record for going too fast; it is written to more slowly for a while. */
  | { readonly type: 'throttled'; readonly shardId: string; readonly bytesPerSecond: number }
  /** An aggregate landed, by a reshard, in a shard where not all of it belongs: all of it is split and sent again. */
  | {
      readonly type: 'misplaced'
      readonly predictedShardId: string
      readonly shardId: string
      readonly sequenceNumber: string
      readonly userRecords: number
    }
