import {
  comparePositions,
  deaggregate,
  type HashRange,
  isMisplaced,
  isSentinel,
  type Position,
  type UserRecordView,
} from '@shardwise/records'
import { ConsumerRecord } from './consumer-record.ts'

/** A Kinesis record, as it was read. */
export interface KinesisRecord {
  readonly sequenceNumber: string
  readonly partitionKey: string
  readonly data: Uint8Array
  readonly arrivedAt: Date | undefined
}

/** What the service gave at once. */
interface Batch {
  readonly cameAtMs: number
  /** Kinesis records of it that aren't finished. */
  left: number
}

/** A Kinesis record in memory. */
export interface Source extends KinesisRecord {
  readonly stream: string
  readonly shardId: string
  readonly bytes: number
  readonly batch: Batch
  /** One for being in the buffer, one for each of its user records that has been begun; at 0 it is finished. */
  uses: number
}

export interface RecordBufferOptions {
  readonly stream: string
  readonly shardId: string
  /** The shard's hash range, if the lease tells it. */
  readonly hashRange: HashRange | undefined
  /** Where the shard was finished before; user records up to there are left out. */
  readonly checkpoint: Position
  readonly dropMisplaced: boolean
  /** A place in the shard holds nothing to handle: an empty aggregate, or a record left out. */
  readonly onNothing: (sequenceNumber: string, subSequenceNumber: number) => void
  /** All user records of a Kinesis record have been taken. */
  readonly onTaken: (source: Source) => void
  readonly onMisplaced: (sequenceNumber: string, count: number) => void
  /** A Kinesis record can't be read: the buffer gives nothing more until {@link RecordBuffer.retry}. */
  readonly onPoison: (sequenceNumber: string, reason: string, attempt: number) => void
}

interface Opened {
  readonly source: Source
  readonly records: readonly ConsumerRecord[]
  /** The sub-sequence number of the end, if nothing is given out there. */
  readonly emptyTail: number | undefined
}

/** What a Kinesis record costs in memory besides its data, roughly. */
const RECORD_OVERHEAD_BYTES = 200
/** Keys whose place is remembered: hashing one again costs half a microsecond. */
const MAX_JUDGED_KEYS = 50_000

/** Kinesis records in, user records out, in the shard's order. Takes aggregates apart only when their turn comes. */
export class RecordBuffer {
  readonly #options: RecordBufferOptions
  readonly #misplacedByKey = new Map<string, boolean>()
  #sources: Source[] = []
  /** The first of `#sources` that hasn't been opened; those before it wait to be cut off. */
  #head = 0
  #open: Opened | undefined
  #cursor = 0
  /** Set until a record beyond the old checkpoint has come. */
  #finishedBefore: Position | undefined
  #poisonAttempts = 0

  constructor(options: RecordBufferOptions) {
    this.#options = options
    this.#finishedBefore = isSentinel(options.checkpoint) ? undefined : options.checkpoint
  }

  get empty(): boolean {
    return this.#open === undefined && this.#head === this.#sources.length
  }

  /** Returns the bytes that came in. */
  push(records: readonly KinesisRecord[], nowMs: number): number {
    const { stream, shardId } = this.#options
    const batch = { cameAtMs: nowMs, left: records.length }
    let total = 0
    for (const { sequenceNumber, partitionKey, data, arrivedAt } of records) {
      const bytes = data.byteLength + RECORD_OVERHEAD_BYTES
      total += bytes
      this.#sources.push({ stream, shardId, sequenceNumber, partitionKey, data, arrivedAt, bytes, batch, uses: 1 })
    }
    return total
  }

  /** The next user record and the Kinesis record it is from; undefined if there is none, or an unreadable one is next. */
  next(): { readonly record: ConsumerRecord; readonly source: Source } | undefined {
    for (;;) {
      if (this.#open === undefined) {
        const source = this.#sources[this.#head]
        if (source === undefined || this.#poisonAttempts > 0 || !this.#openSource(source)) return undefined
      }
      const { source, records, emptyTail } = this.#open!
      const record = records[this.#cursor]
      if (record !== undefined) {
        this.#cursor++
        return { record, source }
      }
      this.#open = undefined
      if (emptyTail !== undefined) this.#options.onNothing(source.sequenceNumber, emptyTail)
      this.#options.onTaken(source)
    }
  }

  /** Tries again to read the Kinesis record that couldn't be read. */
  retry(): void {
    const source = this.#sources[this.#head]
    if (this.#poisonAttempts > 0 && source !== undefined && this.#openSource(source)) this.#poisonAttempts = 0
  }

  #openSource(source: Source): boolean {
    const content = deaggregate(source.data)
    if (content.kind === 'malformed') {
      this.#options.onPoison(source.sequenceNumber, content.reason, ++this.#poisonAttempts)
      return false
    }
    this.#cutOff()
    this.#cursor = 0
    this.#open = content.kind === 'raw' ? this.#openLone(source) : this.#openAggregate(source, content.records)
    return true
  }

  // A lone record's explicit hash key isn't told by the service, so its place can't be judged.
  #openLone(source: Source): Opened {
    const { sequenceNumber, partitionKey, data } = source
    if (this.#wasFinished(sequenceNumber, 0)) return { source, records: [], emptyTail: undefined }
    return {
      source,
      records: [new ConsumerRecord(source, partitionKey, undefined, data, 0, false)],
      emptyTail: undefined,
    }
  }

  #openAggregate(source: Source, views: readonly UserRecordView[]): Opened {
    const { sequenceNumber } = source
    const records: ConsumerRecord[] = []
    let emptyTail = views.length === 0 && !this.#wasFinished(sequenceNumber, 0) ? 0 : undefined
    let misplacedCount = 0
    for (const { partitionKey, explicitHashKey, data, subSequenceNumber } of views) {
      if (this.#wasFinished(sequenceNumber, subSequenceNumber)) continue
      const misplaced = this.#isMisplaced(partitionKey, explicitHashKey)
      if (misplaced) misplacedCount++
      emptyTail = misplaced && this.#options.dropMisplaced ? subSequenceNumber : undefined
      if (emptyTail !== undefined) continue
      records.push(new ConsumerRecord(source, partitionKey, explicitHashKey, data, subSequenceNumber, misplaced))
    }
    if (misplacedCount > 0) this.#options.onMisplaced(sequenceNumber, misplacedCount)
    return { source, records, emptyTail }
  }

  /** Reading starts at the checkpoint itself, so the first records may have been finished before. */
  #wasFinished(sequenceNumber: string, subSequenceNumber: number): boolean {
    if (this.#finishedBefore === undefined) return false
    if (comparePositions({ sequenceNumber, subSequenceNumber }, this.#finishedBefore) <= 0) return true
    this.#finishedBefore = undefined
    return false
  }

  #isMisplaced(partitionKey: string, explicitHashKey: string | undefined): boolean {
    const range = this.#options.hashRange
    if (range === undefined) return false
    if (explicitHashKey !== undefined) return isMisplaced({ partitionKey, explicitHashKey }, range)
    let misplaced = this.#misplacedByKey.get(partitionKey)
    if (misplaced === undefined) {
      misplaced = isMisplaced({ partitionKey }, range)
      if (this.#misplacedByKey.size >= MAX_JUDGED_KEYS) this.#misplacedByKey.clear()
      this.#misplacedByKey.set(partitionKey, misplaced)
    }
    return misplaced
  }

  #cutOff(): void {
    this.#head++
    if (this.#head === this.#sources.length) {
      this.#sources = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head > this.#sources.length / 2) {
      this.#sources = this.#sources.slice(this.#head)
      this.#head = 0
    }
  }
}
