import { hash } from 'node:crypto'
import {
  AGGREGATE_MAGIC,
  AGGREGATE_OVERHEAD_BYTES,
  DATA_TAG,
  EXPLICIT_HASH_KEY_INDEX_TAG,
  EXPLICIT_HASH_KEY_TABLE_TAG,
  MD5_BYTES,
  PARTITION_KEY_INDEX_TAG,
  PARTITION_KEY_TABLE_TAG,
  RECORDS_TAG,
} from './aggregate-format.ts'
import type { UserRecordView } from './user-record.ts'
import { MalformedError, WireReader } from './wire-reader.ts'

/** What {@link deaggregate} found. */
export type Deaggregated =
  /** Not an aggregate: the Kinesis record itself is the one user record. */
  | { readonly kind: 'raw' }
  /** Its user records in order; there may be none. */
  | { readonly kind: 'aggregate'; readonly records: readonly UserRecordView[] }
  /** Magic and MD5 are right, and yet what is between can't be read: the writer was broken. None of it can be trusted. */
  | { readonly kind: 'malformed'; readonly reason: string }

const RAW: Deaggregated = Object.freeze({ kind: 'raw' })

/**
 * Takes the data of a Kinesis record apart. All or nothing: it either gives every user record, or says that the data is
 * no aggregate, or why it can't be read. Never throws, whatever the bytes.
 *
 * Data without the magic, without a matching MD5, or with nothing between the two is raw. Unknown fields and duplicate
 * table entries are accepted, in any order of the fields; so is text that isn't UTF-8, with U+FFFD for the bytes in question.
 * The user records' data are views into `data`.
 *
 * @example
 * const result = deaggregate(kinesisRecord.Data)
 * if (result.kind === 'aggregate') for (const { partitionKey, data } of result.records) handle(partitionKey, data)
 */
export function deaggregate(data: Uint8Array): Deaggregated {
  const end = data.length - MD5_BYTES
  if (data.length <= AGGREGATE_OVERHEAD_BYTES || !AGGREGATE_MAGIC.every((byte, index) => data[index] === byte))
    return RAW
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
  const start = AGGREGATE_MAGIC.length
  if (hash('md5', bytes.subarray(start, end), 'hex') !== bytes.toString('hex', end)) return RAW
  try {
    return { kind: 'aggregate', records: readMessage(bytes, start, end) }
  } catch (error) {
    if (error instanceof MalformedError) return { kind: 'malformed', reason: error.message }
    throw error
  }
}

function readMessage(bytes: Buffer, start: number, end: number): UserRecordView[] {
  const partitionKeys: string[] = []
  const explicitHashKeys: string[] = []
  // Records are read after all tables: an entry may stand behind the record that refers to it.
  const recordSpans: number[] = []
  const reader = new WireReader(bytes, start, end)
  while (reader.at < end) {
    const tag = reader.tag()
    if (tag === RECORDS_TAG) {
      const length = reader.length()
      recordSpans.push(reader.at, reader.at + length)
      reader.at += length
    } else if (tag === PARTITION_KEY_TABLE_TAG) partitionKeys.push(reader.text())
    else if (tag === EXPLICIT_HASH_KEY_TABLE_TAG) explicitHashKeys.push(reader.text())
    else skipUnknown(reader, tag)
  }
  const records: UserRecordView[] = []
  for (let span = 0; span < recordSpans.length; span += 2) {
    reader.at = recordSpans[span] as number
    reader.end = recordSpans[span + 1] as number
    records.push(readRecord(reader, span / 2, partitionKeys, explicitHashKeys))
  }
  return records
}

function readRecord(
  reader: WireReader,
  subSequenceNumber: number,
  partitionKeys: readonly string[],
  explicitHashKeys: readonly string[],
): UserRecordView {
  let pkIndex = -1
  let ehkIndex = -1
  let dataStart = -1
  let dataEnd = -1
  while (reader.at < reader.end) {
    const tag = reader.tag()
    if (tag === PARTITION_KEY_INDEX_TAG) pkIndex = reader.varint()
    else if (tag === EXPLICIT_HASH_KEY_INDEX_TAG) ehkIndex = reader.varint()
    else if (tag === DATA_TAG) {
      const length = reader.length()
      dataStart = reader.at
      dataEnd = reader.at = dataStart + length
    } else skipUnknown(reader, tag)
  }
  if (dataStart < 0) throw new MalformedError(`user record ${subSequenceNumber} has no data`)
  return {
    partitionKey: lookUp(partitionKeys, pkIndex, 'partition key', subSequenceNumber),
    explicitHashKey:
      ehkIndex < 0 ? undefined : lookUp(explicitHashKeys, ehkIndex, 'explicit hash key', subSequenceNumber),
    data: reader.bytes.subarray(dataStart, dataEnd),
    subSequenceNumber,
  }
}

function lookUp(table: readonly string[], index: number, name: string, subSequenceNumber: number): string {
  const key = table[index]
  if (key === undefined) {
    const what = index < 0 ? 'no index' : `index ${index}`
    throw new MalformedError(
      `user record ${subSequenceNumber} has ${what} into the ${name} table, which has ${table.length}`,
    )
  }
  return key
}

/** Fields 1 to 3 are known in both messages; with another wire type they would be lost if they were skipped. */
function skipUnknown(reader: WireReader, tag: number): void {
  const field = tag >>> 3
  if (field <= 3) throw new MalformedError(`field ${field} has the wire type ${tag & 7}, before byte ${reader.at}`)
  reader.skip(tag)
}
