import { ConsumerError } from '../errors.ts'

/** A user record, as the handler gets it. */
export class ConsumerRecord<Value = unknown> {
  /** Empty if the record has none, which only service-managed streams allow. */
  readonly partitionKey: string
  /** Known only for records inside aggregates: the service doesn't tell it of others. */
  readonly explicitHashKey: string | undefined
  /**
   * A view into what was read, not a copy. Its `buffer` may hold other records too: it must not be transferred, to a worker thread
   * for instance; `data.slice()` may.
   */
  readonly data: Uint8Array
  /** The stream's name or ARN, as the consumer was given it. */
  readonly stream: string
  readonly shardId: string
  readonly sequenceNumber: string
  /** The record's index inside its aggregate; 0 for a lone record. */
  readonly subSequenceNumber: number
  /** When the stream took the Kinesis record, by the service's clock. */
  readonly arrivedAt: Date | undefined
  /**
   * The hash key lies outside the shard's range: a copy that a producer with an outdated shard map left here during a
   * reshard. It has been, or will be, delivered from the right shard too, unless the producer gave up in between; and it may
   * come out of order.
   */
  readonly misplaced: boolean
  /** What the consumer's `codec` makes of the data, each time anew when the record comes again; undefined without a codec. */
  readonly value: Value

  constructor(
    kinesisRecord: {
      readonly stream: string
      readonly shardId: string
      readonly sequenceNumber: string
      readonly arrivedAt: Date | undefined
    },
    partitionKey: string,
    explicitHashKey: string | undefined,
    data: Uint8Array,
    subSequenceNumber: number,
    misplaced: boolean,
  ) {
    this.partitionKey = partitionKey
    this.explicitHashKey = explicitHashKey
    this.data = data
    this.stream = kinesisRecord.stream
    this.shardId = kinesisRecord.shardId
    this.sequenceNumber = kinesisRecord.sequenceNumber
    this.subSequenceNumber = subSequenceNumber
    this.arrivedAt = kinesisRecord.arrivedAt
    this.misplaced = misplaced
    this.value = undefined as Value
  }

  /** The data as UTF-8 text. */
  text(): string {
    const { buffer, byteOffset, byteLength } = this.data
    return Buffer.from(buffer, byteOffset, byteLength).toString('utf8')
  }

  /**
   * The data as parsed JSON.
   *
   * @throws {ConsumerError} `ERR_JSON` if it isn't JSON
   */
  json<T = unknown>(): T {
    const text = this.text()
    try {
      return JSON.parse(text) as T
    } catch (error) {
      const start = text.length > 60 ? `${text.slice(0, 60)}…` : text
      throw new ConsumerError(
        'ERR_JSON',
        `Expected JSON in the record at ${this.shardId} ${this.sequenceNumber}:${this.subSequenceNumber}, ` +
          `got ${JSON.stringify(start)}. Use record.text() or record.data for other formats.`,
        { cause: error, shardId: this.shardId },
      )
    }
  }
}

/** For who decodes it, before it is handed out. */
export function setValue(record: ConsumerRecord, value: unknown): void {
  ;(record as { value: unknown }).value = value
}
