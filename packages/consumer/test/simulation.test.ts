import { type Clock, type Kinesis, type Random, silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom } from '@shardwise/core/testing'
import { KinesisModel, ServiceError } from '@shardwise/local'
import { AggregateBuilder, hashKeyOf, isMisplaced } from '@shardwise/records'
import { expect, test } from 'vitest'
import type { ConsumerRecord } from '../src/consumer-record.ts'
import { createFleet } from '../src/create-fleet.ts'
import { resolveOptions } from '../src/options.ts'
import type { Table } from '../src/table.ts'
import { type ConsumerEvent, Telemetry } from '../src/telemetry.ts'
import { MemoryTable } from './memory-table.ts'

/*
 * Several workers over a modelled Kinesis and a table in memory, on a clock that only the test moves, with everything random
 * drawn from a seed: latencies, lost requests and answers, throttling, failing handlers, workers that join, leave, freeze, die
 * and come back, splits and merges. A seed that fails replays exactly.
 */

const STREAM = 'flights'
const KEYS = Array.from({ length: 12 }, (_, index) => `key-${index}`)
const FAILOVER_MS = 1_000

const never = <T>(): Promise<T> => new Promise(() => {})

/** A process that can be stopped for a while or for good: nothing of it goes on then. */
class Process implements Clock {
  readonly #world: World
  frozenUntilMs = 0
  dead = false

  constructor(world: World) {
    this.#world = world
  }

  get stopped(): boolean {
    return this.dead || this.frozenUntilMs > this.monotonicMs()
  }

  monotonicMs(): number {
    return this.#world.clock.monotonicMs()
  }

  wallMs(): number {
    return this.#world.clock.wallMs()
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    try {
      await this.#world.clock.sleep(ms, signal)
    } finally {
      await this.alive()
    }
  }

  async alive(): Promise<void> {
    while (this.frozenUntilMs > this.monotonicMs()) {
      await this.#world.clock.sleep(this.frozenUntilMs - this.monotonicMs())
    }
    if (this.dead) await never()
  }

  /** A call over the network: takes a while, and may fail on its way there or back. */
  async call<T>(work: () => T | Promise<T>, failure: () => Error): Promise<T> {
    const { random, faults } = this.#world
    await this.sleep(1 + random() * 8)
    if (random() < faults) throw failure()
    const answer = await work()
    await this.sleep(1 + random() * 8)
    if (random() < faults) throw failure()
    return answer
  }
}

class World {
  readonly clock = new ManualClock()
  readonly random: Random
  readonly model: KinesisModel
  readonly table = new MemoryTable()
  readonly workers = new Map<string, SimulatedWorker>()
  readonly events: { atMs: number; worker: string; event: ConsumerEvent }[] = []
  /** Per key the numbers in the order in which their handlers first began, and those whose handlers ended. */
  readonly begun = new Map<string, Set<number>>(KEYS.map((key) => [key, new Set()]))
  readonly ended = new Map<string, Set<number>>(KEYS.map((key) => [key, new Set()]))
  readonly log: string[] = []
  /** The handler that works on a key, and on behalf of whom. */
  readonly handling = new Map<string, { readonly process: Process; readonly signal: AbortSignal }>()
  overlaps = 0
  duplicates = 0
  faults = 0
  written = 0

  constructor(seed: number) {
    this.random = seededRandom(seed)
    this.model = new KinesisModel({ clock: this.clock, limits: false, retentionBytes: 2 ** 30 })
    this.model.execute('CreateStream', { StreamName: STREAM, ShardCount: 2 })
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)]!
  }

  openShards(): { ShardId: string; HashKeyRange: { StartingHashKey: string; EndingHashKey: string } }[] {
    const { Shards } = this.model.execute('ListShards', {
      StreamName: STREAM,
      ShardFilter: { Type: 'AT_LATEST' },
    }) as { Shards: never[] }
    return Shards
  }

  /** One record of every key, some in aggregates. */
  write(): void {
    const data = Buffer.from(String(this.written++))
    for (const { HashKeyRange } of this.openShards()) {
      const range = { start: BigInt(HashKeyRange.StartingHashKey), end: BigInt(HashKeyRange.EndingHashKey) }
      const keys = KEYS.filter((key) => !isMisplaced({ partitionKey: key }, range))
      if (keys.length === 0) continue
      if (this.random() < 0.5) {
        const builder = new AggregateBuilder()
        for (const key of keys) builder.add(key, undefined, data)
        const { partitionKey, explicitHashKey, data: aggregate } = builder.build(hashKeyOf(keys[0]!))
        this.model.execute('PutRecord', {
          StreamName: STREAM,
          PartitionKey: partitionKey,
          ExplicitHashKey: explicitHashKey,
          Data: Buffer.from(aggregate),
        })
      } else {
        for (const key of keys) {
          this.model.execute('PutRecord', { StreamName: STREAM, PartitionKey: key, Data: data })
        }
      }
    }
  }

  split(): void {
    const shard = this.pick(this.openShards())
    const start = BigInt(shard.HashKeyRange.StartingHashKey)
    const middle = start + (BigInt(shard.HashKeyRange.EndingHashKey) - start) / 2n
    this.model.execute('SplitShard', {
      StreamName: STREAM,
      ShardToSplit: shard.ShardId,
      NewStartingHashKey: String(middle),
    })
  }

  merge(): void {
    const shards = this.openShards().sort((a, b) =>
      BigInt(a.HashKeyRange.StartingHashKey) < BigInt(b.HashKeyRange.StartingHashKey) ? -1 : 1,
    )
    if (shards.length < 2) return
    const index = Math.floor(this.random() * (shards.length - 1))
    this.model.execute('MergeShards', {
      StreamName: STREAM,
      ShardToMerge: shards[index]!.ShardId,
      AdjacentShardToMerge: shards[index + 1]!.ShardId,
    })
  }

  /** Moves time until the promise settles. */
  async drive<T>(promise: Promise<T>): Promise<T> {
    let settled = false
    const done = (): void => {
      settled = true
    }
    promise.then(done, done)
    while (!settled) await this.clock.advance(20)
    return await promise
  }
}

class SimulatedWorker {
  readonly name: string
  readonly process: Process
  readonly #world: World
  readonly #closing = new AbortController()
  readonly #done: Promise<void>

  constructor(world: World, name: string) {
    this.name = name
    this.#world = world
    this.process = new Process(world)
    this.#done = this.#run()
    world.workers.set(name, this)
  }

  async close(): Promise<void> {
    this.#world.workers.delete(this.name)
    this.#closing.abort(new Error('closed'))
    await this.#done
  }

  kill(): void {
    this.#world.workers.delete(this.name)
    this.process.dead = true
  }

  freeze(ms: number): void {
    this.process.frozenUntilMs = this.process.monotonicMs() + ms
  }

  async #run(): Promise<void> {
    const { process } = this
    const world = this.#world
    const kinesis = this.#kinesis()
    const options = resolveOptions({
      application: 'delays',
      stream: STREAM,
      workerId: this.name,
      failoverTime: FAILOVER_MS,
      idleTimeBetweenReads: 40,
      closeTimeout: 2_000,
      maxAheadRecords: 20,
      maxRecords: 30,
      concurrency: 5,
      clock: process,
      random: world.random,
      logger: silentLogger,
    })
    const telemetry = new Telemetry(
      silentLogger,
      (event) => world.events.push({ atMs: world.clock.monotonicMs(), worker: this.name, event }),
      {},
    )
    const fleet = createFleet((record, { signal }) => this.#handle(record, signal), {
      table: this.#table(),
      kinesis,
      options,
      telemetry,
    })
    await fleet.run(this.#closing.signal)
    await fleet.stop()
  }

  async #handle(record: ConsumerRecord, signal: AbortSignal): Promise<void> {
    const world = this.#world
    const key = record.partitionKey
    const number = Number(record.text())
    if (this.process.dead) return await never()
    const begun = world.begun.get(key)!
    const isFirst = begun.size !== begun.add(number).size
    world.log.push(
      `${world.clock.monotonicMs()} ${this.name} ${record.shardId} ${key} ${number}${isFirst ? '' : ' again'}`,
    )
    if (world.ended.get(key)!.has(number)) world.duplicates++
    const other = world.handling.get(key)
    if (other !== undefined && !other.process.stopped && !other.signal.aborted) world.overlaps++
    const own = { process: this.process, signal }
    world.handling.set(key, own)
    try {
      await this.process.sleep(world.random() * 30, signal)
      if (world.random() < 0.02) throw new Error('a bad day')
      world.ended.get(key)!.add(number)
    } finally {
      if (world.handling.get(key) === own) world.handling.delete(key)
    }
  }

  #table(): Table {
    const { table } = this.#world
    const call = <T>(work: () => Promise<T>): Promise<T> =>
      this.process.call(work, () => Object.assign(new Error('timeout'), { name: 'TimeoutError' }))
    return {
      ensure: () => table.ensure(),
      scan: () => call(() => table.scan()),
      read: (key) => call(() => table.read(key)),
      update: (change) => call(() => table.update(change)),
      delete: (key, when) => call(() => table.delete(key, when)),
    }
  }

  #kinesis(): Kinesis {
    const { model } = this.#world
    const send = (command: { input: Record<string, unknown>; constructor: { name: string } }): Promise<object> =>
      this.process.call(
        () => {
          try {
            return model.execute(command.constructor.name.replace(/Command$/, ''), command.input)
          } catch (error) {
            if (!(error instanceof ServiceError)) throw error
            throw Object.assign(new Error(error.message), { name: error.type, $metadata: { httpStatusCode: 400 } })
          }
        },
        () => Object.assign(new Error('slow down'), { name: 'ProvisionedThroughputExceededException' }),
      )
    return { send } as unknown as Kinesis
  }
}

async function simulate(seed: number, violent: boolean): Promise<World> {
  const world = new World(seed)
  const { random, clock } = world
  world.faults = violent ? 0.03 : 0
  let names = 0
  new SimulatedWorker(world, `w${names++}`)
  const closed: Promise<void>[] = []

  const scenario = async (): Promise<void> => {
    for (let step = 0; step < 10; step++) {
      const until = clock.monotonicMs() + 200 + random() * 1_200
      while (clock.monotonicMs() < until) {
        world.write()
        await clock.sleep(25 + random() * 50)
      }
      const worker = world.pick([...world.workers.values()])
      const act = Math.floor(random() * (violent ? 8 : 5))
      if (act === 0) world.split()
      else if (act === 1) world.merge()
      else if (act <= 3 && world.workers.size < 4) new SimulatedWorker(world, `w${names++}`)
      else if (act === 4) closed.push(worker.close())
      else if (act === 5) worker.kill()
      else if (act === 6) worker.freeze(random() * 3 * FAILOVER_MS)
      else if (act === 7) {
        worker.kill()
        new SimulatedWorker(world, worker.name)
      }
      if (world.workers.size === 0) new SimulatedWorker(world, `w${names++}`)
    }
    const giveUpAt = clock.monotonicMs() + 60_000
    const isDone = (): boolean => [...world.ended.values()].every((numbers) => numbers.size === world.written)
    while (!isDone() && clock.monotonicMs() < giveUpAt) await clock.sleep(100)
    await Promise.all(closed)
    for (const worker of world.workers.values()) {
      // A lease may have been assigned to one in the very moment it left; the others take it up after the failover time.
      await clock.sleep(3 * FAILOVER_MS)
      await worker.close()
    }
  }
  await world.drive(scenario())
  return world
}

function check(world: World): void {
  const expected = Array.from({ length: world.written }, (_, number) => number)
  for (const key of KEYS) {
    expect([...world.begun.get(key)!], `${key}, in the order of first deliveries`).toEqual(expected)
    expect(world.ended.get(key)!.size, key).toBe(world.written)
  }
  expect(world.overlaps, 'handlers of one key at the same time').toBe(0)
}

const seeds = (count: number): number[] =>
  Array.from({ length: Number(process.env.SIMULATION_SEEDS ?? count) }, (_, index) => index + 1)

test.each(seeds(8))(
  'seed %i: workers that come and go, with splits and merges, deliver everything once and in order',
  async (seed) => {
    const world = await simulate(seed, false)
    check(world)
    expect(world.duplicates).toBe(0)
    expect(world.events.filter(({ event }) => event.type === 'leaseLost')).toEqual([])
    // Everyone has left in good order: nobody holds anything.
    for (const item of world.table.items.values()) {
      expect(item.entityType, JSON.stringify(item)).toEqual({ S: 'LEASE' })
      if (item.checkpoint?.S !== 'SHARD_END') expect(item).not.toHaveProperty('leaseOwner')
    }
  },
)

test.each(seeds(12))(
  'seed %i: with crashes, freezes, throttling and lost answers, everything is delivered, first deliveries in order',
  async (seed) => {
    const world = await simulate(seed, true)
    check(world)
    for (const item of world.table.items.values()) expect(item).not.toHaveProperty('checkpointOwner')
  },
)
