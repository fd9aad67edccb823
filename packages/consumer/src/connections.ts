import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import {
  backoffMs,
  classifyError,
  createFanOutClient,
  createKinesisClient,
  errorCode,
  type Kinesis,
} from '@shardwise/core'
import { ConsumerError } from './errors.ts'
import type { DynamoDB } from './leases/items-table.ts'
import { openTable } from './leases/open-table.ts'
import type { Table } from './leases/table.ts'
import type { ResolvedOptions } from './options.ts'
import { FanOut } from './retrieval/fan-out.ts'
import { shardsOf } from './streams/shard-list.ts'
import { StreamFinder } from './streams/stream-finder.ts'
import { oneStream, SeveralStreams, type Streams } from './streams/streams.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import { timedCalls } from './timed-calls.ts'

const START_BACKOFF = { baseMs: 500, maxMs: 5_000 }

/** The way to a consumer's streams and to its table, with clients of its own where none were given. */
export class Connections {
  readonly kinesis: Kinesis
  readonly #options: ResolvedOptions
  readonly #telemetry: Telemetry
  readonly #signal: AbortSignal
  readonly #subscriber: Kinesis
  readonly #dynamodb: DynamoDB
  readonly #own: { destroy(): void }[] = []

  /** @param signal ends every attempt */
  constructor(options: ResolvedOptions, telemetry: Telemetry, signal: AbortSignal) {
    this.#options = options
    this.#telemetry = telemetry
    this.#signal = signal
    const { kinesis, kinesisConfig, retrieval, clock } = options
    this.kinesis = timedCalls(kinesis ?? this.#owned(createKinesisClient(kinesisConfig)), clock)
    this.#subscriber =
      kinesis === undefined && retrieval === 'fanOut' ? this.#owned(createFanOutClient(kinesisConfig)) : this.kinesis
    this.#dynamodb = options.dynamodb ?? this.#owned(createDynamoDB(options))
  }

  close(): void {
    for (const client of this.#own) client.destroy()
  }

  /**
   * They are asked for at the start, so that a wrong name or a missing permission shows at once.
   *
   * @param onChange called when there are others
   */
  async streams(onChange: () => void): Promise<Streams> {
    const { kinesis } = this
    const { stream, streams: selection, initialPosition } = this.#options
    if (stream !== undefined) {
      await this.#whenReachable('listing the shards', () =>
        shardsOf(kinesis, stream, { signal: this.#signal, filter: { Type: 'AT_LATEST' } }),
      )
      return oneStream(stream, initialPosition)
    }
    const telemetry = this.#telemetry
    const streams = new SeveralStreams({ ...this.#options, selection: selection!, kinesis, telemetry, onChange })
    await this.#whenReachable('looking for the streams', () => streams.look(this.#signal))
    return streams
  }

  /** Opens the table; creates it if there is none. */
  table(): Promise<Table> {
    const parts = { ...this.#options, dynamodb: this.#dynamodb, telemetry: this.#telemetry }
    return this.#whenReachable('opening the table', () => openTable(parts, this.#signal))
  }

  /** What reads by fan-out; undefined where records are polled. */
  async fanOut(streams: Streams): Promise<FanOut | undefined> {
    if (this.#options.retrieval !== 'fanOut') return undefined
    const fanOut = this.#fanOut(!streams.areSeveral)
    // One of several streams that may not be read is no reason to stop reading the others.
    if (!streams.areSeveral) await fanOut.consumerOf(streams.sources[0]!).arn(this.#signal)
    return fanOut
  }

  /** Deletes the registered consumers. @returns the streams that had one */
  async deregister(): Promise<string[]> {
    const { initialPosition } = this.#options
    const fanOut = this.#fanOut(true)
    const deregistered: string[] = []
    for (const stream of await this.#chosenStreams()) {
      const consumer = fanOut.consumerOf({ stream, identifier: undefined, initialPosition })
      const was = await this.#whenReachable(`deregistering the consumer of ${stream}`, () =>
        consumer.deregister(this.#signal),
      )
      if (was) deregistered.push(stream)
    }
    return deregistered
  }

  /** Says of an error what is to be done about it. What DynamoDB refuses is explained where it is asked. */
  explain(error: unknown): unknown {
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

  #owned<Client extends { destroy(): void }>(client: Client): Client {
    this.#own.push(client)
    return client
  }

  async #chosenStreams(): Promise<readonly string[]> {
    const { stream, streams } = this.#options
    if (stream !== undefined) return [stream]
    const finder = new StreamFinder({ ...this.#options, selection: streams!, kinesis: this.kinesis })
    const { chosen } = await this.#whenReachable('looking for the streams', () => finder.find(this.#signal))
    return chosen.map((each) => each.stream)
  }

  #fanOut(isRefusalFinal: boolean): FanOut {
    const { kinesis } = this
    return new FanOut({
      kinesis,
      subscriber: this.#subscriber,
      options: this.#options,
      isRefusalFinal,
      telemetry: this.#telemetry,
    })
  }

  /** Tries until it succeeds or is refused for good. */
  async #whenReachable<T>(doing: string, attempt: () => Promise<T>): Promise<T> {
    const { clock, random } = this.#options
    for (let failures = 1; ; failures++) {
      try {
        return await attempt()
      } catch (error) {
        this.#signal.throwIfAborted()
        if (error instanceof ConsumerError || classifyError(error) === 'fatal') throw error
        this.#telemetry.emit({ type: 'callFailed', doing, error })
      }
      await clock.sleep(backoffMs(failures, START_BACKOFF, random), this.#signal)
    }
  }
}

function createDynamoDB({ failoverTime, dynamodbConfig }: ResolvedOptions): DynamoDBClient & DynamoDB {
  return new DynamoDBClient({
    // The lease holder tries again itself, as long as the lease lives: an answer that comes later is of no use.
    maxAttempts: 1,
    requestHandler: {
      connectionTimeout: Math.max(1_000, failoverTime / 3),
      requestTimeout: Math.max(1_000, failoverTime / 3),
      throwOnRequestTimeout: true,
    },
    ...dynamodbConfig,
  })
}
