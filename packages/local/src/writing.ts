import { checkEntry, hashKeyOfEntry, type PutEntry, sizeOfEntry } from './put-entry.ts'
import { nullValue, outOfBounds, type Request, refuseDryRun } from './requests.ts'
import type { Service } from './service.ts'
import { invalidArgument, streamLabel, throughputExceeded } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

const MAX_RECORDS = 500
const MAX_REQUEST_BYTES = 10 * 2 ** 20

/** Why an entry of a PutRecords is not taken. */
export type EntryErrorCode = 'ProvisionedThroughputExceededException' | 'InternalFailure'

interface EntryResult {
  readonly SequenceNumber?: string
  readonly ShardId?: string
  readonly ErrorCode?: EntryErrorCode
  readonly ErrorMessage?: string
}

export function putRecord(service: Service, request: Request): object {
  const stream = service.servingStream(request)
  const entry = request as unknown as PutEntry
  checkEntry(entry, stream.maxRecordKiB * 1024, stream.distributesByKey)
  const shard = shardOf(stream, entry)
  refuseDryRun(request)
  if (!admits(shard, entry, service)) throw throughputExceeded(exceeded(stream, shard))
  const { sequenceNumber } = stream.put(shard, entry.PartitionKey, entry.Data, service.wallMs)
  shard.announce()
  return { ShardId: shard.id, SequenceNumber: sequenceNumber, EncryptionType: encryptionOf(stream) }
}

/**
 * All entries are checked before the first is written; each then succeeds or fails on its own.
 *
 * @param failing entries, by index, that fail whatever the limits say
 */
export function putRecords(
  service: Service,
  request: Request,
  failing: ReadonlyMap<number, EntryErrorCode> = new Map(),
): object {
  const stream = service.servingStream(request)
  const entries = entriesOf(request)
  const maxRecordBytes = stream.maxRecordKiB * 1024
  let bytes = 0
  for (const entry of entries) {
    checkEntry(entry, maxRecordBytes, stream.distributesByKey)
    bytes += sizeOfEntry(entry)
  }
  if (bytes > MAX_REQUEST_BYTES) throw invalidArgument(`Records size exceeds ${MAX_REQUEST_BYTES / 2 ** 20} MB limit`)
  const shards = entries.map((entry) => shardOf(stream, entry))
  refuseDryRun(request)

  let failed = 0
  const results = entries.map((entry, index): EntryResult => {
    const shard = shards[index]!
    const code = failing.get(index) ?? (admits(shard, entry, service) ? undefined : THROTTLED)
    if (code !== undefined) {
      failed++
      return {
        ErrorCode: code,
        ErrorMessage: code === THROTTLED ? exceeded(stream, shard) : 'Internal service failure.',
      }
    }
    const { sequenceNumber } = stream.put(shard, entry.PartitionKey, entry.Data, service.wallMs)
    return { SequenceNumber: sequenceNumber, ShardId: shard.id }
  })
  for (const shard of new Set(shards)) shard.announce()
  return { FailedRecordCount: failed, Records: results, EncryptionType: encryptionOf(stream) }
}

const THROTTLED = 'ProvisionedThroughputExceededException'

function entriesOf(request: Request): readonly PutEntry[] {
  const entries = request.Records as readonly PutEntry[] | undefined
  if (!Array.isArray(entries)) throw nullValue('records')
  if (entries.length >= 1 && entries.length <= MAX_RECORDS) return entries
  const bound = entries.length < 1 ? 'greater than or equal to 1' : `less than or equal to ${MAX_RECORDS}`
  throw outOfBounds('records', `[${entries.length} records]`, `have length ${bound}`)
}

function shardOf(stream: Stream, entry: PutEntry): Shard {
  return stream.distributesByKey ? stream.shardFor(hashKeyOfEntry(entry)) : stream.nextInTurn()
}

function admits({ limits }: Shard, entry: PutEntry, { limits: limited, monotonicMs }: Service): boolean {
  if (!limited) return true
  if (!limits.bytesIn.isOpen(monotonicMs) || !limits.recordsIn.hasOne(monotonicMs)) return false
  limits.bytesIn.take(sizeOfEntry(entry))
  limits.recordsIn.take(1)
  return true
}

function encryptionOf({ keyId }: Stream): 'NONE' | 'KMS' {
  return keyId === undefined ? 'NONE' : 'KMS'
}

function exceeded(stream: Stream, shard: Shard): string {
  return `Rate exceeded for shard ${shard.id} in ${streamLabel(stream.name)}.`
}
