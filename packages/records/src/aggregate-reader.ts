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
  for (let index = 0; index < AGGREGATE_MAGIC.length; index++) if (data[index] !== AGGREGATE_MAGIC[index]) return false
  return true
}

/** Of each user record its index into the partition keys, into the explicit hash keys (-1: none), and where its data starts and ends. */
const SPAN = 4
/** Above it no index can be right; one that large is taken for this. */
const MAX_INDEX = 0x7fff_ffff
/** Used while an aggregate is checked, whose number of user records is known only then. */
let scratch = new Int32Array(SPAN * 1024)

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

  readonly #bytes: Buffer
  readonly #spans: Int32Array
  readonly #partitionKeys: string[] = []
  readonly #explicitHashKeys: string[] = []
  readonly #hashRange: HashRange | undefined
  /** By their index, of partition keys. */
  readonly #misplacedKeys: boolean[] = []

  /** @throws {MalformedError} unless everything in it is sound */
  constructor(wire: WireReader, hashRange: HashRange | undefined) {
    this.#bytes = wire.bytes
    this.#hashRange = hashRange
    this.#spans = this.#readAll(wire)
  }

  /** Goes on to the next user record; false if there is none. */
  next(): boolean {
    const spans = this.#spans
    const at = (this.subSequenceNumber + 1) * SPAN
    if (at === spans.length) return false
    this.subSequenceNumber++
    const partitionKeyIndex = spans[at]!
    const explicitHashKeyIndex = spans[at + 1]!
    const start = spans[at + 2]!
    const { buffer, byteOffset } = this.#bytes
    this.partitionKey = this.#partitionKeys[partitionKeyIndex]!
    this.data = new Uint8Array(buffer, byteOffset + start, spans[at + 3]! - start)
    if (explicitHashKeyIndex < 0) {
      this.explicitHashKey = undefined
      this.misplaced = this.#hashRange !== undefined && this.#misplacedKeys[partitionKeyIndex]!
    } else {
      this.explicitHashKey = this.#explicitHashKeys[explicitHashKeyIndex]!
      this.misplaced = this.#hashRange !== undefined && isMisplaced(this, this.#hashRange)
    }
    return true
  }

  /** Reads the tables, and finds and checks all user records. */
  #readAll(wire: WireReader): Int32Array {
    const range = this.#hashRange
    const startTop = range ? topOf(range.start) : 0
    const endTop = range ? topOf(range.end) : 0
    let count = 0
    while (wire.at < wire.end) {
      const tag = wire.tag()
      if (tag === RECORDS_TAG) {
        if (scratch.length < (count + 1) * SPAN) scratch = grown(scratch)
        readRecord(wire, count++)
      } else if (tag === PARTITION_KEY_TABLE_TAG) {
        const end = wire.length() + wire.at
        seenKeys ??= new SeenKeys()
        const key = seenKeys.read(wire.bytes, wire.at, end, range !== undefined)
        wire.at = end
        this.#partitionKeys.push(key)
        if (range === undefined) continue
        const { top } = seenKeys
        // Only at the ends of the range do the other bits matter.
        const isAtEnd = top === startTop || top === endTop
        this.#misplacedKeys.push(isAtEnd ? isMisplaced({ partitionKey: key }, range) : top < startTop || top > endTop)
      } else if (tag === EXPLICIT_HASH_KEY_TABLE_TAG) this.#explicitHashKeys.push(wire.text())
      else skipUnknown(wire, tag)
    }
    const spans = scratch.slice(0, count * SPAN)
    // An entry of a table may stand behind the record that refers to it.
    this.#checkIndexes(spans)
    return spans
  }

  #checkIndexes(spans: Int32Array): void {
    const { length: keys } = this.#partitionKeys
    const { length: hashKeys } = this.#explicitHashKeys
    for (let at = 0; at < spans.length; at += SPAN) {
      const key = spans[at]!
      const hashKey = spans[at + 1]!
      if (key < 0 || key >= keys) throw wrongIndex(at / SPAN, 'partition key', key, keys)
      if (hashKey >= hashKeys) throw wrongIndex(at / SPAN, 'explicit hash key', hashKey, hashKeys)
    }
  }
}

/** Goes past the next user record, and notes where its parts are. */
function readRecord(wire: WireReader, number: number): void {
  const { end } = wire
  let partitionKeyIndex = -1
  let explicitHashKeyIndex = -1
  let dataStart = -1
  let dataEnd = -1
  const length = wire.length()
  wire.end = wire.at + length
  while (wire.at < wire.end) {
    const tag = wire.tag()
    if (tag === PARTITION_KEY_INDEX_TAG) partitionKeyIndex = wire.varint()
    else if (tag === EXPLICIT_HASH_KEY_INDEX_TAG) explicitHashKeyIndex = wire.varint()
    else if (tag === DATA_TAG) {
      const dataLength = wire.length()
      dataStart = wire.at
      dataEnd = wire.at += dataLength
    } else skipUnknown(wire, tag)
  }
  wire.end = end
  if (dataStart < 0) throw new MalformedError(`user record ${number} has no data`)
  const at = number * SPAN
  scratch[at] = Math.min(partitionKeyIndex, MAX_INDEX)
  scratch[at + 1] = Math.min(explicitHashKeyIndex, MAX_INDEX)
  scratch[at + 2] = dataStart
  scratch[at + 3] = dataEnd
}

function grown(spans: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(spans.length * 2)
  larger.set(spans)
  return larger
}

function wrongIndex(number: number, name: string, index: number, count: number): MalformedError {
  const what = index < 0 ? 'no index' : `index ${index}`
  return new MalformedError(`user record ${number} has ${what} into the ${name} table, which has ${count}`)
}

/** Fields 1 to 3 are known in both messages; with another wire type they would be lost if they were skipped. */
function skipUnknown(wire: WireReader, tag: number): void {
  const field = tag >>> 3
  if (field <= 3) throw new MalformedError(`field ${field} has the wire type ${tag & 7}, before byte ${wire.at}`)
  wire.skip(tag)
}
