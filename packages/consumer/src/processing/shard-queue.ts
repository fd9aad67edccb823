import type { Position } from '@shardwise/records'
import { BatchWorks } from './batch-works.ts'
import { Intake, type IntakeOptions } from './intake.ts'
import type { KinesisRecord } from './record-buffer.ts'
import { type GivenWork, SingleWorks } from './single-works.ts'
import type { BatchLimits, Ordering, QueueMemory, Work, WorkQueue } from './work.ts'

export interface ShardQueueOptions extends IntakeOptions {
  /** Default: `key` */
  readonly ordering?: Ordering | undefined
  /** Undefined: each record is handled alone. */
  readonly batch?: BatchLimits | undefined
  /** Something was finished since the last time: there may be room, or nothing left. */
  readonly onProgress: () => void
}

/** A record in hand of which the checkpoint has to wait. */
export interface OldestRecord extends Position {
  readonly partitionKey: string
  /** For how long it has been in hand. */
  readonly ageMs: number
}

/** How works are made of the records that come: one by one, or in batches. */
interface Works {
  readonly waitMs: number | undefined
  take(): GivenWork | undefined
  begin(work: GivenWork): void
  finish(work: GivenWork): void
  fail(work: GivenWork): void
  again(work: GivenWork): void
  bisect(work: GivenWork): GivenWork
}

/**
 * The records of one shard from read to finished: gives them out in their order, and knows the checkpoint. Runs nothing itself. Its
 * protocol is {@link WorkQueue}'s.
 */
export class ShardQueue implements WorkQueue {
  readonly #intake: Intake
  readonly #works: Works
  readonly #now: () => number
  readonly #onProgress: () => void
  #running = 0

  constructor(options: ShardQueueOptions) {
    const { ordering = 'key', batch, now } = options
    this.#intake = new Intake(options)
    this.#works =
      batch === undefined
        ? new SingleWorks(this.#intake, ordering)
        : new BatchWorks(this.#intake, { ...batch, ordering, now })
    this.#now = now
    this.#onProgress = options.onProgress
  }

  /** The checkpoint that may be written; undefined while nothing has been finished. */
  get checkpoint(): Position | undefined {
    return this.#intake.watermark.moved
  }

  /** Everything up to here is finished, be it since before this queue was made. */
  get position(): Position {
    return this.#intake.watermark.position
  }

  /** The newest record that was begun. */
  get newest(): Position | undefined {
    return this.#intake.newest
  }

  /** User records from the checkpoint to the newest that was begun, finished or not. */
  get aheadRecords(): number {
    return this.#intake.watermark.ahead
  }

  /** Their data, in bytes. */
  get aheadBytes(): number {
    return this.#intake.watermark.aheadBytes
  }

  /** Nothing more is begun until the oldest unfinished record is finished. */
  get isAheadFull(): boolean {
    return this.#intake.isFull
  }

  /** The record that holds the checkpoint back. */
  get oldestUnfinished(): OldestRecord | undefined {
    const { oldest } = this.#intake.watermark
    if (oldest === undefined) return undefined
    const { atMs, ...record } = oldest
    return { ...record, ageMs: this.#now() - atMs }
  }

  /** Bytes of the Kinesis records of which anything is unfinished. */
  get bufferedBytes(): number {
    return this.#intake.bufferedBytes
  }

  /** Kinesis records of which anything is unfinished. */
  get bufferedRecords(): number {
    return this.#intake.bufferedRecords
  }

  /** Handlers that have been called and haven't settled. */
  get runningHandlers(): number {
    return this.#running
  }

  /** Nothing has been begun that isn't finished. */
  get idle(): boolean {
    return this.#intake.watermark.ahead === 0
  }

  /** Everything that was pushed is finished. */
  get empty(): boolean {
    return this.idle && this.#intake.isEmpty
  }

  /** User records finished so far. */
  get finishedRecords(): number {
    return this.#intake.finishedRecords
  }

  /** Bytes of data of the user records finished so far. */
  get finishedBytes(): number {
    return this.#intake.finishedBytes
  }

  get waitMs(): number | undefined {
    return this.#works.waitMs
  }

  /** What the next queue of the same shard has to know, if this one is not to be finished. */
  memory(): QueueMemory {
    return this.#intake.memory()
  }

  /** @returns the bytes that these records are counted with */
  push(records: readonly KinesisRecord[]): number {
    return this.#intake.push(records)
  }

  /** Nothing more is pushed: a batch needn't wait for more. */
  end(): void {
    this.#intake.hasEnded = true
  }

  /** From now on only what has been begun is given out, so that the checkpoint comes to cover everything ever begun. */
  drain(): void {
    this.#intake.isDraining = true
    this.#intake.hasProgressed = true
  }

  take(): GivenWork | undefined {
    return this.#works.take()
  }

  running(work: Work): void {
    const given = work as GivenWork
    this.#works.begin(given)
    given.isRunning = true
    this.#running++
  }

  finished(work: Work): void {
    const given = work as GivenWork
    if (given.undecodable?.isGone) {
      throw new Error(`${given.record.sequenceNumber} has to be read again: it must not be passed over.`)
    }
    this.#settled(given)
    this.#works.finish(given)
  }

  failed(work: Work): void {
    const given = work as GivenWork
    this.#works.begin(given)
    this.#settled(given)
    given.attempt++
    this.#works.fail(given)
    this.#intake.hasProgressed = true
  }

  again(work: Work): void {
    this.#works.again(work as GivenWork)
  }

  bisect(work: Work): Work {
    return this.#works.bisect(work as GivenWork)
  }

  report(): void {
    if (this.#intake.report()) this.#onProgress()
  }

  #settled(work: GivenWork): void {
    if (!work.isRunning) return
    work.isRunning = false
    this.#running--
  }
}
