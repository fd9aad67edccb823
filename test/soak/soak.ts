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
import { createKinesisClient, systemClock } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { startLocal } from '@shardwise/local'
import type { ProducerError } from '@shardwise/producer'
import { type Counts, disturb, reshard } from './disturbances.ts'
import { Ledger } from './ledger.ts'
import { numberIn, OFFERS, offer } from './offer.ts'
import { StreamTail } from './stream-tail.ts'

const STREAM = 'soak'
const SHARDS = 4
/** Time between two rounds of the reader, at most: what is written in several times as much is kept. */
const LONGEST_ROUND_MS = 30_000
const RETENTION_BYTES = 128 * 2 ** 20
const READ_EVERY_MS = 300
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
const tail = new StreamTail(kinesis, STREAM, ({ partitionKey, data, isMisplaced }) =>
  ledger.find(partitionKey, numberIn(data), isMisplaced),
)
const faults: Counts = new Map()
const reshards: Counts = new Map()
const rejections: Counts = new Map()
let longestRoundMs = 0

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
let isWritten = false
const reading = (async () => {
  for (;;) {
    const beganMs = systemClock.monotonicMs()
    const wasWritten = isWritten
    const isAtEnd = await tail.read()
    if (wasWritten && isAtEnd) return
    await setTimeout(READ_EVERY_MS)
    longestRoundMs = Math.max(longestRoundMs, systemClock.monotonicMs() - beganMs)
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
  isWritten = true
})()
await Promise.all([running, offering, disturbing, reading])
kinesis.destroy()

const violations = ledger.violations()
if (longestRoundMs > LONGEST_ROUND_MS)
  violations.push(`a round of the reader took ${longestRoundMs} ms: records may have been trimmed`)
if (ledger.acknowledged === 0) violations.push('nothing was acknowledged')
tell()
print(`seed ${seed}; ${tail.shards} shards; the reader's longest round took ${Math.round(longestRoundMs)} ms`)
print(`reshards: ${listed(reshards)}`)
print(`faults: ${listed(faults)}`)
print(`rejected: ${listed(rejections)}`)
print(`copies beyond the first: ${ledger.repeated} records; misplaced copies: ${ledger.misplaced}`)
print(violations.length === 0 ? 'every promise was kept' : `${violations.length} broken promises:`)
for (const violation of violations.slice(0, PRINTED_VIOLATIONS)) print(`  ${violation}`)
if (violations.length > 0) process.exitCode = 1
