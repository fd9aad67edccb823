export { type Codec, CodecError, type Decoder, type TraceContext } from '@shardwise/core'
export { Consumer, type ConsumerStatus, type LeaseStatus } from './consumer.ts'
export { ConsumerError, type ConsumerErrorCode, type ConsumerErrorOptions } from './errors.ts'
export {
  type Assign,
  type AssignableLease,
  type AssignableWorker,
  assignByCount,
  type Move,
} from './leases/assignment.ts'
export type { DynamoDB } from './leases/items-table.ts'
export type { PendingCheckpoint } from './leases/lease.ts'
export type { ResetLease } from './leases/reset.ts'
export type { ResetOptions, ResetPosition } from './leases/reset-options.ts'
export type { InitialPosition } from './leases/shard-sync.ts'
export type { ConsumerOptions } from './options.ts'
export type { ConsumerRecord } from './processing/consumer-record.ts'
export type { DeadLetter, DeadLetterOrigin, SendDeadLetter } from './processing/dead-letter.ts'
export type { FailurePolicy } from './processing/failure-policy.ts'
export { fileDeadLetter } from './processing/file-dead-letter.ts'
export type {
  BatchContext,
  EachBatch,
  EachRecord,
  HandlerContext,
  PreparedCheckpoint,
} from './processing/handlers.ts'
export type { Pausable } from './processing/pauses.ts'
export type { HeldShardInfo, HookContext, ShardHook, ShardHooks } from './processing/shard-hooks.ts'
export type { ShardState, ShardStatus, StoppedShard, UnfinishedRecord } from './processing/shard-status.ts'
export type { BatchHandlers, Handlers, RecordHandlers } from './run-options.ts'
export type { FoundStream, StreamChoice, StreamSelection } from './streams/stream-finder.ts'
export type { ReadOptions, ReadShardOptions, ReadStreamOptions, RecordPlace, Records } from './tail/read-options.ts'
export { readShard } from './tail/read-shard.ts'
export { readStream } from './tail/read-stream.ts'
export type { ConsumerEvent, FleetEvent, StreamEvent } from './telemetry/telemetry.ts'
