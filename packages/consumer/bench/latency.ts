/**
 * From put to handler: how long a record takes through the producer, a local Kinesis in a process of its own, and the consumer, by
 * fan-out and by polling, each with its defaults. Producer and consumer share the process that is measured, and its clock.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/latency.ts [--seconds 30] [--only fanOut]
 *
 * Beside each, in the same seconds: how long a bare request took, and by how much a timer was late, which is what the machine adds.
 */
import { loadavg } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type KinesisClient, ListShardsCommand } from '@aws-sdk/client-kinesis'
import { Consumer, type ConsumerOptions } from '@shardwise/consumer'
import { createKinesisClient } from '@shardwise/core'
import { Producer } from '@shardwise/producer'
import { table } from './fleet/figures.ts'
import { type LocalProcess, startLocalProcess } from './local/local-process.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '30' }, only: { type: 'string', default: '' } },
})
const seconds = Number(values.seconds)

const STREAM = 'flights'
const SHARDS = 4
const RECORD_BYTES = 200
const WARM_UP_MS = 3_000
const PROBE_INTERVAL_MS = 50

interface Case {
  readonly retrieval: NonNullable<ConsumerOptions['retrieval']>
  /** Records put in a second, over all shards. */
  readonly rate: number
  readonly bufferedMs: number
}

const CASES: readonly Case[] = (['fanOut', 'polling'] as const)
  .filter((retrieval) => retrieval.includes(values.only))
  .flatMap((retrieval) =>
    [10, 1_000].flatMap((rate) => [0, 100].map((bufferedMs) => ({ retrieval, rate, bufferedMs }))),
  )

/** Counts the calls of a client, by operation. */
function countCalls(client: KinesisClient): Map<string, number> {
  const calls = new Map<string, number>()
  client.middlewareStack.add(
    (next, { commandName = '' }) =>
      (args) => {
        calls.set(commandName, (calls.get(commandName) ?? 0) + 1)
        return next(args)
      },
    { step: 'initialize' },
  )
  return calls
}

/** Sorted, so that quantiles can be read from it. */
class Sample {
  readonly #values: number[]

  constructor(values: readonly number[]) {
    this.#values = [...values].sort((a, b) => a - b)
  }

  get size(): number {
    return this.#values.length
  }

  at(quantile: number): number {
    return this.#values[Math.min(this.size - 1, Math.floor(quantile * this.size))] ?? Number.NaN
  }

  toString(): string {
    return [0.5, 0.9, 0.99, 1].map((quantile) => this.at(quantile).toFixed(1)).join(' / ')
  }
}

/** Puts records at random moments, so that they don't fall into step with who polls. Resolves when all are acknowledged. */
async function put(producer: Producer, rate: number, signal: AbortSignal): Promise<void> {
  const receipts: Promise<unknown>[] = []
  for (let dueMs = performance.now(); !signal.aborted; ) {
    dueMs += (-Math.log(1 - Math.random()) * 1_000) / rate
    const waitMs = dueMs - performance.now()
    if (waitMs > 1) await setTimeout(waitMs)
    const data = String(performance.now()).padEnd(RECORD_BYTES)
    receipts.push(producer.put({ partitionKey: `key-${Math.floor(Math.random() * 10_000)}`, data }))
  }
  await Promise.all(receipts)
}

/** How long a request takes that gives the server nothing to do. */
async function probe(kinesis: KinesisClient, signal: AbortSignal): Promise<Sample> {
  const tookMs: number[] = []
  while (!signal.aborted) {
    const sentMs = performance.now()
    await kinesis.send(new ListShardsCommand({ StreamName: STREAM, MaxResults: 1 }))
    tookMs.push(performance.now() - sentMs)
    await setTimeout(PROBE_INTERVAL_MS)
  }
  return new Sample(tookMs)
}

async function whenReading(consumer: Consumer): Promise<void> {
  const reading = (): number => consumer.status().shards.filter(({ state }) => state === 'reading').length
  while (reading() < SHARDS) await setTimeout(50)
  await setTimeout(WARM_UP_MS)
}

async function measure({ retrieval, rate, bufferedMs }: Case, server: LocalProcess): Promise<readonly string[]> {
  const polling = retrieval === 'polling' ? createKinesisClient(server.kinesis) : undefined
  const calls = polling === undefined ? new Map<string, number>() : countCalls(polling)
  const probing = createKinesisClient(server.kinesis)
  const consumer = new Consumer({
    application: `latency-${retrieval}-${rate}-${bufferedMs}`,
    stream: STREAM,
    retrieval,
    initialPosition: 'LATEST',
    ...(polling === undefined ? { kinesisConfig: server.kinesis } : { kinesis: polling }),
    dynamodbConfig: server.dynamodb,
  })
  const latencies: number[] = []
  const running = consumer.run({
    eachRecord: (record) => {
      latencies.push(performance.now() - Number(record.text()))
    },
  })
  const producer = new Producer({
    stream: STREAM,
    clientConfig: server.kinesis,
    recordMaxBufferedTime: bufferedMs,
  })
  await whenReading(consumer)
  const over = new AbortController()
  const lateness = monitorEventLoopDelay({ resolution: 5 })
  const before = calls.get('GetRecordsCommand') ?? 0
  const cpu = process.cpuUsage()
  lateness.enable()
  const putting = put(producer, rate, over.signal)
  const probes = probe(probing, over.signal)
  await setTimeout(seconds * 1_000)
  lateness.disable()
  const { user, system } = process.cpuUsage(cpu)
  const getRecords = ((calls.get('GetRecordsCommand') ?? 0) - before) / seconds / SHARDS
  over.abort()
  await putting
  await setTimeout(1_000)
  await Promise.all([consumer.close(), producer.close()])
  await running
  for (const client of [polling, probing]) client?.destroy()
  const above = new Sample(latencies.map((latency) => latency - bufferedMs))
  return [
    `${retrieval}, ${rate} records/s, recordMaxBufferedTime ${bufferedMs}`,
    String(above.size),
    String(new Sample(latencies)),
    String(above),
    polling === undefined ? '–' : getRecords.toFixed(2),
    `${((user + system) / 10_000 / seconds).toFixed(0)} %`,
    String(await probes),
    (lateness.percentile(99) / 1e6 - 5).toFixed(1),
  ]
}

const load = loadavg()[0]!.toFixed(2)
const rows: (readonly string[])[] = []
for (const each of CASES) {
  // A server for each, so that no application of before has a lease table or a consumer there.
  await using server = await startLocalProcess({ streams: { [STREAM]: SHARDS } })
  const row = await measure(each, server)
  rows.push(row)
  process.stderr.write(`${row.join(' | ')}\n`)
}
process.stdout.write(
  `Milliseconds, p50 / p90 / p99 / greatest, over ${seconds} s each, ${SHARDS} shards; load of the machine before: ${load}.\n\n${table(
    [
      'what',
      'records',
      'put to handler',
      'above the buffering',
      'GetRecords a second and shard',
      'CPU',
      'a bare request',
      'timers late by, p99',
    ],
    rows,
  )}`,
)
