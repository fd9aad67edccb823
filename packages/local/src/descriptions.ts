import { optionalInteger, optionalString, type Request } from './requests.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

/** The service's default for a stream: records of up to 1 MiB. */
export const MAX_RECORD_BYTES: number = 2 ** 20

const HOUR_MS = 3_600_000

/** A shard as ListShards and DescribeStream show it. */
export function describeShard(shard: Shard): object {
  const [parent, adjacent] = shard.parents
  return {
    ShardId: shard.id,
    ...(parent && { ParentShardId: parent.id }),
    ...(adjacent && { AdjacentParentShardId: adjacent.id }),
    HashKeyRange: describeRange(shard),
    SequenceNumberRange: {
      StartingSequenceNumber: shard.startingSequenceNumber,
      ...(shard.endingSequenceNumber && { EndingSequenceNumber: shard.endingSequenceNumber }),
    },
  }
}

export function describeRange({ hashRange }: Shard): object {
  return { StartingHashKey: hashRange.start.toString(), EndingHashKey: hashRange.end.toString() }
}

export function describeStream(stream: Stream, request: Request, nowMs: number): object {
  const limit = optionalInteger(request, 'Limit', 1, 10_000) ?? 100
  const after = optionalString(request, 'ExclusiveStartShardId') ?? ''
  const horizonMs = nowMs - stream.retentionMs
  const shards = stream.shards.filter(({ id, closedMs }) => id > after && closedMs >= horizonMs)
  return {
    StreamDescription: {
      ...common(stream),
      Shards: shards.slice(0, limit).map(describeShard),
      HasMoreShards: shards.length > limit,
    },
  }
}

export function describeStreamSummary(stream: Stream): object {
  return {
    StreamDescriptionSummary: {
      ...common(stream),
      OpenShardCount: stream.openShards.length,
      ConsumerCount: 0,
      MaxRecordSizeInKiB: MAX_RECORD_BYTES / 1024,
    },
  }
}

function common(stream: Stream): object {
  return {
    StreamName: stream.name,
    StreamARN: stream.arn,
    StreamStatus: 'ACTIVE',
    StreamModeDetails: { StreamMode: stream.mode },
    RetentionPeriodHours: Math.ceil(stream.retentionMs / HOUR_MS),
    StreamCreationTimestamp: stream.createdMs / 1000,
    EnhancedMonitoring: [{ ShardLevelMetrics: [] }],
    EncryptionType: 'NONE',
  }
}
