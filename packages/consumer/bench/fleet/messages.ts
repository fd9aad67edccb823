import type { ConsumerOptions } from '@shardwise/consumer'
import type { LocalClientConfig } from '@shardwise/local'

export const APPLICATION = 'fleet'
export const STREAM = 'flights'

export interface WorkerConfig {
  readonly workerId: string
  readonly kinesis: LocalClientConfig
  readonly dynamodb: LocalClientConfig
  readonly options: Pick<ConsumerOptions, 'idleTimeBetweenReads'>
}

/** Requests to DynamoDB so far, by operation. */
export type Requests = Readonly<Record<string, number>>

/** What a worker is told. */
export type Order = 'run' | 'close' | 'count'

/** What it tells. Times are the machine's: `nowMs`. */
export type News =
  | { readonly type: 'ready' }
  | { readonly type: 'delivery'; readonly shardId: string; readonly position: string; readonly atMs: number }
  | { readonly type: 'event'; readonly text: string; readonly atMs: number }
  | { readonly type: 'leads'; readonly leads: boolean }
  | { readonly type: 'counted'; readonly requests: Requests }
