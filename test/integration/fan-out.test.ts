import { setTimeout } from 'node:timers/promises'
import { type KinesisClient, MergeShardsCommand, SplitShardCommand } from '@aws-sdk/client-kinesis'
import { Consumer, type ConsumerRecord } from '@shardwise/consumer'
import { createKinesisClient, listShards, type Shard, silentLogger } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { type FaultRule, type Local, startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { expect, test } from 'vitest'
import { connectionsTo, liveBytes } from './process-use.ts'

const STREAM = 'orders'
const SHARDS = 16
const KEYS = 300
const PUTTING_MS = 20_000
const LARGE_RECORDS = 5_000
const LARGE_BYTES = 8_000
const SMALL_RECORDS = 10_000
const RECORDS = LARGE_RECORDS + SMALL_RECORDS
const RESHARDS = 10

const MIB = 2 ** 20
/** Of one consumer; all that is put is five times that. */
const MAX_BUFFERED_BYTES = 8 * MIB
/** Events may bring more than was expected, up to 1 MiB each. */
const MAX_OVERSHOOT_BYTES = 4 * MIB
/** Beside what is buffered: what HTTP/2 receives before it is read, what is being decoded, and the machinery itself. */
const MAX_UNCOUNTED_BYTES = 48 * MIB
const SAMPLE_MS = 50
const COLLECT_MS = 1_000

/** One after the other, each until it has struck so often. Stalls come first, since it takes half a minute to be sure of one. */
const FAULTS: readonly (FaultRule & { readonly count: number })[] = [
  { fault: 'stall', operation: 'SubscribeToShard', probability: 0.2, count: 4 },
  { fault: 'reset', operation: 'SubscribeToShard', probability: 0.2, count: 8 },
  { fault: 'errorEvent', operation: 'SubscribeToShard', probability: 0.2, count: 8 },
  { fault: 'throttle', operation: 'SubscribeToShard', probability: 0.7, count: 6 },
  { fault: 'earlyEnd', operation: 'SubscribeToShard', probability: 0.2, count: 12 },
  { fault: 'lostAnswer', operation: 'SubscribeToShard', probability: 0.5, count: 4 },
  { fault: 'internalError', operation: 'ListShards', probability: 0.5, count: 3 },
  { fault: 'delay', operation: 'SubscribeToShard', delayMs: 1_000, probability: 0.5, count: 4 },
  { fault: 'reset', operation: 'SubscribeToShard', probability: 0.1, count: 16 },
]

/** One of the applications, and what its handler got. */
class Reader {
  readonly name: string
  readonly consumer: Consumer
  readonly running: Promise<void>
  readonly delivered = new Set<number>()
  readonly disorder: string[] = []
  mostBufferedBytes = 0
  readonly #newest = new Map<string, number>()

  constructor(name: string, local: Local, handle: (attempt: number) => Promise<void> | void) {
    this.name = name
    this.consumer = new Consumer({
      application: name,
      stream: STREAM,
      retrieval: 'fanOut',
      maxBufferedBytes: MAX_BUFFERED_BYTES,
      kinesisConfig: local.kinesis,
      dynamodbConfig: local.dynamodb,
      logger: silentLogger,
    })
    this.running = this.consumer.run({
      eachRecord: async (record, { attempt }) => {
        await handle(attempt)
        // A misplaced copy is one too many: the producer has sent its record again, and order is not promised for it.
        if (!record.misplaced) this.#note(record)
      },
    })
  }

  get reading(): number {
    return this.consumer.status().shards.filter(({ state }) => state === 'reading').length
  }

  sample(): void {
    const bufferedBytes = this.consumer.status().shards.reduce((sum, shard) => sum + shard.bufferedBytes, 0)
    this.mostBufferedBytes = Math.max(this.mostBufferedBytes, bufferedBytes)
  }

  #note(record: ConsumerRecord): void {
    const number = Number.parseInt(record.text(), 10)
    if (this.delivered.has(number)) return
    this.delivered.add(number)
    const newest = this.#newest.get(record.partitionKey) ?? -1
    if (number < newest) this.disorder.push(`${record.partitionKey}: ${number} after ${newest}`)
    this.#newest.set(record.partitionKey, number)
  }
}

/** Looks at the readers, and at the memory of this process, again and again until it is disposed of. */
function watch(readers: readonly Reader[]): Disposable & { mostLiveBytes: number } {
  const sampling = setInterval(() => {
    for (const reader of readers) reader.sample()
  }, SAMPLE_MS)
  const collecting = setInterval(() => {
    watching.mostLiveBytes = Math.max(watching.mostLiveBytes, liveBytes())
  }, COLLECT_MS)
  const watching = {
    mostLiveBytes: 0,
    [Symbol.dispose]: () => {
      clearInterval(sampling)
      clearInterval(collecting)
    },
  }
  return watching
}

async function openShards(kinesis: KinesisClient): Promise<Shard[]> {
  const shards = await listShards(kinesis, STREAM, { filter: { Type: 'AT_LATEST' } })
  return shards.sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
}

/** Splits and merges in turn, so that there are always about as many shards. */
async function reshard(kinesis: KinesisClient, random: () => number): Promise<void> {
  for (let turn = 0; turn < RESHARDS; turn++) {
    await setTimeout(PUTTING_MS / RESHARDS)
    const shards = await openShards(kinesis)
    const at = Math.floor(random() * (shards.length - 1))
    const [{ shardId, hashRange }, next] = shards.slice(at, at + 2) as [Shard, Shard]
    const middle = String((hashRange.start + hashRange.end) / 2n)
    if (turn % 2 === 0) {
      await kinesis.send(
        new SplitShardCommand({ StreamName: STREAM, ShardToSplit: shardId, NewStartingHashKey: middle }),
      )
    } else {
      await kinesis.send(
        new MergeShardsCommand({ StreamName: STREAM, ShardToMerge: shardId, AdjacentShardToMerge: next.shardId }),
      )
    }
  }
}

/** Sets one fault after the other, each until it has struck as often as it is to. Resolves when all have. */
async function disturb(local: Local): Promise<void> {
  for (const rule of FAULTS) {
    const fault = await local.faults.add(rule)
    await expect.poll(() => fault.hits(), { timeout: 30_000, interval: 100, message: rule.fault }).toBe(rule.count)
  }
}

async function put(producer: Producer, random: () => number, signal: AbortSignal): Promise<void> {
  const startedMs = performance.now()
  const receipts: Promise<unknown>[] = []
  for (let number = 0; number < RECORDS && !signal.aborted; number++) {
    const isLarge = number % (RECORDS / LARGE_RECORDS) === 0
    const data = `${number} `.padEnd(isLarge ? LARGE_BYTES : 0, '.')
    receipts.push(producer.put({ partitionKey: `key-${Math.floor(random() * KEYS)}`, data }))
    await producer.ready
    const aheadMs = startedMs + (number / RECORDS) * PUTTING_MS - performance.now()
    if (aheadMs > 0) await setTimeout(aheadMs)
  }
  await Promise.all(receipts)
}

test('three applications read sixteen shards by fan-out through reshards and faults, one of them slowly, within their memory', async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32))
  const random = seededRandom(seed)
  await using local = await startLocal({ streams: { [STREAM]: SHARDS } })
  // The faults strike it too.
  const kinesis = createKinesisClient({ ...local.kinesis, maxAttempts: 10 })
  const polls = await local.faults.add({ fault: 'delay', delayMs: 0, operation: 'GetRecords' })
  let isSlow = true
  const readers = [
    new Reader('quick', local, () => {}),
    // As much as 64 at once handle of 200 ms each: less than half of what is put.
    new Reader('slow', local, async () => {
      if (isSlow) await setTimeout(200)
    }),
    new Reader('failing', local, (attempt) => {
      if (attempt === 1 && random() < 0.002) throw new Error('as it happens')
    }),
  ]
  try {
    for (const reader of readers) {
      await expect.poll(() => reader.reading, { timeout: 20_000, interval: 100 }).toBe(SHARDS)
    }
    const liveBefore = liveBytes()
    {
      using watching = watch(readers)
      await using producer = new Producer({ stream: STREAM, clientConfig: local.kinesis, logger: silentLogger })
      const failed = new AbortController()
      await Promise.all([put(producer, random, failed.signal), reshard(kinesis, random), disturb(local)]).finally(() =>
        failed.abort(),
      )
      await local.faults.clear()
      isSlow = false
      for (const { delivered, name } of readers) {
        await expect
          .poll(() => delivered.size, { timeout: 40_000, interval: 100, message: `${name}, seed ${seed}` })
          .toBe(RECORDS)
      }
      const bound = readers.length * (MAX_BUFFERED_BYTES + MAX_OVERSHOOT_BYTES) + MAX_UNCOUNTED_BYTES
      expect(watching.mostLiveBytes - liveBefore, 'bytes that live, beyond those at the start').toBeLessThan(bound)
    }
    expect(await polls.hits()).toBe(0)
    for (const { name, disorder, mostBufferedBytes } of readers) {
      expect(disorder, `order of ${name}, seed ${seed}`).toEqual([])
      expect(mostBufferedBytes, name).toBeLessThan(MAX_BUFFERED_BYTES + MAX_OVERSHOOT_BYTES)
    }
  } finally {
    await Promise.all(readers.map(({ consumer }) => consumer.close()))
    kinesis.destroy()
  }
  await Promise.all(readers.map(({ running }) => running))
  await expect.poll(() => connectionsTo(local.kinesisEndpoint), { timeout: 5_000 }).toBe(0)
}, 100_000)
