import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PutRecordsCommand, type PutRecordsRequestEntry } from '@aws-sdk/client-kinesis'
import { createKinesisClient } from '@shardwise/core'
import { startLocal } from '@shardwise/local'
import { splitEvenly } from '@shardwise/records'
import { expect, test } from 'vitest'
import type { ProcessingWorkerConfig } from './processing-worker.ts'
import { type Does, type Line, type Payload, readLines } from './worker-log.ts'
import { WorkerProcesses } from './worker-processes.ts'

const STREAM = 'orders'
const SHARDS = 4
const KEYS = 40
const keys = Array.from({ length: KEYS }, (_, key) => ({ PartitionKey: `key-${key}` }))
/** One in each shard. */
const blockers = splitEvenly(SHARDS).map(({ start }) => ({
  PartitionKey: `blocker-${start}`,
  ExplicitHashKey: `${start}`,
}))
const FAILOVER_MS = 1_500
const BLOCK_MS = 2 * FAILOVER_MS

const workerFile = fileURLToPath(new URL('./processing-worker.ts', import.meta.url))

/** What a worker reads, by what it has told so far. */
function shardsReadAt(lines: readonly Line[]): Set<string> {
  const shards = new Set<string>()
  for (const line of lines) {
    if (line.told !== 'event' || line.shardId === undefined) continue
    if (line.type === 'shardStarted') shards.add(line.shardId)
    if (['leaseReleased', 'leaseHandedOff', 'leaseLost'].includes(line.type)) shards.delete(line.shardId)
  }
  return shards
}

test('a handler blocks the event loop for twice failoverTime: the worker does nothing more before it finds its leases lost, and the other goes on', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'shardwise-'))
  const logFile = join(folder, 'log')
  await using local = await startLocal({ streams: { [STREAM]: SHARDS }, limits: false })
  const kinesis = createKinesisClient(local.kinesis)
  const fleet = new WorkerProcesses<ProcessingWorkerConfig>(workerFile, (workerId, started) => ({
    workerId,
    logFile,
    handles: 'records',
    blockMs: started === 0 ? BLOCK_MS : 0,
    kinesis: local.kinesis,
    dynamodb: local.dynamodb,
    options: { application: 'blocked', stream: STREAM, failoverTime: FAILOVER_MS },
  }))
  let put = 0
  const putEach = async (
    keys: readonly Pick<PutRecordsRequestEntry, 'PartitionKey' | 'ExplicitHashKey'>[],
    does: Does,
  ) => {
    const Records = keys.map((key) => ({
      ...key,
      Data: Buffer.from(JSON.stringify({ number: put++, does } satisfies Payload)),
    }))
    await kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records }))
  }
  const linesOf = (worker: string): readonly Line[] => readLines(logFile).filter((line) => line.worker === worker)
  const reading = (worker: string): number => shardsReadAt(linesOf(worker)).size
  try {
    const blocked = fleet.start().name
    await expect.poll(() => reading(blocked), { timeout: 10_000 }).toBe(SHARDS)
    const other = fleet.start().name
    await expect.poll(() => [reading(blocked), reading(other)], { timeout: 10_000 }).toEqual([2, 2])
    // The first that it gets blocks, on either of its shards, and others come behind.
    await putEach(blockers, 'block')
    for (let round = 0; round < 10; round++) await putEach(keys, 'quick')
    await expect.poll(() => linesOf(blocked).some(({ told }) => told === 'unblocked'), { timeout: 10_000 }).toBe(true)

    const finished = (): number =>
      new Set(readLines(logFile).flatMap((line) => (line.told === 'finished' ? [line.number] : []))).size
    await expect.poll(finished, { timeout: 20_000 }).toBe(put)
    expect(await fleet.stop()).toEqual([0, 0])

    const mine = linesOf(blocked)
    const unblockedAt = mine.findIndex(({ told }) => told === 'unblocked')
    const blockedShards = shardsReadAt(mine.slice(0, unblockedAt))
    expect(blockedShards.size).toBe(2)
    for (const shardId of blockedShards) {
      const since = mine.slice(unblockedAt)
      const lostAt = since.findIndex(
        (line) => line.told === 'event' && line.type === 'leaseLost' && line.shardId === shardId,
      )
      expect(lostAt, `${shardId} was found lost`).toBeGreaterThan(0)
      const done = since
        .slice(0, lostAt)
        .filter((line) => (line.told === 'delivered' || line.told === 'writing') && line.shardId === shardId)
      expect(done, `before ${shardId} was found lost`).toEqual([])
    }
    // The other had gone on with what it held before it was back.
    const lines = readLines(logFile)
    const [blocking, unblocked] = ['blocking', 'unblocked'].map((told) => lines.findIndex((line) => line.told === told))
    const goneOnWith = lines
      .slice(blocking, unblocked)
      .flatMap((line) => (line.told === 'finished' ? [line.shardId] : []))
    expect([...blockedShards].some((shardId) => goneOnWith.includes(shardId))).toBe(true)
    const named = mine.flatMap((line) => (line.told === 'event' && line.blocker !== undefined ? [line.blocker] : []))
    expect(named).toContainEqual(expect.stringMatching(/^eachRecord.* blocker-/))
  } finally {
    fleet.killAll()
    kinesis.destroy()
    rmSync(folder, { recursive: true, force: true })
  }
}, 60_000)
