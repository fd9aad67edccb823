/**
 * Producers of three kinds write to one stream that is resharded every 30 seconds, while requests fail in every way, and all
 * of it is read and checked as it comes: nothing acknowledged may be lost, the order of every key has to be kept, and a
 * second copy has to be announced. Prints a report; ends with 1 if a promise was broken.
 *
 *     node --conditions=shardwise-source test/soak/soak.ts --minutes 10
 *
 * With `--expose-gc` the heap is measured after a collection.
 */
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { PutRecordCommand } from '@aws-sdk/client-kinesis'
import { readStream } from '@shardwise/consumer'
import { createKinesisClient, listShards, systemClock } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { startLocal } from '@shardwise/local'
import type { ProducerError } from '@shardwise/producer'
import { type Counts, disturb, reshard } from './disturbances.ts'
import { Ledger } from './ledger.ts'
import { numberIn, OFFERS, offer } from './offer.ts'

const STREAM = 'soak'
const SHARDS = 4
/** What is written in several times as long as the reader is ever behind is kept. */
const RETENTION_BYTES = 128 * 2 ** 20
/** The key of the last record in each shard. */
const END = 'end'
const PRINTED_VIOLATIONS = 20

const USAGE = 'usage: soak.ts [--minutes <number>] [--reshard-seconds <number>] [--seed <number>]'

function readArguments(): { minutes: number; reshardSeconds: number; seed: number } {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      'reshard-seconds': { type: 'string', default: '30' },
      seed: { type: 'string', default: '1' },
    },
  })
  const read = {
    minutes: Number(values.minutes),
    reshardSeconds: Number(values['reshard-seconds']),
    seed: Number(values.seed),
  }
  for (const [name, value] of Object.entries(read)) {
    if (!(value > 0)) throw new Error(`expected ${name} to be a number above 0. ${USAGE}`)
  }
  return read
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`
}

function memory(): string {
  globalThis.gc?.()
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  return `heap ${mebibytes(heapUsed)}, buffers ${mebibytes(arrayBuffers)}, resident ${mebibytes(rss)}`
}

function listed(counts: Counts): string {
  return [...counts].map(([what, times]) => `${times} ${what}`).join(', ') || 'none'
}

const { minutes, reshardSeconds, seed } = readArguments()
const startedMs = systemClock.monotonicMs()
const random = seededRandom(seed)
await using local = await startLocal({
  streams: { [STREAM]: SHARDS },
  retentionBytes: RETENTION_BYTES,
  dynamodb: false,
  seed,
})
const kinesis = createKinesisClient(local.kinesis)
const ledger = new Ledger()
const faults: Counts = new Map()
const reshards: Counts = new Map()
const rejections: Counts = new Map()
const shardsRead = new Set<string>()
let longestLagMs = 0

const print = (text: string): void => {
  const seconds = Math.round((systemClock.monotonicMs() - startedMs) / 1_000)
  console.log(`${String(seconds).padStart(5)} s  ${text}`)
}
const tell = (): void => {
  const { puts, acknowledged, rejected, copies } = ledger
  print(`${puts} put, ${acknowledged} acknowledged, ${rejected} rejected, ${copies} read; ${memory()}`)
}

const ending = new AbortController()
const offering = Promise.all(
  OFFERS.map((each, index) =>
    offer(each, {
      stream: STREAM,
      kinesis: local.kinesis,
      ledger,
      clock: systemClock,
      random: seededRandom(seed + index + 1),
      signal: ending.signal,
      onError: ({ code, outcome }: ProducerError) => {
        const what = `${code} (${outcome})`
        rejections.set(what, (rejections.get(what) ?? 0) + 1)
      },
    }),
  ),
)
const disturbing = Promise.all([
  disturb(local.faults, faults, ending.signal),
  reshard(kinesis, { stream: STREAM, everyMs: reshardSeconds * 1_000, random }, reshards, ending.signal),
])
let endsPut = Number.POSITIVE_INFINITY
let endsRead = 0
/** Puts one more record into each open shard, behind everything else. */
const putEnds = async (): Promise<void> => {
  const open = await listShards(kinesis, STREAM, { filter: { Type: 'AT_LATEST' } })
  endsPut = open.length
  for (const { hashRange } of open) {
    const place = { PartitionKey: END, ExplicitHashKey: String(hashRange.start) }
    await kinesis.send(new PutRecordCommand({ StreamName: STREAM, ...place, Data: Buffer.from(END) }))
  }
}
const reading = (async () => {
  for await (const record of readStream({ stream: STREAM, kinesisConfig: local.kinesis })) {
    const { partitionKey, data, misplaced, shardId, arrivedAt } = record
    if (partitionKey === END) {
      if (++endsRead === endsPut) return
      continue
    }
    ledger.find(partitionKey, numberIn(data), misplaced)
    shardsRead.add(shardId)
    longestLagMs = Math.max(longestLagMs, systemClock.wallMs() - Number(arrivedAt))
  }
})()
const running = (async () => {
  tell()
  for (let minute = 0; minute < minutes; minute++) {
    await setTimeout(Math.min(1, minutes - minute) * 60_000)
    tell()
  }
  ending.abort()
  await disturbing
  await offering
  await putEnds()
})()
await Promise.all([running, offering, disturbing, reading])
kinesis.destroy()

const violations = ledger.violations()
if (ledger.acknowledged === 0) violations.push('nothing was acknowledged')
tell()
print(`seed ${seed}; ${shardsRead.size} shards; the reader was ${Math.round(longestLagMs)} ms behind at most`)
print(`reshards: ${listed(reshards)}`)
print(`faults: ${listed(faults)}`)
print(`rejected: ${listed(rejections)}`)
print(`copies beyond the first: ${ledger.repeated} records; misplaced copies: ${ledger.misplaced}`)
print(violations.length === 0 ? 'every promise was kept' : `${violations.length} broken promises:`)
for (const violation of violations.slice(0, PRINTED_VIOLATIONS)) print(`  ${violation}`)
if (violations.length > 0) process.exitCode = 1
