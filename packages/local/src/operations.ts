import { describeAccountSettings, describeLimits, updateAccountSettings } from './account.ts'
import { describeStream, describeStreamSummary } from './descriptions.ts'
import { getRecords, getShardIterator } from './reading.ts'
import type { Request } from './requests.ts'
import { mergeShards, splitShard, updateShardCount } from './resharding.ts'
import { deleteResourcePolicy, getResourcePolicy, putResourcePolicy } from './resource-policies.ts'
import type { Service } from './service.ts'
import { listShards } from './shard-listing.ts'
import type { Stream } from './stream.ts'
import {
  deregisterStreamConsumer,
  describeStreamConsumer,
  listStreamConsumers,
  registerStreamConsumer,
} from './stream-consumers.ts'
import {
  decreaseRetention,
  disableMonitoring,
  enableMonitoring,
  increaseRetention,
  startEncryption,
  stopEncryption,
  updateDistribution,
  updateMaxRecordSize,
  updateStreamMode,
  updateWarmThroughput,
} from './stream-settings.ts'
import { createStream, deleteStream, listStreams } from './streams.ts'
import {
  addTagsToStream,
  listTagsForResource,
  listTagsForStream,
  removeTagsFromStream,
  tagResource,
  untagResource,
} from './tags.ts'
import { putRecord, putRecords } from './writing.ts'

export type Operation = (service: Service, request: Request) => object
type StreamOperation = (service: Service, stream: Stream, request: Request) => object
type Wrap<Run> = (name: string, run: Run) => [string, Operation]

/** Calls a second on the account. */
const account =
  (perSecond: number): Wrap<Operation> =>
  (name, run) => [
    name,
    (service, request) => {
      service.admitCall(name, service, perSecond)
      return run(service, request)
    },
  ]

/** Calls a second on the stream that the request names, by whichever of its fields; the operation is given the stream. */
const stream =
  (perSecond: number): Wrap<StreamOperation> =>
  (name, run) => [
    name,
    (service, request) => {
      const found = service.stream(request)
      service.admitCall(name, found, perSecond)
      return run(service, found, request)
    },
  ]

/** The same for an operation whose rate is the account's. */
const accountStream =
  (perSecond: number): Wrap<StreamOperation> =>
  (name, run) => [
    name,
    (service, request) => {
      service.admitCall(name, service, perSecond)
      return run(service, service.stream(request), request)
    },
  ]

/**
 * Every operation but SubscribeToShard, with its rate as the AWS API reference has it; where it has none, the
 * 5 a second and stream of "Quotas and limits".
 */
export const OPERATIONS: ReadonlyMap<string, Operation> = new Map([
  // Streams
  account(5)('CreateStream', createStream),
  accountStream(5)('DeleteStream', deleteStream),
  account(5)('ListStreams', listStreams),
  accountStream(10)('DescribeStream', describeStream),
  accountStream(20)('DescribeStreamSummary', describeStreamSummary),
  stream(5)('IncreaseStreamRetentionPeriod', increaseRetention),
  stream(5)('DecreaseStreamRetentionPeriod', decreaseRetention),
  stream(5)('UpdateMaxRecordSize', updateMaxRecordSize),
  stream(5)('UpdateStreamMode', updateStreamMode),
  stream(5)('UpdateStreamRecordDistributionStrategy', updateDistribution),
  accountStream(5)('UpdateStreamWarmThroughput', updateWarmThroughput),
  stream(5)('StartStreamEncryption', startEncryption),
  stream(5)('StopStreamEncryption', stopEncryption),
  stream(5)('EnableEnhancedMonitoring', enableMonitoring),
  stream(5)('DisableEnhancedMonitoring', disableMonitoring),
  // Shards; ListShards may name its stream by a token
  ['ListShards', listShards],
  accountStream(5)('SplitShard', splitShard),
  accountStream(5)('MergeShards', mergeShards),
  accountStream(10)('UpdateShardCount', updateShardCount),
  // Records, whose limits are the shards'
  ['PutRecord', putRecord],
  ['PutRecords', putRecords],
  ['GetShardIterator', getShardIterator],
  ['GetRecords', getRecords],
  // Consumers; ListStreamConsumers may name its stream by a token
  accountStream(5)('RegisterStreamConsumer', registerStreamConsumer),
  stream(20)('DescribeStreamConsumer', describeStreamConsumer),
  ['ListStreamConsumers', listStreamConsumers],
  stream(5)('DeregisterStreamConsumer', deregisterStreamConsumer),
  // Tags and policies
  accountStream(5)('AddTagsToStream', addTagsToStream),
  accountStream(5)('RemoveTagsFromStream', removeTagsFromStream),
  accountStream(5)('ListTagsForStream', listTagsForStream),
  stream(5)('TagResource', tagResource),
  stream(5)('UntagResource', untagResource),
  stream(5)('ListTagsForResource', listTagsForResource),
  stream(5)('GetResourcePolicy', getResourcePolicy),
  stream(5)('PutResourcePolicy', putResourcePolicy),
  stream(5)('DeleteResourcePolicy', deleteResourcePolicy),
  // The account
  account(1)('DescribeLimits', describeLimits),
  account(5)('DescribeAccountSettings', describeAccountSettings),
  account(5)('UpdateAccountSettings', updateAccountSettings),
])
