import { spawn } from 'node:child_process'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { MergeShardsCommand, PutRecordsCommand, SplitShardCommand } from '@aws-sdk/client-kinesis'
import { type Clock, createKinesisClient, type Kinesis, listShards, silentLogger, systemClock } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { Consumer } from '../src/consumer.ts'
import type { DynamoDB } from '../src/leases/items-table.ts'
import type { ConsumerOptions } from '../src/options.ts'
import type { ConsumerEvent } from '../src/telemetry/telemetry.ts'

let local: Local
let kinesis: Kinesis & { destroy(): void }

beforeAll(async () => {
  local = await startLocal({ streams: { join: 4, reshard: 2, lone: 1 }, limits: false })
  kinesis = createKinesisClient(local.kinesis)
})

afterAll(async () => {
  kinesis.destroy()
  await local.stop()
})

interface Delivery {
  readonly worker: string
  readonly key: string
  readonly number: number
  readonly position: string
}

const KEYS = Array.from({ length: 40 }, (_, index) => `key-${index}`)

/** Puts numbered records, in order per key, until stopped. */
class Writer {
  readonly #stream: string
  #stopped = false
  #number = 0
  readonly #done: Promise<void>

  constructor(stream: string) {
    this.#stream = stream
    this.#done = this.#write()
  }

  async stop(): Promise<number> {
    this.#stopped = true
    await this.#done
    return this.#number
  }

  async #write(): Promise<void> {
    while (!this.#stopped) {
      const data = Buffer.from(String(this.#number++))
      const records = KEYS.map((key) => ({ PartitionKey: key, Data: data }))
      await kinesis.send(new PutRecordsCommand({ StreamName: this.#stream, Records: records }))
      await soon(5)
    }
  }
}

/** Several workers of one application, and what they were given. */
class Fleet {
  readonly deliveries: Delivery[] = []
  readonly events: { worker: string; event: ConsumerEvent }[] = []
  readonly #stream: string
  readonly #application: string

  constructor(stream: string) {
    this.#stream = stream
    this.#application = `app-of-${stream}`
  }

  start(worker: string, options: Partial<ConsumerOptions> = {}): Consumer {
    const consumer = new Consumer({
      application: this.#application,
      stream: this.#stream,
      workerId: worker,
      failoverTime: 1_000,
      idleTimeBetweenReads: 20,
      kinesisConfig: local.kinesis,
      dynamodbConfig: local.dynamodb,
      logger: silentLogger,
      onEvent: (event) => this.events.push({ worker, event }),
      ...options,
    })
    void consumer.run({
      eachRecord: async (record) => {
        await soon(Math.random() * 4)
        this.deliveries.push({
          worker,
          key: record.partitionKey,
          number: Number(record.text()),
          position: `${record.shardId}:${record.sequenceNumber}:${record.subSequenceNumber}`,
        })
      },
    })
    return consumer
  }

  duplicates(): Delivery[] {
    const seen = new Set<string>()
    return this.deliveries.filter(({ position }) => seen.size === seen.add(position).size)
  }

  /** Per key the numbers in the order of their first deliveries. */
  firsts(): Map<string, number[]> {
    const firsts = new Map<string, Set<number>>(KEYS.map((key) => [key, new Set()]))
    for (const { key, number } of this.deliveries) firsts.get(key)?.add(number)
    return new Map([...firsts].map(([key, numbers]) => [key, [...numbers]]))
  }

  expectAllInOrder(count: number): void {
    const expected = Array.from({ length: count }, (_, number) => number)
    for (const [key, numbers] of this.firsts()) expect(numbers, key).toEqual(expected)
  }

  async delivered(count: number): Promise<void> {
    await vi.waitFor(
      () => expect(Math.min(...[...this.firsts().values()].map((numbers) => numbers.length))).toBe(count),
      { timeout: 8_000, interval: 20 },
    )
  }
}

const soon = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const reading = (consumer: Consumer): string[] =>
  consumer
    .status()
    .shards.filter(({ state }) => state === 'reading')
    .map(({ shardId }) => shardId)

async function until(holds: () => void): Promise<void> {
  await vi.waitFor(holds, { timeout: 8_000, interval: 20 })
}

/** A client that answers until it is cut off; then its calls never settle, like those of a process that was stopped. */
function severable<Client extends { send: unknown; destroy(): void }>(
  client: Client,
): { client: Client; cut: () => void } {
  let severed = false
  const send = client.send as (...given: unknown[]) => Promise<unknown>
  Object.assign(client, {
    send: (...given: unknown[]) =>
      severed
        ? new Promise(() => {})
        : send.apply(client, given).then((answer) => (severed ? new Promise(() => {}) : answer)),
  })
  return { client, cut: () => (severed = true) }
}

describe('several workers', () => {
  test('a second one joins and one leaves with nothing delivered twice; after a crash the other carries on', async () => {
    const fleet = new Fleet('join')
    const writer = new Writer('join')
    const first = fleet.start('first')
    await until(() => expect(reading(first)).toHaveLength(4))

    const second = fleet.start('second')
    await until(() => expect([reading(first).length, reading(second).length]).toEqual([2, 2]))
    await first.close()
    await until(() => expect(reading(second)).toHaveLength(4))
    expect(fleet.duplicates()).toEqual([])

    const kinesisLine = severable(createKinesisClient(local.kinesis))
    const tableLine = severable(new DynamoDBClient(local.dynamodb))
    const third = fleet.start('third', { kinesis: kinesisLine.client, dynamodb: tableLine.client as DynamoDB })
    await until(() => expect([reading(second).length, reading(third).length]).toEqual([2, 2]))
    expect(fleet.duplicates()).toEqual([])

    kinesisLine.cut()
    tableLine.cut()
    const cutAt = performance.now()
    await until(() => expect(reading(second)).toHaveLength(4))
    expect(performance.now() - cutAt).toBeLessThan(8_000)
    const count = await writer.stop()
    await fleet.delivered(count)
    fleet.expectAllInOrder(count)
    for (const { worker } of fleet.duplicates()) expect(worker).toBe('second')
    expect(fleet.events).toContainEqual({ worker: 'third', event: expect.objectContaining({ type: 'leaseLost' }) })

    await Promise.all([second.close(), third.close()])
    kinesisLine.client.destroy()
    tableLine.client.destroy()
  })

  test('splits and merges keep the order of every key and deliver nothing twice', async () => {
    const fleet = new Fleet('reshard')
    const writer = new Writer('reshard')
    // A worker that a busy machine holds up for longer loses its leases, and what it has in hand comes twice.
    const patient = { failoverTime: 5_000 }
    const workers = [fleet.start('one', patient), fleet.start('two', patient)]
    await until(() => expect(workers.flatMap(reading)).toHaveLength(2))

    const [low] = await listShards(kinesis, 'reshard')
    const middle = (low!.hashRange.start + low!.hashRange.end) / 2n
    await kinesis.send(
      new SplitShardCommand({
        StreamName: 'reshard',
        ShardToSplit: low!.shardId,
        NewStartingHashKey: String(middle),
      }),
    )
    await until(() => expect(workers.flatMap(reading).sort()).toEqual(ids(1, 2, 3)))
    await kinesis.send(
      new MergeShardsCommand({ StreamName: 'reshard', ShardToMerge: ids(3)[0]!, AdjacentShardToMerge: ids(1)[0]! }),
    )
    await until(() => expect(workers.flatMap(reading).sort()).toEqual(ids(2, 4)))

    const count = await writer.stop()
    await fleet.delivered(count)
    fleet.expectAllInOrder(count)
    expect(fleet.duplicates()).toEqual([])
    await Promise.all(workers.map((worker) => worker.close()))
  })
})

describe('one worker', () => {
  const put = (text: string): Promise<unknown> =>
    kinesis.send(
      new PutRecordsCommand({
        StreamName: 'lone',
        Records: [{ PartitionKey: 'key', Data: Buffer.from(text) }],
      }),
    )
  const options = (application: string, events: ConsumerEvent[] = []): ConsumerOptions => ({
    application,
    stream: 'lone',
    failoverTime: 1_000,
    idleTimeBetweenReads: 20,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
    onEvent: (event) => events.push(event),
  })

  test('handles the first record of a new application soon, and what was handled does not come again', async () => {
    await put('one')
    const got: string[] = []
    const startedAt = performance.now()
    const first = new Consumer(options('soon'))
    const running = first.run({ eachRecord: (record) => got.push(record.text()) })
    await until(() => expect(got).toEqual(['one']))
    // 0.3 to 0.5 s on an idle machine; what must not be is a fixed wait at the start.
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    await first.close()
    await running
    await put('two')
    const second = new Consumer(options('soon'))
    void second.run({ eachRecord: (record) => got.push(record.text()) })
    await until(() => expect(got).toEqual(['one', 'two']))
    await second.close()
  })

  test('at LATEST gets what is put once it has its lease, also when it stops before it has read anything', async () => {
    await put('before')
    // The tip is known by the service's clock in whole seconds: what came within the last one may be delivered too.
    await soon(1_100)
    const got: string[] = []
    const first = new Consumer({ ...options('latest'), initialPosition: 'LATEST' })
    void first.run({ eachRecord: (record) => got.push(record.text()) })
    await until(() => expect(reading(first)).toHaveLength(1))
    await first.close()
    await put('between')
    const second = new Consumer({ ...options('latest'), initialPosition: 'LATEST' })
    void second.run({ eachRecord: (record) => got.push(record.text()) })
    await until(() => expect(got).toEqual(['between']))
    await second.close()
  })

  test('at LATEST misses nothing when its own clock runs ahead of the service', async () => {
    const clock: Clock = { ...systemClock, wallMs: () => Date.now() + 60_000 }
    const got: string[] = []
    const consumer = new Consumer({ ...options('ahead'), initialPosition: 'LATEST', clock })
    void consumer.run({ eachRecord: (record) => got.push(record.text()) })
    await until(() => expect(reading(consumer)).toHaveLength(1))
    await put('after the start')
    await until(() => expect(got).toContain('after the start'))
    await consumer.close()
  })

  test('a handler that hangs cannot hang the stop: it is aborted, and its record comes again elsewhere', async () => {
    await put('stuck')
    const aborted: unknown[] = []
    const first = new Consumer({ ...options('hang'), closeTimeout: 100 })
    const running = first.run({
      eachRecord: (_, { signal }) =>
        new Promise(() => signal.addEventListener('abort', () => aborted.push(signal.reason.code))),
    })
    await until(() => expect(first.status().shards[0]?.oldestUnfinishedMs).toBeGreaterThan(0))
    const startedAt = performance.now()
    await first.close()
    await running
    expect(performance.now() - startedAt).toBeLessThan(5_000)
    expect(aborted).toEqual(['ERR_CLOSED'])
    const got: string[] = []
    const second = new Consumer(options('hang'))
    void second.run({ eachRecord: (record) => got.push(record.text()) })
    await until(() => expect(got).toContain('stuck'))
    await second.close()
  })

  test('close() with an aborted signal waits for no handler', async () => {
    const consumer = new Consumer(options('hurry'))
    void consumer.run({ eachRecord: () => new Promise(() => {}) })
    await until(() => expect(consumer.status().shards[0]?.oldestUnfinishedMs).toBeGreaterThan(0))
    const startedAt = performance.now()
    await consumer.close({ signal: AbortSignal.abort() })
    expect(performance.now() - startedAt).toBeLessThan(5_000)
  })

  test('an aborted signal ends run(), and a listener that throws breaks nothing', async () => {
    const stop = new AbortController()
    const got: string[] = []
    const consumer = new Consumer({
      ...options('signal'),
      onEvent: () => {
        throw new Error('listener')
      },
    })
    const running = consumer.run({ eachRecord: (record) => got.push(record.text()), signal: stop.signal })
    await until(() => expect(got.length).toBeGreaterThan(0))
    stop.abort()
    await running
    await consumer.close()
    await consumer[Symbol.asyncDispose]()
  })

  test('a stream that does not exist fails run() with a word on it', async () => {
    const consumer = new Consumer({ ...options('nowhere'), stream: 'nowhere' })
    await expect(consumer.run({ eachRecord: () => {} })).rejects.toMatchObject({
      code: 'ERR_STREAM',
      message: expect.stringContaining('There is no stream "nowhere"'),
    })
  })

  test('it runs once', async () => {
    const consumer = new Consumer(options('once'))
    const running = consumer.run({ eachRecord: () => {} })
    await expect(consumer.run({ eachRecord: () => {} })).rejects.toMatchObject({ code: 'ERR_STATE' })
    await consumer.close()
    await running
    const closed = new Consumer(options('once'))
    await closed.close()
    await expect(closed.run({ eachRecord: () => {} })).rejects.toMatchObject({ code: 'ERR_STATE' })
  })

  test('after close() the process ends by itself', async () => {
    const { promise, resolve } = Promise.withResolvers<number | null>()
    const script = `
      import { Consumer } from '@shardwise/consumer'
      const consumer = new Consumer(${JSON.stringify({ ...options('exit'), logger: undefined })})
      await Promise.all([consumer.run({ eachRecord: () => { void consumer.close() } })])
    `
    const child = spawn(process.execPath, ['--conditions=shardwise-source', '--input-type=module', '-e', script], {
      cwd: import.meta.dirname,
      stdio: 'inherit',
    })
    child.on('exit', resolve)
    expect(await promise).toBe(0)
  })
})

const ids = (...numbers: number[]): string[] => numbers.map((number) => `shardId-00000000000${number}`)
