import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb'
import { PutRecordCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ProcessingWorkerConfig } from './processing-worker.ts'
import { type Does, type Payload, readLines } from './worker-log.ts'
import { WorkerProcess } from './worker-processes.ts'

const STREAM = 'orders'
const APPLICATION = 'stoppers'
/** A process starts, and ends, within this time besides. */
const MARGIN_MS = 2_500

const workerFile = fileURLToPath(new URL('./processing-worker.ts', import.meta.url))

let folder: string
let logFile: string
let local: Local
let kinesis: ReturnType<typeof createKinesisClient>
let dynamodb: DynamoDBClient
let started: WorkerProcess | undefined

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'shardwise-'))
  logFile = join(folder, 'log')
  local = await startLocal({ streams: { [STREAM]: 1 }, limits: false })
  kinesis = createKinesisClient(local.kinesis)
  dynamodb = new DynamoDBClient(local.dynamodb)
})

afterEach(async () => {
  started?.signal('SIGKILL')
  kinesis.destroy()
  dynamodb.destroy()
  await local.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Starts a worker whose handler hangs at the third of five records. Resolves when it does, and the others are finished. */
async function startHanging(closeTimeout: number): Promise<{ worker: WorkerProcess; sequenceNumbers: string[] }> {
  const sequenceNumbers: string[] = []
  for (const [number, does] of (['quick', 'quick', 'hang', 'quick', 'quick'] satisfies Does[]).entries()) {
    const Data = Buffer.from(JSON.stringify({ number, does } satisfies Payload))
    const put = new PutRecordCommand({ StreamName: STREAM, PartitionKey: `key-${number}`, Data })
    sequenceNumbers.push((await kinesis.send(put)).SequenceNumber!)
  }
  const config: ProcessingWorkerConfig = {
    workerId: 'worker',
    logFile,
    handles: 'records',
    kinesis: local.kinesis,
    dynamodb: local.dynamodb,
    options: { application: APPLICATION, stream: STREAM, closeTimeout },
  }
  const worker = new WorkerProcess(workerFile, config)
  started = worker
  await worker.ready
  const told = (what: 'delivered' | 'finished'): number =>
    readLines(logFile).filter((line) => line.told === what).length
  await expect.poll(() => [told('delivered'), told('finished')], { timeout: 10_000 }).toEqual([5, 4])
  return { worker, sequenceNumbers }
}

async function lease(): Promise<{ readonly owner: string | undefined; readonly checkpoint: string | undefined }> {
  const { Items = [] } = await dynamodb.send(new ScanCommand({ TableName: APPLICATION, ConsistentRead: true }))
  const item = Items.find(({ leaseKey }) => leaseKey?.S?.startsWith('shardId-'))
  return { owner: item?.leaseOwner?.S, checkpoint: item?.checkpoint?.S }
}

test('a handler that hangs does not keep a process that gets SIGTERM: it ends in time, its checkpoint written, its lease given back', async () => {
  const { worker, sequenceNumbers } = await startHanging(1_000)
  const startedAt = performance.now()
  expect(await worker.stop()).toBe(0)
  const tookMs = performance.now() - startedAt
  expect(tookMs).toBeGreaterThan(900)
  expect(tookMs).toBeLessThan(1_000 + MARGIN_MS)
  expect(await lease()).toEqual({ owner: undefined, checkpoint: sequenceNumbers[1] })
})

test('a second SIGTERM ends it at once, its checkpoint written, its lease given back', async () => {
  const { worker, sequenceNumbers } = await startHanging(60_000)
  worker.signal('SIGTERM')
  await expect.poll(() => readLines(logFile).filter(({ told }) => told === 'stopping').length).toBe(1)
  const startedAt = performance.now()
  expect(await worker.stop()).toBe(0)
  expect(performance.now() - startedAt).toBeLessThan(MARGIN_MS)
  expect(await lease()).toEqual({ owner: undefined, checkpoint: sequenceNumbers[1] })
})
