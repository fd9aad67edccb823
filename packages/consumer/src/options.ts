import { hostname } from 'node:os'
import type { DynamoDBClientConfig } from '@aws-sdk/client-dynamodb'
import type { KinesisClientConfig } from '@aws-sdk/client-kinesis'
import {
  boolean,
  type Clock,
  checkOptions,
  type Decoder,
  decoder,
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
  oneOf,
  type Random,
  systemClock,
} from '@shardwise/core'
import { type Assign, assignByCount } from './leases/assignment.ts'
import type { DynamoDB } from './leases/items-table.ts'
import { LEADER_KEY } from './leases/leader-lock.ts'
import { type InitialPosition, isInitialPosition } from './leases/shard-sync.ts'
import { TABLE_MIGRATION_KEY, VERSION_KEY } from './leases/table-state.ts'
import type { SendDeadLetter } from './processing/dead-letter.ts'
import type { FailurePolicy } from './processing/failure-policy.ts'
import { isListOfStreams, STREAM_CHOICE, type StreamSelection } from './streams/stream-finder.ts'
import type { ConsumerEvent } from './telemetry/telemetry.ts'
import { uuid } from './uuid.ts'

/** @typeParam Value what `record.value` is: what the `codec` makes of a record's data */
export interface ConsumerOptions<Value = undefined> {
  /** The application: workers with the same name share the stream's shards. Also the name of its table. Required. */
  readonly application: string
  /** The stream's name or ARN. This or `streams` is required. */
  readonly stream?: string | undefined
  /**
   * Several streams: a list, which may hold ARNs of other accounts; a function that gives the list, asked every minute; or a
   * predicate, by which every stream of the account and region is judged every minute. A stream that is added is read from its
   * initial position; one that is removed is given up, and its leases are deleted after `formerStreamWaitMs`. The leases of
   * such an application can't be used with `stream`, nor the other way round.
   */
  readonly streams?: StreamSelection | undefined
  /** How long the leases of a stream that is none of the application's any more are kept, in milliseconds. Default: 1 hour. */
  readonly formerStreamWaitMs?: number | undefined
  /**
   * Names this worker; two that run at once must not share it: the one that started first ends with `ERR_STATE`. With a lasting name, a worker that is started again takes its
   * leases up at once. Default: host, process id and a random part.
   */
  readonly workerId?: string | undefined
  /** The DynamoDB table, if it isn't named as the application. */
  readonly tableName?: string | undefined
  /** How the table is billed if it has to be created. Default: `PAY_PER_REQUEST`. */
  readonly tableBillingMode?: 'PAY_PER_REQUEST' | 'PROVISIONED' | undefined
  /** Units of a table created with `PROVISIONED`; the same for its index. Default: 10, the KCL's. */
  readonly tableReadCapacity?: number | undefined
  /** Units of a table created with `PROVISIONED`; the same for its index. Default: 10, the KCL's. */
  readonly tableWriteCapacity?: number | undefined
  /** Tags of a table that is created. Needs `dynamodb:TagResource`. */
  readonly tableTags?: Readonly<Record<string, string>> | undefined
  /** Whether a table that is created is protected against deletion. Default: false. */
  readonly tableDeletionProtection?: boolean | undefined
  /** Whether a table that is created keeps point-in-time backups. Needs `dynamodb:UpdateContinuousBackups`. Default: false. */
  readonly tablePointInTimeRecovery?: boolean | undefined
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
   * How soon a checkpoint that has moved is written, in milliseconds. What was handled since the last one comes again after a
   * crash. The write is the lease's renewal too: a lease whose checkpoint stands still is renewed every 0.45 of `failoverTime`,
   * the most this option can be. Default: a third of `failoverTime`.
   */
  readonly checkpointIntervalMs?: number | undefined
  /** How many leases this worker takes at most. Beyond what all take together, shards stay unread. Default: no limit. */
  readonly maxLeases?: number | undefined
  /** Decides, on the worker that leads, which lease goes to whom. All workers should have the same. Default: {@link assignByCount}. */
  readonly assign?: Assign | undefined
  /**
   * How many handlers may run at once, over all shards of the worker; which of them side by side, `ordering` says. A shard that is
   * one of several leaves up to 8 places, a quarter at most, to the others. Default: 64.
   */
  readonly concurrency?: number | undefined
  /**
   * What is handled one after the other: the records of a `key`, of which a shard has many side by side; those of a `shard`; or
   * nothing (`none`). Default: `key`.
   */
  readonly ordering?: 'key' | 'shard' | 'none' | undefined
  /**
   * What makes `record.value` of a record's data: a codec's `decode`, or a Standard Schema (zod, valibot, arktype, …), which gets the
   * data as parsed JSON; either may give a promise. A record that it refuses isn't tried again: `failurePolicy` decides. Default:
   * none, and `value` is undefined.
   */
  readonly codec?: Decoder<Value> | undefined
  /**
   * How many times a record is tried, with a growing pause in between, before `failurePolicy` decides. Default: 10, which takes about
   * 40 s, 81 s at most, besides the attempts themselves.
   */
  readonly maxAttempts?: number | undefined
  /** For how long after its first failure a record is tried again, in milliseconds, if `maxAttempts` leaves any. Default: no limit. */
  readonly maxAgeMs?: number | undefined
  /**
   * How long one call of the handler, or of `deadLetter`, may take, in milliseconds; then its signal is aborted, and its attempt has failed once it settles.
   * One that doesn't heed its signal within `closeTimeout` has failed for good. Default: no limit.
   */
  readonly handlerTimeoutMs?: number | undefined
  /**
   * What becomes of a record that failed for good, or can't be decoded. `stop`: its shard stops there and is tried again every
   * `stoppedRetryMs`; nothing is passed over. `deadLetter`: `deadLetter` gets it, then the shard goes on. `skip`: the shard goes on
   * without it, and an event and the log say so. Default: `stop`; with `deadLetter` given, `deadLetter`.
   */
  readonly failurePolicy?: FailurePolicy | undefined
  /**
   * Takes a record that failed for good, and keeps it somewhere. It counts as finished when the promise has resolved; one that fails is
   * tried again without end, and the record's key waits. After a crash the same may come twice.
   */
  readonly deadLetter?: SendDeadLetter<NoInfer<Value>> | undefined
  /**
   * What happens when a shard stops: `retry` holds on to its lease, and tries again; `exit` ends `run()` with `ERR_STOPPED` after a
   * graceful close. Default: `retry`.
   */
  readonly onStop?: 'retry' | 'exit' | undefined
  /**
   * How long a stopped shard rests until it is tried again, in milliseconds; twice as long each time, up to ten times this.
   * `resume()` tries at once. Default: 60000.
   */
  readonly stoppedRetryMs?: number | undefined
  /**
   * Whose word moves the checkpoint. `automatic`: a record counts once its handler is done. `manual`: the handler says
   * `context.checkpoint(record)`, and what is written is the last such record with everything before it handled; `run` needs the
   * hook `onShardEnd` then, which has the word at the end of a shard. Default: `automatic`.
   */
  readonly checkpointing?: 'automatic' | 'manual' | undefined
  /**
   * How much may be read ahead of the handler over all shards, in bytes: what isn't finished, and what calls in progress are
   * likely to bring. Half of it is shared out equally, the rest goes to who needs it first. What recent answers didn't make
   * likely comes on top: up to a full answer of 10 MiB for each call in progress, of which there is one for every 2 MiB, 2 to
   * 64; with `fanOut` what an event has more than the last one of its shard. Default: 128 MiB.
   */
  readonly maxBufferedBytes?: number | undefined
  /**
   * How many records of one shard may have been begun beyond the oldest unfinished one; all of them may come again after a crash.
   * At the bound the shard waits for that one. Default: 10000.
   */
  readonly maxAheadRecords?: number | undefined
  /** The same in bytes of data; a single larger record goes nevertheless. Default: 64 MiB. */
  readonly maxAheadBytes?: number | undefined
  /**
   * How records are read: by `polling` (GetRecords), or by enhanced `fanOut` (SubscribeToShard), which is quicker, has a throughput of
   * its own and is billed for. May be changed at any restart: the place is kept. See docs/fan-out.md. Default: `polling`, unlike
   * the KCL's.
   */
  readonly retrieval?: 'polling' | 'fanOut' | undefined
  /**
   * With `fanOut`: the name of the consumer that is registered with each stream, unless it is already. Applications that read the
   * same stream need names of their own. Default: `application`, as in the KCL.
   */
  readonly consumerName?: string | undefined
  /**
   * With `fanOut` and `stream`: a consumer that is registered already, to be used as it is; needed if the stream is another account's.
   * Not together with `consumerName`.
   */
  readonly consumerArn?: string | undefined
  /**
   * From one poll of a shard to the next where nothing is left to be read, in milliseconds; grows to a second while nothing
   * comes. A shard that is behind is read as fast as the service allows. All applications that poll a shard share its 5 reads and
   * 2 MiB a second, and find their parts by themselves. Less than 200 says that the shard gives more than the service, reads
   * and bytes alike: for emulators. Default: 200.
   */
  readonly idleTimeBetweenReads?: number | undefined
  /**
   * Kinesis records to ask for at once at most, 1 to 10000, the service's limit; fewer are asked for where their size makes more
   * than 2 MiB likely. Default: 10000.
   */
  readonly maxRecords?: number | undefined
  /**
   * Leaves out user records outside their shard's hash range, which a producer with an outdated shard map leaves behind in a
   * reshard and writes again. The KCL does so, with everything in the same aggregate. Needs
   * `kinesis:DescribeStreamSummary`: without it, and on streams that distribute records by themselves, nothing is left out. Default: false;
   * they are marked `misplaced`.
   */
  readonly dropMisplaced?: boolean | undefined
  /**
   * How long `close` and a handoff wait for handlers and hooks, all in all, before they abort them, in milliseconds. Default: 10000,
   * for a container that gets 30 s to stop.
   */
  readonly closeTimeout?: number | undefined
  /** How far behind the tip the shards may be of a worker that counts as `ready` in `status()`, in milliseconds. Default: 60000. */
  readonly readyLagMs?: number | undefined
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

/**
 * A failed renewal is tried again at once for the other half of the time, so an idle lease needs no more. The KCL renews every
 * third of the time, since it tries a failed renewal again only at the next.
 */
const RENEWAL_SHARE = 0.45

/** All options, with their defaults filled in. */
export type ResolvedOptions = {
  readonly [Name in Exclude<keyof ConsumerOptions, OptionalInside>]-?: Exclude<ConsumerOptions[Name], undefined>
} & { readonly [Name in OptionalInside]: ConsumerOptions<unknown>[Name] } & {
  /** How often a lease is renewed at the least. */
  readonly renewalInterval: number
}

type OptionalInside =
  | 'stream'
  | 'streams'
  | 'consumerArn'
  | 'codec'
  | 'deadLetter'
  | 'handlerTimeoutMs'
  | 'kinesis'
  | 'kinesisConfig'
  | 'dynamodb'
  | 'dynamodbConfig'
  | 'onEvent'

const streamSelection: OptionCheck = (value) =>
  typeof value === 'function' ||
  typeof (Object(value) as { where?: unknown }).where === 'function' ||
  (isListOfStreams(value) && value.length > 0)
    ? undefined
    : `a list of ${STREAM_CHOICE}, a function that gives one, or { where: (stream) => boolean }`

const initialPosition: OptionCheck = (value) =>
  isInitialPosition(value) ? undefined : '"TRIM_HORIZON", "LATEST" or { timestamp: a Date or milliseconds since 1970 }'

// The table holds leases, the leader lock and the KCL's notes under names of their own.
const workerId: OptionCheck = (value) =>
  nonEmptyString(value) ??
  ([LEADER_KEY, VERSION_KEY, TABLE_MIGRATION_KEY].includes(String(value)) || String(value).includes('shardId-')
    ? `a name other than "${LEADER_KEY}", "${VERSION_KEY}" and "${TABLE_MIGRATION_KEY}" without "shardId-" in it`
    : undefined)

// Source: the API reference of TagResource.
const tags: OptionCheck = (value) =>
  objectWith()(value) ??
  (Object.entries(value as object).every(
    ([key, tag]) => key.length <= 128 && /^(?!aws:)./i.test(key) && typeof tag === 'string' && tag.length <= 256,
  ) && Object.keys(value as object).length <= 50
    ? undefined
    : 'at most 50 tags, each a string of up to 256 characters under a name of 1 to 128 that doesn\'t start with "aws:"')

// Source: the API reference of CreateTable. An ARN names a table of another account.
const TABLE_NAME = /^([\w.-]{3,255}|arn:.+)$/

// Source: the API reference of RegisterStreamConsumer.
const CONSUMER_NAME = /^[\w.-]{1,128}$/
const CONSUMER_ARN = /^arn:[^:]+:kinesis:[^:]+:\d{12}:stream\/[\w.-]+\/consumer\/[\w.-]+:\d+$/

const consumerArn: OptionCheck = (value) =>
  typeof value === 'string' && CONSUMER_ARN.test(value)
    ? undefined
    : 'the ARN of a registered consumer (arn:aws:kinesis:REGION:ACCOUNT:stream/STREAM/consumer/NAME:CREATED)'

/** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
export function resolveOptions<Value = undefined>(given: ConsumerOptions<Value>): ResolvedOptions {
  checkOptions<ConsumerOptions<Value>>(
    'Consumer',
    given,
    {
      application: nonEmptyString,
      stream: nonEmptyString,
      workerId,
      streams: streamSelection,
      formerStreamWaitMs: numberFrom(0),
      tableName: nonEmptyString,
      tableBillingMode: oneOf('PAY_PER_REQUEST', 'PROVISIONED'),
      tableReadCapacity: integerFrom(1),
      tableWriteCapacity: integerFrom(1),
      tableTags: tags,
      tableDeletionProtection: boolean,
      tablePointInTimeRecovery: boolean,
      maxLeases: integerFrom(1),
      assign: func,
      initialPosition,
      failoverTime: numberFrom(200, 3_600_000),
      checkpointIntervalMs: numberFrom(10),
      concurrency: integerFrom(1),
      ordering: oneOf('key', 'shard', 'none'),
      codec: decoder,
      maxAttempts: integerFrom(1),
      maxAgeMs: numberFrom(0),
      handlerTimeoutMs: numberFrom(1, 86_400_000),
      failurePolicy: oneOf('stop', 'deadLetter', 'skip'),
      deadLetter: func,
      onStop: oneOf('retry', 'exit'),
      stoppedRetryMs: numberFrom(1, 3_600_000),
      checkpointing: oneOf('automatic', 'manual'),
      maxBufferedBytes: integerFrom(1),
      maxAheadRecords: integerFrom(1),
      maxAheadBytes: integerFrom(1),
      retrieval: oneOf('polling', 'fanOut'),
      consumerName: nonEmptyString,
      consumerArn,
      idleTimeBetweenReads: numberFrom(0, 60_000),
      maxRecords: integerFrom(1, 10_000),
      dropMisplaced: boolean,
      closeTimeout: numberFrom(0, 3_600_000),
      readyLagMs: numberFrom(0),
      kinesis: objectWith('send'),
      kinesisConfig: objectWith(),
      dynamodb: objectWith('send'),
      dynamodbConfig: objectWith(),
      logger: objectWith('debug', 'info', 'warn', 'error'),
      onEvent: func,
      clock: objectWith('monotonicMs', 'wallMs', 'sleep'),
      random: func,
    },
    ['application'],
  )
  const failoverTime = given.failoverTime ?? 10_000
  const checkpointIntervalMs = given.checkpointIntervalMs ?? failoverTime / 3
  const renewalInterval = RENEWAL_SHARE * failoverTime
  if (checkpointIntervalMs > renewalInterval) {
    throw new OptionError(
      'checkpointIntervalMs',
      `Consumer: option "checkpointIntervalMs" must be at most ${RENEWAL_SHARE} of failoverTime (${renewalInterval} ms), after ` +
        `which a lease is renewed at the latest, got ${checkpointIntervalMs}.`,
    )
  }
  if ((given.stream === undefined) === (given.streams === undefined)) {
    throw new OptionError(
      'stream',
      `Consumer: expected either "stream" or "streams", got ${given.stream === undefined ? 'neither' : 'both'}.`,
    )
  }
  const tableName = given.tableName ?? given.application
  if (!TABLE_NAME.test(tableName)) {
    throw new OptionError(
      given.tableName === undefined ? 'application' : 'tableName',
      `Consumer: the table's name, by default the application's, must be 3 to 255 letters, digits, "_", "-" or "." (or an ARN), ` +
        `got ${JSON.stringify(tableName)}.`,
    )
  }
  const capacity = given.tableReadCapacity === undefined ? 'tableWriteCapacity' : 'tableReadCapacity'
  if (given[capacity] !== undefined && given.tableBillingMode !== 'PROVISIONED') {
    throw new OptionError(
      capacity,
      `Consumer: option "${capacity}" is only for a table with tableBillingMode "PROVISIONED", got ${given.tableBillingMode ?? 'none, which is "PAY_PER_REQUEST"'}.`,
    )
  }
  checkConsumer(given)
  const failurePolicy = given.failurePolicy ?? (given.deadLetter === undefined ? 'stop' : 'deadLetter')
  if ((failurePolicy === 'deadLetter') !== (given.deadLetter !== undefined)) {
    throw new OptionError(
      'deadLetter',
      given.deadLetter === undefined
        ? `Consumer: failurePolicy "deadLetter" needs option "deadLetter", a function that takes the record.`
        : `Consumer: option "deadLetter" must come without "failurePolicy", or with "deadLetter", got ${JSON.stringify(failurePolicy)}.`,
    )
  }
  const random = given.random ?? Math.random
  return {
    application: given.application,
    stream: given.stream,
    streams: given.streams,
    formerStreamWaitMs: given.formerStreamWaitMs ?? 3_600_000,
    workerId: given.workerId ?? `${hostname()}-${process.pid}-${uuid(random).slice(0, 8)}`,
    tableName,
    tableBillingMode: given.tableBillingMode ?? 'PAY_PER_REQUEST',
    tableReadCapacity: given.tableReadCapacity ?? 10,
    tableWriteCapacity: given.tableWriteCapacity ?? 10,
    tableTags: given.tableTags ?? {},
    tableDeletionProtection: given.tableDeletionProtection ?? false,
    tablePointInTimeRecovery: given.tablePointInTimeRecovery ?? false,
    initialPosition: given.initialPosition ?? 'TRIM_HORIZON',
    failoverTime,
    renewalInterval,
    checkpointIntervalMs,
    maxLeases: given.maxLeases ?? Number.POSITIVE_INFINITY,
    assign: given.assign ?? assignByCount,
    concurrency: given.concurrency ?? 64,
    maxBufferedBytes: given.maxBufferedBytes ?? 128 * 2 ** 20,
    ordering: given.ordering ?? 'key',
    codec: given.codec as ResolvedOptions['codec'],
    maxAttempts: given.maxAttempts ?? 10,
    maxAgeMs: given.maxAgeMs ?? Number.POSITIVE_INFINITY,
    handlerTimeoutMs: given.handlerTimeoutMs,
    failurePolicy,
    deadLetter: given.deadLetter as ResolvedOptions['deadLetter'],
    onStop: given.onStop ?? 'retry',
    stoppedRetryMs: given.stoppedRetryMs ?? 60_000,
    checkpointing: given.checkpointing ?? 'automatic',
    maxAheadRecords: given.maxAheadRecords ?? 10_000,
    maxAheadBytes: given.maxAheadBytes ?? 64 * 2 ** 20,
    retrieval: given.retrieval ?? 'polling',
    consumerName: given.consumerName ?? given.application,
    consumerArn: given.consumerArn,
    idleTimeBetweenReads: given.idleTimeBetweenReads ?? 200,
    maxRecords: given.maxRecords ?? 10_000,
    dropMisplaced: given.dropMisplaced ?? false,
    closeTimeout: given.closeTimeout ?? 10_000,
    readyLagMs: given.readyLagMs ?? 60_000,
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

/** What is registered with a stream, or was. */
function checkConsumer({
  application,
  stream,
  retrieval,
  consumerName,
  consumerArn: arn,
}: Pick<ConsumerOptions, 'application' | 'stream' | 'retrieval' | 'consumerName' | 'consumerArn'>): void {
  if (arn !== undefined) {
    const [ofStream] = arn.split('/consumer/')
    const isOfStream = stream === ofStream || stream === ofStream?.slice(ofStream.lastIndexOf('/') + 1)
    if (isOfStream && consumerName === undefined) return
    const got = isOfStream
      ? `also "consumerName" ${JSON.stringify(consumerName)}`
      : `"stream" ${JSON.stringify(stream)}`
    throw new OptionError(
      'consumerArn',
      `Consumer: option "consumerArn" must come with the "stream" that it is of, and without "consumerName", got ${got}.`,
    )
  }
  const name = consumerName ?? application
  if (CONSUMER_NAME.test(name) || (retrieval !== 'fanOut' && consumerName === undefined)) return
  throw new OptionError(
    consumerName === undefined ? 'application' : 'consumerName',
    `Consumer: the name of the registered consumer, by default the application's, must be 1 to 128 letters, digits, "_", "-" or ` +
      `".", got ${JSON.stringify(name)}.`,
  )
}
