import type { Position } from '@shardwise/records'
import type { ConsumerRecord } from './consumer-record.ts'
import { KeyLanes } from './key-lanes.ts'
import { type KinesisRecord, RecordBuffer, type RecordBufferOptions, type Source } from './record-buffer.ts'
import { Watermark, type WatermarkEntry } from './watermark.ts'

export interface ShardQueueOptions extends Omit<RecordBufferOptions, 'onNothing' | 'onTaken'> {
  /** How many user records may be begun above the checkpoint. */
  readonly maxAheadRecords: number
  /** Now, on a monotonic clock, in milliseconds. */
  readonly now: () => number
  /** Everything that came at once is finished, so long after it came. */
  readonly onBatchFinished?: ((durationMs: number) => void) | undefined
  /** Something was finished since the last time: there may be room, or nothing left. */
  readonly onProgress: () => void
}

/** A user record that counts in the watermark. Knows nothing of its data, which would stay in memory for as long. */
interface Begun extends WatermarkEntry {
  readonly atMs: number
}

/** One user record on its way through the handler. */
export interface Work {
  readonly record: ConsumerRecord
  readonly source: Source
  /** The attempt that runs or comes next, from 1. */
  attempt: number
  /** It occupies its key. Undefined for a record that its handler finishes at once. */
  begun: Begun | undefined
  /** Its handler has been called and hasn't settled. */
  running: boolean
}

/**
 * The records of one shard from read to finished: gives user records out so that those of one key run one at a time and in
 * order, and knows the checkpoint. Runs nothing itself.
 *
 * A record that was {@link take taken} runs at once; then exactly one of {@link finished}, {@link running} and
 * {@link failed} is called for it, and one of them again after `running`. A failed one comes out of `take` again after
 * {@link again}.
 */
export class ShardQueue {
  readonly #watermark: Watermark<Begun>
  readonly #keys = new KeyLanes<Work>()
  readonly #buffer: RecordBuffer
  readonly #maxAheadRecords: number
  readonly #now: () => number
  readonly #onProgress: () => void
  readonly #onBatchFinished: ((durationMs: number) => void) | undefined
  #draining = false
  #progressed = false
  #bufferedBytes = 0
  #bufferedRecords = 0
  #running = 0
  #finishedRecords = 0
  #finishedBytes = 0

  constructor(options: ShardQueueOptions) {
    this.#watermark = new Watermark(options.checkpoint)
    this.#maxAheadRecords = options.maxAheadRecords
    this.#now = options.now
    this.#onProgress = options.onProgress
    this.#onBatchFinished = options.onBatchFinished
    this.#buffer = new RecordBuffer({
      ...options,
      onNothing: (sequenceNumber, subSequenceNumber) => this.#watermark.pass(sequenceNumber, subSequenceNumber),
      onTaken: (source) => this.#release(source),
    })
  }

  /** The checkpoint that may be written; undefined while nothing has been finished. */
  get checkpoint(): Position | undefined {
    return this.#watermark.moved
  }

  /** Bytes of the Kinesis records of which anything is unfinished. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /** Kinesis records of which anything is unfinished. */
  get bufferedRecords(): number {
    return this.#bufferedRecords
  }

  /** Handlers that have been called and haven't settled. */
  get runningHandlers(): number {
    return this.#running
  }

  /** For how long the record that holds the checkpoint back has been in hand. */
  get oldestUnfinishedMs(): number | undefined {
    const oldest = this.#watermark.oldest
    return oldest !== undefined && 'atMs' in oldest ? this.#now() - oldest.atMs : undefined
  }

  /** Nothing has been begun that isn't finished. */
  get idle(): boolean {
    return this.#watermark.ahead === 0
  }

  /** Everything that was pushed is finished. */
  get empty(): boolean {
    return this.idle && this.#buffer.empty
  }

  /** User records finished so far. */
  get finishedRecords(): number {
    return this.#finishedRecords
  }

  /** Bytes of data of the user records finished so far. */
  get finishedBytes(): number {
    return this.#finishedBytes
  }

  /** @returns the bytes that these records are counted with */
  push(records: readonly KinesisRecord[]): number {
    const bytes = this.#buffer.push(records, this.#now())
    this.#bufferedBytes += bytes
    this.#bufferedRecords += records.length
    return bytes
  }

  /** From now on only what has been begun is given out, so that the checkpoint comes to cover everything ever begun. */
  drain(): void {
    this.#draining = true
    this.#progressed = true
  }

  /** The next user record that may run now. */
  take(): Work | undefined {
    const ready = this.#keys.takeReady()
    if (ready !== undefined) return ready
    while (!this.#draining && this.#watermark.ahead < this.#maxAheadRecords) {
      const next = this.#buffer.next()
      if (next === undefined) return undefined
      const { record, source } = next
      const work: Work = { record, source, attempt: 1, begun: undefined, running: false }
      if (!this.#keys.isBusy(record.partitionKey)) return work
      this.#begin(work)
      this.#keys.park(record.partitionKey, work)
    }
    return undefined
  }

  /** The handler is done with it. */
  finished(work: Work): void {
    this.#progressed = true
    this.#finishedRecords++
    const { record, begun } = work
    this.#finishedBytes += record.data.byteLength
    if (begun === undefined) {
      this.#watermark.pass(record.sequenceNumber, record.subSequenceNumber)
      return
    }
    this.#settled(work)
    this.#watermark.finish(begun)
    if (record.partitionKey !== '') this.#keys.finish(record.partitionKey)
    this.#release(work.source)
  }

  /** The handler works on it. */
  running(work: Work): void {
    this.#start(work)
    work.running = true
    this.#running++
  }

  /** The handler failed: the record stays begun and its key busy. */
  failed(work: Work): void {
    this.#start(work)
    this.#settled(work)
    work.attempt++
    this.#progressed = true
  }

  /** A failed record may run once more. */
  again(work: Work): void {
    this.#keys.again(work)
  }

  /** Tries once more to read the Kinesis record that couldn't be read. */
  retryPoison(): void {
    this.#buffer.retry()
  }

  /** Tells of progress since the last time, once for many records. */
  report(): void {
    if (!this.#progressed) return
    this.#progressed = false
    this.#onProgress()
  }

  #start(work: Work): void {
    if (work.begun !== undefined) return
    this.#begin(work)
    // Without a key there is no order to keep.
    if (work.record.partitionKey !== '') this.#keys.start(work.record.partitionKey)
  }

  #settled(work: Work): void {
    if (!work.running) return
    work.running = false
    this.#running--
  }

  #begin(work: Work): void {
    const { sequenceNumber, subSequenceNumber } = work.record
    work.begun = { sequenceNumber, subSequenceNumber, finished: false, atMs: this.#now() }
    work.source.uses++
    this.#watermark.admit(work.begun)
  }

  #release(source: Source): void {
    if (--source.uses > 0) return
    this.#bufferedBytes -= source.bytes
    this.#bufferedRecords--
    this.#progressed = true
    if (--source.batch.left === 0) this.#onBatchFinished?.(this.#now() - source.batch.cameAtMs)
  }
}
