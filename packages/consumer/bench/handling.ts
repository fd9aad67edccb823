/**
 * What handling costs a record after it was read, in CPU time: de-aggregation, order, the handler's call, the watermark. And how much of it
 * is for the order per key: the same with `ordering: 'none'`.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/handling.ts [--rounds 5] [--records 1000000]
 */
import { setImmediate } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { systemClock } from '@shardwise/core'
import { AggregateBuilder, TRIM_HORIZON } from '@shardwise/records'
import { handlerOf } from '../src/processing/handler.ts'
import { HandlerPool } from '../src/processing/handler-pool.ts'
import type { EachRecord } from '../src/processing/handlers.ts'
import type { KinesisRecord } from '../src/processing/record-buffer.ts'
import { ShardQueue } from '../src/processing/shard-queue.ts'
import type { Ordering } from '../src/processing/work.ts'
import { spread, table } from './fleet/figures.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, records: { type: 'string', default: '1000000' } },
})
const records = Number(values.records)

const PER_AGGREGATE = 400
/** The lower half, so that each key's hash counts. */
const HASH_RANGE = { start: 0n, end: 2n ** 127n - 1n }

interface Case {
  readonly what: string
  readonly keys: number
  readonly ordering: Ordering
  readonly eachRecord: EachRecord
}

const sync: EachRecord = () => {}
const async: EachRecord = async () => {}
const CASES: readonly Case[] = [
  { what: 'synchronous, 10,000 keys', keys: 10_000, ordering: 'key', eachRecord: sync },
  { what: 'synchronous, each its own key', keys: records, ordering: 'key', eachRecord: sync },
  { what: 'asynchronous, 10,000 keys', keys: 10_000, ordering: 'key', eachRecord: async },
  { what: 'asynchronous, 100 keys', keys: 100, ordering: 'key', eachRecord: async },
  { what: 'synchronous, 10,000 keys, no order', keys: 10_000, ordering: 'none', eachRecord: sync },
  { what: 'asynchronous, 10,000 keys, no order', keys: 10_000, ordering: 'none', eachRecord: async },
]

function aggregatesOf(keys: number): KinesisRecord[] {
  const builder = new AggregateBuilder()
  const data = Buffer.alloc(100, 'x')
  return Array.from({ length: records / PER_AGGREGATE }, (_, number) => {
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

/** In µs of CPU time a record. */
async function costOf({ keys, ordering, eachRecord }: Case): Promise<number> {
  const aggregates = aggregatesOf(keys)
  const pool = new HandlerPool(handlerOf({ eachRecord }, undefined), {
    concurrency: 64,
    clock: systemClock,
    random: Math.random,
    application: 'bench',
    workerId: 'bench',
    failurePolicy: 'stop',
    maxAttempts: 10,
    maxAgeMs: Number.POSITIVE_INFINITY,
    closeTimeout: 1_000,
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  const queue: ShardQueue = new ShardQueue({
    stream: 'flights',
    shardId: 'shardId-000000000000',
    hashRange: HASH_RANGE,
    checkpoint: TRIM_HORIZON,
    dropMisplaced: false,
    ordering,
    maxAheadRecords: 10_000,
    maxAheadBytes: 64 * 2 ** 20,
    now: () => systemClock.monotonicMs(),
    onProgress: () => queue.empty && resolve(),
    onMisplaced: () => {},
  })
  queue.push(aggregates)
  await setImmediate()
  const cpu = process.cpuUsage()
  pool.add({
    queue,
    signal: new AbortController().signal,
    mayRun: () => true,
    telemetry: { emit: () => {} },
    onStop: () => {},
  })
  await promise
  const { user, system } = process.cpuUsage(cpu)
  return (user + system) / records
}

const costs = new Map(CASES.map((each) => [each, [] as number[]]))
// In turn, so that what else the machine does is shared out among them. The first round warms up.
for (let round = 0; round <= Number(values.rounds); round++) {
  for (const each of CASES) {
    const cost = await costOf(each)
    if (round > 0) costs.get(each)!.push(cost)
  }
}
console.log(
  table(
    ['handler', 'µs of CPU time a record'],
    CASES.map((each) => [each.what, spread(costs.get(each)!, 2)]),
  ),
)
const least = (what: string): number => Math.min(...costs.get(CASES.find((each) => each.what === what)!)!)
const forOrder = least('asynchronous, 10,000 keys') - least('asynchronous, 10,000 keys, no order')
console.log(
  `Order per key costs ${forOrder.toFixed(2)} µs of that: the least of all rounds with it, less the least without.`,
)
