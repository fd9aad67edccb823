import { comparePositions, isSentinel, type Position } from '@shardwise/records'
import type { ConsumerRecord } from './consumer-record.ts'
import {
  GONE,
  isGone,
  type KinesisRecord,
  RecordBuffer,
  type RecordBufferOptions,
  type Source,
} from './record-buffer.ts'
import { Watermark } from './watermark.ts'
import type { QueueMemory, TriedRecord, Undecodable } from './work.ts'

export interface IntakeOptions extends Omit<RecordBufferOptions, 'onNothing' | 'onTaken'> {
  /** How many user records may lie between the checkpoint and the newest that was begun. */
  readonly maxAheadRecords: number
  /** The same in bytes of data; a larger record is begun when nothing else is. Default: no limit */
  readonly maxAheadBytes?: number | undefined
  /** What the shard's former queue knew. It goes before `checkpoint`. */
  readonly memory?: QueueMemory | undefined
  /** Whether reading waits for room that only finished records make: then a batch doesn't wait for more. Default: never */
  readonly isStarved?: (() => boolean) | undefined
  /** Now, on a monotonic clock, in milliseconds. */
  readonly now: () => number
  /** Everything that came at once is finished, so long after it came. */
  readonly onBatchFinished?: ((durationMs: number) => void) | undefined
}

/** What is known of the attempts with a user record. */
export interface Attempts {
  readonly attempt: number
  readonly failedAtMs: number | undefined
}

/**
 * The user records of one shard: from read to begun within the bounds, and from finished to the checkpoint. What is finished already is left out.
 */
export class Intake {
  readonly #watermark: Watermark
  readonly #buffer: RecordBuffer
  readonly #maxAheadRecords: number
  readonly #maxAheadBytes: number
  readonly #isStarved: () => boolean
  readonly #now: () => number
  readonly #onBatchFinished: ((durationMs: number) => void) | undefined
  /** Came out of the buffer, but not yet from {@link next}. */
  #held: ConsumerRecord | undefined
  /** What was held has lost its data. */
  #gone: Undecodable | undefined
  /** Of the former queue, from the first on that hasn't come again. */
  #finishedAbove: readonly Position[]
  #finishedIndex = 0
  #triedBefore: readonly TriedRecord[]
  #triedIndex = 0
  /** By their number in the watermark. */
  readonly #tried = new Map<number, Attempts>()
  #newestSequenceNumber: string | undefined
  #newestSubSequenceNumber = 0
  /** One time for all that is begun until the next {@link report}: reading the clock costs a part of what a record does. */
  #beganAtMs: number | undefined
  isDraining = false
  /** No more is pushed. */
  hasEnded = false
  /** Something was finished that nobody has been told of. */
  hasProgressed = false
  bufferedBytes = 0
  bufferedRecords = 0
  finishedRecords = 0
  finishedBytes = 0

  constructor(options: IntakeOptions) {
    const checkpoint = options.memory?.checkpoint ?? options.checkpoint
    this.#watermark = new Watermark(checkpoint, options.memory !== undefined && !isSentinel(checkpoint))
    this.#maxAheadRecords = options.maxAheadRecords
    this.#maxAheadBytes = options.maxAheadBytes ?? Number.POSITIVE_INFINITY
    this.#finishedAbove = options.memory?.finishedAbove ?? []
    this.#triedBefore = options.memory?.tried ?? []
    this.#isStarved = options.isStarved ?? (() => false)
    this.#now = options.now
    this.#onBatchFinished = options.onBatchFinished
    this.#buffer = new RecordBuffer({
      ...options,
      checkpoint,
      onNothing: (sequenceNumber, subSequenceNumber) => this.#watermark.passNothing(sequenceNumber, subSequenceNumber),
      onTaken: (source) => this.#release(source),
    })
  }

  get watermark(): Watermark {
    return this.#watermark
  }

  /** Nothing is there that hasn't been begun. */
  get isEmpty(): boolean {
    return this.#held === undefined && this.#buffer.empty
  }

  /** Nothing more is begun until the oldest unfinished record is finished. */
  get isFull(): boolean {
    const { ahead, aheadBytes } = this.#watermark
    if (ahead >= this.#maxAheadRecords || aheadBytes >= this.#maxAheadBytes) return true
    return this.#held !== undefined && !this.#hasRoom(this.#held)
  }

  /** What is there is all there will be, for good or until something is finished. */
  get givesNoMore(): boolean {
    return this.isDraining || this.isFull || (this.hasEnded && this.isEmpty) || this.#isStarved()
  }

  /** The newest user record that was given out. */
  get newest(): Position | undefined {
    return this.#newestSequenceNumber === undefined
      ? undefined
      : { sequenceNumber: this.#newestSequenceNumber, subSequenceNumber: this.#newestSubSequenceNumber }
  }

  /** The Kinesis record of what came last from {@link next}. */
  get source(): Source {
    return this.#buffer.source
  }

  /** Why what came last from {@link next} can't be handled. */
  get undecodable(): Undecodable | undefined {
    return this.#gone ?? this.#buffer.undecodable
  }

  /** @returns the bytes that these records are counted with */
  push(records: readonly KinesisRecord[]): number {
    const bytes = this.#buffer.push(records, this.#now())
    this.bufferedBytes += bytes
    this.bufferedRecords += records.length
    return bytes
  }

  /** The next that may be begun: a user record, or an undecodable Kinesis record. */
  next(): ConsumerRecord | undefined {
    if (this.isDraining || this.#gone !== undefined) return undefined
    for (;;) {
      if (this.#watermark.ahead >= this.#maxAheadRecords) return undefined
      const record = this.#held ?? this.#buffer.next()
      if (record === undefined) return undefined
      if (!this.#hasRoom(record)) {
        this.#held = record
        return undefined
      }
      if (this.#held !== undefined) {
        if (isGone(record)) this.#gone = GONE
        this.#held = undefined
      }
      this.#newestSequenceNumber = record.sequenceNumber
      this.#newestSubSequenceNumber = record.subSequenceNumber
      if (this.#finishedIndex === this.#finishedAbove.length || !this.#wasFinished(record)) return record
      this.#pass(record)
    }
  }

  /** What came last from {@link next} comes again. */
  giveBack(record: ConsumerRecord): void {
    this.#held = record
  }

  /** What is known of the attempts before this queue was made with a record that has just come. */
  triedBefore(record: ConsumerRecord): TriedRecord | undefined {
    for (; this.#triedIndex < this.#triedBefore.length; this.#triedIndex++) {
      const tried = this.#triedBefore[this.#triedIndex]!
      const order = comparePositions(tried.position, record)
      if (order === 0) return tried
      if (order > 0) return undefined
    }
    this.#triedBefore = []
    this.#triedIndex = 0
    return undefined
  }

  /** What came last from {@link next} counts in the watermark from now on. Returns its number there. */
  begin({ sequenceNumber, subSequenceNumber, partitionKey, data }: ConsumerRecord, attempts: Attempts): number {
    this.source.uses++
    const bytes = data.byteLength
    this.#beganAtMs ??= this.#now()
    const number = this.#watermark.admit(sequenceNumber, subSequenceNumber, partitionKey, bytes, this.#beganAtMs)
    if (attempts.attempt > 1) {
      this.#tried.set(number, attempts)
      this.#triedIndex++
    }
    return number
  }

  /** What came last from {@link next} is finished without having been begun. */
  finishAtOnce(record: ConsumerRecord): void {
    this.#count(record)
    this.#pass(record)
  }

  /** What was begun is finished. */
  finish(number: number, record: ConsumerRecord, source: Source): void {
    this.#count(record)
    if (this.#tried.size > 0) this.#tried.delete(number)
    this.#watermark.finish(number)
    this.#release(source)
  }

  /** What was begun has failed; what is known of it is read when it is asked for. */
  failed(number: number, attempts: Attempts): void {
    this.#tried.set(number, attempts)
  }

  /** The undecodable Kinesis record is passed over. */
  passUndecodable(): void {
    this.#buffer.pass()
  }

  /** Tells whether anything was finished since the last time. */
  report(): boolean {
    const { hasProgressed } = this
    this.#beganAtMs = undefined
    this.hasProgressed = false
    return hasProgressed
  }

  memory(): QueueMemory {
    const tried = [...this.#tried].map(([number, { attempt, failedAtMs }]) => ({
      position: this.#watermark.positionOf(number),
      attempts: attempt - 1,
      failedAtMs,
    }))
    return {
      checkpoint: this.#watermark.position,
      finishedAbove: [...this.#watermark.finishedAbove(), ...this.#finishedAbove.slice(this.#finishedIndex)],
      tried: [...tried, ...this.#triedBefore.slice(this.#triedIndex)].sort((one, other) =>
        comparePositions(one.position, other.position),
      ),
    }
  }

  #hasRoom({ data }: ConsumerRecord): boolean {
    const { ahead, aheadBytes } = this.#watermark
    return ahead === 0 || aheadBytes + data.byteLength <= this.#maxAheadBytes
  }

  #wasFinished(record: ConsumerRecord): boolean {
    for (; this.#finishedIndex < this.#finishedAbove.length; this.#finishedIndex++) {
      const order = comparePositions(this.#finishedAbove[this.#finishedIndex]!, record)
      if (order > 0) return false
      if (order === 0) {
        this.#finishedIndex++
        return true
      }
    }
    this.#finishedAbove = []
    this.#finishedIndex = 0
    return false
  }

  /** Only in the shard's order: what came last. */
  #pass(record: ConsumerRecord): void {
    const { sequenceNumber, subSequenceNumber, data } = record
    if (this.#buffer.undecodable !== undefined) this.#buffer.pass()
    if (this.#triedIndex < this.#triedBefore.length && this.triedBefore(record) !== undefined) this.#triedIndex++
    this.#watermark.pass(sequenceNumber, subSequenceNumber, data.byteLength)
  }

  #count({ data }: ConsumerRecord): void {
    this.hasProgressed = true
    this.finishedRecords++
    this.finishedBytes += data.byteLength
  }

  #release(source: Source): void {
    if (--source.uses > 0) return
    this.bufferedBytes -= source.bytes
    this.bufferedRecords--
    this.hasProgressed = true
    if (--source.batch.left === 0) this.#onBatchFinished?.(this.#now() - source.batch.cameAtMs)
  }
}
