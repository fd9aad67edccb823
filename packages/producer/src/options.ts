import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'
import {
  boolean,
  type Clock,
  checkOptions,
  defaultLogger,
  type Encoder,
  encoder,
  encoderOf,
  func,
  integerFrom,
  type Kinesis,
  type Logger,
  nonEmptyString,
  numberFrom,
  type OptionCheck,
  OptionError,
  objectWith,
  oneOf,
  type Random,
  systemClock,
} from '@shardwise/core'
import type { ProducerError } from './errors.ts'
import type { ProducerEvent } from './telemetry.ts'
import { LARGEST_RECORD_BYTES, MAX_RECORD_BYTES } from './user-record.ts'

/** What a producer works with, handed in. */
export interface ProducerEnvironment<Value = Uint8Array | string> {
  /**
   * A Kinesis client of yours. Turn its own retries off (`maxAttempts: 1`): they hide that a record may have been written
   * twice. It is not destroyed on close. Default: one of the producer's own.
   */
  readonly client?: Kinesis
  /** For the producer's own client: region, endpoint, credentials and so on. Default: the SDK's default chain. */
  readonly clientConfig?: KinesisClientConfig
  /** A pino-compatible logger. Default: warnings and errors on standard error. */
  readonly logger?: Logger
  /** Told of what happens inside. What it throws is logged and ignored. */
  readonly onEvent?: (event: ProducerEvent) => void
  /**
   * Told of every record that could not be put. With it a `put` that nobody awaits is no unhandled rejection; one that is
   * awaited rejects all the same. What it throws is logged and ignored.
   */
  readonly onError?: (error: ProducerError<Value>) => void
  /** Time; for tests. */
  readonly clock?: Clock
  /** Randomness of the backoff; for tests. Default `Math.random`. */
  readonly random?: Random
}

/** Options of a {@link Producer}. Names and defaults are the KPL's unless said otherwise. Times are in milliseconds. */
export interface ProducerOptions<Value = Uint8Array | string> extends ProducerEnvironment<Value> {
  /** The stream that a `put` without one goes to, by name or ARN. Default: every `put` names its own. */
  readonly stream?: string
  /**
   * Makes bytes of what `put` is given: an object with `encode`, or a Standard Schema (of Zod, Valibot, ArkType…) by which a
   * value is checked before it is written as JSON. Default: `data` is bytes or a string.
   */
  readonly codec?: Encoder<Value>
  /**
   * Whether user records share Kinesis records, in the KPL's format. Default true: wherever readers can tell where a record
   * belongs. `'always'`: also on streams that distribute records by themselves, where a KCL drops aggregates silently.
   */
  readonly aggregation?: boolean | 'always'
  /** `'key'`, the default: records of a hash key are in the stream in the order of their `put`. `'none'`: more are in flight to a shard, in any order. */
  readonly ordering?: 'key' | 'none'
  /** Bytes at which an aggregate is sent without waiting for more. Default 51,200. It grows larger while its shard can't take it. */
  readonly aggregationMaxSize?: number
  /** User records in an aggregate, at most. Default 4,294,967,295. */
  readonly aggregationMaxCount?: number
  /** Kinesis records in a request, at most. Default 500, the service's limit. */
  readonly collectionMaxCount?: number
  /**
   * Bytes in a request, at most, unless a single Kinesis record has more. Default 10 MiB, the service's limit; the KPL stays at
   * the 5 MiB it once was.
   */
  readonly collectionMaxSize?: number
  /** How long a user record waits for others to share its aggregate, half of `recordTtl` at most. Default 100; 0 sends at once when its shard is idle. */
  readonly recordMaxBufferedTime?: number
  /**
   * How long a record may take from `put` to its acknowledgement; a request that is under way then is waited for. Default
   * 30,000.
   */
  readonly recordTtl?: number
  /**
   * How long a request may take. Then it is given up, and what was in it goes again: it may be in the stream twice. Default
   * 10,000, or half of `recordTtl` if that is less. The KPL's 6,000 is for requests of half the size.
   */
  readonly requestTimeout?: number
  /**
   * How fast a shard is written to at most, in percent of its limits of 1 MiB/s and 1,000 Kinesis records/s. Default 150:
   * above the limits, since throttling slows the producer down by itself. Infinity, and any on-demand stream: as fast as
   * throttling lets it.
   */
  readonly rateLimit?: number
  /** Whether a record that is throttled fails at once with `ERR_THROTTLED`, instead of going again. Default false. */
  readonly failIfThrottled?: boolean
  /**
   * Bytes that may be outstanding, an overhead of 600 bytes a record included. Beyond it `put` waits in line, and
   * beyond twice as much it is refused. Default 64 MiB. The KPL has no bound.
   */
  readonly maxOutstandingBytes?: number
  /** PutRecords calls in flight to a stream, at most. Default 16: with fewer, a slow shard's request holds up other shards' sooner. */
  readonly maxRequestsInFlight?: number
}

type Handed = 'stream' | 'client' | 'clientConfig' | 'onError'

/** Options with their defaults. */
export interface ResolvedOptions<Value = Uint8Array | string>
  extends Required<Omit<ProducerOptions<Value>, Handed | 'codec'>>,
    Pick<ProducerOptions<Value>, Handed> {
  readonly encode: ((value: Value) => Uint8Array | string) | undefined
}

/** Node's timers know no longer time. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1

/** Longest time after which a request is given up, unless asked for otherwise. */
const REQUEST_TIMEOUT_MS = 10_000

const aggregation: OptionCheck = (value) =>
  value === 'always' || boolean(value) === undefined ? undefined : 'true, false or "always"'

/** @throws {OptionError} for an option that is unknown or out of range */
export function resolveOptions<Value>(given: ProducerOptions<Value>): ResolvedOptions<Value> {
  checkOptions<ProducerOptions<Value>>('Producer', given, {
    stream: nonEmptyString,
    client: objectWith('send'),
    clientConfig: objectWith(),
    codec: encoder,
    aggregation,
    ordering: oneOf('key', 'none'),
    aggregationMaxSize: integerFrom(64, LARGEST_RECORD_BYTES),
    aggregationMaxCount: integerFrom(1),
    collectionMaxCount: integerFrom(1, 500),
    collectionMaxSize: integerFrom(52_224, 10 * 2 ** 20),
    recordMaxBufferedTime: numberFrom(0),
    recordTtl: numberFrom(100, Number.MAX_SAFE_INTEGER),
    requestTimeout: numberFrom(50, LONGEST_TIMEOUT_MS),
    rateLimit: numberFrom(1),
    failIfThrottled: boolean,
    maxOutstandingBytes: integerFrom(MAX_RECORD_BYTES),
    maxRequestsInFlight: integerFrom(1),
    logger: objectWith('debug', 'info', 'warn', 'error'),
    onEvent: func,
    onError: func,
    clock: objectWith('monotonicMs', 'wallMs', 'sleep'),
    random: func,
  })
  if (given.client !== undefined && given.clientConfig !== undefined) {
    throw new OptionError(
      'clientConfig',
      'Producer: got both "client" and "clientConfig". Give a client of yours, or the configuration of the producer\'s own.',
    )
  }
  const options = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as ProducerOptions<Value>
  const { codec, ...others } = options
  const recordTtl = options.recordTtl ?? 30_000
  return {
    aggregation: true,
    ordering: 'key',
    aggregationMaxSize: 51_200,
    aggregationMaxCount: 2 ** 32 - 1,
    collectionMaxCount: 500,
    collectionMaxSize: 10 * 2 ** 20,
    recordTtl,
    requestTimeout: Math.min(REQUEST_TIMEOUT_MS, recordTtl / 2),
    rateLimit: 150,
    failIfThrottled: false,
    maxOutstandingBytes: 64 * 2 ** 20,
    maxRequestsInFlight: 16,
    onEvent: () => {},
    clock: systemClock,
    random: Math.random,
    ...others,
    // What waits until it expires is never sent.
    recordMaxBufferedTime: Math.min(options.recordMaxBufferedTime ?? 100, recordTtl / 2),
    logger: options.logger ?? defaultLogger(),
    encode: codec === undefined ? undefined : encoderOf(codec),
  }
}
