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
import { Fifo } from './fifo.ts'
import type { Undecodable } from './work.ts'

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
  /** Set once it was found that it, or its rest, can't be read. */
  undecodable: Undecodable | undefined
}

const NOTHING_OPEN = { reader: undefined, lone: undefined, emptyTail: undefined, misplaced: 0, placement: undefined }

/** A handler that transfers the memory of its record takes away others that share it. */
export const GONE: Undecodable = Object.freeze({
  reason: 'its bytes are gone: a handler has transferred the memory that this record shared with the one it was given',
  isGone: true,
})

/** Whether the record's data has been taken away since it was made. */
export function isGone({ data: { buffer } }: ConsumerRecord): boolean {
  return 'detached' in buffer && buffer.detached
}

/** What a Kinesis record costs in memory besides its data, roughly. */
const RECORD_OVERHEAD_BYTES = 200

/**
 * Kinesis records in, user records out, in the shard's order. An aggregate is checked when its turn comes, and each of its
 * user records made only when its own comes.
 */
export class RecordBuffer {
  readonly #options: RecordBufferOptions
  readonly #sources = new Fifo<Source>()
  #open: Opened | undefined
  /** Set until a record beyond the old checkpoint has come. */
  #finishedBefore: Position | undefined

  constructor(options: RecordBufferOptions) {
    this.#options = options
    this.#finishedBefore = isSentinel(options.checkpoint) ? undefined : options.checkpoint
  }

  get empty(): boolean {
    return this.#open === undefined && this.#sources.length === 0
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

  /**
   * What comes next in the shard: a user record, or, if {@link undecodable} is set then, a Kinesis record as it came that can't be taken apart. Undefined if
   * nothing is there, and after something undecodable until {@link pass}.
   */
  next(): ConsumerRecord | undefined {
    for (;;) {
      if (this.#open === undefined) {
        const source = this.#sources.shift()
        if (source === undefined) return undefined
        this.#open = this.#opened(source)
        if (this.#open.undecodable !== undefined) return recordOf(source, 0)
      }
      const open = this.#open
      if (open.undecodable !== undefined) return undefined
      try {
        const record = open.reader === undefined ? takeLone(open) : this.#nextOf(open, open.reader)
        if (record !== undefined) return record
      } catch {
        // A view of memory that isn't there any more can't be made; everything else was checked when it was opened.
        open.undecodable = GONE
        return recordOf(open.source, Math.max(open.reader?.subSequenceNumber ?? 0, 0))
      }
      this.#close(open)
    }
  }

  /** The Kinesis record of what came last. */
  get source(): Source {
    return this.#open!.source
  }

  /** Why what came last can't be handled. */
  get undecodable(): Undecodable | undefined {
    return this.#open?.undecodable
  }

  /** Goes on behind the Kinesis record that is undecodable. */
  pass(): void {
    const open = this.#open
    if (open?.undecodable !== undefined) this.#close(open)
  }

  #opened(source: Source): Opened {
    const wasTaken = source.data.byteLength + RECORD_OVERHEAD_BYTES !== source.bytes
    if (wasTaken) return { ...NOTHING_OPEN, source, undecodable: GONE }
    const content = openAggregate(source.data, this.#options.hashRange)
    const isMalformed = content.kind === 'malformed' && !this.#wasFinished(source.sequenceNumber, 0)
    return {
      ...NOTHING_OPEN,
      source,
      reader: content.kind === 'aggregate' ? content.reader : undefined,
      lone: content.kind === 'raw' ? this.#loneOf(source) : undefined,
      undecodable: isMalformed ? { reason: content.reason, isGone: false } : undefined,
    }
  }

  // A lone record's explicit hash key isn't told by the service, so its place can't be judged.
  #loneOf(source: Source): ConsumerRecord | undefined {
    return this.#wasFinished(source.sequenceNumber, 0) ? undefined : recordOf(source, 0)
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
}

function recordOf(source: Source, subSequenceNumber: number): ConsumerRecord {
  return new ConsumerRecord(source, source.partitionKey, undefined, source.data, subSequenceNumber, false)
}

function takeLone(open: Opened): ConsumerRecord | undefined {
  const { lone } = open
  open.lone = undefined
  return lone
}
