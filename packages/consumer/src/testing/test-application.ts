import { hash } from 'node:crypto'
import { checkOptions, integerFrom, objectWith, silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom } from '@shardwise/core/testing'
import {
  AGGREGATE_MAGIC,
  AggregateBuilder,
  comparePositions,
  hashKeyOf,
  type Position,
  parseHashKey,
  SHARD_END,
  TRIM_HORIZON,
} from '@shardwise/records'
import { Consumer } from '../consumer.ts'
import { holderOf, isFinished, type Lease, leaseFromItem, TOKEN } from '../leases/lease.ts'
import type { ConsumerOptions } from '../options.ts'
import type { DeadLetter } from '../processing/dead-letter.ts'
import { checkHandlers, type Handlers } from '../run-options.ts'
import type { ConsumerEvent } from '../telemetry/telemetry.ts'
import { MemoryDynamoDB } from './memory-dynamodb.ts'
import { MemoryKinesis } from './memory-kinesis.ts'
import { Mortal } from './mortal.ts'
import { type Delivery, type RecordChoice, WatchedHandlers } from './watched-handlers.ts'

/** What a test replaces, or what isn't there in memory. */
type Replaced =
  | 'application'
  | 'stream'
  | 'streams'
  | 'workerId'
  | 'retrieval'
  | 'consumerName'
  | 'consumerArn'
  | 'kinesis'
  | 'kinesisConfig'
  | 'dynamodb'
  | 'dynamodbConfig'
  | 'clock'

/** The options of the consumers under test, and of the stream in memory. All have a default. */
export interface TestApplicationOptions<Value = undefined> extends Omit<ConsumerOptions<Value>, Replaced> {
  /** How many shards the stream begins with. Default: 1. */
  readonly shards?: number | undefined
  /** The time of the test, which the handler may share. Default: a new one. */
  readonly clock?: ManualClock | undefined
}

/** A user record to put. */
export interface TestRecord {
  readonly partitionKey: string
  /** Text is put as UTF-8. Default: none. */
  readonly data?: string | Uint8Array | undefined
  readonly explicitHashKey?: string | undefined
}

/** Where a record was put. */
export interface TestPlace extends Position {
  readonly shardId: string
}

/** How records are put. */
export interface TestPutOptions {
  /** Into this shard. Default: the open one that their hash key leads to. */
  readonly shardId?: string | undefined
  /** As an aggregate that is damaged inside and can't be read. Default: false. */
  readonly damaged?: boolean | undefined
}

type Own = Pick<TestApplicationOptions, 'shards' | 'clock'>

interface TestWorker<Value> {
  readonly number: number
  readonly consumer: Consumer<Value>
  readonly life: Mortal
  /** `run` has settled. */
  isOver: boolean
}

const NAME = 'test-application'
const STREAM = 'test-stream'
const STEP_MS = 10
/** Longer than ten attempts take. */
const PATIENCE_MS = 300_000

/**
 * An application on a stream in memory, in time that only the test moves: real consumers run a handler on what is put, with their
 * leases, checkpoints, retries and failure policy. Makes no calls, takes no time, and keeps no process from ending.
 *
 * A handler that waits has to wait on the test's {@link TestApplicationOptions.clock}, or for what the test does. While one does real
 * I/O, hours pass here: leave out its timeouts.
 *
 * @example
 * const app = new TestApplication({ maxAttempts: 3, deadLetter: () => {} }, { eachRecord: save })
 * app.put({ partitionKey: 'ATL', data: '{"delay":3}' })
 * app.fail('ATL', 2)
 * await app.start()
 * await app.checkpointed()
 * assert.deepEqual(app.deliveries.map(({ attempt, state }) => [attempt, state]), [[1, 'failed'], [2, 'failed'], [3, 'finished']])
 */
export class TestApplication<Value = undefined> {
  /** The time of everything here. */
  readonly clock: ManualClock
  /** What the consumers have told, oldest first. */
  readonly events: ConsumerEvent[] = []
  /** What `deadLetter` was called with, oldest first; also if it failed. */
  readonly deadLetters: DeadLetter<Value>[] = []
  readonly #kinesis: MemoryKinesis
  readonly #dynamodb: MemoryDynamoDB
  readonly #options: TestApplicationOptions<Value>
  readonly #handlers: WatchedHandlers<Value>
  readonly #put: TestPlace[] = []
  #worker: TestWorker<Value> | undefined
  #workers = 0
  #failure: unknown

  /**
   * @param handlers as {@link Consumer.run} takes them
   * @throws {OptionError} for an option that is unknown, or not what it must be
   */
  constructor(options: TestApplicationOptions<Value>, handlers: Handlers<NoInfer<Value>>) {
    const { shards, clock, ...rest } = options
    checkOptions<Own>(
      'TestApplication',
      { shards, clock },
      { shards: integerFrom(1, 10_000), clock: objectWith('advance') },
    )
    checkHandlers(handlers, rest.checkpointing)
    this.clock = clock ?? new ManualClock()
    this.#options = rest
    this.#kinesis = new MemoryKinesis(shards ?? 1, this.clock)
    this.#dynamodb = new MemoryDynamoDB(options.tableName ?? NAME)
    this.#handlers = new WatchedHandlers(handlers as Handlers<Value>, () => this.clock.monotonicMs())
    // Its options are refused here, not at the start.
    this.#consumer(new Mortal(), 0)
  }

  /** Every call of the handler, oldest first. */
  get deliveries(): readonly Delivery<Value>[] {
    return this.#handlers.deliveries
  }

  /** The consumer that runs: for `pause`, `resume`, `status`. @throws if none does */
  get consumer(): Consumer<Value> {
    return this.#running().consumer
  }

  /** What `run` has rejected with, such as `ERR_STOPPED`; undefined while it hasn't. */
  get failure(): unknown {
    return this.#failure
  }

  /** The ids of the open shards, by their hash ranges. */
  get openShards(): string[] {
    return this.#kinesis.openShards
  }

  /** Puts a Kinesis record: of one user record, or an aggregate of several. Returns where they are. */
  put(record: TestRecord, options?: TestPutOptions): TestPlace
  put(records: readonly TestRecord[], options?: TestPutOptions): TestPlace[]
  put(records: TestRecord | readonly TestRecord[], options: TestPutOptions = {}): TestPlace | TestPlace[] {
    const isOne = !Array.isArray(records)
    const all = (isOne ? [records] : records) as readonly TestRecord[]
    const [first] = all
    if (first === undefined) throw new RangeError('Expected at least one record to put, got none.')
    const builder = new AggregateBuilder()
    for (const { partitionKey, explicitHashKey, data = '' } of all) {
      builder.add(partitionKey, explicitHashKey, typeof data === 'string' ? Buffer.from(data) : data)
    }
    const { explicitHashKey } = first
    const hashKey = explicitHashKey === undefined ? hashKeyOf(first.partitionKey) : parseHashKey(explicitHashKey)
    const { partitionKey, data } = builder.build(hashKey)
    const { shardId = this.#kinesis.shardOf(hashKey), damaged = false } = options
    const sequenceNumber = this.#kinesis.append(shardId, partitionKey, damaged ? brokenAggregate(data) : data)
    const places = all
      .slice(0, damaged ? 1 : undefined)
      .map((_, subSequenceNumber) => ({ shardId, sequenceNumber, subSequenceNumber }))
    this.#put.push(...places)
    return isOne ? places[0]! : places
  }

  /** Splits a shard in half: it ends when all of it is handled. Default: the first open one. Returns the children's ids. */
  split(shardId: string = this.openShards[0]!): string[] {
    return this.#kinesis.split(shardId)
  }

  /**
   * Makes the next calls of the handler with these records fail instead.
   *
   * @param times so many of them
   */
  fail(choice: RecordChoice<Value>, times = 1, error: unknown = new Error('The test makes this attempt fail.')): void {
    this.#handlers.add(choice, times, () => {
      throw error
    })
  }

  /** Makes the next call with these records hang, whatever its signal says. Returns what lets it go on to the handler. */
  hang(choice: RecordChoice<Value>): () => void {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#handlers.add(choice, 1, () => promise)
    return resolve
  }

  /** Starts a worker, and waits until it has all the leases: after a crash that takes `failoverTime`, and a bit more. */
  async start(): Promise<void> {
    if (this.#worker !== undefined)
      throw new Error('A worker of the test runs: expected stop() or crash() before start().')
    const life = new Mortal()
    const number = ++this.#workers
    const consumer = this.#consumer(life, number)
    const worker: TestWorker<Value> = { number, consumer, life, isOver: false }
    this.#worker = worker
    this.#failure = undefined
    consumer.run(this.#handlers.of(number, () => life.isDead)).then(
      () => {
        worker.isOver = true
      },
      (error: unknown) => {
        worker.isOver = true
        this.#failure = error
      },
    )
    const { length } = this.events
    await this.until(() => {
      const taken = this.events.slice(length).map((event) => (event.type === 'leaseTaken' ? event.shardId : undefined))
      const leases = this.#leases()
      return leases.length > 0 && leases.every((lease) => isFinished(lease) || taken.includes(lease.shardId))
    }, 'the worker has had all the leases')
  }

  /** Closes the worker in good order: what is in hand is finished, checkpoints are written, leases given back. */
  async stop(): Promise<void> {
    const worker = this.#running()
    void worker.consumer.close()
    await this.#wait(() => worker.isOver, 'the worker has closed')
    this.#worker = undefined
  }

  /** Ends the worker as SIGKILL does: nothing of it goes on. What it has not written is lost. */
  crash(): void {
    this.#running().life.die()
    this.#worker = undefined
    this.#handlers.crashed()
  }

  /** Lets another worker have taken the lease of a shard, by default of the first, and waits until this one has found out. It gets the lease again when that lets it expire. */
  async loseLease(shardId?: string): Promise<void> {
    const held = this.#leases().filter(
      (lease) => holderOf(lease) === workerName(this.#running().number) && !isFinished(lease),
    )
    const lease = shardId === undefined ? held[0] : held.find((each) => each.shardId === shardId)
    if (lease === undefined) {
      const holds = held.map((each) => each.shardId).join(', ') || 'none'
      throw new RangeError(`Expected a lease that the worker holds, which is ${holds}, got ${shardId}.`)
    }
    const { length } = this.events
    const set = { leaseOwner: { S: 'another-worker' }, leaseCounter: { N: String(lease.counter + 1) } }
    this.#dynamodb.change(lease.leaseKey, set, ['checkpointOwner', TOKEN])
    await this.until(
      () => this.events.slice(length).some((event) => event.type === 'leaseLost' && event.shardId === lease.shardId),
      `the lease of ${lease.shardId} is lost`,
    )
  }

  /** Lets so much time pass. */
  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms)
  }

  /**
   * Lets time pass until it is so, in steps of 10 ms.
   *
   * @param what for the error
   * @throws if it isn't so after five minutes, or `run` has rejected
   */
  async until(condition: () => boolean, what = 'the condition holds'): Promise<void> {
    await this.#wait(() => {
      if (condition()) return true
      if (this.#failure !== undefined) throw this.#failure
      return false
    }, what)
  }

  /** Lets time pass until a checkpoint at or behind this place is in the table. Default: everything that was put. */
  async checkpointed(place?: TestPlace): Promise<void> {
    const places = place === undefined ? this.#put : [place]
    const isDone = ({ shardId, ...position }: TestPlace): boolean =>
      comparePositions(this.checkpoint(shardId), position) >= 0
    await this.until(() => places.every(isDone), 'the checkpoint is there')
  }

  /** What the table has as the shard's checkpoint. Default: the first open shard. */
  checkpoint(shardId: string = this.openShards[0]!): Position {
    const lease = this.#leases().find((each) => each.shardId === shardId)
    if (lease !== undefined) return lease.checkpoint
    // A finished shard's lease goes once its children are read.
    return this.events.some((event) => event.type === 'leaseDeleted' && event.shardId === shardId)
      ? SHARD_END
      : TRIM_HORIZON
  }

  #consumer(life: Mortal, number: number): Consumer<Value> {
    const { deadLetter, onEvent } = this.#options
    return new Consumer<Value>({
      logger: silentLogger,
      random: seededRandom(number),
      ...this.#options,
      application: NAME,
      stream: STREAM,
      workerId: workerName(number),
      kinesis: life.client(this.#kinesis),
      dynamodb: life.client(this.#dynamodb),
      clock: life.clock(this.clock),
      onEvent: (event) => {
        if (life.isDead) return
        this.events.push(event)
        onEvent?.(event)
      },
      ...(deadLetter && {
        deadLetter: (letter: DeadLetter<Value>, context: { readonly signal: AbortSignal }) => {
          if (life.isDead) return new Promise(() => {})
          this.deadLetters.push(letter)
          return deadLetter(letter, context)
        },
      }),
    })
  }

  async #wait(condition: () => boolean, what: string): Promise<void> {
    for (let waitedMs = 0; !condition(); waitedMs += STEP_MS) {
      if (waitedMs >= PATIENCE_MS)
        throw new Error(`Not so after ${PATIENCE_MS / 60_000} minutes: ${what}. ${this.#state()}`)
      await this.clock.advance(STEP_MS)
    }
  }

  /** What may keep it from going on. */
  #state(): string {
    if (this.#worker === undefined) return 'No worker runs.'
    const shards = this.#worker.consumer.status().shards.map(({ shardId, state, oldestUnfinished: oldest }) => {
      return `${shardId} is ${state}${oldest === undefined ? '' : ` with ${oldest.sequenceNumber}:${oldest.subSequenceNumber} unfinished for ${oldest.ageMs} ms`}`
    })
    return `${shards.join(', ') || 'The worker holds no shard'}.`
  }

  #running(): TestWorker<Value> {
    if (this.#worker === undefined) throw new Error('No worker of the test runs: expected start() before.')
    return this.#worker
  }

  #leases(): Lease[] {
    return this.#dynamodb.items.flatMap((item) => (item.entityType?.S === 'LEASE' ? (leaseFromItem(item) ?? []) : []))
  }
}

function workerName(number: number): string {
  return `worker-${number}`
}

/** Magic and MD5 are right, and what is between is cut off. */
function brokenAggregate(data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from([0x1a, 0xff, 0x7f]), data.subarray(0, 64)])
  return Buffer.concat([AGGREGATE_MAGIC, body, hash('md5', body, 'buffer')])
}
