import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'
import {
  type Clock,
  checkOptions,
  defaultLogger,
  func,
  integerFrom,
  type Kinesis,
  type Logger,
  nonEmptyString,
  numberFrom,
  type OptionCheck,
  type OptionChecks,
  objectWith,
  type Random,
  systemClock,
} from '@shardwise/core'
import { type InitialPosition, isInitialPosition } from '../leases/shard-sync.ts'
import type { ConsumerRecord } from '../processing/consumer-record.ts'

/** What {@link readShard} and {@link readStream} have in common. */
export interface ReadOptions {
  /** The stream's name or ARN. Required. */
  readonly stream: string
  /** Aborting it ends the iteration, without an error. */
  readonly signal?: AbortSignal | undefined
  /**
   * How much may be read ahead of the loop over all shards, in bytes. An answer of the service may hold 10 MiB, and a shard with
   * nothing left always reads one. Default: 16 MiB.
   */
  readonly maxBufferedBytes?: number | undefined
  /**
   * From one read of a shard to the next, in milliseconds. All applications that poll a shard share 5 reads a second. Default:
   * 200.
   */
  readonly idleTimeBetweenReads?: number | undefined
  /** Kinesis records to ask for at once, 1 to 10000, the service's limit. Default: 10000. */
  readonly maxRecords?: number | undefined
  /** A Kinesis client to use; it stays yours to destroy. Default: an own one, with HTTP/1.1 and keep-alive. */
  readonly kinesis?: Kinesis | undefined
  /** Region, endpoint, credentials and so on of an own Kinesis client. */
  readonly kinesisConfig?: KinesisClientConfig | undefined
  /** A pino logger, or anything like it. Default: warnings and errors as JSON on standard error. */
  readonly logger?: Logger | undefined
  /** The source of time. Default: the machine's. */
  readonly clock?: Clock | undefined
  /** The source of chance, for backoff. Default: `Math.random`. */
  readonly random?: Random | undefined
}

/**
 * User records as they are read: for a `for await` loop, or to be asked for by hand, several at once too. It is left by
 * `break`, `return()`, `throw()`, disposal, or the `signal` of the options: then calls and timers end, and an own client is
 * destroyed, before the promise is fulfilled.
 */
export interface Records extends AsyncIterableIterator<ConsumerRecord, undefined>, AsyncDisposable {
  return(): Promise<IteratorReturnResult<undefined>>
  throw(error: unknown): Promise<IteratorReturnResult<undefined>>
}

export interface ReadStreamOptions extends ReadOptions {
  /**
   * Where to start: at the oldest record that the stream holds; at the tip, as of the call, give or take the second that the
   * service's clock is read to; or with what has arrived since a time. Default: `TRIM_HORIZON`.
   */
  readonly from?: InitialPosition | undefined
}

export interface ReadShardOptions extends ReadOptions {
  /** Required. */
  readonly shardId: string
  /**
   * Where to start: at the oldest record that the shard holds; at the tip, as of the call, give or take the second that the
   * service's clock is read to; with what has arrived since a time; or with a record, inside its aggregate too. Default:
   * `TRIM_HORIZON`.
   */
  readonly from?: InitialPosition | RecordPlace | undefined
}

/** A user record's place in its shard, as `ConsumerRecord` tells it. */
export interface RecordPlace {
  readonly sequenceNumber: string
  /** Default: 0. */
  readonly subSequenceNumber?: number | undefined
}

/** All common options, with their defaults filled in. */
export type ResolvedReadOptions = {
  readonly [Name in Exclude<keyof ReadOptions, OptionalInside>]-?: Exclude<ReadOptions[Name], undefined>
} & Pick<ReadOptions, OptionalInside>

type OptionalInside = 'signal' | 'kinesis' | 'kinesisConfig'

export function isRecordPlace(value: unknown): value is RecordPlace {
  const { sequenceNumber, subSequenceNumber = 0 } = Object(value) as { [Name in keyof RecordPlace]?: unknown }
  return (
    typeof sequenceNumber === 'string' &&
    /^\d+$/.test(sequenceNumber) &&
    Number.isInteger(subSequenceNumber) &&
    Number(subSequenceNumber) >= 0
  )
}

const INITIAL_POSITIONS = '"TRIM_HORIZON", "LATEST" or { timestamp: a Date or milliseconds since 1970 }'

const initialPosition: OptionCheck = (value) => (isInitialPosition(value) ? undefined : INITIAL_POSITIONS)
const anyPosition: OptionCheck = (value) =>
  isInitialPosition(value) || isRecordPlace(value)
    ? undefined
    : `${INITIAL_POSITIONS}, or { sequenceNumber: decimal digits, subSequenceNumber?: a whole number from 0 }`

const CHECKS: OptionChecks<ReadOptions> = {
  stream: nonEmptyString,
  signal: objectWith('addEventListener', 'removeEventListener', 'throwIfAborted'),
  maxBufferedBytes: integerFrom(1),
  idleTimeBetweenReads: numberFrom(0, 60_000),
  maxRecords: integerFrom(1, 10_000),
  kinesis: objectWith('send'),
  kinesisConfig: objectWith(),
  logger: objectWith('debug', 'info', 'warn', 'error'),
  clock: objectWith('monotonicMs', 'wallMs', 'sleep'),
  random: func,
}

/** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
export function resolveStreamOptions(given: ReadStreamOptions): ResolvedReadOptions {
  checkOptions<ReadStreamOptions>('readStream', given, { ...CHECKS, from: initialPosition }, ['stream'])
  return resolved(given)
}

/** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
export function resolveShardOptions(given: ReadShardOptions): ResolvedReadOptions {
  const checks = { ...CHECKS, shardId: nonEmptyString, from: anyPosition }
  checkOptions<ReadShardOptions>('readShard', given, checks, ['stream', 'shardId'])
  return resolved(given)
}

function resolved(given: ReadOptions): ResolvedReadOptions {
  return {
    stream: given.stream,
    signal: given.signal,
    maxBufferedBytes: given.maxBufferedBytes ?? 16 * 2 ** 20,
    idleTimeBetweenReads: given.idleTimeBetweenReads ?? 200,
    maxRecords: given.maxRecords ?? 10_000,
    kinesis: given.kinesis,
    kinesisConfig: given.kinesisConfig,
    logger: given.logger ?? defaultLogger(),
    clock: given.clock ?? systemClock,
    random: given.random ?? Math.random,
  }
}
