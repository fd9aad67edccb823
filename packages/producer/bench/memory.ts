/**
 * Whether memory stays flat: puts as fast as `ready` lets through against a server of ready-made answers, then while that
 * server takes no connections, while it takes them and never answers, and when it is back.
 *
 *   node --conditions=shardwise-source packages/producer/bench/memory.ts [--minutes 10]
 *
 * The minutes are those at full speed; the others take a fifth of it each, and no less than 45 seconds. Ends with 1 when
 * something grew, or the caller was not slowed.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { silentLogger } from '@shardwise/core'
import { Producer } from '../src/index.ts'
import { pin, startCannedService } from './canned-service.ts'

const MIB = 2 ** 20
const SHARDS = 4
const MAX_OUTSTANDING_BYTES = 64 * MIB
const RECORD_TTL_MS = 30_000
const SAMPLES = 30
const LONGEST_INTERVAL_MS = 10_000

/** By how much the last fifth of a phase may be above the second and still be flat. */
const HEAP_TOLERANCE = { share: 0.1, mib: 4 }
const RSS_TOLERANCE = { share: 0.15, mib: 16 }

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

interface Sample {
  /** Heap and buffers after a garbage collection, in MiB. */
  readonly heap: number
  readonly rss: number
  readonly outstanding: number
  readonly putsPerSecond: number
}

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' } } })
const fullMs = Number(values.minutes) * 60_000
const downMs = Math.max(45_000, fullMs / 5)
const isPinned = pin(process.pid, 0)
await using service = await startCannedService(SHARDS, isPinned ? 1 : undefined)

const failures = new Map<string, number>()
const producer = new Producer({
  stream: 'bench',
  rateLimit: Number.POSITIVE_INFINITY,
  maxOutstandingBytes: MAX_OUTSTANDING_BYTES,
  recordTtl: RECORD_TTL_MS,
  logger: silentLogger,
  clientConfig: service.clientConfig,
  onError: ({ code }) => failures.set(code, (failures.get(code) ?? 0) + 1),
})

const data = new Uint8Array(100).fill(120)
let puts = 0
let mostOutstanding = 0
let pause: Promise<void> | undefined
let isOver = false

/** Every record has a key of its own. */
async function putForEver(): Promise<void> {
  while (!isOver) {
    if (pause !== undefined) await pause
    await producer.ready
    void producer.put({ partitionKey: `user-${puts++}`, data })
    if (puts % 1_000 === 0) mostOutstanding = Math.max(mostOutstanding, producer.outstanding.bytes)
  }
}

/** @param drained when nothing is outstanding: what is left then is left for ever */
async function sample(putsPerSecond: number, drained: boolean): Promise<Sample> {
  const goOn = Promise.withResolvers<void>()
  const outstanding = producer.outstanding.bytes / MIB
  if (drained) {
    pause = goOn.promise
    await producer.flush()
  }
  collectGarbage()
  const { heapUsed, external, rss } = process.memoryUsage()
  pause = undefined
  goOn.resolve()
  return { heap: (heapUsed + external) / MIB, rss: rss / MIB, outstanding, putsPerSecond }
}

async function phase(name: string, durationMs: number, drained: boolean): Promise<readonly Sample[]> {
  const intervalMs = Math.min(LONGEST_INTERVAL_MS, durationMs / SAMPLES)
  const samples: Sample[] = []
  failures.clear()
  mostOutstanding = 0
  print(`\n${name}\n  heap MiB   RSS MiB  outstanding MiB     puts/s`)
  for (const endMs = performance.now() + durationMs; performance.now() < endMs; ) {
    const [putsBefore, beforeMs] = [puts, performance.now()]
    await sleep(intervalMs)
    const rate = ((puts - putsBefore) / (performance.now() - beforeMs)) * 1_000
    const latest = await sample(rate, drained)
    samples.push(latest)
    const figures = [latest.heap.toFixed(1), latest.rss.toFixed(0), latest.outstanding.toFixed(1), rate.toFixed(0)]
    print(figures.map((figure, index) => figure.padStart([10, 10, 17, 11][index] ?? 0)).join(''))
  }
  const failed = [...failures].map(([code, count]) => `${count} ${code}`).join(', ')
  print(`  failed: ${failed || 'none'}; outstanding at most ${(mostOutstanding / MIB).toFixed(1)} MiB`)
  return samples
}

const problems: string[] = []
function expectThat(isSo: boolean, what: string): void {
  print(`  ${isSo ? 'yes' : 'NO '}  ${what}`)
  if (!isSo) problems.push(what)
}

function expectFlat(samples: readonly Sample[]): void {
  const fifth = Math.max(1, Math.floor(samples.length / 5))
  const [early, late] = [samples.slice(fifth, 2 * fifth), samples.slice(-fifth)]
  for (const [figure, tolerance] of [
    ['heap', HEAP_TOLERANCE],
    ['rss', RSS_TOLERANCE],
  ] as const) {
    const [before, after] = [early, late].map((part) => median(part.map((each) => each[figure]))) as [number, number]
    expectNoMore(figure, before, after, tolerance)
  }
  expectThat(mostOutstanding <= MAX_OUTSTANDING_BYTES + MIB, 'outstanding bytes stay within maxOutstandingBytes')
}

function expectNoMore(what: string, before: number, after: number, { share, mib }: typeof HEAP_TOLERANCE): void {
  const allowed = before * (1 + share) + mib
  expectThat(
    after <= allowed,
    `${what} is flat: ${before.toFixed(1)} MiB, then ${after.toFixed(1)} (up to ${allowed.toFixed(1)} is flat)`,
  )
}

function expectSlowed(samples: readonly Sample[], atFullSpeed: number): void {
  const later = samples.slice(samples.length >> 1)
  const rate = later.reduce((sum, each) => sum + each.putsPerSecond, 0) / later.length
  // What expires makes room for as many others: the whole of it once in recordTtl.
  const allowed = Math.max(1, (2 * producer.outstanding.records * 1_000) / RECORD_TTL_MS)
  expectThat(
    rate <= allowed,
    `the caller is slowed: ${rate.toFixed(0)} puts/s, where full speed is ${atFullSpeed.toFixed(0)} (up to ${allowed.toFixed(0)} is slowed)`,
  )
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}

print(
  `Node ${process.version}, ${SHARDS} shards, 100-byte records, distinct keys, no rate limit, ${MAX_OUTSTANDING_BYTES / MIB} MiB outstanding, recordTtl ${RECORD_TTL_MS / 1_000} s`,
)
const putting = putForEver()

const full = await phase('full speed', fullMs, true)
expectFlat(full)
expectThat(failures.size === 0, 'no record failed')
const fullRate = median(full.map((each) => each.putsPerSecond))

await service.be('refuse')
const refused = await phase('no connections', downMs, false)
expectFlat(refused)
expectSlowed(refused, fullRate)

await service.be('hang')
const hung = await phase('no answers', downMs, false)
expectFlat(hung)
expectSlowed(hung, fullRate)

await service.be('answer')
const back = await phase('back', downMs, true)
expectFlat(back)
expectNoMore(
  'heap, of before to after,',
  median(full.map((each) => each.heap)),
  median(back.map((each) => each.heap)),
  HEAP_TOLERANCE,
)
expectThat(median(back.map((each) => each.putsPerSecond)) > fullRate / 2, 'it is back at speed')

isOver = true
await putting
await producer.close()
print(problems.length === 0 ? '\nflat' : `\nNOT FLAT:\n${problems.map((each) => `  ${each}`).join('\n')}`)
process.exitCode = problems.length === 0 ? 0 : 1
