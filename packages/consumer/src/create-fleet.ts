import type { Kinesis } from '@shardwise/core'
import { Fleet } from './fleet.ts'
import { type EachRecord, HandlerPool } from './handler-pool.ts'
import type { ResolvedOptions } from './options.ts'
import { type Retention, StreamRetention } from './retention.ts'
import { ShardConsumer } from './shard-consumer.ts'
import type { Table } from './table.ts'
import type { Telemetry } from './telemetry.ts'

export interface FleetParts {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly options: ResolvedOptions
  readonly telemetry: Telemetry
  /** Default: asks the stream. */
  readonly retention?: Retention | undefined
}

/** A child is started within this time after its parents have ended. */
const MAX_PARENT_POLL_MS = 1_000

/** Puts a worker together: the fleet finds leases, a shard consumer lives for each, one pool runs all handlers. */
export function createFleet(
  eachRecord: EachRecord,
  { table, kinesis, options, telemetry, retention = new StreamRetention({ ...options, kinesis }) }: FleetParts,
): Fleet<ShardConsumer> {
  const { stream, failoverTime, maxBufferedBytes } = options
  const context = {
    ...options,
    table,
    kinesis,
    telemetry,
    retention,
    pool: new HandlerPool(eachRecord, options),
    streamName: stream.slice(stream.lastIndexOf('/') + 1),
    parentPollMs: Math.min(MAX_PARENT_POLL_MS, failoverTime / 10),
    bufferShare: (): number => maxBufferedBytes / Math.max(1, fleet.shards.length),
  }
  const fleet: Fleet<ShardConsumer> = new Fleet({
    ...options,
    table,
    kinesis,
    telemetry,
    consume: (holder) => new ShardConsumer(holder, context),
  })
  return fleet
}
