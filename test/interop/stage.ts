import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type AttributeValue, DeleteItemCommand, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb'
import {
  DescribeStreamSummaryCommand,
  type KinesisClient,
  MergeShardsCommand,
  SplitShardCommand,
} from '@aws-sdk/client-kinesis'
import { createKinesisClient, listShards, type Shard } from '@shardwise/core'
import { type Local, type LocalOptions, startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { expect } from 'vitest'
import { type DynamoDBLocal, startDynamoDBLocal } from './dynamodb-local.ts'
import { EventLog, until } from './event-log.ts'
import type { KclVersion } from './java.ts'
import { nameOf, type OurSettings, type Surroundings, Worker } from './worker.ts'

export type Item = Readonly<Record<string, AttributeValue>>

const KEYS = 40
const RECORD_BYTES = 100
/** Where one stream is enough. */
const ORDERS = 'orders'

/** How long a worker may be silent: less than the usual 10 s, and the same for all, since they judge each other by it. */
const FAILOVER_MS = 3_000

/** Streams that are being written, an application's table, and the workers on it. */
export class Stage implements AsyncDisposable {
  readonly application: string
  readonly log: EventLog
  readonly local: Local
  readonly kinesis: KinesisClient
  readonly #streams: readonly string[]
  readonly #dynamodb: DynamoDBLocal
  readonly #folder: string
  readonly #producer: Producer
  readonly #around: Surroundings
  readonly #workers: Worker[] = []
  readonly #measured: [what: string, ms: number][] = []
  #put = 0
  #acknowledged = 0

  private constructor(application: string, streams: readonly string[], local: Local, dynamodb: DynamoDBLocal) {
    this.application = application
    this.#streams = streams.map(nameOf)
    this.local = local
    this.#dynamodb = dynamodb
    this.#folder = mkdtempSync(join(tmpdir(), 'shardwise-interop-'))
    this.log = new EventLog(join(this.#folder, 'events'))
    this.kinesis = createKinesisClient(local.kinesis)
    this.#producer = new Producer({
      clientConfig: local.kinesis,
      rateLimit: Number.POSITIVE_INFINITY,
      aggregationMaxSize: 4_096,
    })
    this.#around = {
      log: this.log,
      folder: this.#folder,
      application,
      streams,
      failoverMs: FAILOVER_MS,
      kinesis: local.kinesis,
      dynamodb: { ...local.kinesis, endpoint: dynamodb.endpoint },
    }
  }

  static async open(
    application: string,
    shards: number,
    streams: readonly string[] = [ORDERS],
    options: Pick<LocalOptions, 'clock' | 'limits'> = {},
  ): Promise<Stage> {
    const local = await startLocal({
      streams: Object.fromEntries(streams.map((stream) => [stream, shards])),
      limits: false,
      dynamodb: false,
      ...options,
    })
    const known = streams.length === 1 ? streams : await identifiers(local, streams)
    return new Stage(application, known, local, await startDynamoDBLocal(local.kinesis))
  }

  /** Notes how long something took, to be printed at the end. */
  took(what: string, ms: number): void {
    this.#measured.push([what, ms])
  }

  kcl(version: KclVersion, name: string, settings: Readonly<Record<string, string>> = {}): Worker {
    return this.#add(Worker.kcl(version, name, this.#around, settings))
  }

  shardwise(name: string, options?: OurSettings): Worker {
    return this.#add(Worker.shardwise(name, this.#around, options))
  }

  #add(worker: Worker): Worker {
    this.#workers.push(worker)
    return worker
  }

  /** Puts records, numbered on from the last, and resolves when all are acknowledged. */
  async put(count: number): Promise<void> {
    const receipts = Array.from({ length: count }, async () => {
      const number = this.#put++
      const key = number % KEYS
      const stream = this.#streams[key % this.#streams.length]!
      await this.#producer.put({ stream, partitionKey: `key-${key}`, data: String(number).padEnd(RECORD_BYTES) })
      this.#acknowledged++
    })
    await this.#producer.flush()
    await Promise.all(receipts)
  }

  /** Puts a few records again and again until disposed of; that resolves when all are acknowledged. */
  keepPutting(): AsyncDisposable {
    const stopped = new AbortController()
    const putting = (async () => {
      while (!stopped.signal.aborted) {
        await this.put(20)
        await setTimeout(100)
      }
    })()
    return {
      [Symbol.asyncDispose]: async () => {
        stopped.abort()
        await putting
      },
    }
  }

  /** The open shards of one stream, by their hash keys. */
  async #shardsOf(stream: string): Promise<Shard[]> {
    const shards = await listShards(this.kinesis, stream, { filter: { Type: 'AT_LATEST' } })
    return shards.sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
  }

  /** Splits the first open shard of a stream in the middle. Resolves to its id. */
  async split(stream = ORDERS): Promise<string> {
    const [{ shardId, hashRange }] = (await this.#shardsOf(stream)) as [Shard]
    const middle = (hashRange.start + hashRange.end) / 2n
    await this.kinesis.send(
      new SplitShardCommand({ StreamName: stream, ShardToSplit: shardId, NewStartingHashKey: String(middle) }),
    )
    return shardId
  }

  /** Merges the last two open shards of a stream. */
  async merge(stream = ORDERS): Promise<void> {
    const [low, high] = (await this.#shardsOf(stream)).slice(-2) as [Shard, Shard]
    await this.kinesis.send(
      new MergeShardsCommand({ StreamName: stream, ShardToMerge: low.shardId, AdjacentShardToMerge: high.shardId }),
    )
  }

  /** Who leads, by the lock; undefined while nobody does. */
  async leader(suffix = ''): Promise<string | undefined> {
    const lock = (await this.items(suffix)).find((item) => (item.leaseKey ?? item.key)?.S === 'Leader')
    return lock?.ownerName?.S
  }

  /** All items of the application's table, or of one of the older layout's other tables. */
  async items(suffix = ''): Promise<Item[]> {
    const { Items = [] } = await this.#dynamodb.client.send(
      new ScanCommand({ TableName: `${this.application}${suffix}`, ConsistentRead: true }),
    )
    return Items
  }

  async putItem(item: Item, suffix = ''): Promise<void> {
    const TableName = `${this.application}${suffix}`
    await this.#dynamodb.client.send(new PutItemCommand({ TableName, Item: item }))
  }

  async deleteItem(leaseKey: string): Promise<void> {
    const Key = { leaseKey: { S: leaseKey } }
    await this.#dynamodb.client.send(new DeleteItemCommand({ TableName: this.application, Key }))
  }

  /** The leases of shards that aren't finished, by stream and shard. */
  async leases(): Promise<Map<string, Item>> {
    const leases = (await this.items()).filter(({ leaseKey }) => leaseKey?.S?.includes('shardId-'))
    const open = leases.filter(({ checkpoint }) => checkpoint?.S !== 'SHARD_END')
    return new Map(open.map((item) => [placeOf(item), item]))
  }

  /** Waits until these workers, and no others, hold the leases and read the shards. Resolves to the milliseconds. */
  async readBy(workers: readonly Worker[], timeoutMs?: number): Promise<number> {
    const wanted = workers.map(({ name }) => name).sort()
    return await until(
      `the shards are read by ${wanted.join(', ')}`,
      async () => {
        const leases = await this.leases()
        const readers = this.#readers()
        const isSettled = [...leases].every(
          ([place, { leaseOwner, checkpointOwner }]) =>
            leaseOwner?.S !== undefined && checkpointOwner === undefined && readers.get(place) === leaseOwner.S,
        )
        return isSettled && [...new Set(readers.values())].sort().join() === wanted.join()
      },
      timeoutMs,
    )
  }

  /** Waits until each lease belongs to one of these workers, and it has begun to read. Resolves to the milliseconds. */
  async heldBy(workers: readonly Worker[], timeoutMs?: number): Promise<number> {
    const names = new Set(workers.map(({ name }) => name))
    return await until(
      `the leases are held by ${[...names].join(', ')}`,
      async () => {
        const readers = this.#readers()
        return [...(await this.leases())].every(([place]) => names.has(readers.get(place) ?? ''))
      },
      timeoutMs,
    )
  }

  /** Who reads each shard, by what the workers that live told last. */
  #readers(): Map<string, string> {
    const readers = new Map<string, string>()
    for (const event of this.log.read()) {
      if (!('shard' in event)) continue
      const place = `${event.stream}/${event.shard}`
      if (event.event === 'started') readers.set(place, event.worker)
      const isOver = event.event === 'shardEnded' || event.event === 'leaseLost' || event.event === 'handedOff'
      if (isOver && readers.get(place) === event.worker) readers.delete(place)
    }
    const dead = new Set(this.#workers.filter(({ runs }) => !runs).map(({ name }) => name))
    for (const [place, worker] of readers) if (dead.has(worker)) readers.delete(place)
    return readers
  }

  /** Waits until each open shard is read. Resolves to the milliseconds. */
  async allRead(): Promise<number> {
    return await until('every open shard is read', async () => {
      const readers = this.#readers()
      const shards = await Promise.all(
        this.#streams.map(async (stream) =>
          (await this.#shardsOf(stream)).map(({ shardId }) => `${stream}/${shardId}`),
        ),
      )
      return shards.flat().every((place) => readers.has(place))
    })
  }

  /** Waits until another worker leads. Resolves to its name and the milliseconds. */
  async nextLeader(former: Worker, suffix = ''): Promise<[name: string, ms: number]> {
    let leader: string | undefined
    const ms = await until(`another than ${former.name} leads`, async () => {
      leader = await this.leader(suffix)
      return leader !== undefined && leader !== former.name
    })
    return [leader!, ms]
  }

  /** Waits until everything acknowledged has been delivered. Resolves to the milliseconds. */
  async delivered(timeoutMs?: number): Promise<number> {
    const startedAt = performance.now()
    try {
      await until('everything is delivered', () => this.#missing().length === 0, timeoutMs)
    } catch {
      const missing = this.#missing()
      expect.fail(
        `${missing.length} of ${this.#acknowledged} acknowledged records were not delivered: ${missing.slice(0, 20)}`,
      )
    }
    return performance.now() - startedAt
  }

  #missing(): number[] {
    const delivered = new Set(this.log.deliveries().map(({ data }) => Number(data)))
    return Array.from({ length: this.#put }, (_, number) => number).filter((number) => !delivered.has(number))
  }

  /** How often records came, beyond once each. */
  repeats(): number {
    const deliveries = this.log.deliveries()
    return deliveries.length - new Set(deliveries.map(({ data }) => data)).size
  }

  /** The first deliveries of each key came in the order of their puts. */
  expectOrder(): void {
    const newest = new Map<string, number>()
    const seen = new Set<string>()
    for (const { key, data } of this.log.deliveries()) {
      if (seen.has(data)) continue
      seen.add(data)
      expect(Number(data), `order of ${key}`).toBeGreaterThan(newest.get(key) ?? -1)
      newest.set(key, Number(data))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.filter(({ runs }) => runs).map((worker) => worker.kill()))
    await this.#producer.close()
    this.kinesis.destroy()
    await this.#dynamodb[Symbol.asyncDispose]()
    await this.local.stop()
    this.log.close()
    for (const [what, ms] of this.#measured) {
      process.stdout.write(`${this.application}: ${what}: ${(ms / 1000).toFixed(1)} s\n`)
    }
    // With this set, the workers' own logs stay.
    if (process.env.INTEROP_KEEP === undefined) rmSync(this.#folder, { recursive: true, force: true })
    else process.stdout.write(`${this.application}: ${this.#folder}\n`)
  }
}

/** As the KCL names streams where an application has several. */
async function identifiers(local: Local, streams: readonly string[]): Promise<string[]> {
  const kinesis = createKinesisClient(local.kinesis)
  const summaries = await Promise.all(
    streams.map((stream) => kinesis.send(new DescribeStreamSummaryCommand({ StreamName: stream }))),
  )
  kinesis.destroy()
  return summaries.map(({ StreamDescriptionSummary: summary }) => {
    const { StreamARN = '', StreamName = '', StreamCreationTimestamp } = summary ?? {}
    return `${StreamARN.split(':')[4]}:${StreamName}:${Math.floor(Number(StreamCreationTimestamp) / 1000)}`
  })
}

function placeOf({ leaseKey, streamName, shardId }: Item): string {
  return `${nameOf(streamName?.S ?? ORDERS)}/${shardId?.S ?? leaseKey?.S}`
}
