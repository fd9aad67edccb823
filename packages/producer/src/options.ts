import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'
import {
  boolean,
  type Clock,
  checkOptions,
  defaultLogger,
  func,
  integerFrom,
  type Kinesis,
  type Logger,
  nonEmptyString,
  numberFrom,
  objectWith,
  type Random,
  systemClock,
} from '@shardwise/core'
import type { ProducerEvent } from './telemetry.ts'
import { MAX_AGGREGATE_BYTES, MAX_RECORD_BYTES } from './user-record.ts'

/** Options of a {@link Producer}. Names and defaults are the KPL's unless said otherwise. Times are in milliseconds. */
export interface ProducerOptions {
  /** The stream's name or ARN. Required. */
  readonly stream: string
  /**
   * A Kinesis client of yours. Turn its own retries off (`maxAttempts: 1`): they hide that a record may have been written
   * twice. It is not destroyed on close. Default: one of the producer's own.
   */
  readonly client?: Kinesis
  /** For the producer's own client: region, endpoint, credentials and so on. Default: the SDK's default chain. */
  readonly clientConfig?: KinesisClientConfig
  /** Whether user records share Kinesis records, in the KPL's format. Default true. */
  readonly aggregation?: boolean
  /** Bytes at which an aggregate is sent without waiting for more. Default 51,200. It grows larger while its shard can't take it. */
  readonly aggregationMaxSize?: number
  /** User records in an aggregate, at most. Default 4,294,967,295. */
  readonly aggregationMaxCount?: number
  /** Kinesis records in a request, at most. Default 500, the service's limit. */
  readonly collectionMaxCount?: number
  /** Bytes in a request, at most. Default 10 MiB, the service's limit; the KPL stays at the 5 MiB it once was. */
  readonly collectionMaxSize?: number
  /** How long a user record waits for others to share its aggregate. Default 100; 0 sends at once. */
  readonly recordMaxBufferedTime?: number
  /** How long a record may take from `put` to its acknowledgement. Default 30,000. */
  readonly recordTtl?: number
  /**
   * How fast a shard is written to at most, in percent of its limits of 1 MiB/s and 1,000 Kinesis records/s. Default 150:
   * above the limits, since throttling slows the producer down by itself. Infinity for none.
   */
  readonly rateLimit?: number
  /**
   * Bytes that may be outstanding, an overhead of 600 bytes a record included. Beyond it `put` waits in line, and
   * beyond twice as much it is refused. Default 64 MiB. The KPL has no bound.
   */
  readonly maxOutstandingBytes?: number
  /** PutRecords calls in flight, at most. Default 16: with fewer, a slow shard's request holds up other shards' sooner. */
  readonly maxRequestsInFlight?: number
  /** A pino-compatible logger. Default: warnings and errors on standard error. */
  readonly logger?: Logger
  /** Told of what happens inside. What it throws is logged and ignored. */
  readonly onEvent?: (event: ProducerEvent) => void
  /** Time; for tests. */
  readonly clock?: Clock
  /** Randomness of the backoff; for tests. Default `Math.random`. */
  readonly random?: Random
}

export type ResolvedOptions = Required<Omit<ProducerOptions, 'client' | 'clientConfig'>> &
  Pick<ProducerOptions, 'client' | 'clientConfig'>

/** @throws {OptionError} for an option that is unknown, missing or out of range */
export function resolveOptions(given: ProducerOptions): ResolvedOptions {
  checkOptions<ProducerOptions>(
    'Producer',
    given,
    {
      stream: nonEmptyString,
      client: objectWith('send'),
      clientConfig: objectWith(),
      aggregation: boolean,
      aggregationMaxSize: integerFrom(64, MAX_RECORD_BYTES),
      aggregationMaxCount: integerFrom(1),
      collectionMaxCount: integerFrom(1, 500),
      collectionMaxSize: integerFrom(MAX_RECORD_BYTES, 10 * 2 ** 20),
      recordMaxBufferedTime: numberFrom(0),
      recordTtl: numberFrom(100),
      rateLimit: numberFrom(1),
      maxOutstandingBytes: integerFrom(MAX_RECORD_BYTES),
      maxRequestsInFlight: integerFrom(1),
      logger: objectWith('debug', 'info', 'warn', 'error'),
      onEvent: func,
      clock: objectWith('monotonicMs', 'wallMs', 'sleep'),
      random: func,
    },
    ['stream'],
  )
  const options = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as ProducerOptions
  return {
    aggregation: true,
    aggregationMaxCount: 2 ** 32 - 1,
    collectionMaxCount: 500,
    collectionMaxSize: 10 * 2 ** 20,
    recordMaxBufferedTime: 100,
    recordTtl: 30_000,
    rateLimit: 150,
    maxOutstandingBytes: 64 * 2 ** 20,
    maxRequestsInFlight: 16,
    onEvent: () => {},
    clock: systemClock,
    random: Math.random,
    ...options,
    logger: options.logger ?? defaultLogger(),
    aggregationMaxSize: Math.min(options.aggregationMaxSize ?? 51_200, MAX_AGGREGATE_BYTES),
  }
}
