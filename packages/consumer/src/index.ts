export { Consumer, type ConsumerStatus, type Handlers, type LeaseStatus } from './consumer.ts'
export { ConsumerError, type ConsumerErrorCode, type ConsumerErrorOptions } from './errors.ts'
export {
  type Assign,
  type AssignableLease,
  type AssignableWorker,
  assignByCount,
  type Move,
} from './leases/assignment.ts'
export type { DynamoDB } from './leases/items-table.ts'
export type { InitialPosition } from './leases/shard-sync.ts'
export type { ConsumerOptions } from './options.ts'
export type { ConsumerRecord } from './processing/consumer-record.ts'
export type { EachRecord, HandlerContext } from './processing/handler-pool.ts'
export type { ShardState, ShardStatus } from './processing/shard-consumer.ts'
export type { FoundStream, StreamChoice, StreamSelection } from './streams/stream-finder.ts'
export type { ReadOptions, ReadShardOptions, ReadStreamOptions, RecordPlace, Records } from './tail/read-options.ts'
export { readShard } from './tail/read-shard.ts'
export { readStream } from './tail/read-stream.ts'
export type { ConsumerEvent, FleetEvent, StreamEvent } from './telemetry/telemetry.ts'
