import { openAggregate } from './aggregate-reader.ts'
import type { UserRecordView } from './user-record.ts'

/** What {@link deaggregate} found. */
export type Deaggregated =
  /** Not an aggregate: the Kinesis record itself is the one user record. */
  | { readonly kind: 'raw' }
  /** Its user records in order; there may be none. */
  | { readonly kind: 'aggregate'; readonly records: readonly UserRecordView[] }
  /** Magic and MD5 are right, and yet what is between can't be read: the writer was broken. None of it can be trusted. */
  | { readonly kind: 'malformed'; readonly reason: string }

/**
 * Takes the data of a Kinesis record apart: all that {@link openAggregate} gives, at once. All or nothing, and it never throws,
 * whatever the bytes. The user records' data are views into `data`.
 *
 * @example
 * const result = deaggregate(kinesisRecord.Data)
 * if (result.kind === 'aggregate') for (const { partitionKey, data } of result.records) handle(partitionKey, data)
 */
export function deaggregate(data: Uint8Array): Deaggregated {
  const opened = openAggregate(data)
  if (opened.kind !== 'aggregate') return opened
  const { reader } = opened
  const records: UserRecordView[] = []
  while (reader.next()) {
    const { partitionKey, explicitHashKey, data: view, subSequenceNumber } = reader
    records.push({ partitionKey, explicitHashKey, data: view, subSequenceNumber })
  }
  return { kind: 'aggregate', records }
}
