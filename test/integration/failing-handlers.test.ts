import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb'
import { createKinesisClient } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { startLocal } from '@shardwise/local'
import { Producer, type Receipt } from '@shardwise/producer'
import { comparePositions, type Position } from '@shardwise/records'
import { expect, test } from 'vitest'
import type { ProcessingWorkerConfig } from './processing-worker.ts'
import { drawDisturbances, merge, split } from './reshards.ts'
import { bytesIn, type Does, type Payload, readLines } from './worker-log.ts'
import { WorkerProcesses } from './worker-processes.ts'

const STREAM = 'orders'
const APPLICATION = 'menders'
const WORKERS = 3
const KEYS = 60
const RECORDS = 5_000
const DISTURBANCES = 9
const SAMPLE_MS = 100

const workerFile = fileURLToPath(new URL('./processing-worker.ts', import.meta.url))

/** The leases' checkpoints at a time, and how much had been told by then, or a little later. */
interface Sample {
  readonly checkpoints: ReadonlyMap<string, Position>
  readonly logBytes: number
  readonly letterBytes: number
}

/** Reads the table again and again until disposed of; only then the files, so that they tell no less than the table knew. */
function watchCheckpoints(
  dynamodb: DynamoDBClient,
  logFile: string,
  letterFile: string,
): AsyncDisposable & { samples: Sample[] } {
  const stopped = new AbortController()
  const samples: Sample[] = []
  const watching = (async () => {
    while (!stopped.signal.aborted) {
      const checkpoints = await readCheckpoints(dynamodb)
      samples.push({ checkpoints, logBytes: bytesIn(logFile), letterBytes: bytesIn(letterFile) })
      await setTimeout(SAMPLE_MS)
    }
  })()
  return {
    samples,
    [Symbol.asyncDispose]: async () => {
      stopped.abort()
      await watching
    },
  }
}

async function readCheckpoints(dynamodb: DynamoDBClient): Promise<ReadonlyMap<string, Position>> {
  const { Items = [] } = await dynamodb.send(new ScanCommand({ TableName: APPLICATION, ConsistentRead: true }))
  const leases = Items.filter(({ leaseKey, checkpoint }) => leaseKey?.S?.startsWith('shardId-') && checkpoint)
  return new Map(
    leases.map(({ leaseKey, checkpoint, checkpointSubSequenceNumber: sub }) => [
      leaseKey!.S!,
      { sequenceNumber: checkpoint!.S!, subSequenceNumber: Number(sub?.N ?? 0) },
    ]),
  )
}

/** What is to become of a record: most are quick, some slow, some fail once, and a few always. */
function draw(random: () => number): Does {
  const chance = random()
  return chance < 0.9 ? 'quick' : chance < 0.98 ? 'slow' : chance < 0.996 ? 'flaky' : 'bad'
}

/** The numbers in the dead letters, each with how long the file was when the first letter of it was in. */
function lettersIn(letterFile: string): Map<number, number> {
  const letters = new Map<number, number>()
  let endsAt = 0
  for (const line of readFileSync(letterFile, 'utf8').split('\n').slice(0, -1)) {
    endsAt += Buffer.byteLength(line) + 1
    const { data } = JSON.parse(line) as { data: string }
    const { number } = JSON.parse(Buffer.from(data, 'base64').toString()) as Payload
    if (!letters.has(number)) letters.set(number, endsAt)
  }
  return letters
}

test('workers whose handlers are slow and fail are killed while the stream is resharded: all is delivered in order, and no checkpoint is ahead', async () => {
  const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32))
  const random = seededRandom(seed)
  const folder = mkdtempSync(join(tmpdir(), 'shardwise-'))
  const logFile = join(folder, 'log')
  const letterFile = join(folder, 'letters')
  await using local = await startLocal({ streams: { [STREAM]: 2 }, limits: false })
  const kinesis = createKinesisClient(local.kinesis)
  const dynamodb = new DynamoDBClient(local.dynamodb)
  const fleet = new WorkerProcesses<ProcessingWorkerConfig>(workerFile, (workerId, started) => ({
    workerId,
    logFile,
    letterFile,
    handles: started % 2 === 0 ? 'records' : 'batches',
    kinesis: local.kinesis,
    dynamodb: local.dynamodb,
    options: {
      application: APPLICATION,
      stream: STREAM,
      failoverTime: 1_000,
      maxAttempts: 2,
      checkpointing: started % 3 === 0 ? 'manual' : 'automatic',
    },
  }))
  const disturbances = drawDisturbances(DISTURBANCES, random)
  const story = `seed ${seed}: ${disturbances.join(', ')}`
  try {
    for (let worker = 0; worker < WORKERS; worker++) await fleet.start().ready
    await expect
      .poll(() => readCheckpoints(dynamodb).catch(() => new Map()), { timeout: 10_000 })
      .not.toEqual(new Map())
    const does = Array.from({ length: RECORDS }, () => draw(random))
    const receipts = new Map<number, Receipt>()
    await using watching = watchCheckpoints(dynamodb, logFile, letterFile)
    {
      await using producer = new Producer({
        stream: STREAM,
        clientConfig: local.kinesis,
        rateLimit: Number.POSITIVE_INFINITY,
        aggregationMaxSize: 2_048,
      })
      const disturbing = (async () => {
        for (const kind of disturbances) {
          await setTimeout(200 + random() * 600)
          if (kind === 'kill') await fleet.replace(random)
          else await (kind === 'split' ? split : merge)(kinesis, STREAM, random)
        }
      })()
      const puts: Promise<unknown>[] = []
      for (let number = 0; number < RECORDS; number++) {
        const data = JSON.stringify({ number, does: does[number]! } satisfies Payload)
        const put = producer.put({ partitionKey: `key-${Math.floor(random() * KEYS)}`, data })
        puts.push(put.then((receipt) => receipts.set(number, receipt)))
        if (number % 20 === 0) await setTimeout(20)
      }
      await Promise.all([...puts, disturbing])
    }

    const bad = does.flatMap((what, number) => (what === 'bad' ? [number] : []))
    const settled = (): number => {
      const finished = readLines(logFile).flatMap((line) => (line.told === 'finished' ? [line.number] : []))
      return new Set([...finished, ...lettersIn(letterFile).keys()]).size
    }
    await expect.poll(settled, { timeout: 60_000, interval: 250, message: story }).toBe(RECORDS)
    expect(await fleet.stop(), `graceful stops after ${story}`).toEqual(Array(WORKERS).fill(0))
    await watching[Symbol.asyncDispose]()

    const lines = readLines(logFile)
    const letters = lettersIn(letterFile)
    expect(
      [...letters.keys()].sort((a, b) => a - b),
      `given up; ${story}`,
    ).toEqual(bad)
    const newest = new Map<string, number>()
    const seen = new Set<number>()
    const finishedAt = new Map<number, number>()
    for (const line of lines) {
      if (line.told === 'finished' && !finishedAt.has(line.number)) finishedAt.set(line.number, line.endsAt)
      if (line.told !== 'delivered' || seen.has(line.number)) continue
      seen.add(line.number)
      expect(line.number, `order of ${line.key}; ${story}`).toBeGreaterThan(newest.get(line.key) ?? -1)
      newest.set(line.key, line.number)
    }
    const byShard = Map.groupBy(receipts, ([, { shardId }]) => shardId)
    for (const { checkpoints, logBytes, letterBytes } of watching.samples) {
      for (const [shardId, checkpoint] of checkpoints) {
        const unfinished = (byShard.get(shardId) ?? []).filter(
          ([number, receipt]) =>
            comparePositions(receipt, checkpoint) <= 0 &&
            !((finishedAt.get(number) ?? Number.POSITIVE_INFINITY) <= logBytes) &&
            !((letters.get(number) ?? Number.POSITIVE_INFINITY) <= letterBytes),
        )
        const numbers = unfinished.map(([number]) => number)
        expect(numbers, `behind the checkpoint ${checkpoint.sequenceNumber} of ${shardId}; ${story}`).toEqual([])
      }
    }
    // Something was seen of checkpoints on their way.
    expect(watching.samples.length).toBeGreaterThan(20)
  } finally {
    fleet.killAll()
    kinesis.destroy()
    dynamodb.destroy()
    rmSync(folder, { recursive: true, force: true })
  }
}, 120_000)
