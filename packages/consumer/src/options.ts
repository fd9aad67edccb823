import { hostname } from 'node:os'
import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb'
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
  type OptionCheck,
  OptionError,
  objectWith,
  type Random,
  systemClock,
} from '@shardwise/core'
import type { DynamoDB } from './dynamodb-table.ts'
import { LEADER_KEY } from './leader-lock.ts'
import type { InitialPosition } from './shard-sync.ts'
import type { ConsumerEvent } from './telemetry.ts'
import { uuid } from './uuid.ts'

export interface ConsumerOptions {
  /** The application: workers with the same name share the stream's shards. Also the name of its table. Required. */
  readonly application: string
  /** The stream's name or ARN. Required. */
  readonly stream: string
  /**
   * Names this worker; two that run at once must not share it. With a lasting name, a worker that is started again takes its
   * leases up at once. Default: host, process id and a random part.
   */
  readonly workerId?: string | undefined
  /** The DynamoDB table, if it isn't named as the application. */
  readonly tableName?: string | undefined
  /**
   * Where a new application starts: at the oldest record that the stream holds, at the tip, or at a time. Without effect once it
   * has leases. Default: `TRIM_HORIZON`, unlike the KCL's `LATEST`, with which the records put before the first worker is
   * up are never delivered.
   */
  readonly initialPosition?: InitialPosition | undefined
  /**
   * How long a worker may be silent until others take its leases, in milliseconds. Shorter means quicker take-overs, and more
   * writes to the table, and less patience with a pause of the process. All workers should have the same. Default: 10000, the KCL's.
   */
  readonly failoverTime?: number | undefined
  /**
   * How often a lease is renewed and its checkpoint written, both in one write, in milliseconds; at most half of
   * `failoverTime`. What was handled since the last one comes again after a crash. Default: a third of `failoverTime`.
   */
  readonly checkpointInterval?: number | undefined
  /** How many handlers may run at once, over all shards of the worker; always one a key. Default: 64. */
  readonly concurrency?: number | undefined
  /**
   * How much may be read ahead of the handler over all shards, in bytes. Each shard has an equal part. An answer of the
   * service may hold 10 MiB, and a shard with nothing left always reads one. Default: 128 MiB.
   */
  readonly maxBufferedBytes?: number | undefined
  /**
   * How many records of one shard may have been begun beyond its checkpoint; all of them may come again after a crash. One
   * that fails again and again stops its shard there. Default: 10000.
   */
  readonly maxAheadRecords?: number | undefined
  /**
   * From one read of a shard to the next, in milliseconds. All applications that poll a shard share 5 reads a second. Default:
   * 200.
   */
  readonly idleTimeBetweenReads?: number | undefined
  /** Kinesis records to ask for at once, 1 to 10000, the service's limit. Default: 10000. */
  readonly maxRecords?: number | undefined
  /**
   * Leaves out user records outside their shard's hash range, which a producer with an outdated shard map leaves behind in a
   * reshard and writes again. The KCL does so, with everything in the same aggregate. On service-managed streams it loses
   * records. Default: false; they are marked `misplaced`.
   */
  readonly dropMisplaced?: boolean | undefined
  /**
   * How long `close` and a handoff wait for handlers before they abort them, in milliseconds. Default: 10000, for a container
   * that gets 30 s to stop.
   */
  readonly closeTimeout?: number | undefined
  /** A Kinesis client to use; it stays yours to destroy. Default: an own one, with HTTP/1.1 and keep-alive. */
  readonly kinesis?: Kinesis | undefined
  /** Region, endpoint, credentials and so on of an own Kinesis client. */
  readonly kinesisConfig?: KinesisClientConfig | undefined
  /** A DynamoDB client to use; it stays yours to destroy. Default: an own one. */
  readonly dynamodb?: DynamoDB | undefined
  /** Region, endpoint, credentials and so on of an own DynamoDB client. */
  readonly dynamodbConfig?: DynamoDBClientConfig | undefined
  /** A pino logger, or anything like it. Default: warnings and errors as JSON on standard error. */
  readonly logger?: Logger | undefined
  /** Told of everything that happens; what it throws is logged. */
  readonly onEvent?: ((event: ConsumerEvent) => void) | undefined
  /** The source of time. Default: the machine's. */
  readonly clock?: Clock | undefined
  /** The source of chance, for backoff and ids. Default: `Math.random`. */
  readonly random?: Random | undefined
}

/** All options, with their defaults filled in. */
export type ResolvedOptions = {
  readonly [Name in Exclude<keyof ConsumerOptions, OptionalInside>]-?: Exclude<ConsumerOptions[Name], undefined>
} & Pick<ConsumerOptions, OptionalInside>

type OptionalInside = 'kinesis' | 'kinesisConfig' | 'dynamodb' | 'dynamodbConfig' | 'onEvent'

const initialPosition: OptionCheck = (value) => {
  if (value === 'TRIM_HORIZON' || value === 'LATEST') return undefined
  const { timestamp } = Object(value) as { timestamp?: unknown }
  const isTime = timestamp instanceof Date || typeof timestamp === 'number'
  return isTime && Number.isFinite(Number(timestamp))
    ? undefined
    : '"TRIM_HORIZON", "LATEST" or { timestamp: a Date or milliseconds since 1970 }'
}

// The table holds leases and the leader lock under names of their own.
const workerId: OptionCheck = (value) =>
  nonEmptyString(value) ??
  (value === LEADER_KEY || String(value).startsWith('shardId-')
    ? `a name other than "${LEADER_KEY}" that doesn't start with "shardId-"`
    : undefined)

/** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
export function resolveOptions(given: ConsumerOptions): ResolvedOptions {
  checkOptions<ConsumerOptions>(
    'Consumer',
    given,
    {
      application: nonEmptyString,
      stream: nonEmptyString,
      workerId,
      tableName: nonEmptyString,
      initialPosition,
      failoverTime: numberFrom(200, 3_600_000),
      checkpointInterval: numberFrom(10),
      concurrency: integerFrom(1),
      maxBufferedBytes: integerFrom(1),
      maxAheadRecords: integerFrom(1),
      idleTimeBetweenReads: numberFrom(0, 60_000),
      maxRecords: integerFrom(1, 10_000),
      dropMisplaced: boolean,
      closeTimeout: numberFrom(0, 3_600_000),
      kinesis: objectWith('send'),
      kinesisConfig: objectWith(),
      dynamodb: objectWith('send'),
      dynamodbConfig: objectWith(),
      logger: objectWith('debug', 'info', 'warn', 'error'),
      onEvent: func,
      clock: objectWith('monotonicMs', 'wallMs', 'sleep'),
      random: func,
    },
    ['application', 'stream'],
  )
  const failoverTime = given.failoverTime ?? 10_000
  const checkpointInterval = given.checkpointInterval ?? failoverTime / 3
  if (checkpointInterval > failoverTime / 2) {
    throw new OptionError(
      'checkpointInterval',
      `Consumer: option "checkpointInterval" must be at most half of failoverTime (${failoverTime / 2} ms), so that a ` +
        `lease survives one lost heartbeat, got ${checkpointInterval}.`,
    )
  }
  const random = given.random ?? Math.random
  return {
    application: given.application,
    stream: given.stream,
    workerId: given.workerId ?? `${hostname()}-${process.pid}-${uuid(random).slice(0, 8)}`,
    tableName: given.tableName ?? given.application,
    initialPosition: given.initialPosition ?? 'TRIM_HORIZON',
    failoverTime,
    checkpointInterval,
    concurrency: given.concurrency ?? 64,
    maxBufferedBytes: given.maxBufferedBytes ?? 128 * 2 ** 20,
    maxAheadRecords: given.maxAheadRecords ?? 10_000,
    idleTimeBetweenReads: given.idleTimeBetweenReads ?? 200,
    maxRecords: given.maxRecords ?? 10_000,
    dropMisplaced: given.dropMisplaced ?? false,
    closeTimeout: given.closeTimeout ?? 10_000,
    kinesis: given.kinesis,
    kinesisConfig: given.kinesisConfig,
    dynamodb: given.dynamodb,
    dynamodbConfig: given.dynamodbConfig,
    logger: given.logger ?? defaultLogger(),
    onEvent: given.onEvent,
    clock: given.clock ?? systemClock,
    random,
  }
}
