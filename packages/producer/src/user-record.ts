import { Buffer } from 'node:buffer'
import { type HashKey, hashKeyOf, parseHashKey } from '@shardwise/records'
import { ProducerError } from './errors.ts'

/** What a caller puts. */
export interface UserRecord<Value = Uint8Array | string> {
  /** The stream's name or ARN. Default: the producer's. A stream has one order only if it is always called the same. */
  readonly stream?: string | undefined
  /**
   * Decides the shard, and the order: records with the same key stay in order. 1 to 256 UTF-16 code units. May be left out only on
   * streams that distribute records by themselves.
   */
  readonly partitionKey?: string | undefined
  /** A decimal hash key, 0 … 2^128 − 1, that decides the shard in the partition key's place. */
  readonly explicitHashKey?: string | undefined
  /**
   * Bytes, or a string that is written as UTF-8; with a codec, what that takes. Bytes must not be changed before the `put`
   * settles.
   */
  readonly data: Value
}

/** A user record after its checks. */
export interface CheckedRecord {
  readonly partitionKey: string | undefined
  /** Canonical decimal; undefined when the caller gave none. */
  readonly explicitHashKey: string | undefined
  /** The explicit hash key as a number. Without one {@link hashKeyOfRecord} works it out where it is needed: it is dear. */
  readonly hashKey: HashKey | undefined
  readonly data: Uint8Array
  /** Of data and partition key. */
  readonly bytes: number
}

/** The hash key of a record. Without a partition key it is 0: such records only go where hash keys decide nothing. */
export function hashKeyOfRecord({ partitionKey, hashKey }: Pick<CheckedRecord, 'partitionKey' | 'hashKey'>): HashKey {
  return hashKey ?? (partitionKey === undefined ? 0n : hashKeyOf(partitionKey))
}

/** A user record that can share a Kinesis record: that has a table of partition keys. */
export type KeyedRecord = CheckedRecord & { readonly partitionKey: string }

export function isKeyed(record: CheckedRecord): record is KeyedRecord {
  return record.partitionKey !== undefined
}

/** The service's limit of a Kinesis record, data and partition key together, unless the stream allows more. */
export const MAX_RECORD_BYTES: number = 2 ** 20

/** The most that a stream can be made to allow. */
export const LARGEST_RECORD_BYTES: number = 10 * 2 ** 20

/** In UTF-16 code units, as the KPL counts: what fits so fits however the service counts. */
const MAX_PARTITION_KEY_UNITS = 256

/** Checks records at the door. */
export class RecordCheck<Value> {
  readonly #encode: ((value: Value) => Uint8Array | string) | undefined

  /** @param encode makes bytes of the data; without it they are bytes or a string */
  constructor(encode: ((value: Value) => Uint8Array | string) | undefined) {
    this.#encode = encode
  }

  /**
   * Whether the record fits the stream is not known here, only whether it fits any.
   *
   * @throws {ProducerError} with the record, what was expected and what came
   */
  check(record: UserRecord<Value>): CheckedRecord {
    if (typeof record !== 'object' || record === null) {
      throw new ProducerError('ERR_DATA', `put: expected { partitionKey, data }, got ${String(record)}.`)
    }
    const { partitionKey } = record
    if (partitionKey !== undefined) checkPartitionKey(record, partitionKey)
    const explicit = record.explicitHashKey === undefined ? undefined : readHashKey(record, record.explicitHashKey)
    const data = this.#bytesOf(record)
    const bytes = data.length + (partitionKey === undefined ? 0 : Buffer.byteLength(partitionKey))
    if (bytes > LARGEST_RECORD_BYTES) {
      throw new ProducerError('ERR_RECORD_TOO_LARGE', tooLarge(bytes, LARGEST_RECORD_BYTES, 'any stream'), { record })
    }
    return {
      partitionKey,
      explicitHashKey: explicit?.toString(),
      hashKey: explicit,
      data,
      bytes,
    }
  }

  #bytesOf(record: UserRecord<Value>): Uint8Array {
    const data: unknown = this.#encode === undefined ? record.data : encoded(record, this.#encode)
    if (typeof data === 'string') return Buffer.from(data)
    if (data instanceof Uint8Array) return data
    throw new ProducerError(
      'ERR_DATA',
      `put: expected data to be a Uint8Array or a string, got ${data === null ? 'null' : typeof data}.`,
      { record },
    )
  }
}

/** What is said of a record that doesn't fit. */
export function tooLarge(bytes: number, limit: number, where: string): string {
  return (
    `put: data and partition key have ${bytes} bytes together, a record of ${where} may have at most ${limit}. ` +
    'Split the data, or store it elsewhere and put a reference.'
  )
}

function checkPartitionKey<Value>(record: UserRecord<Value>, partitionKey: unknown): void {
  const fits =
    typeof partitionKey === 'string' && partitionKey.length > 0 && partitionKey.length <= MAX_PARTITION_KEY_UNITS
  if (!fits) {
    const got = typeof partitionKey === 'string' ? `one of ${partitionKey.length}` : `a ${typeof partitionKey}`
    throw new ProducerError(
      'ERR_PARTITION_KEY',
      `put: expected a partition key of 1 to ${MAX_PARTITION_KEY_UNITS} UTF-16 code units, got ${got}.`,
      { record },
    )
  }
  if (!partitionKey.isWellFormed()) {
    throw new ProducerError(
      'ERR_PARTITION_KEY',
      'put: expected a partition key of well-formed Unicode, got one with a lone surrogate. Use partitionKey.toWellFormed().',
      { record },
    )
  }
}

function readHashKey<Value>(record: UserRecord<Value>, text: string): HashKey {
  try {
    return parseHashKey(text)
  } catch (cause) {
    throw new ProducerError('ERR_EXPLICIT_HASH_KEY', `put: ${(cause as Error).message}`, { record, cause })
  }
}

function encoded<Value>(record: UserRecord<Value>, encode: (value: Value) => Uint8Array | string): Uint8Array | string {
  try {
    return encode(record.data)
  } catch (cause) {
    throw new ProducerError('ERR_DATA', `put: the codec refused the data: ${String((cause as Error).message)}`, {
      record,
      cause,
    })
  }
}
