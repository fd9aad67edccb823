import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import {
  backoffMs,
  classifyError,
  createFanOutClient,
  createKinesisClient,
  errorCode,
  type Kinesis,
} from '@shardwise/core'
import type { Position } from '@shardwise/records'
import { createFleet } from './create-fleet.ts'
import { ConsumerError } from './errors.ts'
import type { Fleet } from './leases/fleet.ts'
import type { DynamoDB } from './leases/items-table.ts'
import { holderOf, isFinished } from './leases/lease.ts'
import { openTable } from './leases/open-table.ts'
import { type ConsumerOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import type { EachRecord } from './processing/handler-pool.ts'
import type { ShardConsumer, ShardStatus } from './processing/shard-consumer.ts'
import { FanOut } from './retrieval/fan-out.ts'
import { shardsOf } from './streams/shard-list.ts'
import { StreamFinder } from './streams/stream-finder.ts'
import { oneStream, SeveralStreams, type Streams } from './streams/streams.ts'
import { ConsumerMeter } from './telemetry/consumer-meter.ts'
import { Telemetry } from './telemetry/telemetry.ts'
import { timedCalls } from './timed-calls.ts'

/** What {@link Consumer.run} does with records. */
export interface Handlers {
  readonly eachRecord: EachRecord
  /** Aborting it is the same as {@link Consumer.close}. */
  readonly signal?: AbortSignal | undefined
}

/** One lease of the application, whoever holds it. */
export interface LeaseStatus {
  /** The stream's name or ARN; undefined for one that is none of the application's any more. */
  readonly stream: string | undefined
  readonly shardId: string
  readonly holder: string | undefined
  /** Who gets it next, while it is being handed off. */
  readonly nextOwner: string | undefined
  readonly checkpoint: Position
  readonly finished: boolean
}

export interface ConsumerStatus {
  readonly worker: string
  readonly leader: boolean
  /** The streams that the application reads, by name or ARN. */
  readonly streams: readonly string[]
  /** The shards that this worker holds. */
  readonly shards: readonly ShardStatus[]
  /**
   * As of this worker's last look at the table: where it leads, every lease of the application; otherwise those that it holds, since
   * it looks at no others.
   */
  readonly leases: readonly LeaseStatus[]
}

/**
 * One worker of an application: shares the stream's shards with the other workers of the same name, and hands every user
 * record to a handler, those of one key in order and one at a time. What has been handled is remembered in a DynamoDB table.
 *
 * Each record is delivered at least once. It comes again after a crash, from the last checkpoint on, and when its handler fails.
 *
 * @example
 * const consumer = new Consumer({ application: 'delays', stream: 'flights' })
 * process.once('SIGTERM', () => consumer.close())
 * await consumer.run({ eachRecord: async (record) => save(record.partitionKey, record.json()) })
 */
export class Consumer {
  readonly #options: ResolvedOptions
  #telemetry: Telemetry
  readonly #closing = new AbortController()
  readonly #hurry = new AbortController()
  #streams: Streams | undefined
  #fleet: Fleet<ShardConsumer> | undefined
  #running: Promise<void> | undefined
  #isOver = false

  /** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
  constructor(options: ConsumerOptions) {
    this.#options = resolveOptions(options)
    const { logger, onEvent, application, workerId } = this.#options
    this.#telemetry = new Telemetry(logger, onEvent, { application, worker: workerId })
  }

  /**
   * Consumes until {@link close}; then resolves. The process can exit afterwards.
   *
   * @throws {ConsumerError} `ERR_STREAM`, `ERR_TABLE`, `ERR_CONSUMER` or `ERR_ACCESS` for what trying again can't mend; `ERR_STATE` if it runs
   *   or ran before, or another worker has started under its `workerId`
   */
  run(handlers: Handlers): Promise<void> {
    if (typeof handlers?.eachRecord !== 'function') {
      return Promise.reject(
        new ConsumerError('ERR_STATE', 'run() expects a handler: { eachRecord: (record, { signal }) => … }.'),
      )
    }
    if (this.#running !== undefined || this.#closing.signal.aborted) {
      const got = this.#running === undefined ? 'it was closed before' : 'it has run already'
      return Promise.reject(
        new ConsumerError('ERR_STATE', `A consumer runs once, and ${got}. Make a new Consumer to run again.`),
      )
    }
    this.#running = this.#run(handlers).finally(() => {
      this.#isOver = true
    })
    return this.#running
  }

  /**
   * Stops gracefully: takes no new records, finishes those in hand, writes the checkpoints, and gives the leases back, so that
   * other workers go on at once. Handlers that take longer than `closeTimeout` are aborted. Resolves when all that is done; may
   * be called again.
   *
   * @param options.signal aborted: wait for handlers no longer
   */
  async close({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const hurry = (): void => this.#hurry.abort()
    signal?.addEventListener('abort', hurry, { once: true })
    if (signal?.aborted) hurry()
    this.#closing.abort(new ConsumerError('ERR_CLOSED', 'The consumer is being closed.'))
    // Why it failed is told where run() is awaited.
    await this.#running?.catch(() => undefined)
    signal?.removeEventListener('abort', hurry)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /**
   * Deletes the consumers that were registered for fan-out with the application's streams, `consumerName` or `consumerArn`, so
   * that they are billed for no longer. Nothing else does. For an application that is retired, or reads by polling again: stop all its
   * workers first, or that they read by fan-out; one that still does registers its consumer anew. A stream that was removed from
   * the application, or deleted, is not looked for.
   *
   * @returns the streams, by name or ARN, that had such a consumer
   * @throws {ConsumerError} `ERR_STATE` while this one runs; `ERR_STREAM` or `ERR_ACCESS` for what trying again can't mend
   */
  async deregister({
    signal = new AbortController().signal,
  }: {
    readonly signal?: AbortSignal
  } = {}): Promise<string[]> {
    if (this.#running !== undefined && !this.#isOver) {
      throw new ConsumerError(
        'ERR_STATE',
        'The consumer runs: expected that it, and every other worker of the application, is closed before deregister().',
      )
    }
    const { kinesisConfig } = this.#options
    const own = this.#options.kinesis === undefined ? createKinesisClient(kinesisConfig) : undefined
    const kinesis = timedCalls(this.#options.kinesis ?? own!, this.#options.clock)
    try {
      const deregistered: string[] = []
      for (const stream of await this.#chosenStreams(kinesis, signal)) {
        const source = { stream, identifier: undefined, initialPosition: this.#options.initialPosition }
        const consumer = this.#fanOut(kinesis, kinesis, true).consumerOf(source)
        const was = await this.#whenReachable(`deregistering the consumer of ${stream}`, signal, () =>
          consumer.deregister(signal),
        )
        if (was) deregistered.push(stream)
      }
      return deregistered
    } finally {
      own?.destroy()
    }
  }

  /** What this worker holds, and what it knows of the others. */
  status(): ConsumerStatus {
    return {
      worker: this.#options.workerId,
      leader: this.#fleet?.isLeader ?? false,
      streams: (this.#streams?.sources ?? []).map(({ stream }) => stream),
      shards: (this.#fleet?.shards ?? []).map((shard) => shard.status()),
      leases: (this.#fleet?.leases ?? []).map((lease) => ({
        stream: this.#streams?.find(lease.streamIdentifier)?.stream,
        shardId: lease.shardId,
        holder: holderOf(lease),
        nextOwner: lease.checkpointOwner === undefined ? undefined : lease.owner,
        checkpoint: lease.checkpoint,
        finished: isFinished(lease),
      })),
    }
  }

  async #run({ eachRecord, signal }: Handlers): Promise<void> {
    const close = (): void => this.#closing.abort(signal?.reason)
    signal?.addEventListener('abort', close, { once: true })
    if (signal?.aborted) close()
    const { kinesisConfig, dynamodbConfig, application, workerId, logger, onEvent } = this.#options
    const meter = new ConsumerMeter({ application, workerId, status: () => this.status() })
    this.#telemetry = new Telemetry(logger, onEvent, { application, worker: workerId }, meter)
    const ownKinesis = this.#options.kinesis === undefined ? createKinesisClient(kinesisConfig) : undefined
    const ownDynamodb = this.#options.dynamodb === undefined ? this.#createDynamoDB(dynamodbConfig) : undefined
    const ownSubscriber =
      ownKinesis !== undefined && this.#options.retrieval === 'fanOut' ? createFanOutClient(kinesisConfig) : undefined
    const kinesis = timedCalls(this.#options.kinesis ?? ownKinesis!, this.#options.clock)
    try {
      await this.#consume(eachRecord, {
        kinesis,
        subscriber: ownSubscriber ?? kinesis,
        dynamodb: this.#options.dynamodb ?? ownDynamodb!,
      })
    } catch (error) {
      const { aborted, reason } = this.#closing.signal
      if (!aborted || (error instanceof ConsumerError && error !== reason)) throw this.#explain(error)
    } finally {
      signal?.removeEventListener('abort', close)
      meter.close()
      ownSubscriber?.destroy()
      ownKinesis?.destroy()
      ownDynamodb?.destroy()
    }
  }

  #createDynamoDB(config: ResolvedOptions['dynamodbConfig']): DynamoDBClient {
    const { failoverTime } = this.#options
    return new DynamoDBClient({
      // The lease holder tries again itself, as long as the lease lives: an answer that comes later is of no use.
      maxAttempts: 1,
      requestHandler: {
        connectionTimeout: Math.max(1_000, failoverTime / 3),
        requestTimeout: Math.max(1_000, failoverTime / 3),
        throwOnRequestTimeout: true,
      },
      ...config,
    })
  }

  async #consume(eachRecord: EachRecord, { kinesis, subscriber, dynamodb }: Clients): Promise<void> {
    const options = this.#options
    const telemetry = this.#telemetry
    const signal = this.#closing.signal
    const streams = await this.#findStreams(kinesis, signal)
    this.#streams = streams
    const fanOut = options.retrieval === 'fanOut' ? this.#fanOut(kinesis, subscriber, !streams.areSeveral) : undefined
    // One of several streams that may not be read is no reason to stop reading the others.
    if (fanOut !== undefined && !streams.areSeveral) await fanOut.consumerOf(streams.sources[0]!).arn(signal)
    const table = await this.#whenReachable('opening the table', signal, () =>
      openTable({ ...options, dynamodb, telemetry }, signal),
    )
    const fleet = createFleet(eachRecord, {
      table,
      kinesis,
      streams,
      options,
      telemetry,
      ...(fanOut && { readersOf: fanOut.readersOf }),
    })
    this.#fleet = fleet
    const watching = streams instanceof SeveralStreams ? streams.watch(signal) : undefined
    const hurry = (): void => {
      for (const shard of fleet.shards) shard.hurry()
    }
    this.#hurry.signal.addEventListener('abort', hurry, { once: true })
    try {
      await fleet.run(signal)
    } finally {
      if (this.#hurry.signal.aborted) hurry()
      await fleet.stop()
      this.#closing.abort()
      await watching
    }
  }

  async #chosenStreams(kinesis: Kinesis, signal: AbortSignal): Promise<readonly string[]> {
    const { stream, streams } = this.#options
    if (stream !== undefined) return [stream]
    const finder = new StreamFinder({ ...this.#options, selection: streams!, kinesis })
    const { chosen } = await this.#whenReachable('looking for the streams', signal, () => finder.find(signal))
    return chosen.map((each) => each.stream)
  }

  #fanOut(kinesis: Kinesis, subscriber: Kinesis, isRefusalFinal: boolean): FanOut {
    return new FanOut({ kinesis, subscriber, options: this.#options, isRefusalFinal, telemetry: this.#telemetry })
  }

  /** They are asked for at the start, so that a wrong name or a missing permission shows at once. */
  async #findStreams(kinesis: Kinesis, signal: AbortSignal): Promise<Streams> {
    const { stream, streams: selection, initialPosition } = this.#options
    if (stream !== undefined) {
      await this.#whenReachable('listing the shards', signal, () =>
        shardsOf(kinesis, stream, { signal, filter: { Type: 'AT_LATEST' } }),
      )
      return oneStream(stream, initialPosition)
    }
    const streams = new SeveralStreams({
      ...this.#options,
      selection: selection!,
      kinesis,
      telemetry: this.#telemetry,
      onChange: () => this.#fleet?.wake(),
    })
    await this.#whenReachable('looking for the streams', signal, () => streams.look(signal))
    return streams
  }

  /** Tries until it succeeds or is refused for good. */
  async #whenReachable<T>(doing: string, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    const { clock, random } = this.#options
    for (let failures = 1; ; failures++) {
      try {
        return await attempt()
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof ConsumerError || classifyError(error) === 'fatal') throw error
        this.#telemetry.emit({ type: 'callFailed', doing, error })
      }
      await clock.sleep(backoffMs(failures, START_BACKOFF, random), signal)
    }
  }

  /** What DynamoDB refuses is explained where it is asked. */
  #explain(error: unknown): unknown {
    if (error instanceof ConsumerError || classifyError(error) !== 'fatal') return error
    const { application, stream = 'its streams' } = this.#options
    return new ConsumerError(
      'ERR_ACCESS',
      `AWS refused a call of the application "${application}" for good (${errorCode(error)}: ${String(Object(error).message)}). ` +
        `Check credentials and region, and that kinesis:ListShards, GetShardIterator and GetRecords are allowed on ${stream}` +
        `${this.#options.streams === undefined ? '' : ', and DescribeStreamSummary, for a predicate ListStreams and ListTagsForStream too'}.`,
      { cause: error },
    )
  }
}

interface Clients {
  readonly kinesis: Kinesis
  readonly subscriber: Kinesis
  readonly dynamodb: DynamoDB
}

const START_BACKOFF = { baseMs: 500, maxMs: 5_000 }
