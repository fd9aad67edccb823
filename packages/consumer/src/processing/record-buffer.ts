import {
  type AggregateReader,
  comparePositions,
  type HashRange,
  isSentinel,
  openAggregate,
  type Position,
} from '@shardwise/records'
import type { Placement } from '../streams/described-stream.ts'
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
  /** Whether misplaced records are left out, as far as it is known that hash keys decide where records go. */
  readonly dropMisplaced: boolean
  /**
   * Who decides on the shard of a record. Where it is the service, no record is misplaced; while it is unknown, those that seem to be
   * aren't left out. Default: the hash key.
   */
  readonly placement?: (() => Placement) | undefined
  /** A place in the shard holds nothing to handle: an empty aggregate, or a record left out. */
  readonly onNothing: (sequenceNumber: string, subSequenceNumber: number) => void
  /** All user records of a Kinesis record have been taken. */
  readonly onTaken: (source: Source) => void
  /** So many user records of a Kinesis record were misplaced; told when all of it has been taken. */
  readonly onMisplaced: (sequenceNumber: string, count: number, dropped: boolean) => void
  /** A Kinesis record can't be read: the buffer gives nothing more until {@link RecordBuffer.retry}. */
  readonly onPoison: (sequenceNumber: string, reason: string, attempt: number) => void
}

/** The Kinesis record whose turn it is. */
interface Opened {
  readonly source: Source
  /** Undefined: no aggregate. */
  readonly reader: AggregateReader | undefined
  /** The user record that the Kinesis record itself is, until it is given. */
  lone: ConsumerRecord | undefined
  /** The sub-sequence number of the end so far, if nothing is given out there. */
  emptyTail: number | undefined
  misplaced: number
  /** Asked for when it matters. */
  placement: Placement | undefined
  /** Why its rest can't be read. */
  broken: string | undefined
}

/** What a Kinesis record costs in memory besides its data, roughly. */
const RECORD_OVERHEAD_BYTES = 200

/**
 * Kinesis records in, user records out, in the shard's order. An aggregate is checked when its turn comes, and each of its
 * user records made only when its own comes.
 */
export class RecordBuffer {
  readonly #options: RecordBufferOptions
  #sources: (Source | undefined)[] = []
  /** The first of `#sources` that hasn't been opened; before it there is nothing, which waits to be cut off. */
  #head = 0
  #open: Opened | undefined
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
      const open = this.#open!
      if (open.broken !== undefined) return undefined
      try {
        const record = open.reader === undefined ? takeLone(open) : this.#nextOf(open, open.reader)
        if (record !== undefined) return { record, source: open.source }
      } catch (error) {
        // It was sound when it was opened. A handler that transfers its record's buffer takes the rest of the aggregate away.
        open.broken = `its bytes are gone, or changed, since its first records were handled: ${String(error)}`
        this.#poison(open.source, open.broken)
        return undefined
      }
      this.#close(open)
    }
  }

  /** Tries again to read the Kinesis record that couldn't be read. */
  retry(): void {
    if (this.#poisonAttempts === 0) return
    if (this.#open?.broken !== undefined) {
      this.#poison(this.#open.source, this.#open.broken)
      return
    }
    const source = this.#sources[this.#head]
    if (source !== undefined && this.#openSource(source)) this.#poisonAttempts = 0
  }

  #openSource(source: Source): boolean {
    const content = openAggregate(source.data, this.#options.hashRange)
    if (content.kind === 'malformed') {
      this.#poison(source, content.reason)
      return false
    }
    this.#cutOff()
    this.#open = {
      source,
      reader: content.kind === 'aggregate' ? content.reader : undefined,
      lone: content.kind === 'aggregate' ? undefined : this.#loneOf(source),
      emptyTail: undefined,
      misplaced: 0,
      placement: undefined,
      broken: undefined,
    }
    return true
  }

  #poison({ sequenceNumber }: Source, reason: string): void {
    this.#options.onPoison(sequenceNumber, reason, ++this.#poisonAttempts)
  }

  // A lone record's explicit hash key isn't told by the service, so its place can't be judged.
  #loneOf(source: Source): ConsumerRecord | undefined {
    const { sequenceNumber, partitionKey, data } = source
    if (this.#wasFinished(sequenceNumber, 0)) return undefined
    return new ConsumerRecord(source, partitionKey, undefined, data, 0, false)
  }

  #nextOf(open: Opened, reader: AggregateReader): ConsumerRecord | undefined {
    const { source } = open
    while (reader.next()) {
      const { subSequenceNumber } = reader
      if (this.#wasFinished(source.sequenceNumber, subSequenceNumber)) continue
      const misplaced = reader.misplaced && this.#placement(open) !== 'byService'
      if (misplaced) open.misplaced++
      if (misplaced && this.#drops(open)) {
        open.emptyTail = subSequenceNumber
        continue
      }
      open.emptyTail = undefined
      const { partitionKey, explicitHashKey, data } = reader
      return new ConsumerRecord(source, partitionKey, explicitHashKey, data, subSequenceNumber, misplaced)
    }
    return undefined
  }

  #close(open: Opened): void {
    this.#open = undefined
    const { onMisplaced, onNothing, onTaken } = this.#options
    const { source, reader, misplaced } = open
    const { sequenceNumber } = source
    const isEmpty = reader?.subSequenceNumber === -1 && !this.#wasFinished(sequenceNumber, 0)
    const emptyTail = isEmpty ? 0 : open.emptyTail
    if (misplaced > 0) onMisplaced(sequenceNumber, misplaced, this.#drops(open))
    if (emptyTail !== undefined) onNothing(sequenceNumber, emptyTail)
    onTaken(source)
  }

  #placement(open: Opened): Placement {
    open.placement ??= this.#options.placement?.() ?? 'byKey'
    return open.placement
  }

  #drops(open: Opened): boolean {
    return this.#options.dropMisplaced && this.#placement(open) === 'byKey'
  }

  /** Reading starts at the checkpoint itself, so the first records may have been finished before. */
  #wasFinished(sequenceNumber: string, subSequenceNumber: number): boolean {
    if (this.#finishedBefore === undefined) return false
    if (comparePositions({ sequenceNumber, subSequenceNumber }, this.#finishedBefore) <= 0) return true
    this.#finishedBefore = undefined
    return false
  }

  #cutOff(): void {
    this.#sources[this.#head++] = undefined
    if (this.#head === this.#sources.length) {
      this.#sources = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head > this.#sources.length / 2) {
      this.#sources = this.#sources.slice(this.#head)
      this.#head = 0
    }
  }
}

function takeLone(open: Opened): ConsumerRecord | undefined {
  const { lone } = open
  open.lone = undefined
  return lone
}
