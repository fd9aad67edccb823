import type { Clock } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import type { ConsumerRecord } from '../processing/consumer-record.ts'
import { type KinesisRecord, RecordBuffer, type RecordBufferOptions } from '../processing/record-buffer.ts'

export interface TailShardOptions
  extends Pick<RecordBufferOptions, 'stream' | 'shardId' | 'hashRange' | 'checkpoint' | 'placement'> {
  readonly clock: Clock
  /** Told what the shard has in memory, in bytes, whenever that changes. */
  readonly onHolds: (bytes: number) => void
}

/** What has been read of a shard and not been asked for yet. */
export class TailShard {
  readonly #options: TailShardOptions
  readonly #buffer: RecordBuffer
  #bytes = 0
  #hasMovedOn = false

  constructor(options: TailShardOptions) {
    this.#options = options
    this.#buffer = new RecordBuffer({
      ...options,
      dropMisplaced: false,
      onNothing: () => undefined,
      onMisplaced: () => undefined,
      onTaken: ({ bytes }) => {
        this.#hasMovedOn = true
        this.#bytes -= bytes
      },
    })
  }

  /** Returns the bytes that came in. */
  push(records: readonly KinesisRecord[]): number {
    const bytes = this.#buffer.push(records, this.#options.clock.monotonicMs())
    this.#bytes += bytes
    this.#options.onHolds(this.#bytes)
    return bytes
  }

  /**
   * The next record, and whether it is the first of another Kinesis record; undefined if there is none.
   *
   * @throws {ConsumerError} `ERR_RECORD` if it can't be read
   */
  next(): { readonly record: ConsumerRecord; readonly isOfNext: boolean } | undefined {
    this.#hasMovedOn = false
    const record = this.#buffer.next()
    if (this.#hasMovedOn) this.#options.onHolds(this.#bytes)
    const { undecodable } = this.#buffer
    if (undecodable !== undefined) {
      const { stream, shardId } = this.#options
      const { sequenceNumber } = this.#buffer.source
      throw new ConsumerError(
        'ERR_RECORD',
        `Expected an aggregate at ${shardId} ${sequenceNumber} of ${stream} that can be taken apart, got a damaged one: ${undecodable.reason}. ` +
          'What was before it in the shard has been given out, nothing behind it.',
        { shardId },
      )
    }
    return record && { record, isOfNext: this.#hasMovedOn }
  }
}
