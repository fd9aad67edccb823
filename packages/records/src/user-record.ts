/** What the caller puts. */
export interface UserRecordInput {
  /** Decides the shard, and the order: records with the same key stay in order. 1 to 256 characters. */
  readonly partitionKey: string
  /** A decimal hash key that decides the shard in the partition key's place. */
  readonly explicitHashKey?: string | undefined
  readonly data: Uint8Array
}

/** A Kinesis record to be put: a lone user record, or an aggregate of many. */
export interface KinesisRecordOut {
  readonly partitionKey: string
  /** Decimal. Always given: an aggregate's partition key says nothing about its records. */
  readonly explicitHashKey: string
  readonly data: Uint8Array
}

/** A user record as it stands in an aggregate. */
export interface UserRecordView {
  readonly partitionKey: string
  /** As the producer wrote it; undefined when its user gave none. */
  readonly explicitHashKey: string | undefined
  /** A view into the aggregate's bytes, not a copy: holding on to it holds the whole aggregate. */
  readonly data: Uint8Array
  /** Its index inside the aggregate. */
  readonly subSequenceNumber: number
}
