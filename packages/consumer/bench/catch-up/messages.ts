import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb'
import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'

export const STREAM = 'bench'
export const DATA_BYTES = 100
/** What the KPL makes aggregates of by default. */
export const AGGREGATE_BYTES = 51_200

/** User records, each of the keys in turn. */
export interface Load {
  readonly keys: number
  readonly userRecords: number
}

/** What the server replays. */
export interface Replay {
  readonly shards: number
  readonly load: Load
  /** How often it comes, each time under other sequence numbers; then the shards are empty. */
  readonly repeats: number
}

/** What the server tells first. */
export interface Listening {
  readonly port: number
}

/**
 * How far the client process goes with what it reads: only GetRecords, taking the aggregates apart as well, or all of it with
 * a consumer whose handler returns nothing or a promise.
 */
export type Depth = 'read' | 'deaggregated' | 'handled' | 'awaited'

export interface ClientConfig {
  readonly depth: Depth
  readonly retrieval: 'polling' | 'fanOut'
  readonly shards: number
  /** In all shards together. */
  readonly userRecords: number
  readonly kinesis: KinesisClientConfig
  readonly dynamodb: DynamoDBClientConfig
  /** Distinguishes the lease tables of the runs. */
  readonly application: string
}

export interface Figures {
  /** Of the whole process, in microseconds a user record. */
  readonly cpuUser: number
  readonly cpuSystem: number
  readonly perSecond: number
  readonly peakMiB: number
}
