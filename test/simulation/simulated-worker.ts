import { Consumer, type ConsumerEvent, type ConsumerRecord } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import type { Disturbances } from './disturbances.ts'
import { type DynamoDBService, TABLE } from './dynamodb-service.ts'
import { type KinesisService, STREAM } from './kinesis-service.ts'
import type { WorkerPlan } from './plan.ts'
import type { SimulatedProcess } from './process.ts'
import { chance } from './randomness.ts'
import { textOf } from './stored-stream.ts'
import type { StreamWitness } from './stream-witness.ts'
import type { Trace } from './trace.ts'

const MAX_BUFFERED_BYTES = 2 ** 20
/** One answer a shard may come on top of the buffer. */
const MAX_ANSWER_BYTES = 10 * 2 ** 20
/** Events that say that records of a shard may have expired unread. */
const EXPIRY: ReadonlySet<ConsumerEvent['type']> = new Set(['recordsExpired', 'checkpointExpired', 'shardGone'])
const SLOW_MS = 2_000
const HANG_MS = 20_000

export interface WorkerSurroundings {
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly witness: StreamWitness
  readonly disturbances: Disturbances
  readonly trace: Trace
  readonly failoverTime: number
  readonly initialPosition: 'TRIM_HORIZON' | 'LATEST'
  /** It says that records of a shard have expired unread. */
  readonly onExpiry: (shardId: string) => void
  readonly onFailure: (error: unknown) => void
}

/** A program that consumes the stream as one worker of the application. */
export class SimulatedWorker {
  readonly process: SimulatedProcess
  readonly workerId: string
  readonly #surroundings: WorkerSurroundings
  readonly #plan: WorkerPlan
  readonly #consumer: Consumer
  #isOver = false

  constructor(process: SimulatedProcess, workerId: string, plan: WorkerPlan, surroundings: WorkerSurroundings) {
    this.process = process
    this.workerId = workerId
    this.#surroundings = surroundings
    this.#plan = plan
    const { kinesis, dynamodb, trace, failoverTime, initialPosition, onExpiry, onFailure } = surroundings
    this.#consumer = new Consumer({
      application: TABLE,
      stream: STREAM,
      workerId,
      failoverTime,
      initialPosition,
      concurrency: plan.concurrency,
      maxAheadRecords: plan.maxAheadRecords,
      maxRecords: plan.maxRecords,
      maxBufferedBytes: MAX_BUFFERED_BYTES,
      idleTimeBetweenReads: plan.idleTimeBetweenReads,
      kinesis: kinesis.clientOf(process),
      dynamodb: dynamodb.clientOf(process),
      clock: process,
      random: process.random,
      logger: silentLogger,
      onEvent: (event) => {
        trace.add(process.name, `event ${event.type}${'shardId' in event ? ` ${event.shardId}` : ''}`)
        if (EXPIRY.has(event.type) && 'shardId' in event) onExpiry(event.shardId)
      },
    })
    this.#consumer.run({ eachRecord: (record, { signal }) => this.#handle(record, signal) }).then(() => {
      this.#isOver = true
    }, onFailure)
  }

  /** Whether it has left. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** The shards that it believes to hold. */
  get shardIds(): string[] {
    return this.#consumer.status().shards.map(({ shardId }) => shardId)
  }

  /** Bytes beyond what the consumer may hold. */
  get excessBytes(): number {
    const { shards } = this.#consumer.status()
    const held = shards.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0)
    return held - MAX_BUFFERED_BYTES - shards.length * MAX_ANSWER_BYTES
  }

  close(): Promise<void> {
    return this.#consumer.close()
  }

  /** Some handlers return at once, some take a while; some are disturbed. */
  #handle(record: ConsumerRecord, signal: AbortSignal): Promise<void> | undefined {
    const { witness, trace, disturbances } = this.#surroundings
    const { process } = this
    const { shardId, sequenceNumber, subSequenceNumber } = record
    trace.add(process.name, `handles ${textOf(record.data)} at ${shardId} ${sequenceNumber}:${subSequenceNumber}`)
    const handling = witness.begun(record, process, signal)
    const { random } = process
    if (chance(random, disturbances.handlers('throw'))) {
      handling.over()
      throw new Error('the handler throws')
    }
    const waitMs = chance(random, disturbances.handlers('hang'))
      ? HANG_MS
      : chance(random, disturbances.handlers('slow'))
        ? SLOW_MS
        : random() * 2 * this.#plan.handlerMs
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
