import type { BackendName } from './backends.ts'

/** A case that a backend is known to answer otherwise than the service does. */
export interface Difference {
  readonly backends: readonly BackendName[]
  readonly case: string
  /** What it does instead. */
  readonly instead: string
  /** Why the case is right: where the behaviour is written. */
  readonly judge: string
  /** What the failure of the case says there. */
  readonly fails: RegExp
  /** Whether the case may also pass there: by the chance of its times, or in a newer version. Default false. */
  readonly sometimes?: boolean
}

/** LocalStack hands most requests on to kinesis-local. */
const BOTH: readonly BackendName[] = ['kinesis-local', 'LocalStack']
const LOCALSTACK: readonly BackendName[] = ['LocalStack']

export const DIFFERENCES: readonly Difference[] = [
  {
    backends: BOTH,
    case: 'DescribeStreamSummary tells the size that a record may have',
    instead: 'leaves MaxRecordSizeInKiB out until it has been set',
    judge: 'API reference, StreamDescriptionSummary: the largest record that can be written to the stream',
    fails: /expected undefined to be 1024/,
  },
  {
    backends: BOTH,
    case: 'a provisioned stream needs a number of shards',
    instead: 'makes four',
    judge: 'API reference, CreateStream: the number of shards is what a provisioned stream is made of',
    fails: /expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'a stream with consumers is deleted only if that is asked for',
    instead: 'answers with ResourceInUseException and deletes the stream all the same',
    judge: 'API reference, DeleteStream, EnforceConsumerDeletion: the call fails',
    fails: /ResourceNotFoundException: Stream arn .* not found/,
  },
  {
    backends: BOTH,
    case: 'ListStreams summarises each stream',
    instead: 'gives the names alone',
    judge: 'API reference, ListStreams, StreamSummaries',
    fails: /expected undefined to match/,
  },
  {
    backends: BOTH,
    case: 'beyond five CreateStream a second the account is refused with LimitExceededException',
    instead: 'refuses a sixth stream that is being created at the same time, but no rate',
    judge: 'API reference, CreateStream: five transactions a second for an account',
    fails: /to include 'LimitExceededException'/,
    sometimes: true,
  },
  {
    backends: LOCALSTACK,
    case: 'UpdateMaxRecordSize lets larger records in',
    instead: 'does not know the operation, up to 4.14',
    judge: 'API reference, UpdateMaxRecordSize',
    fails: /AccessDeniedException: Unable to determine service\/operation/,
    sometimes: true,
  },
  {
    backends: LOCALSTACK,
    case: 'streams and consumers are tagged by their ARNs',
    instead: 'does not know the operations, up to 4.14',
    judge: 'API reference, TagResource',
    fails: /AccessDeniedException: Unable to determine service\/operation/,
    sometimes: true,
  },
  {
    backends: BOTH,
    case: 'the ending sequence number of a closed shard is above those of its records and below those of its children',
    instead: 'ends every shard at 9223372036854775807',
    judge: 'API reference, SequenceNumberRange: the range of possible sequence numbers of the shard',
    fails: /expected 9223372036854775807 to be greater than/,
  },
  {
    backends: BOTH,
    case: 'a split at the first or last hash key of a shard is refused with InvalidArgumentException',
    instead: 'makes a child whose range ends before it starts',
    judge: "observed of the service: the key has to be greater than the shard's first plus one, and less than its last",
    fails: /to deeply equal \[ 'InvalidArgumentException'/,
  },
  {
    backends: BOTH,
    case: 'an on-demand stream is neither split, merged nor resized, with ValidationException',
    instead: 'splits it',
    judge: 'API reference, SplitShard, errors: ValidationException for a stream in on-demand mode',
    fails: /split: expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'an explicit hash key that is not a canonical decimal is refused',
    instead: 'answers with status 500 and no name of an error',
    judge: 'API reference, PutRecord, ExplicitHashKey: the pattern 0|([1-9]\\d{0,38})',
    fails: /expected '(Unknown|500)'/,
  },
  {
    backends: BOTH,
    case: 'a record has at most 1 MiB together with its key',
    instead: 'counts the data alone',
    judge: 'API reference, PutRecord, Data: the limit is of the data together with the partition key',
    fails: /expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'a PutRecords of 501 records is refused as a whole',
    instead: 'takes it',
    judge: 'API reference, PutRecords, Records: at most 500 items',
    fails: /expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'a PutRecords without records is refused',
    instead: 'takes it',
    judge: 'API reference, PutRecords, Records: at least 1 item',
    fails: /expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'beyond 1 MiB a second a PutRecords throttles the records of that shard alone, one by one',
    instead: 'has no limits of a shard',
    judge: 'Developer guide, quotas and limits: 1 MB and 1,000 records a second into a shard',
    fails: /throttled records: expected 0/,
  },
  {
    backends: BOTH,
    case: 'beyond 1 MiB a second PutRecord is refused with ProvisionedThroughputExceededException',
    instead: 'has no limits of a shard',
    judge: 'Developer guide, quotas and limits',
    fails: /expected \[ 'accepted', 'accepted', 'accepted' \]/,
  },
  {
    backends: BOTH,
    case: 'beyond 1,000 records a second a shard throttles',
    instead: 'has no limits of a shard',
    judge: 'Developer guide, quotas and limits',
    fails: /throttled of 2,000: expected 0/,
  },
  {
    backends: BOTH,
    case: 'beyond five calls a second GetRecords is refused with ProvisionedThroughputExceededException',
    instead: 'has no limits of a shard',
    judge: 'Developer guide, quotas and limits: five reads a second of a shard',
    fails: /to include 'ProvisionedThroughputExceededException'/,
  },
  {
    backends: BOTH,
    case: 'a sequence number of another shard is refused with InvalidArgumentException',
    instead: 'gives an iterator',
    judge: 'observed of the service: Invalid StartingSequenceNumber. It encodes another shard',
    fails: /expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'an iterator that the service did not make is refused with InvalidArgumentException',
    instead: 'answers with status 500 and no name of an error',
    judge: 'API reference, GetRecords, errors: InvalidArgumentException for a parameter that is not valid',
    fails: /expected '(Unknown|500)'/,
  },
  {
    backends: LOCALSTACK,
    case: 'AT_TIMESTAMP is before the first record that arrived then or later',
    instead: 'cuts the time to whole seconds',
    judge: 'API reference, GetShardIterator, Timestamp: a precision of milliseconds',
    fails: /to deeply equal \[ 'late' \]/,
    sometimes: true,
  },
  {
    backends: LOCALSTACK,
    case: "AT_TIMESTAMP of a record's own arrival gives that record",
    instead: 'cuts the time to whole seconds',
    judge: 'API reference, GetShardIterator, Timestamp: a precision of milliseconds',
    fails: /to deeply equal \[ 'late' \]/,
    sometimes: true,
  },
  {
    backends: LOCALSTACK,
    case: 'AT_TIMESTAMP after the last record gives nothing until there is more',
    instead: 'cuts the time to whole seconds',
    judge: 'API reference, GetShardIterator, Timestamp: a precision of milliseconds',
    fails: /to deeply equal \[\]/,
    sometimes: true,
  },
  {
    backends: BOTH,
    case: 'MillisBehindLatest tells how far behind the reader is, and 0 at the tip',
    instead: 'tells the time between the last record read and the newest',
    judge: 'API reference, GetRecords, MillisBehindLatest: how far behind current time the consumer is',
    fails: /expected 0 to be greater than or equal to 40/,
  },
  {
    backends: BOTH,
    case: 'a token continues the filtered listing that it came from',
    instead: 'forgets the filter: closed shards come with the second page',
    judge: 'the KCL, which sends a token alone and counts on it',
    fails: /to deeply equal \[ 'shardId-000000000002'/,
  },
  {
    backends: BOTH,
    case: 'MaxResults below 1 or above 10,000 is refused',
    instead: 'answers 0 with status 500 and no name of an error, and takes 10,001',
    judge: 'API reference, ListShards, MaxResults: a valid range of 1 to 10,000',
    fails: /expected '(Unknown|500)'/,
  },
  {
    backends: BOTH,
    case: 'the filter AT_TRIM_HORIZON lists the oldest generation',
    instead: 'lists every shard',
    judge: 'API reference, ShardFilter: the shards that were open at TRIM_HORIZON',
    fails: /to deeply equal \[ 'shardId-000000000000'/,
  },
  {
    backends: BOTH,
    case: 'the filter AT_TIMESTAMP lists what was open then',
    instead: 'compares whole seconds',
    judge: 'API reference, ShardFilter, Timestamp: a precision of milliseconds',
    fails: /to deeply equal \[ 'shardId-000000000000'/,
    sometimes: true,
  },
  {
    backends: BOTH,
    case: 'the filter FROM_TIMESTAMP lists what was open then or later',
    instead: 'compares whole seconds',
    judge: 'API reference, ShardFilter, Timestamp: a precision of milliseconds',
    fails: /to deeply equal \[ 'shardId-000000000001'/,
    sometimes: true,
  },
  {
    backends: BOTH,
    case: 'ListStreamConsumers gives consumers in pages',
    instead: 'gives a token with the last page too',
    judge: 'API reference, ListStreamConsumers, NextToken: where there are more consumers than were listed',
    fails: /to be undefined/,
  },
  {
    backends: BOTH,
    case: 'a subscription to a closed shard ends with an event that names the children',
    instead: 'kinesis-local goes on with empty events; LocalStack breaks the connection',
    judge: 'API reference, SubscribeToShardEvent, ChildShards: returned only when the end of the shard is reached',
    fails: /for its end; got .*end: none|to deeply equal \[ \[ 'last' \], 'over' \]/,
  },
  {
    backends: BOTH,
    case: 'a running subscription ends when its shard is split',
    instead: 'kinesis-local goes on with empty events; LocalStack breaks the connection',
    judge: 'API reference, SubscribeToShardEvent, ChildShards: returned only when the end of the shard is reached',
    fails: /for its end; got .*end: none|to be 'over'/,
  },
  {
    backends: LOCALSTACK,
    case: 'a second subscription of a consumer to a shard within 5 seconds is refused with ResourceInUseException',
    instead: 'takes it and serves both',
    judge: 'API reference, SubscribeToShard: within 5 seconds of a successful call',
    fails: /expected 'accepted'/,
  },
  {
    backends: LOCALSTACK,
    case: 'a subscription of an unknown consumer is refused with ResourceNotFoundException',
    instead: 'answers with InternalError',
    judge: 'API reference, SubscribeToShard, errors',
    fails: /expected 'InternalError'/,
  },
  {
    backends: BOTH,
    case: 'a subscription to a shard that does not exist is refused with ResourceNotFoundException',
    instead: 'kinesis-local takes it; LocalStack answers with InternalError',
    judge: 'API reference, SubscribeToShard, errors',
    fails: /expected '(accepted|InternalError)'/,
  },
  {
    backends: BOTH,
    case: 'a subscription from a sequence number of another shard is refused with InvalidArgumentException',
    instead: 'takes it',
    judge: 'as for an iterator',
    fails: /expected 'accepted'/,
  },
  {
    backends: BOTH,
    case: 'a field outside of its constraints is refused with ValidationException',
    instead: 'calls it InvalidArgumentException, or SerializationException where the field is missing',
    judge: 'observed of the service: 1 validation error detected, and which constraint it is of',
    fails: /pattern: expected 'InvalidArgumentException'/,
  },
]
