// What handling costs a record after it was read: de-aggregation, order per key, the handler's call, the watermark.
// node --conditions=shardwise-source packages/consumer/bench/handling.ts
import { setImmediate } from 'node:timers/promises'
import { systemClock } from '@shardwise/core'
import { AggregateBuilder, FULL_HASH_RANGE, TRIM_HORIZON } from '@shardwise/records'
import { type EachRecord, HandlerPool } from '../src/processing/handler-pool.ts'
import type { KinesisRecord } from '../src/processing/record-buffer.ts'
import { ShardQueue } from '../src/processing/shard-queue.ts'

const RECORDS = 2_000_000
const PER_AGGREGATE = 400

function aggregates(keys: number): KinesisRecord[] {
  const builder = new AggregateBuilder()
  const data = Buffer.alloc(100, 'x')
  return Array.from({ length: RECORDS / PER_AGGREGATE }, (_, number) => {
    for (let index = 0; index < PER_AGGREGATE; index++) {
      builder.add(`key-${(number * PER_AGGREGATE + index) % keys}`, undefined, data)
    }
    const built = builder.build(0n)
    builder.reset()
    return {
      sequenceNumber: String(10n ** 55n + BigInt(number)),
      partitionKey: 'a',
      data: Buffer.from(built.data),
      arrivedAt: undefined,
    }
  })
}

async function measure(name: string, keys: number, eachRecord: EachRecord): Promise<void> {
  const records = aggregates(keys)
  const pool = new HandlerPool(eachRecord, { concurrency: 64, clock: systemClock, random: Math.random })
  const { promise, resolve } = Promise.withResolvers<void>()
  const queue: ShardQueue = new ShardQueue({
    stream: 'flights',
    shardId: 'shardId-000000000000',
    hashRange: FULL_HASH_RANGE,
    checkpoint: TRIM_HORIZON,
    dropMisplaced: false,
    maxAheadRecords: 10_000,
    now: () => systemClock.monotonicMs(),
    onProgress: () => queue.empty && resolve(),
    onMisplaced: () => {},
    onPoison: () => {},
  })
  queue.push(records)
  await setImmediate()
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  pool.add({ queue, signal: new AbortController().signal, mayRun: () => true, onFailure: () => {} })
  await promise
  const seconds = (performance.now() - startedAt) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  const cost = ((user + system) / RECORDS).toFixed(2)
  console.log(`${name}: ${Math.round(RECORDS / seconds).toLocaleString('en')} records/s, ${cost} µs CPU a record`)
}

for (let round = 0; round < 2; round++) {
  await measure('synchronous handler, 10,000 keys', 10_000, () => {})
  await measure('synchronous handler, 2,000,000 keys', 2_000_000, () => {})
  await measure('asynchronous handler, 10,000 keys', 10_000, async () => {})
}
