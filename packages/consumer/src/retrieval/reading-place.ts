import type { _Record as ServiceRecord, StartingPosition } from '@aws-sdk/client-kinesis'
import { isSentinel } from '@shardwise/records'
import { ExpiryWatch } from './expiry-watch.ts'
import type { ShardReaderOptions } from './shard-reader.ts'

/** What came of a shard at once: the answer to a GetRecords, or an event of a subscription. */
export interface ShardAnswer {
  readonly records: readonly ServiceRecord[]
  readonly millisBehindLatest: number
  /** The shard's end: nothing comes after it. */
  readonly isEnd: boolean
}

export type ReadingPlaceOptions = Pick<
  ShardReaderOptions,
  'shardId' | 'checkpoint' | 'startMs' | 'clock' | 'retention' | 'telemetry' | 'onRecords'
>

/** How far a shard has been read: where reading starts, and starts anew; and what becomes of what comes. */
export class ReadingPlace {
  readonly #options: ReadingPlaceOptions
  readonly #expiry: ExpiryWatch
  /** The last record that was read and passed on. */
  #lastRead: string | undefined
  #millisBehindLatest: number | undefined

  constructor(options: ReadingPlaceOptions) {
    this.#options = options
    this.#expiry = new ExpiryWatch(options)
  }

  /** How far the last answer was behind the tip, as the service says; undefined before the first. */
  get millisBehindLatest(): number | undefined {
    return this.#millisBehindLatest
  }

  /** Where to read from, so that nothing is left out. */
  get position(): StartingPosition {
    const { checkpoint, startMs } = this.#options
    const lastKnown = this.#lastKnown
    // At it, not after it: if it doesn't come, it has expired, and what lies behind it may have too. And a checkpoint may lie
    // inside an aggregate.
    if (lastKnown !== undefined) return { Type: 'AT_SEQUENCE_NUMBER', SequenceNumber: lastKnown }
    if (checkpoint.sequenceNumber === 'TRIM_HORIZON' || startMs === undefined) return { Type: 'TRIM_HORIZON' }
    // LATEST too: reading started anew at the tip would skip what has come since the first start.
    return { Type: 'AT_TIMESTAMP', Timestamp: new Date(startMs) }
  }

  /**
   * Reading was started anew.
   *
   * @param at the record it was started at, which comes first unless it has expired; undefined if it wasn't started at one
   */
  started(at: string | undefined): void {
    this.#expiry.iteratorTaken(at)
  }

  /** More is about to be asked for: what comes is no older than that. */
  asking(): void {
    this.#expiry.sending()
  }

  /**
   * Passes the records on, without the one that was passed on before. Waits only if records may have expired unread.
   *
   * @returns how many bytes they take up from now on
   */
  async accept({ records: found, millisBehindLatest, isEnd }: ShardAnswer, signal: AbortSignal): Promise<number> {
    const { shardId, telemetry, onRecords } = this.#options
    const first = found[0]?.SequenceNumber
    const isLast = millisBehindLatest === 0 || isEnd
    // Before the records are passed on: what has expired must be told of even if this is the last thing that the worker does.
    await this.#expiry.answered({ first, millisBehindLatest, isLast }, this.#lastKnown, signal)
    signal.throwIfAborted()
    const isRepeated = first !== undefined && first === this.#lastRead
    const records = (isRepeated ? found.slice(1) : found).map((record) => ({
      sequenceNumber: record.SequenceNumber ?? '',
      // Absent on service-managed streams.
      partitionKey: record.PartitionKey ?? '',
      data: record.Data ?? new Uint8Array(),
      arrivedAt: record.ApproximateArrivalTimestamp,
    }))
    this.#millisBehindLatest = millisBehindLatest
    if (records.length === 0) return 0
    const kept = onRecords(records)
    this.#lastRead = records.at(-1)!.sequenceNumber
    telemetry.emit({
      type: 'recordsRead',
      shardId,
      kinesisRecords: records.length,
      bytes: records.reduce((sum, { data }) => sum + data.byteLength, 0),
      millisBehindLatest,
    })
    return kept
  }

  /** The last record known to be before what hasn't been read. */
  get #lastKnown(): string | undefined {
    const { checkpoint } = this.#options
    return this.#lastRead ?? (isSentinel(checkpoint) ? undefined : checkpoint.sequenceNumber)
  }
}
