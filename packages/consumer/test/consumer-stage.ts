import { isDeepStrictEqual } from 'node:util'
import { silentLogger } from '@shardwise/core'
import type { ManualClock } from '@shardwise/core/testing'
import type { Position } from '@shardwise/records'
import { Consumer } from '../src/consumer.ts'
import { type Lease, leaseFromItem } from '../src/leases/lease.ts'
import type { Item } from '../src/leases/table.ts'
import type { ConsumerOptions } from '../src/options.ts'
import type { Handlers } from '../src/run-options.ts'
import type { ConsumerEvent } from '../src/telemetry/telemetry.ts'
import { type Call, ModelledDynamoDB, NAME } from './modelled-dynamodb.ts'
import { ModelledKinesis, shardIdOf } from './modelled-kinesis.ts'

/** The failover time of every worker of a stage. */
export const F = 1_000

type EventOf<Type extends ConsumerEvent['type']> = Extract<ConsumerEvent, { type: Type }>

/** What a worker wrote that moved a lease's checkpoint. */
export interface WrittenCheckpoint {
  readonly worker: string
  readonly shardId: string
  readonly checkpoint: Position
}

/** Real consumers of one application and its stream "flights", over models of both services, in time that only the test moves. */
export class ConsumerStage {
  readonly dynamodb: ModelledDynamoDB = new ModelledDynamoDB(0)
  readonly kinesis: ModelledKinesis
  /** Every checkpoint that was written, in that order. */
  readonly written: WrittenCheckpoint[] = []

  constructor(shards = 1) {
    this.kinesis = new ModelledKinesis(this.clock, shards)
  }

  get clock(): ManualClock {
    return this.dynamodb.clock
  }

  /** A worker that runs from now on. Its defaults: a short `failoverTime`, and checkpoints that are written soon. */
  start(workerId: string, handlers: Handlers, options: Partial<ConsumerOptions> = {}): StagedWorker {
    const worker = this.create(workerId, options)
    worker.run(handlers)
    return worker
  }

  /** The same, and it doesn't run yet. */
  create(workerId: string, options: Partial<ConsumerOptions> = {}): StagedWorker {
    return new StagedWorker(workerId, {
      application: NAME,
      stream: 'flights',
      workerId,
      failoverTime: F,
      checkpointIntervalMs: 50,
      idleTimeBetweenReads: 20,
      kinesis: this.kinesis.kinesis,
      dynamodb: this.dynamodb.client((call, execute) => this.#watched(workerId, call, execute)),
      clock: this.clock,
      random: () => 0.5,
      logger: silentLogger,
      ...options,
    })
  }

  /** Lets time pass until it holds. */
  async until(what: string, holds: () => boolean, withinMs = 60_000): Promise<void> {
    for (let passedMs = 0; passedMs < withinMs; passedMs += 10) {
      if (holds()) return
      await this.clock.advance(10)
    }
    throw new Error(`expected within ${withinMs} ms: ${what}`)
  }

  /** Lets time pass until it is over. */
  async done<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    const over = (): void => {
      isOver = true
    }
    work.then(over, over)
    await this.until('the work is over', () => isOver)
    return await work
  }

  /** The table's item of a shard's lease. */
  item(shard: number): Item | undefined {
    return this.dynamodb.item({ leaseKey: { S: shardIdOf(shard) } })
  }

  lease(shard: number): Lease {
    const item = this.item(shard)
    const lease = item && leaseFromItem(item)
    if (lease === undefined) throw new Error(`expected a lease of ${shardIdOf(shard)}`)
    return lease
  }

  /** What every checkpoint of one shard said, in the order of the writes. */
  checkpointsOf(shard: number): Position[] {
    return this.written.flatMap(({ shardId, checkpoint }) => (shardId === shardIdOf(shard) ? [checkpoint] : []))
  }

  /** Changes attributes of a lease, as somebody else might. */
  change(shard: number, attributes: Item): void {
    this.dynamodb.put(NAME, { ...this.item(shard), ...attributes })
  }

  /** Gives a lease to another worker, as a leader does that takes its holder for dead. */
  take(shard: number, owner: string): void {
    const { leaseCounter } = this.item(shard) ?? {}
    this.change(shard, { leaseOwner: { S: owner }, leaseCounter: { N: String(Number(leaseCounter?.N) + 1) } })
  }

  #watched(worker: string, { input }: Call, execute: () => object): object {
    const { leaseKey } = (input.Key ?? {}) as Item
    const leaseBefore = this.#leaseAt(leaseKey)
    const answer = execute()
    const leaseAfter = this.#leaseAt(leaseKey)
    if (leaseBefore && leaseAfter && !isDeepStrictEqual(leaseBefore.checkpoint, leaseAfter.checkpoint)) {
      this.written.push({ worker, shardId: leaseAfter.shardId, checkpoint: leaseAfter.checkpoint })
    }
    return answer
  }

  #leaseAt(leaseKey: Item[string] | undefined): Lease | undefined {
    const item = leaseKey?.S?.startsWith('shardId-') ? this.dynamodb.item({ leaseKey }) : undefined
    return item && leaseFromItem(item)
  }
}

/** One worker of a stage's application, and what it told. */
export class StagedWorker {
  readonly consumer: Consumer
  readonly events: ConsumerEvent[] = []
  /** What `run()` rejected with; undefined while it runs and after a good end. */
  failure: unknown
  isOver = false
  #isSevered = false

  constructor(workerId: string, options: ConsumerOptions) {
    this.consumer = new Consumer({
      ...options,
      workerId,
      kinesis: this.#severable(options.kinesis!),
      dynamodb: this.#severable(options.dynamodb!),
      onEvent: (event) => this.events.push(event),
    })
  }

  run(handlers: Handlers): void {
    this.consumer.run(handlers).then(
      () => {
        this.isOver = true
      },
      (error: unknown) => {
        this.failure = error
        this.isOver = true
      },
    )
  }

  /** The events of one type, in order. */
  told<Type extends ConsumerEvent['type']>(type: Type): EventOf<Type>[] {
    return this.events.filter((event): event is EventOf<Type> => event.type === type)
  }

  /** From now on its calls never settle, as if it had been cut off, or killed. */
  sever(): void {
    this.#isSevered = true
  }

  #severable<Client extends { readonly send: unknown }>(client: Client): Client {
    const send = client.send as (...given: unknown[]) => Promise<unknown>
    const never = new Promise<never>(() => {})
    return {
      send: async (...given: unknown[]) => {
        if (this.#isSevered) return never
        const answer = await send.apply(client, given)
        return this.#isSevered ? never : answer
      },
    } as unknown as Client
  }
}
