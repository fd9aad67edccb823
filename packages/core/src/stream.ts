import { DescribeStreamSummaryCommand, type KinesisClient } from '@aws-sdk/client-kinesis'

/** What Shardwise calls on a Kinesis client: one method, so that a test or the simulation can stand in for it. */
export type Kinesis = Pick<KinesisClient, 'send'>

/** How a request names its stream: by ARN if that is what the user gave, otherwise by name. */
export type StreamReference = { readonly StreamName: string } | { readonly StreamARN: string }

/** @param stream a stream's name or ARN */
export function streamReference(stream: string): StreamReference {
  return stream.startsWith('arn:') ? { StreamARN: stream } : { StreamName: stream }
}

/** What a producer or consumer needs to know of a stream besides its shards. */
export interface StreamDescription {
  readonly name: string
  readonly arn: string
  /** When it was created; tells it from an earlier one of the same name. Undefined where the service doesn't say. */
  readonly createdAt: Date | undefined
  /** CREATING, ACTIVE, UPDATING or DELETING. */
  readonly status: string
  /** The largest record the stream takes, data and partition key together. */
  readonly maxRecordBytes: number
  readonly openShardCount: number
  /** How long the stream keeps a record, in milliseconds: a day to a year. */
  readonly retentionMs: number
  /** Whether the service adds shards by itself as they are needed. */
  readonly isOnDemand: boolean
  /** Whether the hash key decides which shard takes a record; otherwise the service spreads records as it likes. */
  readonly distributesByKey: boolean
}

/** One DescribeStreamSummary call (20 a second for an account). */
export async function describeStream(
  kinesis: Kinesis,
  stream: string,
  signal?: AbortSignal,
): Promise<StreamDescription> {
  const { StreamDescriptionSummary: summary } = await kinesis.send(
    new DescribeStreamSummaryCommand(streamReference(stream)),
    { ...(signal && { abortSignal: signal }) },
  )
  return {
    name: summary?.StreamName ?? stream,
    arn: summary?.StreamARN ?? '',
    createdAt: summary?.StreamCreationTimestamp,
    status: summary?.StreamStatus ?? '',
    maxRecordBytes: (summary?.MaxRecordSizeInKiB ?? 1024) * 1024,
    openShardCount: summary?.OpenShardCount ?? 0,
    retentionMs: (summary?.RetentionPeriodHours ?? 24) * 3_600_000,
    isOnDemand: summary?.StreamModeDetails?.StreamMode === 'ON_DEMAND',
    distributesByKey: summary?.RecordDistributionStrategy !== 'AUTO',
  }
}
