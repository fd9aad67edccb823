import {
  Consumer,
  type ConsumerEvent,
  type ConsumerOptions,
  type ConsumerRecord,
  type InitialPosition,
} from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import type { Disturbances } from './disturbances.ts'
import { type DynamoDBService, TABLE } from './dynamodb-service.ts'
import type { KinesisService } from './kinesis-service.ts'
import type { Retrieval, WorkerPlan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'
import { shardKeyOf, textOf } from './stored-stream.ts'
import type { Trace } from './trace.ts'
import type { WatchedStreams } from './watched-streams.ts'

const MAX_BUFFERED_BYTES = 2 ** 20
/** With so little memory one call is in progress at a time: one answer more may come than was likely. */
const MAX_ANSWER_BYTES = 10 * 2 ** 20
/** Events that say that records of a shard may have expired unread. */
const EXPIRY: ReadonlySet<ConsumerEvent['type']> = new Set(['recordsExpired', 'checkpointExpired', 'shardGone'])
const SLOW_MS = 2_000
const HANG_MS = 20_000

export interface WorkerSurroundings {
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly streams: WatchedStreams
  /** How the application comes by its streams. */
  readonly selection: Pick<ConsumerOptions, 'stream' | 'streams' | 'formerStreamWaitMs'>
  readonly disturbances: Disturbances
  readonly trace: Trace
  readonly failoverTime: number
  readonly initialPosition: InitialPosition
  readonly retrieval: Retrieval | undefined
  readonly consumerArn: string | undefined
  readonly onFailure: (error: unknown) => void
}

/** One worker of the application, as the world sees it. */
export interface FleetMember {
  readonly process: SimulatedProcess
  readonly workerId: string
  readonly plan: WorkerPlan
  /** Whether it is leaving, or has left. */
  readonly isClosing: boolean
  /** Whether it has left. */
  readonly isOver: boolean
  /** The shards that it believes to hold. */
  readonly shards: string[]
  /** Those of them that it reads, or waits for the parents of. */
  readonly readShards: string[]
  readonly isLeader: boolean
  /** Bytes beyond what it may hold. */
  readonly excessBytes: number
  close(): Promise<void>
}

/** A program that consumes the stream as one worker of the application. */
export class SimulatedWorker implements FleetMember {
  readonly process: SimulatedProcess
  readonly workerId: string
  readonly #surroundings: WorkerSurroundings
  readonly plan: WorkerPlan
  readonly #consumer: Consumer
  #isClosing = false
  #isOver = false

  constructor(process: SimulatedProcess, workerId: string, plan: WorkerPlan, surroundings: WorkerSurroundings) {
    this.process = process
    this.workerId = workerId
    this.#surroundings = surroundings
    this.plan = plan
    const { kinesis, dynamodb, trace, failoverTime, initialPosition, selection, retrieval, consumerArn } = surroundings
    const { streams, onFailure } = surroundings
    this.#consumer = new Consumer({
      application: TABLE,
      ...selection,
      workerId,
      failoverTime,
      initialPosition,
      concurrency: plan.concurrency,
      maxAheadRecords: plan.maxAheadRecords,
      maxRecords: plan.maxRecords,
      ...(retrieval !== undefined && { retrieval }),
      ...(consumerArn !== undefined && { consumerArn }),
      ...(plan.maxLeases !== undefined && { maxLeases: plan.maxLeases }),
      ...(plan.checkpointIntervalMs !== undefined && { checkpointIntervalMs: plan.checkpointIntervalMs }),
      ...(plan.closeTimeout !== undefined && { closeTimeout: plan.closeTimeout }),
      maxBufferedBytes: MAX_BUFFERED_BYTES,
      idleTimeBetweenReads: plan.idleTimeBetweenReads,
      kinesis: kinesis.clientOf(process),
      dynamodb: dynamodb.clientOf(process),
      clock: process,
      random: process.random,
      logger: silentLogger,
      onEvent: (event) => {
        trace.add(process.name, `event ${event.type}${'shardId' in event ? ` ${event.shardId}` : ''}`)
        if (EXPIRY.has(event.type) && 'shardId' in event) {
          streams.of(event.stream).leaseWitness.expiryTold(event.shardId)
        }
      },
    })
    this.#consumer.run({ eachRecord: (record, { signal }) => this.#handle(record, signal) }).then(() => {
      this.#isOver = true
    }, onFailure)
  }

  get isClosing(): boolean {
    return this.#isClosing
  }

  get readShards(): string[] {
    if (this.#isClosing || this.process.isStopped) return []
    return this.#consumer
      .status()
      .shards.filter(({ state }) => state === 'reading' || state === 'waiting')
      .map(keyOf)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  get shards(): string[] {
    return this.#consumer.status().shards.map(keyOf)
  }

  get isLeader(): boolean {
    return this.#consumer.status().leader
  }

  get excessBytes(): number {
    const { shards } = this.#consumer.status()
    const held = shards.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0)
    const { kinesis, retrieval } = this.#surroundings
    // An event may come of any shard.
    const mayComeBytes =
      retrieval === 'fanOut' ? shards.length * kinesis.largestAnswerBytes(this.process) : MAX_ANSWER_BYTES
    return held - MAX_BUFFERED_BYTES - mayComeBytes
  }

  close(): Promise<void> {
    this.#isClosing = true
    return this.#consumer.close()
  }

  /** Some handlers return at once, some take a while; some are disturbed. */
  #handle(record: ConsumerRecord, signal: AbortSignal): Promise<void> | undefined {
    const { streams, trace, disturbances } = this.#surroundings
    const { process } = this
    const { shardId, sequenceNumber, subSequenceNumber } = record
    trace.add(process.name, `handles ${textOf(record.data)} at ${shardId} ${sequenceNumber}:${subSequenceNumber}`)
    const handling = streams.of(record.stream).witness.begun(record, process, signal)
    const { random } = process
    if (chance(random, disturbances.handlers('throw'))) {
      handling.over()
      throw new Error('the handler throws')
    }
    const waitMs = chance(random, disturbances.handlers('hang'))
      ? HANG_MS
      : chance(random, disturbances.handlers('slow'))
        ? SLOW_MS
        : random() * 2 * this.plan.handlerMs
    if (waitMs === 0) {
      handling.finished()
      return undefined
    }
    return process.sleep(waitMs, signal).then(handling.finished, (error: unknown) => {
      handling.over()
      throw error
    })
  }
}

function keyOf({ stream, shardId }: { readonly stream: string; readonly shardId: string }): string {
  return shardKeyOf(stream, shardId)
}
