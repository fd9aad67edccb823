/** One metric, as it is made, and the KCL's that it stands for. */
export interface Metric {
  readonly name: string
  /** The KCL's names for it, or for a part of it; none where the KCL has no such metric. */
  readonly kcl: readonly string[]
  readonly kind: 'counter' | 'up-down counter' | 'gauge' | 'histogram'
  /** By the UCUM, as OpenTelemetry asks for. */
  readonly unit: string
  readonly description: string
  readonly attributes: readonly string[]
  /** Where a histogram's buckets end. An SDK may be told otherwise. */
  readonly advice?: { readonly explicitBucketBoundaries: number[] }
}

export const APPLICATION = 'shardwise.application'
export const WORKER = 'shardwise.worker_id'
export const STREAM_NAME = 'aws.kinesis.stream_name'
export const SHARD_ID = 'shardwise.shard_id'
export const REASON = 'shardwise.reason'
export const ERROR_TYPE = 'error.type'

const OF_APPLICATION = [APPLICATION]
const OF_WORKER = [APPLICATION, WORKER]
const OF_STREAM = [APPLICATION, STREAM_NAME]
const OF_WORKER_AND_STREAM = [APPLICATION, WORKER, STREAM_NAME]
const OF_SHARD = [APPLICATION, STREAM_NAME, SHARD_ID]

const CALL_SECONDS = { explicitBucketBoundaries: [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] }
const ROUND_SECONDS = { explicitBucketBoundaries: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] }
const HANDLER_SECONDS = {
  explicitBucketBoundaries: [0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
}
const HANDLING_SECONDS = {
  explicitBucketBoundaries: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
}

/** Of which kind each metric is. */
export interface MetricKinds {
  readonly leasesHeld: 'up-down counter'
  readonly leasesTaken: 'counter'
  readonly leasesLost: 'counter'
  readonly leasesHandedOff: 'counter'
  readonly leasesReleased: 'counter'
  readonly shardsEnded: 'counter'
  readonly leaseWriteTime: 'histogram'
  readonly leader: 'gauge'
  readonly workers: 'up-down counter'
  readonly streams: 'up-down counter'
  readonly leases: 'up-down counter'
  readonly leasesUnheld: 'up-down counter'
  readonly leasesAssigned: 'counter'
  readonly assignmentsRefused: 'counter'
  readonly leaderRoundTime: 'histogram'
  readonly syncTime: 'histogram'
  readonly leasesCreated: 'counter'
  readonly leasesDeleted: 'counter'
  readonly itemsSkipped: 'counter'
  readonly callsFailed: 'counter'
  readonly timeBehindLatest: 'gauge'
  readonly getRecordsTime: 'histogram'
  readonly getShardIteratorTime: 'histogram'
  readonly subscribeTime: 'histogram'
  readonly subscriptions: 'up-down counter'
  readonly subscriptionsBroken: 'counter'
  readonly kinesisRecordsRead: 'counter'
  readonly dataRead: 'counter'
  readonly userRecordsHandled: 'counter'
  readonly handlingTime: 'histogram'
  readonly handlerTime: 'histogram'
  readonly handlerFailures: 'counter'
  readonly handlerRetries: 'counter'
  readonly handlersAbandoned: 'counter'
  readonly recordsSkipped: 'counter'
  readonly deadLetters: 'counter'
  readonly deadLetterFailures: 'counter'
  readonly shardStops: 'counter'
  readonly shardsStopped: 'up-down counter'
  readonly hookFailures: 'counter'
  readonly eventLoopBlockedTime: 'histogram'
  readonly bufferedRecords: 'up-down counter'
  readonly bufferedData: 'up-down counter'
  readonly oldestUnfinishedTime: 'gauge'
  readonly misplacedRecords: 'counter'
  readonly undecodableRecords: 'counter'
  readonly retentionPassed: 'counter'
}

/** Every metric of a consumer. Nothing is measured for each user record that is well: that would cost more than reading it. */
export const METRICS: { readonly [Key in keyof MetricKinds]: Metric & { readonly kind: MetricKinds[Key] } } = {
  leasesHeld: {
    name: 'shardwise.consumer.leases_held',
    kcl: ['CurrentLeases'],
    kind: 'up-down counter',
    unit: '{lease}',
    description: 'leases that the worker holds',
    attributes: OF_WORKER_AND_STREAM,
  },
  leasesTaken: {
    name: 'shardwise.consumer.leases_taken',
    kcl: ['NewLeasesDiscovered', 'TakenLeases'],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that the worker took up',
    attributes: OF_WORKER_AND_STREAM,
  },
  leasesLost: {
    name: 'shardwise.consumer.leases_lost',
    kcl: ['LostLeases'],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that were taken away from the worker or that it could not renew in time',
    attributes: OF_WORKER_AND_STREAM,
  },
  leasesHandedOff: {
    name: 'shardwise.consumer.leases_handed_off',
    kcl: [],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that the worker handed to another because the leader asked for it',
    attributes: OF_WORKER_AND_STREAM,
  },
  leasesReleased: {
    name: 'shardwise.consumer.leases_released',
    kcl: [],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that the worker gave back or passed on because it stopped',
    attributes: OF_WORKER_AND_STREAM,
  },
  shardsEnded: {
    name: 'shardwise.consumer.shards_ended',
    kcl: [],
    kind: 'counter',
    unit: '{shard}',
    description: 'shards that were handled to their end',
    attributes: OF_STREAM,
  },
  leaseWriteTime: {
    name: 'shardwise.consumer.lease_write_time',
    kcl: ['RenewLease.Time', 'RenewLease.Success', 'UpdateLease.Time', 'UpdateLease.Success'],
    kind: 'histogram',
    unit: 's',
    description:
      'how long a write of a held lease took, which is heartbeat and checkpoint in one; with error.type if it failed',
    attributes: [...OF_WORKER_AND_STREAM, ERROR_TYPE],
    advice: CALL_SECONDS,
  },
  leader: {
    name: 'shardwise.consumer.leader',
    kcl: ['IsLeader'],
    kind: 'gauge',
    unit: '1',
    description: '1 while the worker leads, otherwise 0',
    attributes: OF_WORKER,
  },
  workers: {
    name: 'shardwise.consumer.workers',
    kcl: ['NumWorkers'],
    kind: 'up-down counter',
    unit: '{worker}',
    description: 'workers that live, as the leader sees them',
    attributes: OF_APPLICATION,
  },
  streams: {
    name: 'shardwise.consumer.streams',
    kcl: ['ActiveStreams.Count'],
    kind: 'up-down counter',
    unit: '{stream}',
    description: 'streams that the application reads, as the leader sees them',
    attributes: OF_APPLICATION,
  },
  leases: {
    name: 'shardwise.consumer.leases',
    kcl: ['TotalLeases'],
    kind: 'up-down counter',
    unit: '{lease}',
    description: 'leases in the table, as the leader sees them; finished ones too',
    attributes: OF_APPLICATION,
  },
  leasesUnheld: {
    name: 'shardwise.consumer.leases_unheld',
    kcl: ['LeaseSpillover'],
    kind: 'up-down counter',
    unit: '{lease}',
    description: 'unfinished leases that nobody holds, as the leader sees them',
    attributes: OF_APPLICATION,
  },
  leasesAssigned: {
    name: 'shardwise.consumer.leases_assigned',
    kcl: ['ExpiredLeases', 'NumOfLeasesReassignment'],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that the leader gave to a worker because they were unowned, expired or stuck, or for balance',
    attributes: [...OF_STREAM, REASON],
  },
  assignmentsRefused: {
    name: 'shardwise.consumer.assignments_refused',
    kcl: ['FailedAssignmentCount'],
    kind: 'counter',
    unit: '{lease}',
    description: 'assignments that were not written because the lease had changed meanwhile',
    attributes: OF_STREAM,
  },
  leaderRoundTime: {
    name: 'shardwise.consumer.leader_round_time',
    kcl: ['LeaseAssignmentManager.Time', 'LeaseAssignmentManager.Success'],
    kind: 'histogram',
    unit: 's',
    description: 'how long a round of the leader took; with error.type if it failed',
    attributes: [...OF_APPLICATION, ERROR_TYPE],
    advice: ROUND_SECONDS,
  },
  syncTime: {
    name: 'shardwise.consumer.shard_sync_time',
    kcl: ['SyncShards.Time', 'SyncShards.Success'],
    kind: 'histogram',
    unit: 's',
    description: 'how long it took the leader to compare shards and leases; with error.type if it failed',
    attributes: [...OF_STREAM, ERROR_TYPE],
    advice: ROUND_SECONDS,
  },
  leasesCreated: {
    name: 'shardwise.consumer.leases_created',
    kcl: ['CreateLease.Success'],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that were created',
    attributes: OF_STREAM,
  },
  leasesDeleted: {
    name: 'shardwise.consumer.leases_deleted',
    kcl: [],
    kind: 'counter',
    unit: '{lease}',
    description: 'leases that the leader deleted because they were finished, gone or removed',
    attributes: [...OF_STREAM, REASON],
  },
  itemsSkipped: {
    name: 'shardwise.consumer.items_skipped',
    kcl: ['LeaseDeserializationFailureCount'],
    kind: 'counter',
    unit: '{item}',
    description:
      'items of the table that could not be read as what they should be; counted once for each worker that sees them',
    attributes: OF_APPLICATION,
  },
  callsFailed: {
    name: 'shardwise.consumer.calls_failed',
    kcl: [],
    kind: 'counter',
    unit: '{call}',
    description: 'calls for the leases, the shards or a registered consumer that failed and are tried again',
    attributes: [...OF_WORKER, ERROR_TYPE],
  },
  timeBehindLatest: {
    name: 'shardwise.consumer.time_behind_latest',
    kcl: ['MillisBehindLatest'],
    kind: 'gauge',
    unit: 's',
    description: 'how far the last read was behind the tip of the shard; 0 once the worker no longer holds it',
    attributes: OF_SHARD,
  },
  getRecordsTime: {
    name: 'shardwise.consumer.get_records_time',
    kcl: ['KinesisDataFetcher.getRecords.Time', 'KinesisDataFetcher.getRecords.Success', 'ExpiredIterator'],
    kind: 'histogram',
    unit: 's',
    description: 'how long a GetRecords took; with error.type if it failed',
    attributes: [...OF_SHARD, ERROR_TYPE],
    advice: CALL_SECONDS,
  },
  getShardIteratorTime: {
    name: 'shardwise.consumer.get_shard_iterator_time',
    kcl: ['KinesisDataFetcher.getShardIterator.Time', 'KinesisDataFetcher.getShardIterator.Success'],
    kind: 'histogram',
    unit: 's',
    description: 'how long a GetShardIterator took; with error.type if it failed',
    attributes: [...OF_STREAM, ERROR_TYPE],
    advice: CALL_SECONDS,
  },
  subscribeTime: {
    name: 'shardwise.consumer.subscribe_to_shard_time',
    kcl: [],
    kind: 'histogram',
    unit: 's',
    description: 'how long it took until a SubscribeToShard was answered; with error.type if it failed',
    attributes: [...OF_STREAM, ERROR_TYPE],
    advice: CALL_SECONDS,
  },
  subscriptions: {
    name: 'shardwise.consumer.subscriptions',
    kcl: [],
    kind: 'up-down counter',
    unit: '{subscription}',
    description: 'subscriptions that the worker has open',
    attributes: OF_WORKER_AND_STREAM,
  },
  subscriptionsBroken: {
    name: 'shardwise.consumer.subscriptions_broken',
    kcl: [],
    kind: 'counter',
    unit: '{subscription}',
    description: 'subscriptions that broke off before the end of their five minutes',
    attributes: [...OF_STREAM, ERROR_TYPE],
  },
  kinesisRecordsRead: {
    name: 'shardwise.consumer.kinesis_records_read',
    kcl: [],
    kind: 'counter',
    unit: '{record}',
    description: 'Kinesis records that were read',
    attributes: OF_SHARD,
  },
  dataRead: {
    name: 'shardwise.consumer.data_read',
    kcl: ['DataBytesProcessed'],
    kind: 'counter',
    unit: 'By',
    description: 'bytes of data in the Kinesis records that were read',
    attributes: OF_SHARD,
  },
  userRecordsHandled: {
    name: 'shardwise.consumer.user_records_handled',
    kcl: ['RecordsProcessed'],
    kind: 'counter',
    unit: '{record}',
    description: 'user records that the handler finished',
    attributes: OF_SHARD,
  },
  handlingTime: {
    name: 'shardwise.consumer.handling_time',
    kcl: [],
    kind: 'histogram',
    unit: 's',
    description:
      'from the answer of a GetRecords, or an event of a subscription, until the handler has finished everything in it',
    attributes: OF_SHARD,
    advice: HANDLING_SECONDS,
  },
  handlerTime: {
    name: 'shardwise.consumer.handler_time',
    kcl: ['RecordProcessor.processRecords.Time'],
    kind: 'histogram',
    unit: 's',
    description:
      'how long a call of the handler took until it settled: every call with a batch, of those with a record a sample',
    attributes: OF_SHARD,
    advice: HANDLER_SECONDS,
  },
  handlerFailures: {
    name: 'shardwise.consumer.handler_failures',
    kcl: [],
    kind: 'counter',
    unit: '{attempt}',
    description: 'attempts with a record or a batch that failed',
    attributes: OF_SHARD,
  },
  handlerRetries: {
    name: 'shardwise.consumer.handler_retries',
    kcl: [],
    kind: 'counter',
    unit: '{attempt}',
    description: 'failed attempts after which the record, or the batch in whole or in halves, comes again',
    attributes: OF_SHARD,
  },
  handlersAbandoned: {
    name: 'shardwise.consumer.handlers_abandoned',
    kcl: [],
    kind: 'counter',
    unit: '{attempt}',
    description: 'attempts that did not settle within closeTimeout after handlerTimeoutMs, and may run on unheeded',
    attributes: OF_SHARD,
  },
  recordsSkipped: {
    name: 'shardwise.consumer.records_skipped',
    kcl: [],
    kind: 'counter',
    unit: '{record}',
    description: 'records that failed for good and were passed over, as failurePolicy skip asks for',
    attributes: OF_SHARD,
  },
  deadLetters: {
    name: 'shardwise.consumer.dead_letters',
    kcl: [],
    kind: 'counter',
    unit: '{record}',
    description: 'records that failed for good and that deadLetter has taken',
    attributes: OF_SHARD,
  },
  deadLetterFailures: {
    name: 'shardwise.consumer.dead_letter_failures',
    kcl: [],
    kind: 'counter',
    unit: '{attempt}',
    description: 'calls of deadLetter that failed; the record waits and is sent again',
    attributes: OF_SHARD,
  },
  shardStops: {
    name: 'shardwise.consumer.shard_stops',
    kcl: [],
    kind: 'counter',
    unit: '{stop}',
    description: 'times that a shard stopped at a record that failed for good; each try that fails again counts',
    attributes: OF_SHARD,
  },
  shardsStopped: {
    name: 'shardwise.consumer.shards_stopped',
    kcl: [],
    kind: 'up-down counter',
    unit: '{shard}',
    description: 'shards of the worker that have stopped, and wait or are being tried again',
    attributes: OF_WORKER_AND_STREAM,
  },
  hookFailures: {
    name: 'shardwise.consumer.hook_failures',
    kcl: [],
    kind: 'counter',
    unit: '{attempt}',
    description: 'calls of onShardStart, onShardEnd, onShardRelease or onLeaseLost that failed',
    attributes: [...OF_SHARD, REASON],
  },
  eventLoopBlockedTime: {
    name: 'shardwise.consumer.event_loop_blocked_time',
    kcl: [],
    kind: 'histogram',
    unit: 's',
    description: 'for how long the event loop was blocked, each time that it was for more than a tenth of failoverTime',
    attributes: OF_WORKER,
    advice: ROUND_SECONDS,
  },
  bufferedRecords: {
    name: 'shardwise.consumer.buffered_records',
    kcl: [],
    kind: 'up-down counter',
    unit: '{record}',
    description: 'Kinesis records that were read and of which anything is unfinished',
    attributes: OF_SHARD,
  },
  bufferedData: {
    name: 'shardwise.consumer.buffered_data',
    kcl: [],
    kind: 'up-down counter',
    unit: 'By',
    description: 'bytes of these, as maxBufferedBytes counts them',
    attributes: OF_SHARD,
  },
  oldestUnfinishedTime: {
    name: 'shardwise.consumer.oldest_unfinished_time',
    kcl: [],
    kind: 'gauge',
    unit: 's',
    description: 'for how long the record that holds the checkpoint back has been in hand; 0 if none is',
    attributes: OF_SHARD,
  },
  misplacedRecords: {
    name: 'shardwise.consumer.misplaced_records',
    kcl: [],
    kind: 'counter',
    unit: '{record}',
    description: 'user records outside the hash range of their shard',
    attributes: OF_SHARD,
  },
  undecodableRecords: {
    name: 'shardwise.consumer.undecodable_records',
    kcl: [],
    kind: 'counter',
    unit: '{record}',
    description: 'damaged aggregates; failurePolicy decides what becomes of them',
    attributes: OF_SHARD,
  },
  retentionPassed: {
    name: 'shardwise.consumer.retention_passed',
    kcl: [],
    kind: 'counter',
    unit: '{event}',
    description: 'times that records may have expired before they were read, by the event that told of it',
    attributes: [...OF_SHARD, REASON],
  },
}
