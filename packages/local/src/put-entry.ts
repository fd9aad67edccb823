import { type HashKey, hashKeyOf, parseHashKey, RecordsError } from '@shardwise/records'
import { nullValue, outOfBounds } from './requests.ts'
import { invalidArgument, validation } from './service-error.ts'

const EXPLICIT_HASH_KEY = /^(0|[1-9]\d{0,38})$/
const MAX_KEY_LENGTH = 256

/** One record of a PutRecord or PutRecords. */
export interface PutEntry {
  /** Absent only where the stream doesn't distribute by key. */
  readonly PartitionKey?: string
  readonly ExplicitHashKey?: string
  readonly Data: Uint8Array
}

/** The service's checks of an entry, except for its explicit hash key. */
export function checkEntry(entry: PutEntry, maxRecordBytes: number, needsKey: boolean): void {
  if (typeof entry !== 'object' || entry === null) throw nullValue('records.member')
  const { PartitionKey: key, Data: data } = entry
  if (key !== undefined || needsKey) checkKey(key)
  if (!(data instanceof Uint8Array)) throw nullValue('data')
  const bytes = sizeOfEntry(entry)
  if (bytes > maxRecordBytes) {
    throw validation(
      `Value at 'data' failed to satisfy constraint: the record has ${bytes} bytes with its key, at most ${maxRecordBytes} are allowed`,
    )
  }
}

function checkKey(key: unknown): void {
  if (typeof key !== 'string') throw nullValue('partitionKey')
  if (key.length < 1) throw outOfBounds('partitionKey', key, 'have length greater than or equal to 1')
  // A character beyond the basic plane is two units of UTF-16 and counts once.
  if (key.length > MAX_KEY_LENGTH && [...key].length > MAX_KEY_LENGTH) {
    throw outOfBounds('partitionKey', key, `have length less than or equal to ${MAX_KEY_LENGTH}`)
  }
}

/** The hash key that decides where a checked entry goes. */
export function hashKeyOfEntry({ PartitionKey: key, ExplicitHashKey: explicit }: PutEntry): HashKey {
  if (explicit === undefined || explicit === null) return hashKeyOf(key ?? '')
  // The service takes the canonical text alone; parseHashKey is more generous.
  if (!EXPLICIT_HASH_KEY.test(explicit)) {
    throw outOfBounds('explicitHashKey', explicit, 'satisfy regular expression pattern: 0|([1-9]\\d{0,38})')
  }
  try {
    return parseHashKey(explicit)
  } catch (error) {
    if (!(error instanceof RecordsError)) throw error
    throw invalidArgument(
      `Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was ${explicit}`,
    )
  }
}

/** What counts for limits: the data and the UTF-8 of the key. */
export function sizeOfEntry({ PartitionKey, Data }: PutEntry): number {
  return Data.length + (PartitionKey === undefined ? 0 : Buffer.byteLength(PartitionKey))
}
