import { type HashKey, hashKeyOf, parseHashKey } from '@shardwise/records'
import { ProducerError } from './errors.ts'

/** What a caller puts. */
export interface UserRecord {
  /** Decides the shard, and the order: records with the same key stay in order. 1 to 256 characters. */
  readonly partitionKey: string
  /** A decimal hash key, 0 … 2^128 − 1, that decides the shard in the partition key's place. */
  readonly explicitHashKey?: string | undefined
  /** Bytes, or a string that is written as UTF-8. Bytes must not be changed before the `put` settles. */
  readonly data: Uint8Array | string
}

/** A user record after its checks. */
export interface CheckedRecord {
  readonly partitionKey: string
  /** Canonical decimal; undefined when the caller gave none. */
  readonly explicitHashKey: string | undefined
  readonly hashKey: HashKey
  readonly data: Uint8Array
  /** Of data and partition key. */
  readonly bytes: number
}

/** The service's limit of a Kinesis record, data and partition key together, unless the stream allows more. */
export const MAX_RECORD_BYTES: number = 2 ** 20

/** The largest aggregate the service takes: the partition key of an aggregate is one byte. */
export const MAX_AGGREGATE_BYTES: number = MAX_RECORD_BYTES - 1

const MAX_PARTITION_KEY_CHARACTERS = 256
const CACHED_KEYS = 16_384

/** Checks records at the door. Remembers the hash keys of partition keys that came before: MD5 is most of the cost. */
export class RecordCheck {
  readonly #hashKeys = new Map<string, HashKey>()

  /** @throws {ProducerError} with the record, what was expected and what came */
  check(record: UserRecord): CheckedRecord {
    if (typeof record !== 'object' || record === null) {
      throw new ProducerError('ERR_DATA', `put: expected { partitionKey, data }, got ${String(record)}.`)
    }
    const { partitionKey } = record
    // A string of up to 256 UTF-16 units has up to 256 characters: only a longer one has to be counted.
    const fits =
      typeof partitionKey === 'string' &&
      partitionKey.length > 0 &&
      (partitionKey.length <= MAX_PARTITION_KEY_CHARACTERS || [...partitionKey].length <= MAX_PARTITION_KEY_CHARACTERS)
    if (!fits) {
      const got = typeof partitionKey === 'string' ? `one of ${partitionKey.length}` : `a ${typeof partitionKey}`
      throw new ProducerError(
        'ERR_PARTITION_KEY',
        `put: expected a partition key of 1 to ${MAX_PARTITION_KEY_CHARACTERS} characters, got ${got}.`,
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
    const explicit = record.explicitHashKey === undefined ? undefined : readHashKey(record, record.explicitHashKey)
    const data = bytesOf(record)
    const bytes = data.length + Buffer.byteLength(partitionKey)
    if (bytes > MAX_RECORD_BYTES) {
      throw new ProducerError(
        'ERR_RECORD_TOO_LARGE',
        `put: data and partition key have ${bytes} bytes together, a record may have at most ${MAX_RECORD_BYTES}. ` +
          'Split the data, or store it elsewhere and put a reference.',
        { record },
      )
    }
    return {
      partitionKey,
      explicitHashKey: explicit?.toString(),
      hashKey: explicit ?? this.#hashKeyOf(partitionKey),
      data,
      bytes,
    }
  }

  #hashKeyOf(partitionKey: string): HashKey {
    let key = this.#hashKeys.get(partitionKey)
    if (key === undefined) {
      key = hashKeyOf(partitionKey)
      if (this.#hashKeys.size >= CACHED_KEYS) this.#hashKeys.clear()
      this.#hashKeys.set(partitionKey, key)
    }
    return key
  }
}

function readHashKey(record: UserRecord, text: string): HashKey {
  try {
    return parseHashKey(text)
  } catch (cause) {
    throw new ProducerError('ERR_EXPLICIT_HASH_KEY', `put: ${(cause as Error).message}`, { record, cause })
  }
}

function bytesOf(record: UserRecord): Uint8Array {
  const { data } = record
  if (typeof data === 'string') return Buffer.from(data)
  if (data instanceof Uint8Array) return data
  throw new ProducerError('ERR_DATA', `put: expected data to be a Uint8Array or a string, got ${typeof data}.`, {
    record,
  })
}
