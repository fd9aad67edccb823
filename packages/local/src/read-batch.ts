import { describeRange } from './descriptions.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

/** A record as readers get it, in the AWS SDK's shape. */
export interface KinesisRecord {
  readonly SequenceNumber: string
  readonly ApproximateArrivalTimestamp: Date
  readonly Data: Uint8Array
  /** Absent where the service distributes and the producer gave none. */
  PartitionKey?: string
  EncryptionType?: 'KMS'
}

export interface ChildShard {
  readonly ShardId: string
  readonly ParentShards: readonly string[]
  readonly HashKeyRange: { readonly StartingHashKey: string; readonly EndingHashKey: string }
}

export interface BatchBounds {
  readonly records: number
  /** A first record is read however large it is. */
  readonly bytes: number
}

export interface Batch {
  readonly records: KinesisRecord[]
  readonly bytes: number
  /** Whether the bound in bytes ended it. */
  readonly isFull: boolean
  /** The sequence number of the last record read, or where reading began. */
  readonly after: string
  readonly millisBehindLatest: number
  /** The children, if the shard is closed and nothing is left in it. */
  readonly children: readonly ChildShard[] | undefined
}

/** What lies in a shard behind a sequence number. */
export function readBatch(stream: Stream, shard: Shard, after: string, bounds: BatchBounds, nowMs: number): Batch {
  const { log } = shard
  const isEncrypted = stream.keyId !== undefined
  const records: KinesisRecord[] = []
  let last = after
  let bytes = 0
  let isFull = false
  let index = log.indexAfter(after)
  for (; index < log.length && records.length < bounds.records; index++) {
    const { sequenceNumber, partitionKey, data, arrivedMs } = log.at(index)!
    const size = data.length + (partitionKey?.length ?? 0)
    isFull = records.length > 0 && bytes + size > bounds.bytes
    if (isFull) break
    bytes += size
    last = sequenceNumber
    const record: KinesisRecord = {
      SequenceNumber: sequenceNumber,
      ApproximateArrivalTimestamp: new Date(arrivedMs),
      Data: data,
    }
    if (partitionKey !== undefined) record.PartitionKey = partitionKey
    if (isEncrypted) record.EncryptionType = 'KMS'
    records.push(record)
  }
  const next = log.at(index)
  return {
    records,
    bytes,
    isFull: isFull || bytes >= bounds.bytes,
    after: last,
    // 0 says that nothing is left to read, so what arrived within this very millisecond counts as 1.
    millisBehindLatest: next === undefined ? 0 : Math.max(1, Math.round(nowMs - next.arrivedMs)),
    children: next === undefined && !shard.isOpen ? shard.children.map(describeChild) : undefined,
  }
}

function describeChild(child: Shard): ChildShard {
  return { ShardId: child.id, ParentShards: child.parents.map(({ id }) => id), HashKeyRange: describeRange(child) }
}
