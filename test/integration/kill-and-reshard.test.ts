import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createKinesisClient } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { expect, test } from 'vitest'
import type { RecordingWorkerConfig } from './recording-worker.ts'
import { drawDisturbances, merge, split } from './reshards.ts'
import { WorkerProcesses } from './worker-processes.ts'

const STREAM = 'orders'
const WORKERS = 3
const KEYS = 60
const RECORDS = 24_000
const DISTURBANCES = 12

const workerFile = fileURLToPath(new URL('./recording-worker.ts', import.meta.url))

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
  const fleet = new WorkerProcesses<RecordingWorkerConfig>(workerFile, (workerId) => ({
    workerId,
    stream: STREAM,
    application: 'recorders',
    logFile,
    kinesis: local.kinesis,
    dynamodb: local.dynamodb,
  }))
  const kinesis = createKinesisClient(local.kinesis)
  const disturbances = drawDisturbances(DISTURBANCES, random)
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
        if (kind === 'kill') await fleet.replace(random)
        else await (kind === 'split' ? split : merge)(kinesis, STREAM, random)
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
