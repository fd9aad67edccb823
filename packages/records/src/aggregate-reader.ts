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
import { topOf } from './hash-key.ts'
import type { HashRange } from './hash-range.ts'
import { isMisplaced } from './misplaced.ts'
import { SeenKeys } from './seen-keys.ts'
import type { UserRecordView } from './user-record.ts'
import { MalformedError, WireReader } from './wire-reader.ts'

/** What {@link openAggregate} found. */
export type OpenedAggregate =
  /** Not an aggregate: the Kinesis record itself is the one user record. */
  | { readonly kind: 'raw' }
  | { readonly kind: 'aggregate'; readonly reader: AggregateReader }
  /** Magic and MD5 are right, and yet what is between can't be read: the writer was broken. None of it can be trusted. */
  | { readonly kind: 'malformed'; readonly reason: string }

/** Of the whole process; made when it is first needed. */
let seenKeys: SeenKeys | undefined
const RAW: OpenedAggregate = Object.freeze({ kind: 'raw' })

/**
 * Opens the data of a Kinesis record, to have its user records one at a time. All or nothing: everything is checked before the
 * first is given. Never throws, whatever the bytes.
 *
 * Data without the magic, without a matching MD5, or with nothing between the two is raw. Unknown fields and duplicate
 * table entries are accepted, in any order of the fields; so is text that isn't UTF-8, with U+FFFD for the bytes in question.
 *
 * @param data must stay as it is while it is read
 * @param hashRange the shard's, to have records judged by {@link isMisplaced}; by default none is misplaced
 *
 * @example
 * const opened = openAggregate(kinesisRecord.Data)
 * if (opened.kind === 'aggregate') {
 *   const { reader } = opened
 *   while (reader.next()) handle(reader.partitionKey, reader.data)
 * }
 */
export function openAggregate(data: Uint8Array, hashRange?: HashRange): OpenedAggregate {
  const end = data.length - MD5_BYTES
  if (data.length <= AGGREGATE_OVERHEAD_BYTES || !startsWithMagic(data)) return RAW
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length)
  const start = AGGREGATE_MAGIC.length
  if (hash('md5', bytes.subarray(start, end), 'hex') !== bytes.toString('hex', end)) return RAW
  try {
    return { kind: 'aggregate', reader: new AggregateReader(new WireReader(bytes, start, end), hashRange) }
  } catch (error) {
    if (error instanceof MalformedError) return { kind: 'malformed', reason: error.message }
    throw error
  }
}

function startsWithMagic(data: Uint8Array): boolean {
  return AGGREGATE_MAGIC.every((byte, index) => data[index] === byte)
}

/**
 * The user records of an aggregate, one at a time. After each {@link next} that answers true, the reader is the user record: it
 * holds no others, and its data is a view.
 */
export class AggregateReader implements UserRecordView {
  partitionKey = ''
  explicitHashKey: string | undefined
  data: Uint8Array = new Uint8Array()
  subSequenceNumber = -1
  /** Whether its hash key lies outside the range that the reader was given. */
  misplaced = false

  readonly #wire: WireReader
  readonly #end: number
  readonly #partitionKeys: string[] = []
  readonly #explicitHashKeys: string[] = []
  readonly #hashRange: HashRange | undefined
  readonly #startTop: number
  readonly #endTop: number
  /** By their index, what is known of partition keys: most come more than once. */
  readonly #misplacedKeys: (boolean | undefined)[] = []
  // Of the record that was read last.
  #number = -1
  #pkIndex = -1
  #ehkIndex = -1
  #dataStart = -1
  #dataEnd = -1

  /** @throws {MalformedError} unless everything in it is sound */
  constructor(wire: WireReader, hashRange: HashRange | undefined) {
    this.#wire = wire
    this.#end = wire.end
    this.#hashRange = hashRange
    this.#startTop = hashRange ? topOf(hashRange.start) : 0
    this.#endTop = hashRange ? topOf(hashRange.end) : 0
    const { at } = wire
    // Tables first: an entry may stand behind the record that refers to it.
    this.#readTables()
    wire.at = at
    while (this.#readRecord());
    wire.at = at
    this.#number = -1
  }

  /** Goes on to the next user record; false if there is none. */
  next(): boolean {
    if (!this.#readRecord()) return false
    const { buffer, byteOffset } = this.#wire.bytes
    this.partitionKey = this.#partitionKeys[this.#pkIndex]!
    this.explicitHashKey = this.#ehkIndex < 0 ? undefined : this.#explicitHashKeys[this.#ehkIndex]
    this.data = new Uint8Array(buffer, byteOffset + this.#dataStart, this.#dataEnd - this.#dataStart)
    this.subSequenceNumber = this.#number
    this.misplaced = this.#isMisplaced()
    return true
  }

  #readTables(): void {
    const wire = this.#wire
    while (wire.at < this.#end) {
      const tag = wire.tag()
      if (tag === PARTITION_KEY_TABLE_TAG) this.#partitionKeys.push(wire.text())
      else if (tag === EXPLICIT_HASH_KEY_TABLE_TAG) this.#explicitHashKeys.push(wire.text())
      else if (tag === RECORDS_TAG) wire.skip(tag)
      else skipUnknown(wire, tag)
    }
  }

  /** Goes to the next record, finds its parts and checks them; false if there is none. */
  #readRecord(): boolean {
    const wire = this.#wire
    let tag = 0
    while (tag !== RECORDS_TAG) {
      if (wire.at >= this.#end) return false
      tag = wire.tag()
      if (tag !== RECORDS_TAG) wire.skip(tag)
    }
    this.#number++
    this.#pkIndex = -1
    this.#ehkIndex = -1
    this.#dataStart = -1
    const length = wire.length()
    wire.end = wire.at + length
    while (wire.at < wire.end) {
      tag = wire.tag()
      if (tag === PARTITION_KEY_INDEX_TAG) this.#pkIndex = wire.varint()
      else if (tag === EXPLICIT_HASH_KEY_INDEX_TAG) this.#ehkIndex = wire.varint()
      else if (tag === DATA_TAG) {
        const dataLength = wire.length()
        this.#dataStart = wire.at
        this.#dataEnd = wire.at += dataLength
      } else skipUnknown(wire, tag)
    }
    wire.end = this.#end
    this.#checkRecord()
    return true
  }

  #checkRecord(): void {
    if (this.#dataStart < 0) throw new MalformedError(`user record ${this.#number} has no data`)
    if (this.#pkIndex < 0 || this.#pkIndex >= this.#partitionKeys.length) {
      throw this.#wrongIndex('partition key', this.#pkIndex, this.#partitionKeys)
    }
    if (this.#ehkIndex >= this.#explicitHashKeys.length) {
      throw this.#wrongIndex('explicit hash key', this.#ehkIndex, this.#explicitHashKeys)
    }
  }

  #wrongIndex(name: string, index: number, table: readonly unknown[]): MalformedError {
    const what = index < 0 ? 'no index' : `index ${index}`
    return new MalformedError(
      `user record ${this.#number} has ${what} into the ${name} table, which has ${table.length}`,
    )
  }

  #isMisplaced(): boolean {
    if (this.#hashRange === undefined) return false
    if (this.explicitHashKey !== undefined) return isMisplaced(this, this.#hashRange)
    this.#misplacedKeys[this.#pkIndex] ??= this.#isKeyMisplaced(this.#hashRange)
    return this.#misplacedKeys[this.#pkIndex]!
  }

  #isKeyMisplaced(range: HashRange): boolean {
    seenKeys ??= new SeenKeys()
    const top = seenKeys.topOf(this.partitionKey)
    // Only at the ends of the range do the other bits matter.
    if (top === this.#startTop || top === this.#endTop) return isMisplaced(this, range)
    return top < this.#startTop || top > this.#endTop
  }
}

/** Fields 1 to 3 are known in both messages; with another wire type they would be lost if they were skipped. */
function skipUnknown(wire: WireReader, tag: number): void {
  const field = tag >>> 3
  if (field <= 3) throw new MalformedError(`field ${field} has the wire type ${tag & 7}, before byte ${wire.at}`)
  wire.skip(tag)
}
