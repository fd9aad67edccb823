import { type HashKey, hashKeyOf, parseHashKey, RecordsError } from '@shardwise/records'
import { invalidArgument, ServiceError, validation } from './service-error.ts'

/** The fields of a request that this Kinesis reads, as the AWS JSON protocol names them; `Data` is bytes already. */
export interface Request {
  readonly [field: string]: unknown
}

const EXPLICIT_HASH_KEY = /^(0|[1-9]\d{0,38})$/

export interface PutEntry {
  readonly PartitionKey: string
  readonly ExplicitHashKey?: string
  readonly Data: Uint8Array
}

export function requiredString(request: Request, field: string): string {
  const value = optionalString(request, field)
  if (value === undefined) throw nullValue(field)
  return value
}

export function optionalString(request: Request, field: string): string | undefined {
  const value = request[field]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'string') {
    throw new ServiceError('SerializationException', `${field}: expected a string, got ${typeof value}`)
  }
  return value
}

export function optionalInteger(request: Request, field: string, min: number, max: number): number | undefined {
  const value = request[field]
  if (value === undefined || value === null) return undefined
  if (!Number.isInteger(value)) {
    throw new ServiceError('SerializationException', `${field}: expected an integer, got ${JSON.stringify(value)}`)
  }
  if ((value as number) < min) throw outOfBounds(field, value, `greater than or equal to ${min}`)
  if ((value as number) > max) throw outOfBounds(field, value, `less than or equal to ${max}`)
  return value as number
}

/** Milliseconds of a timestamp, which the protocol has in seconds. */
export function optionalTimeMs(request: Request, field: string): number | undefined {
  const value = request[field]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number') throw new ServiceError('SerializationException', `${field}: expected a timestamp`)
  return value * 1000
}

/** The hash key that decides where an entry goes, after the service's checks of the entry. */
export function hashKeyOfEntry(entry: PutEntry, maxRecordBytes: number): HashKey {
  if (typeof entry !== 'object' || entry === null) throw nullValue('records.member')
  const { PartitionKey: key, ExplicitHashKey: explicit, Data: data } = entry
  if (typeof key !== 'string') throw nullValue('partitionKey')
  const length = [...key].length
  if (length < 1) throw outOfBounds('partitionKey', key, 'have length greater than or equal to 1')
  if (length > 256) throw outOfBounds('partitionKey', key, 'have length less than or equal to 256')
  if (!(data instanceof Uint8Array)) throw nullValue('data')
  if (data.length + Buffer.byteLength(key) > maxRecordBytes) {
    throw validation(
      `Value at 'data' failed to satisfy constraint: the record has ${data.length + Buffer.byteLength(key)} bytes with its key, at most ${maxRecordBytes} are allowed`,
    )
  }
  if (explicit === undefined || explicit === null) return hashKeyOf(key)
  // The service takes the canonical text alone; parseHashKey is more generous.
  if (!EXPLICIT_HASH_KEY.test(explicit)) {
    throw validation(
      `Value '${explicit}' at 'explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})`,
    )
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

export function nullValue(field: string): ServiceError {
  return validation(`Value null at '${field}' failed to satisfy constraint: Member must not be null`)
}

function outOfBounds(field: string, value: unknown, bound: string): ServiceError {
  return validation(
    `Value '${String(value)}' at '${field}' failed to satisfy constraint: Member must ${bound.startsWith('have') ? bound : `have value ${bound}`}`,
  )
}
