import { Consumer, type ConsumerEvent, type ConsumerOptions, type InitialPosition } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import type { Disturbances } from './disturbances.ts'
import { type DynamoDBService, TABLE } from './dynamodb-service.ts'
import type { KinesisService } from './kinesis-service.ts'
import type { Retrieval, WorkerPlan } from './plan.ts'
import type { ProcessingPlan } from './plan-processing.ts'
import type { SimulatedProcess } from './process.ts'
import { closeTimeoutOf, type HandlingFate, type Policy, ProcessingWitness } from './processing-witness.ts'
import { chance } from './randomness.ts'
import type { Hook } from './shard-life.ts'
import { SimulatedHandlers } from './simulated-handlers.ts'
import { shardKeyOf } from './stored-stream.ts'
import type { Trace } from './trace.ts'
import type { Violation } from './violation.ts'
import type { WatchedStreams } from './watched-streams.ts'

const MAX_BUFFERED_BYTES = 2 ** 20
/** What handlers get when they are told to give up, and more. */
const GRACE_MS = 1_000
/** With so little memory one call is in progress at a time: one answer more may come than was likely. */
const MAX_ANSWER_BYTES = 10 * 2 ** 20
/** Events that say that records of a shard may have expired unread. */
const EXPIRY: ReadonlySet<ConsumerEvent['type']> = new Set(['recordsExpired', 'checkpointExpired', 'shardGone'])

/** Events after which a shard may be another worker's. */
const GIVEN_UP: ReadonlySet<ConsumerEvent['type']> = new Set(['leaseLost', 'leaseReleased', 'leaseHandedOff'])

export interface WorkerSurroundings {
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly streams: WatchedStreams
  /** How the application comes by its streams. */
  readonly selection: Pick<ConsumerOptions, 'stream' | 'streams' | 'formerStreamWaitMs'>
  readonly disturbances: Disturbances
  readonly trace: Trace
  readonly nowMs: () => number
  readonly failoverTime: number
  readonly initialPosition: InitialPosition
  readonly retrieval: Retrieval | undefined
  readonly consumerArn: string | undefined
  readonly processing: ProcessingPlan | undefined
  readonly policy: Policy
  /** Of those that are larger than what any stream takes; 0 if there are none. */
  readonly largestRecordBytes: number
  readonly note: (fate: HandlingFate) => void
  readonly report: (violation: Violation) => void
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
  /** What it says of itself and isn't so. */
  readonly wrongStatus: string | undefined
  close(): Promise<void>
}

/** A program that consumes the stream as one worker of the application. */
export class SimulatedWorker implements FleetMember {
  readonly process: SimulatedProcess
  readonly workerId: string
  readonly plan: WorkerPlan
  readonly processing: ProcessingWitness
  readonly #surroundings: WorkerSurroundings
  readonly #handlers: SimulatedHandlers
  readonly #consumer: Consumer<string | undefined>
  /** Of each lease that is held: aborted when it isn't any more. */
  readonly #losses = new Map<string, AbortController>()
  #isClosing = false
  #isOver = false

  constructor(process: SimulatedProcess, workerId: string, plan: WorkerPlan, surroundings: WorkerSurroundings) {
    this.process = process
    this.workerId = workerId
    this.#surroundings = surroundings
    this.plan = plan
    this.processing = new ProcessingWitness({ ...surroundings, process, plan })
    this.#handlers = new SimulatedHandlers({ ...surroundings, process, plan, witness: this.processing })
    this.#consumer = new Consumer<string | undefined>(this.#options())
    this.#consume().then(() => {
      this.#isOver = true
      this.processing.closed()
    }, surroundings.onFailure)
  }

  /** What it was started with. */
  get policy(): Policy {
    return this.#surroundings.policy
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
    const { kinesis, retrieval, largestRecordBytes } = this.#surroundings
    // An event may come of any shard; and each that is stuck may be so with one record that is larger than its part.
    const mayComeBytes =
      retrieval === 'fanOut'
        ? shards.length * kinesis.largestAnswerBytes(this.process)
        : MAX_ANSWER_BYTES + Math.max(0, shards.length - 1) * largestRecordBytes
    return held - MAX_BUFFERED_BYTES - mayComeBytes
  }

  get wrongStatus(): string | undefined {
    const { shards, healthy } = this.#consumer.status()
    for (const shard of shards) {
      const { state, paused, bufferedBytes } = shard
      const { isStopped, isPaused, stoppedForMs } = this.processing.lifeOf(shard)
      if (paused !== isPaused) return `${shard.shardId} is ${paused ? '' : 'not '}paused`
      if (!isStopped || (state !== 'stopped' && state !== 'reading' && state !== 'ending')) continue
      if (healthy) return `all is well, with ${shard.shardId} stopped`
      // What runs may go on for a while.
      const isFreed = bufferedBytes === 0 || stoppedForMs < closeTimeoutOf(this.plan) + GRACE_MS
      if (state !== 'stopped' || !isFreed) return `${shard.shardId} is ${state} with ${bufferedBytes} bytes`
    }
    return undefined
  }

  close(): Promise<void> {
    this.#isClosing = true
    return this.#consumer.close()
  }

  /** Something that its handler does when it is called next. */
  inNextHandler(act: () => void): void {
    this.#handlers.inNext(act)
  }

  /** Pauses all its shards, or so many of them; the returned function has them go on. */
  hold(share: number): () => void {
    if (share === 1) {
      this.#consumer.pause()
      this.processing.paused('all')
    } else {
      const some = this.#consumer.status().shards.filter(() => chance(this.process.random, share))
      for (const { stream, shardId } of some) this.#consumer.pause({ stream, shardId })
      this.processing.paused(some)
    }
    return () => {
      this.processing.resumed()
      this.#consumer.resume()
    }
  }

  #options(): ConsumerOptions<string | undefined> {
    const { process, plan, workerId } = this
    const { kinesis, dynamodb, failoverTime, initialPosition, selection, retrieval, consumerArn } = this.#surroundings
    return {
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
      ...this.#processingOptions(),
      maxBufferedBytes: MAX_BUFFERED_BYTES,
      idleTimeBetweenReads: plan.idleTimeBetweenReads,
      kinesis: kinesis.clientOf(process),
      dynamodb: dynamodb.clientOf(process),
      clock: process,
      random: process.random,
      logger: silentLogger,
      onEvent: (event) => this.#happened(event),
    }
  }

  #processingOptions(): Partial<ConsumerOptions<string | undefined>> {
    const { processing, policy } = this.#surroundings
    if (processing === undefined) return {}
    const { ordering, exits, maxAttempts, maxAgeMs, handlerTimeoutMs, stoppedRetryMs, maxAheadBytes } = processing
    const handlers = this.#handlers
    return {
      ordering,
      maxAttempts,
      maxAgeMs,
      handlerTimeoutMs,
      stoppedRetryMs,
      maxAheadBytes,
      failurePolicy: policy,
      ...(policy === 'deadLetter' && { deadLetter: (letter, { signal }) => handlers.deadLetter(letter, signal) }),
      ...(exits && { onStop: 'exit' }),
      ...(processing.manualShare !== undefined && { checkpointing: 'manual' }),
      ...(processing.decodingMs !== undefined && { codec: { decode: (data) => handlers.decode(data) } }),
    }
  }

  #happened(event: ConsumerEvent): void {
    const { trace, streams } = this.#surroundings
    trace.add(this.process.name, `event ${event.type}${'shardId' in event ? ` ${event.shardId}` : ''}`)
    this.processing.happened(event)
    if (!('stream' in event)) return
    if (EXPIRY.has(event.type) && 'shardId' in event) {
      streams.of(event.stream).leaseWitness.expiryTold(event.shardId)
    }
    if (event.type === 'leaseTaken') this.#losses.set(keyOf(event), new AbortController())
    if (GIVEN_UP.has(event.type) && 'shardId' in event) this.#losses.get(keyOf(event))?.abort()
  }

  #consume(): Promise<void> {
    const { shape = 'eachRecord', batch, hasHooks } = this.#surroundings.processing ?? {}
    const handlers = this.#handlers
    const hook =
      (name: Hook) =>
      (shard: { readonly stream: string; readonly shardId: string }, { signal }: { readonly signal: AbortSignal }) =>
        handlers.hook(name, shard, signal)
    const hooks = hasHooks && {
      onShardStart: hook('onShardStart'),
      onShardEnd: hook('onShardEnd'),
      onShardRelease: hook('onShardRelease'),
      onLeaseLost: hook('onLeaseLost'),
    }
    if (shape === 'records') return this.#loop()
    return this.#consumer.run(
      shape === 'eachRecord'
        ? { eachRecord: (record, context) => handlers.handle([record], context), ...hooks }
        : { eachBatch: (records, context) => handlers.handle(records, context), ...batch, ...hooks },
    )
  }

  /** Its loop is told nothing of a lease that is lost. */
  async #loop(): Promise<void> {
    for await (const record of this.#consumer.records()) {
      const signal = this.#losses.get(keyOf(record))?.signal ?? AbortSignal.abort()
      await this.#handlers.handle([record], { signal, attempt: 1 })
    }
  }
}

function keyOf({ stream, shardId }: { readonly stream: string; readonly shardId: string }): string {
  return shardKeyOf(stream, shardId)
}
