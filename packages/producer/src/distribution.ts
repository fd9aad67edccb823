import {
  type Backoff,
  type Clock,
  classifyError,
  describeStream,
  type Kinesis,
  type Logger,
  type Random,
  retry,
} from '@shardwise/core'
import type { Distribution } from './lanes.ts'

export interface AskOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly signal: AbortSignal
}

/** DescribeStreamSummary is granted 20 times a second for a whole account. */
const BACKOFF: Backoff = { baseMs: 1_000, maxMs: 30_000 }

/** Asks who decides which shard takes a record. Undefined if that may not be asked. */
export async function askDistribution(options: AskOptions): Promise<Distribution | undefined> {
  const { kinesis, stream, clock, random, logger, signal } = options
  try {
    const { distributesByKey } = await retry(() => describeStream(kinesis, stream, signal), {
      clock,
      random,
      signal,
      backoff: BACKOFF,
      shouldRetry: (error) => classifyError(error) !== 'fatal',
    })
    return distributesByKey ? 'key' : 'service'
  } catch (error) {
    logger.warn(
      { err: error, stream },
      'records land in unexpected shards, and whether the stream distributes them itself may not be asked: grant kinesis:DescribeStreamSummary',
    )
    return undefined
  }
}
