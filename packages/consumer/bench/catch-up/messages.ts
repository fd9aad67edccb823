import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb'
import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'

export const STREAM = 'bench'
export const DATA_BYTES = 100
/** What the KPL makes aggregates of by default. */
export const AGGREGATE_BYTES = 51_200

/** What the server replays. */
export interface Replay {
  readonly shards: number
  readonly keys: number
  /** How many user records it makes. */
  readonly userRecords: number
  /** How often they come, each time under other sequence numbers; then the shards are empty. */
  readonly repeats: number
}

export type ServerReport = { readonly port: number } | { readonly cpuMicroseconds: number }

/**
 * How far the client process goes with what it reads: only GetRecords, taking the aggregates apart as well, or all of it with
 * a consumer whose handler returns nothing or a promise.
 */
export type Depth = 'read' | 'deaggregated' | 'handled' | 'awaited'

export interface ClientConfig {
  readonly depth: Depth
  readonly shards: number
  /** In all shards together. */
  readonly userRecords: number
  readonly kinesis: KinesisClientConfig
  readonly dynamodb: DynamoDBClientConfig
  /** Distinguishes the lease tables of the runs. */
  readonly application: string
}

export interface Figures {
  readonly userRecords: number
  /** Of the whole process, in microseconds. */
  readonly cpuUser: number
  readonly cpuSystem: number
  readonly seconds: number
  readonly peakRssMiB: number
}
