/**
 * What concurrency by key is worth to a handler that waits: 20 ms a record, 4 shards, 10,000 keys. One record of a shard at a time, as
 * a KCL handles them, against 256 at once in order by key, and against 256 in any order; in one run, from the same stream.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/slow-handler.ts [--seconds 10] [--concurrency 256] [--handler-ms 20]
 */
import { loadavg } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Consumer, type ConsumerOptions } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { Producer } from '@shardwise/producer'
import { table } from './fleet/figures.ts'
import { type LocalProcess, startLocalProcess } from './local/local-process.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    concurrency: { type: 'string', default: '256' },
    'handler-ms': { type: 'string', default: '20' },
  },
})
const seconds = Number(values.seconds)
const concurrency = Number(values.concurrency)
const handlerMs = Number(values['handler-ms'])

const STREAM = 'flights'
const SHARDS = 4
const KEYS = 10_000
/** Not counted: leases are taken, and handlers come under way. */
const SETTLING_SECONDS = 2
/** Enough for who does what it can. */
const RECORDS = Math.ceil((concurrency / handlerMs) * 1_000 * (seconds + SETTLING_SECONDS + 1))

type Ordering = NonNullable<ConsumerOptions['ordering']>

const CASES: readonly { readonly what: string; readonly ordering: Ordering }[] = [
  { what: 'one at a time a shard', ordering: 'shard' },
  { what: `${concurrency} at once, in order by key`, ordering: 'key' },
  { what: `${concurrency} at once, in any order`, ordering: 'none' },
]

async function fill(local: LocalProcess): Promise<void> {
  const random = seededRandom(1)
  await using producer = new Producer({
    stream: STREAM,
    clientConfig: local.kinesis,
    rateLimit: Number.POSITIVE_INFINITY,
    logger: silentLogger,
  })
  const failures: unknown[] = []
  for (let number = 0; number < RECORDS; number++) {
    const data = String(number).padEnd(100, '.')
    producer
      .put({ partitionKey: `key-${Math.floor(random() * KEYS)}`, data })
      .catch((error: unknown) => failures.push(error))
    await producer.ready
  }
  await producer.flush()
  if (failures.length > 0) throw failures[0]
}

interface Figures {
  readonly perSecond: number
  readonly cpuMicros: number
  /** Records that came before an earlier one of their key. */
  readonly disorder: number
}

async function measure(local: LocalProcess, ordering: Ordering): Promise<Figures> {
  const consumer = new Consumer({
    application: `slow-${ordering}`,
    stream: STREAM,
    ordering,
    concurrency,
    idleTimeBetweenReads: 20,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
  })
  let handled = 0
  let disorder = 0
  const newest = new Map<string, number>()
  const running = consumer.run({
    eachRecord: async (record) => {
      const number = Number.parseInt(record.text(), 10)
      if (number < (newest.get(record.partitionKey) ?? -1)) disorder++
      newest.set(record.partitionKey, number)
      await setTimeout(handlerMs)
      handled++
    },
  })
  const isUnderWay = (): boolean =>
    consumer.status().shards.filter(({ millisBehindLatest }) => millisBehindLatest !== undefined).length === SHARDS
  while (!isUnderWay()) await setTimeout(50)
  await setTimeout(SETTLING_SECONDS * 1_000)
  const before = handled
  const cpu = process.cpuUsage()
  const startedMs = performance.now()
  await setTimeout(seconds * 1_000)
  const count = handled - before
  const tookSeconds = (performance.now() - startedMs) / 1_000
  const { user, system } = process.cpuUsage(cpu)
  if (handled > RECORDS - concurrency) throw new Error(`all ${RECORDS} records were handled before the time was up`)
  await consumer.close()
  await running
  return { perSecond: count / tookSeconds, cpuMicros: (user + system) / count, disorder }
}

await using local = await startLocalProcess({ streams: { [STREAM]: SHARDS }, limits: false, retentionBytes: 2 ** 30 })
await fill(local)
const rows: string[][] = []
let slowest: number | undefined
for (const { what, ordering } of CASES) {
  const { perSecond, cpuMicros, disorder } = await measure(local, ordering)
  slowest ??= perSecond
  const times = `${(perSecond / slowest).toFixed(1)} ×`
  rows.push([what, Math.round(perSecond).toLocaleString('en'), times, cpuMicros.toFixed(0), String(disorder)])
}
process.stdout.write(
  `Node ${process.version}, a handler of ${handlerMs} ms, ${SHARDS} shards, ${KEYS} keys, ${seconds} s each; load ${loadavg()[0]!.toFixed(1)}\n\n` +
    table(['', 'records/s', '', 'CPU µs a record', 'out of order'], rows),
)
