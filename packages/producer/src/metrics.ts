/** One metric, as it is made, and the KPL's that it stands for. */
export interface Metric {
  readonly name: string
  /** The KPL's name for it, or for its sum; undefined where the KPL has none. */
  readonly kpl: string | undefined
  readonly kind: 'counter' | 'up-down counter' | 'histogram'
  /** By the UCUM, as OpenTelemetry asks for. */
  readonly unit: string
  readonly description: string
  readonly attributes: readonly string[]
  /** Where a histogram's buckets end. An SDK may be told otherwise. */
  readonly advice?: { readonly explicitBucketBoundaries: number[] }
}

export const STREAM_NAME = 'aws.kinesis.stream_name'
export const SHARD_ID = 'shardwise.shard_id'
export const ERROR_TYPE = 'error.type'
export const EARLIER_COPY = 'shardwise.earlier_copy'

const OF_STREAM = [STREAM_NAME]
const OF_SHARD = [STREAM_NAME, SHARD_ID]

/** Of which kind each metric is. */
export interface MetricKinds {
  readonly userRecordsReceived: 'counter'
  readonly userRecordsPending: 'up-down counter'
  readonly userRecordsDataPending: 'up-down counter'
  readonly userRecordsPut: 'counter'
  readonly userRecordsDataPut: 'counter'
  readonly userRecordsFailed: 'counter'
  readonly userRecordExpired: 'counter'
  readonly kinesisRecordsPut: 'counter'
  readonly kinesisRecordsDataPut: 'counter'
  readonly kinesisRecordsFailed: 'counter'
  readonly errorsByCode: 'counter'
  readonly possibleDuplicates: 'counter'
  readonly retriesPerRecord: 'histogram'
  readonly bufferingTime: 'histogram'
  readonly userRecordsPerKinesisRecord: 'histogram'
  readonly requestTime: 'histogram'
  readonly kinesisRecordsPerRequest: 'histogram'
  readonly userRecordsPerRequest: 'histogram'
}

/**
 * Every metric of a producer. Histograms get one sample for each Kinesis record or request, never for each user record:
 * that would cost more than putting it.
 */
export const METRICS: { readonly [Key in keyof MetricKinds]: Metric & { readonly kind: MetricKinds[Key] } } = {
  userRecordsReceived: {
    name: 'shardwise.producer.user_records_received',
    kpl: 'UserRecordsReceived',
    kind: 'counter',
    unit: '{record}',
    description: 'user records that were put and taken',
    attributes: OF_STREAM,
  },
  userRecordsPending: {
    name: 'shardwise.producer.user_records_pending',
    kpl: 'UserRecordsPending',
    kind: 'up-down counter',
    unit: '{record}',
    description: 'user records that are neither acknowledged nor rejected',
    attributes: OF_STREAM,
  },
  userRecordsDataPending: {
    name: 'shardwise.producer.user_records_data_pending',
    kpl: undefined,
    kind: 'up-down counter',
    unit: 'By',
    description: 'bytes of pending user records, as maxOutstandingBytes counts them',
    attributes: OF_STREAM,
  },
  userRecordsPut: {
    name: 'shardwise.producer.user_records_put',
    kpl: 'UserRecordsPut',
    kind: 'counter',
    unit: '{record}',
    description: 'user records that were acknowledged',
    attributes: OF_SHARD,
  },
  userRecordsDataPut: {
    name: 'shardwise.producer.user_records_data_put',
    kpl: 'UserRecordsDataPut',
    kind: 'counter',
    unit: 'By',
    description: 'bytes of acknowledged user records',
    attributes: OF_SHARD,
  },
  userRecordsFailed: {
    name: 'shardwise.producer.user_records_failed',
    kpl: undefined,
    kind: 'counter',
    unit: '{record}',
    description: 'user records that were rejected, by the code of their error',
    attributes: [STREAM_NAME, ERROR_TYPE],
  },
  userRecordExpired: {
    name: 'shardwise.producer.user_record_expired',
    kpl: 'UserRecordExpired',
    kind: 'counter',
    unit: '{record}',
    description: 'user records that were rejected because recordTtl had passed',
    attributes: OF_STREAM,
  },
  kinesisRecordsPut: {
    name: 'shardwise.producer.kinesis_records_put',
    kpl: 'KinesisRecordsPut',
    kind: 'counter',
    unit: '{record}',
    description: 'Kinesis records that were acknowledged',
    attributes: OF_SHARD,
  },
  kinesisRecordsDataPut: {
    name: 'shardwise.producer.kinesis_records_data_put',
    kpl: 'KinesisRecordsDataPut',
    kind: 'counter',
    unit: 'By',
    description: 'bytes of acknowledged Kinesis records',
    attributes: OF_SHARD,
  },
  kinesisRecordsFailed: {
    name: 'shardwise.producer.kinesis_records_failed',
    kpl: undefined,
    kind: 'counter',
    unit: '{record}',
    description: 'attempts of Kinesis records that failed; most are sent again',
    attributes: [...OF_SHARD, ERROR_TYPE],
  },
  errorsByCode: {
    name: 'shardwise.producer.errors_by_code',
    kpl: 'ErrorsByCode',
    kind: 'counter',
    unit: '{record}',
    description: 'failed attempts, counted in user records; most are sent again',
    attributes: [...OF_SHARD, ERROR_TYPE],
  },
  possibleDuplicates: {
    name: 'shardwise.producer.possible_duplicates',
    kpl: undefined,
    kind: 'counter',
    unit: '{record}',
    description: 'user records of which an unacknowledged copy is (misplaced) or may be (unknown) in the stream',
    attributes: [STREAM_NAME, EARLIER_COPY],
  },
  retriesPerRecord: {
    name: 'shardwise.producer.retries_per_record',
    kpl: 'RetriesPerRecord',
    kind: 'histogram',
    unit: '{retry}',
    description: 'how often a Kinesis record was sent again until it was acknowledged',
    attributes: OF_SHARD,
    advice: { explicitBucketBoundaries: [0, 1, 2, 3, 5, 10, 20, 50] },
  },
  bufferingTime: {
    name: 'shardwise.producer.buffering_time',
    kpl: 'BufferingTime',
    kind: 'histogram',
    unit: 's',
    description: 'from the first put of a Kinesis record to the sending of its last attempt',
    attributes: OF_SHARD,
    advice: { explicitBucketBoundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30] },
  },
  userRecordsPerKinesisRecord: {
    name: 'shardwise.producer.user_records_per_kinesis_record',
    kpl: 'UserRecordsPerKinesisRecord',
    kind: 'histogram',
    unit: '{record}',
    description: 'user records in an acknowledged Kinesis record',
    attributes: OF_SHARD,
    advice: { explicitBucketBoundaries: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000] },
  },
  requestTime: {
    name: 'shardwise.producer.request_time',
    kpl: 'RequestTime',
    kind: 'histogram',
    unit: 's',
    description: 'how long a PutRecords took; with error.type if it failed as a whole',
    attributes: [STREAM_NAME, ERROR_TYPE],
    advice: { explicitBucketBoundaries: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] },
  },
  kinesisRecordsPerRequest: {
    name: 'shardwise.producer.kinesis_records_per_put_records_request',
    kpl: 'KinesisRecordsPerPutRecordsRequest',
    kind: 'histogram',
    unit: '{record}',
    description: 'Kinesis records in a PutRecords',
    attributes: OF_STREAM,
    advice: { explicitBucketBoundaries: [1, 2, 5, 10, 20, 50, 100, 200, 300, 400, 500] },
  },
  userRecordsPerRequest: {
    name: 'shardwise.producer.user_records_per_put_records_request',
    kpl: 'UserRecordsPerPutRecordsRequest',
    kind: 'histogram',
    unit: '{record}',
    description: 'user records in a PutRecords',
    attributes: OF_STREAM,
    advice: { explicitBucketBoundaries: [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 50_000, 100_000] },
  },
}
