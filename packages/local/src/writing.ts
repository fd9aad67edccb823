import { MAX_RECORD_BYTES } from './descriptions.ts'
import type { KinesisModel } from './kinesis-model.ts'
import { hashKeyOfEntry, nullValue, type PutEntry, type Request } from './requests.ts'
import { invalidArgument, ServiceError, validation } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

const MAX_RECORDS = 500
const MAX_REQUEST_BYTES = 10 * 2 ** 20

export function putRecord(model: KinesisModel, request: Request): object {
  const stream = model.stream(request)
  const entry = request as unknown as PutEntry
  const shard = stream.shardFor(hashKeyOfEntry(entry, MAX_RECORD_BYTES))
  if (!admits(shard, entry, model)) {
    throw new ServiceError('ProvisionedThroughputExceededException', exceeded(stream, shard))
  }
  const { sequenceNumber } = stream.put(shard, entry.PartitionKey, entry.Data, model.nowMs)
  return { ShardId: shard.id, SequenceNumber: sequenceNumber, EncryptionType: 'NONE' }
}

/** All entries are checked before the first is written; each then succeeds or is throttled on its own. */
export function putRecords(model: KinesisModel, request: Request): object {
  const stream = model.stream(request)
  const entries = request.Records as readonly PutEntry[] | undefined
  if (!Array.isArray(entries)) throw nullValue('records')
  if (entries.length < 1 || entries.length > MAX_RECORDS) {
    const bound = entries.length < 1 ? 'greater than or equal to 1' : `less than or equal to ${MAX_RECORDS}`
    throw validation(
      `Value '[${entries.length} records]' at 'records' failed to satisfy constraint: Member must have length ${bound}`,
    )
  }
  const shards = entries.map((entry) => stream.shardFor(hashKeyOfEntry(entry, MAX_RECORD_BYTES)))
  const bytes = entries.reduce((sum, entry) => sum + sizeOf(entry), 0)
  if (bytes > MAX_REQUEST_BYTES) throw invalidArgument(`Records size exceeds ${MAX_REQUEST_BYTES / 2 ** 20} MB limit`)

  let failed = 0
  const results = entries.map((entry, index) => {
    const shard = shards[index]!
    if (!admits(shard, entry, model)) {
      failed++
      return { ErrorCode: 'ProvisionedThroughputExceededException', ErrorMessage: exceeded(stream, shard) }
    }
    const { sequenceNumber } = stream.put(shard, entry.PartitionKey, entry.Data, model.nowMs)
    return { SequenceNumber: sequenceNumber, ShardId: shard.id }
  })
  return { FailedRecordCount: failed, Records: results, EncryptionType: 'NONE' }
}

function admits({ limits }: Shard, entry: PutEntry, { limits: limited, nowMs }: KinesisModel): boolean {
  if (!limited) return true
  if (!limits.bytesIn.isOpen(nowMs) || !limits.recordsIn.isOpen(nowMs)) return false
  limits.bytesIn.take(sizeOf(entry))
  limits.recordsIn.take(1)
  return true
}

function sizeOf({ PartitionKey, Data }: PutEntry): number {
  return Data.length + Buffer.byteLength(PartitionKey)
}

function exceeded(stream: Stream, shard: Shard): string {
  return `Rate exceeded for shard ${shard.id} in stream ${stream.name} under account 000000000000.`
}
