import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type KinesisClient, MergeShardsCommand, SplitShardCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient, listShards, type Shard } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { expect, test } from 'vitest'
import type { RecordingWorkerConfig } from './recording-worker.ts'

const STREAM = 'orders'
const WORKERS = 3
const KEYS = 60
const RECORDS = 24_000
const DISTURBANCES = 12

const workerFile = fileURLToPath(new URL('./recording-worker.ts', import.meta.url))

/** The worker processes of one application; a killed one is replaced by a new one with a new id. */
class Fleet {
  readonly #workers: { readonly child: ChildProcess; readonly ready: Promise<unknown> }[] = []
  readonly #config: Omit<RecordingWorkerConfig, 'workerId'>
  #started = 0

  constructor(config: Omit<RecordingWorkerConfig, 'workerId'>) {
    this.#config = config
  }

  start(): void {
    const config: RecordingWorkerConfig = { ...this.#config, workerId: `worker-${this.#started++}` }
    const child = spawn(process.execPath, ['--conditions=shardwise-source', workerFile, JSON.stringify(config)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    this.#workers.push({ child, ready: once(child, 'message') })
  }

  async kill(index: number): Promise<void> {
    const [worker] = this.#workers.splice(index, 1)
    if (worker === undefined) throw new Error(`no worker ${index} of ${this.#workers.length}`)
    const exited = once(worker.child, 'exit')
    worker.child.kill('SIGKILL')
    await exited
  }

  /** Stops every worker gracefully and returns their exit codes. */
  async stop(): Promise<(number | null)[]> {
    const exits = this.#workers.map(async ({ child, ready }) => {
      await ready
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      const [code] = (await exited) as [number | null]
      return code
    })
    return await Promise.all(exits)
  }

  killAll(): void {
    for (const { child } of this.#workers) child.kill('SIGKILL')
  }

  get size(): number {
    return this.#workers.length
  }
}

async function openShards(kinesis: KinesisClient): Promise<Shard[]> {
  const shards = await listShards(kinesis, STREAM, { filter: { Type: 'AT_LATEST' } })
  return shards.sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
}

type Disturbance = 'kill' | 'split' | 'merge'

/** Every kind equally often, in an order of the seed's choosing. */
function drawDisturbances(random: () => number): Disturbance[] {
  const drawn = Array.from({ length: DISTURBANCES }, (_, index) => (['kill', 'split', 'merge'] as const)[index % 3]!)
  for (let last = drawn.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1))
    ;[drawn[last], drawn[other]] = [drawn[other]!, drawn[last]!]
  }
  return drawn
}

async function split(kinesis: KinesisClient, shards: readonly Shard[], random: () => number): Promise<void> {
  const shard = shards[Math.floor(random() * shards.length)]!
  const middle = (shard.hashRange.start + shard.hashRange.end) / 2n
  await kinesis.send(
    new SplitShardCommand({ StreamName: STREAM, ShardToSplit: shard.shardId, NewStartingHashKey: middle.toString() }),
  )
}

async function merge(kinesis: KinesisClient, shards: readonly Shard[], random: () => number): Promise<void> {
  const at = Math.floor(random() * (shards.length - 1))
  await kinesis.send(
    new MergeShardsCommand({
      StreamName: STREAM,
      ShardToMerge: shards[at]!.shardId,
      AdjacentShardToMerge: shards[at + 1]!.shardId,
    }),
  )
}

interface Delivery {
  readonly worker: string
  readonly key: string
  readonly number: number
}

function readDeliveries(logFile: string): Delivery[] {
  const lines = readFileSync(logFile, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => {
    const [worker = '', key = '', number = ''] = line.split(' ')
    return { worker, key, number: Number(number) }
  })
}

test('workers are killed while the stream is resharded, and everything put is delivered in order per key', async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32))
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'shardwise-'))
  const logFile = join(folder, 'deliveries')
  await using local = await startLocal({ streams: { [STREAM]: 2 }, limits: false })
  const fleet = new Fleet({
    stream: STREAM,
    application: 'recorders',
    logFile,
    kinesis: local.kinesis,
    dynamodb: local.dynamodb,
  })
  const kinesis = createKinesisClient(local.kinesis)
  const disturbances = drawDisturbances(random)
  const story = `seed ${seed}: ${disturbances.join(', ')}`
  try {
    for (let worker = 0; worker < WORKERS; worker++) fleet.start()
    await using producer = new Producer({
      stream: STREAM,
      clientConfig: local.kinesis,
      rateLimit: Number.POSITIVE_INFINITY,
      aggregationMaxSize: 2_048,
    })

    const disturbing = (async () => {
      for (const kind of disturbances) {
        await setTimeout(500 + random() * 1_000)
        const shards = await openShards(kinesis)
        if (kind === 'kill') {
          await fleet.kill(Math.floor(random() * fleet.size))
          fleet.start()
        } else if (kind === 'split' || shards.length === 1) {
          await split(kinesis, shards, random)
        } else {
          await merge(kinesis, shards, random)
        }
      }
    })()
    const receipts: Promise<unknown>[] = []
    for (let number = 0; number < RECORDS; number++) {
      receipts.push(producer.put({ partitionKey: `key-${Math.floor(random() * KEYS)}`, data: `${number}` }))
      if (number % 40 === 0) {
        await producer.ready
        await setTimeout(20)
      }
    }
    await Promise.all(receipts)
    await disturbing

    const delivered = new Set<number>()
    let deliveries: Delivery[] = []
    await expect
      .poll(
        () => {
          deliveries = readDeliveries(logFile)
          for (const { number } of deliveries) delivered.add(number)
          return delivered.size
        },
        { timeout: 60_000, interval: 250, message: story },
      )
      .toBe(RECORDS)
    expect(await fleet.stop(), `graceful stops after ${story}`).toEqual(Array(WORKERS).fill(0))

    const newest = new Map<string, number>()
    const seen = new Set<number>()
    for (const { key, number } of deliveries) {
      if (seen.has(number)) continue
      seen.add(number)
      expect(number, `order of ${key}; ${story}`).toBeGreaterThan(newest.get(key) ?? -1)
      newest.set(key, number)
    }
  } finally {
    fleet.killAll()
    kinesis.destroy()
    rmSync(folder, { recursive: true, force: true })
  }
}, 150_000)
