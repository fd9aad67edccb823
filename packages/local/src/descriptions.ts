import { optionalInteger, optionalString, type Request } from './requests.ts'
import type { Service } from './service.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

const HOUR_MS = 3_600_000
/** "If you specify a value greater than 100, at most 100 results are returned" (DescribeStream). */
const MAX_SHARDS = 100

export interface HashKeyRange {
  readonly StartingHashKey: string
  readonly EndingHashKey: string
}

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

export function describeRange({ hashRange }: Shard): HashKeyRange {
  return { StartingHashKey: hashRange.start.toString(), EndingHashKey: hashRange.end.toString() }
}

export function describeStream(_service: Service, stream: Stream, request: Request): object {
  const limit = Math.min(optionalInteger(request, 'Limit', 1, 10_000) ?? MAX_SHARDS, MAX_SHARDS)
  const isShown = stream.lifecycle.status !== 'CREATING'
  const from = stream.family.indexAfter(optionalString(request, 'ExclusiveStartShardId') ?? '')
  return {
    StreamDescription: {
      ...common(stream),
      Shards: isShown ? stream.shards.slice(from, from + limit).map(describeShard) : [],
      HasMoreShards: isShown && stream.shards.length > from + limit,
    },
  }
}

export function describeStreamSummary(_service: Service, stream: Stream): object {
  return {
    StreamDescriptionSummary: {
      ...common(stream),
      OpenShardCount: stream.openShards.length,
      ConsumerCount: stream.consumers.size,
      MaxRecordSizeInKiB: stream.maxRecordKiB,
      ...(stream.mode === 'ON_DEMAND' && { RecordDistributionStrategy: stream.distribution }),
      ...(stream.warmThroughputMiBps !== undefined && { WarmThroughput: describeWarmThroughput(stream) }),
    },
  }
}

/** The stream as ListStreams shows it. */
export function describeBriefly({ name, arn, lifecycle, mode, createdMs }: Stream): object {
  return {
    StreamName: name,
    StreamARN: arn,
    StreamStatus: lifecycle.status,
    StreamModeDetails: { StreamMode: mode },
    StreamCreationTimestamp: new Date(createdMs),
  }
}

export function describeWarmThroughput({ warmThroughputMiBps }: Stream): object {
  return { TargetMiBps: warmThroughputMiBps, CurrentMiBps: warmThroughputMiBps }
}

function common(stream: Stream): object {
  return {
    ...describeBriefly(stream),
    RetentionPeriodHours: Math.ceil(stream.retentionMs / HOUR_MS),
    EnhancedMonitoring: [{ ShardLevelMetrics: [...stream.shardMetrics] }],
    ...describeEncryption(stream),
  }
}

function describeEncryption({ keyId }: Stream): object {
  return keyId === undefined ? { EncryptionType: 'NONE' } : { EncryptionType: 'KMS', KeyId: keyId }
}
