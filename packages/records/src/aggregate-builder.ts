import { hash } from 'node:crypto'
import {
  AGGREGATE_MAGIC,
  AGGREGATE_OVERHEAD_BYTES,
  AGGREGATE_PARTITION_KEY,
  DATA_TAG,
  EXPLICIT_HASH_KEY_INDEX_TAG,
  EXPLICIT_HASH_KEY_TABLE_TAG,
  MD5_BYTES,
  PARTITION_KEY_INDEX_TAG,
  PARTITION_KEY_TABLE_TAG,
  RECORDS_TAG,
  varintSize,
  writeVarint,
} from './aggregate-format.ts'
import { RecordsError } from './errors.ts'
import type { HashKey } from './hash-key.ts'
import { KeyTable } from './key-table.ts'
import type { KinesisRecordOut } from './user-record.ts'

/** Options of {@link AggregateBuilder}. */
export interface AggregateBuilderOptions {
  /** The size of the first buffer, in bytes; it doubles as needed. Default 16,384. */
  readonly initialBytes?: number
}

const DEFAULT_INITIAL_BYTES = 16 * 1024
/** A buffer that grew beyond this is not kept over a reset: a builder that once held 10 MiB doesn't hold them for ever. */
const RETAINED_BYTES = 2 * 1024 * 1024

/**
 * Makes one Kinesis record of user records, byte for byte as the KPL does: an aggregate, or the raw data of a lone one.
 *
 * The message has its tables before its records, and they grow at the same time. So the records grow in a buffer with
 * room in front, the tables beside it, and {@link build} puts the tables into that room: data is copied once, by `add`.
 *
 * @example
 * const builder = new AggregateBuilder()
 * if (builder.sizeWith('user-1', undefined, data.length) <= 51_200) builder.add('user-1', undefined, data)
 * const kinesisRecord = builder.build(hashKeyOf('user-1'))
 */
export class AggregateBuilder {
  readonly #initialBytes: number
  readonly #partitionKeys = new KeyTable(PARTITION_KEY_TABLE_TAG)
  readonly #explicitHashKeys = new KeyTable(EXPLICIT_HASH_KEY_TABLE_TAG)
  #buffer: Buffer = Buffer.alloc(0)
  /** Where the serialized records start, and end, in the buffer. In front is room for the magic and the tables. */
  #start = 0
  #end = 0
  #count = 0
  #firstPartitionKey = ''
  #firstDataLength = 0

  constructor({ initialBytes = DEFAULT_INITIAL_BYTES }: AggregateBuilderOptions = {}) {
    if (!Number.isSafeInteger(initialBytes) || initialBytes < 1) {
      throw new RecordsError('ERR_AGGREGATE', `Expected initialBytes to be an integer from 1, but got ${initialBytes}.`)
    }
    this.#initialBytes = initialBytes
  }

  /** How many user records it holds. */
  get count(): number {
    return this.#count
  }

  /** The exact length of the data that {@link build} would give, in bytes; 0 when empty. */
  get size(): number {
    return this.#count > 1 ? this.#aggregateSize() : this.#firstDataLength
  }

  /** The exact {@link size} after adding such a record. Changes nothing. */
  sizeWith(partitionKey: string, explicitHashKey: string | undefined, dataLength: number): number {
    if (this.#count === 0) return dataLength
    let size = this.#aggregateSize() + this.#partitionKeys.growthWith(partitionKey)
    let ehkIndex: number | undefined
    if (explicitHashKey !== undefined) {
      size += this.#explicitHashKeys.growthWith(explicitHashKey)
      ehkIndex = this.#explicitHashKeys.indexOf(explicitHashKey)
    }
    const body = bodySize(this.#partitionKeys.indexOf(partitionKey), ehkIndex, dataLength)
    return size + 1 + varintSize(body) + body
  }

  /**
   * Adds a user record; its data is copied. There is no limit: ask {@link sizeWith} first.
   *
   * @param explicitHashKey canonical decimal (`parseHashKey(text).toString()`), written as it is; undefined when the
   *   user gave none
   * @returns its index, which will be its sub-sequence number
   */
  add(partitionKey: string, explicitHashKey: string | undefined, data: Uint8Array): number {
    if (!(data instanceof Uint8Array)) {
      throw new RecordsError(
        'ERR_AGGREGATE',
        `Expected data to be a Uint8Array, but got a value of type ${typeof data}.`,
      )
    }
    const pkIndex = this.#partitionKeys.add(partitionKey)
    const ehkIndex = explicitHashKey === undefined ? undefined : this.#explicitHashKeys.add(explicitHashKey)
    const dataLength = data.length
    const body = bodySize(pkIndex, ehkIndex, dataLength)
    this.#reserve(1 + varintSize(body) + body)

    const buffer = this.#buffer
    let at = this.#end
    buffer[at] = RECORDS_TAG
    at = writeVarint(buffer, at + 1, body)
    buffer[at] = PARTITION_KEY_INDEX_TAG
    at = writeVarint(buffer, at + 1, pkIndex)
    if (ehkIndex !== undefined) {
      buffer[at] = EXPLICIT_HASH_KEY_INDEX_TAG
      at = writeVarint(buffer, at + 1, ehkIndex)
    }
    buffer[at] = DATA_TAG
    at = writeVarint(buffer, at + 1, dataLength)
    buffer.set(data, at)
    this.#end = at + dataLength

    if (this.#count === 0) {
      this.#firstPartitionKey = partitionKey
      this.#firstDataLength = dataLength
    }
    return this.#count++
  }

  /**
   * The Kinesis record of all user records added so far. Building again after more were added gives the same as building once.
   *
   * Its data is a view into the builder's buffer: it holds until the next `add`, `build` or `reset`.
   *
   * @param firstHashKey the hash key of the first user record; it decides the shard
   * @throws {@link RecordsError} `ERR_AGGREGATE` when empty
   */
  build(firstHashKey: HashKey): KinesisRecordOut {
    if (this.#count === 0) {
      throw new RecordsError(
        'ERR_AGGREGATE',
        'Expected at least one user record to build a Kinesis record of. Call add first.',
      )
    }
    const explicitHashKey = firstHashKey.toString()
    if (this.#count === 1) {
      const data = this.#buffer.subarray(this.#end - this.#firstDataLength, this.#end)
      return { partitionKey: this.#firstPartitionKey, explicitHashKey, data }
    }
    this.#makeRoomInFront()
    const buffer = this.#buffer
    const recordsStart = this.#start
    const explicitHashKeysStart = recordsStart - this.#explicitHashKeys.size
    const message = explicitHashKeysStart - this.#partitionKeys.size
    const start = message - AGGREGATE_MAGIC.length
    buffer.set(AGGREGATE_MAGIC, start)
    this.#partitionKeys.copyTo(buffer, message)
    this.#explicitHashKeys.copyTo(buffer, explicitHashKeysStart)
    buffer.write(hash('md5', buffer.subarray(message, this.#end), 'hex'), this.#end, 'hex')
    const data = buffer.subarray(start, this.#end + MD5_BYTES)
    return { partitionKey: AGGREGATE_PARTITION_KEY, explicitHashKey, data }
  }

  /** Empties it for the next Kinesis record; the buffer is used again, so that the data of the last {@link build} is void. */
  reset(): void {
    this.#partitionKeys.clear()
    this.#explicitHashKeys.clear()
    if (this.#buffer.length > Math.max(RETAINED_BYTES, this.#initialBytes)) {
      this.#buffer = Buffer.alloc(0)
      this.#start = 0
    }
    this.#end = this.#start
    this.#count = 0
    this.#firstPartitionKey = ''
    this.#firstDataLength = 0
  }

  #aggregateSize(): number {
    return AGGREGATE_OVERHEAD_BYTES + this.#roomForTables() + (this.#end - this.#start)
  }

  #roomForTables(): number {
    return this.#partitionKeys.size + this.#explicitHashKeys.size
  }

  /** Makes sure that so many more bytes of records, and the MD5, fit. */
  #reserve(bytes: number): void {
    const needed = this.#end + bytes + MD5_BYTES
    if (needed <= this.#buffer.length) return
    this.#move(this.#start || this.#initialRoom(), Math.max(needed + this.#initialRoom(), this.#buffer.length * 2))
  }

  /** Moves the records where the tables don't fit before them: far enough for tables of twice the size, and for good. */
  #makeRoomInFront(): void {
    const room = AGGREGATE_MAGIC.length + this.#roomForTables()
    if (room <= this.#start) return
    this.#move(room * 2, this.#end - this.#start + room * 2 + MD5_BYTES)
  }

  #initialRoom(): number {
    return Math.ceil(this.#initialBytes / 8)
  }

  #move(start: number, minLength: number): void {
    const length = this.#end - this.#start
    if (minLength > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(minLength, this.#initialBytes))
      this.#buffer.copy(grown, start, this.#start, this.#end)
      this.#buffer = grown
    } else {
      this.#buffer.copyWithin(start, this.#start, this.#end)
    }
    this.#start = start
    this.#end = start + length
  }
}

function bodySize(pkIndex: number, ehkIndex: number | undefined, dataLength: number): number {
  const ehkSize = ehkIndex === undefined ? 0 : 1 + varintSize(ehkIndex)
  return 1 + varintSize(pkIndex) + ehkSize + 1 + varintSize(dataLength) + dataLength
}
