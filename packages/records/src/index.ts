export { AggregateBuilder, type AggregateBuilderOptions } from './aggregate-builder.ts'
export { AGGREGATE_MAGIC, AGGREGATE_OVERHEAD_BYTES } from './aggregate-format.ts'
export { type AggregateReader, type OpenedAggregate, openAggregate } from './aggregate-reader.ts'
export { type Deaggregated, deaggregate } from './deaggregate.ts'
export { RecordsError, type RecordsErrorCode } from './errors.ts'
export { type HashKey, hashKeyOf, MAX_HASH_KEY, parseHashKey, tryParseHashKey } from './hash-key.ts'
export {
  contains,
  FULL_HASH_RANGE,
  findHoles,
  findOverlaps,
  type HashRange,
  overlaps,
  splitEvenly,
} from './hash-range.ts'
export { isMisplaced } from './misplaced.ts'
export {
  AT_TIMESTAMP,
  comparePositions,
  compareSequenceNumbers,
  isSentinel,
  LATEST,
  type Position,
  SHARD_END,
  TRIM_HORIZON,
} from './position.ts'
export { ShardMap, type ShardRange } from './shard-map.ts'
export type { KinesisRecordOut, UserRecordInput, UserRecordView } from './user-record.ts'
