/**
 * How fast shards are read by polling where the limits of the service hold, and how many calls are throttled: by one application
 * alone, and by two that know nothing of each other, catching up and at the tip.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/polling.ts [--seconds 60] [--only two]
 *
 * The local Kinesis runs by a clock that is moved by hand: fast while the shards are filled, which may take a second for each
 * MiB, then with the real one.
 */
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type KinesisClient, PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { Consumer } from '@shardwise/consumer'
import { createKinesisClient } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { splitEvenly } from '@shardwise/records'
import { table } from './fleet/figures.ts'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, only: { type: 'string', default: '' } },
})
const seconds = Number(values.seconds)

const MiB = 2 ** 20
const STREAM = 'flights'
/** As the KPL's aggregates; twenty are just below what a shard takes in a second. */
const RECORD_BYTES = 52_000
const RECORDS_A_SECOND = 20
/** Not counted: leases are taken, and two applications find their parts. */
const SETTLING_SECONDS = 30
const TICK_MS = 5

interface Case {
  readonly what: string
  readonly shards: number
  readonly applications: number
  /** Whether the shards hold more than is read. */
  readonly isBehind: boolean
}

const CASES: readonly Case[] = [
  { what: 'one, catching up', shards: 4, applications: 1, isBehind: true },
  { what: 'two, catching up', shards: 4, applications: 2, isBehind: true },
  { what: 'one, at the tip', shards: 4, applications: 1, isBehind: false },
  { what: 'two, at the tip', shards: 4, applications: 2, isBehind: false },
].filter(({ what }) => what.includes(values.only))

async function putASecond(kinesis: KinesisClient, shards: number, bytes: number): Promise<void> {
  const data = Buffer.alloc(bytes, 'x')
  const records = splitEvenly(shards).flatMap(({ start }) =>
    Array.from({ length: RECORDS_A_SECOND }, () => ({ Data: data, PartitionKey: 'key', ExplicitHashKey: `${start}` })),
  )
  const { FailedRecordCount } = await kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records: records }))
  if (FailedRecordCount) throw new Error(`${FailedRecordCount} records were refused`)
}

/** Moves the clock of the local Kinesis with the real one, and puts a little every second, until aborted. */
async function letTimePass(local: Local, shards: number, signal: AbortSignal): Promise<void> {
  const kinesis = createKinesisClient(local.kinesis)
  let lastMs = performance.now()
  let putMs = lastMs
  while (!signal.aborted) {
    await setTimeout(TICK_MS)
    const nowMs = performance.now()
    await local.clock.advance(nowMs - lastMs)
    lastMs = nowMs
    if (nowMs - putMs < 1_000) continue
    putMs = nowMs
    await putASecond(kinesis, shards, 100)
  }
  kinesis.destroy()
}

interface Counted {
  bytes: number
  calls: number
  throttled: number
}

class Application {
  readonly counted: Counted = { bytes: 0, calls: 0, throttled: 0 }
  readonly #kinesis: KinesisClient
  readonly #consumer: Consumer
  readonly #running: Promise<void>

  constructor(name: string, local: Local) {
    this.#kinesis = createKinesisClient(local.kinesis)
    this.#kinesis.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          if (commandName === 'GetRecordsCommand') this.counted.calls++
          try {
            return await next(args)
          } catch (error) {
            if (Object(error).name === 'ProvisionedThroughputExceededException') this.counted.throttled++
            throw error
          }
        },
      { step: 'initialize' },
    )
    this.#consumer = new Consumer({
      application: name,
      stream: STREAM,
      kinesis: this.#kinesis,
      dynamodbConfig: local.dynamodb,
      onEvent: (event) => {
        if (event.type === 'recordsRead') this.counted.bytes += event.bytes
      },
    })
    this.#running = this.#consumer.run({ eachRecord: () => undefined })
  }

  async close(): Promise<void> {
    await this.#consumer.close()
    await this.#running
    this.#kinesis.destroy()
  }
}

async function measure({ what, shards, applications, isBehind }: Case): Promise<void> {
  await using local = await startLocal({ streams: { [STREAM]: shards }, clock: 'manual', retentionBytes: 2 ** 31 })
  const kinesis = createKinesisClient(local.kinesis)
  const filling = isBehind ? 2.2 * (SETTLING_SECONDS + seconds) : 0
  for (let second = 0; second < filling; second++) {
    await putASecond(kinesis, shards, RECORD_BYTES)
    await local.clock.advance(1_000)
  }
  kinesis.destroy()
  const stop = new AbortController()
  const passing = letTimePass(local, shards, stop.signal)
  const running: Application[] = []
  for (let index = 0; index < applications; index++) running.push(new Application(`application-${index}`, local))
  await setTimeout(SETTLING_SECONDS * 1_000)
  const before = running.map(({ counted }) => ({ ...counted }))
  const startedMs = performance.now()
  await setTimeout(seconds * 1_000)
  const passed = (performance.now() - startedMs) / 1_000
  const rows = running.map(({ counted }, index) => {
    const { bytes, calls, throttled } = before[index]!
    const [more, refused] = [counted.calls - calls, counted.throttled - throttled]
    return [
      what,
      `${index + 1}`,
      ((counted.bytes - bytes) / MiB / passed / shards).toFixed(2),
      (more / passed / shards).toFixed(2),
      `${refused} (${((100 * refused) / more).toFixed(1)} %)`,
      `${throttled}`,
    ]
  })
  await Promise.all(running.map((application) => application.close()))
  stop.abort()
  await passing
  const heads = [
    'applications',
    'no.',
    'MiB/s a shard',
    'calls/s a shard',
    'throttled',
    `throttled in the first ${SETTLING_SECONDS} s`,
  ]
  process.stdout.write(`${table(heads, rows)}\n`)
}

for (const each of CASES) await measure(each)
