/**
 * What a fleet asks of DynamoDB at rest, counted where requests leave the worker processes: first without records, then with
 * one a second and shard.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/requests.ts [--runs 3] [--seconds 60] [--leases 32 --workers 4] [--trace]
 *
 * All settings are the defaults, but that shards of the largest fleet are read every second, for the sake of a small machine.
 */
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Application } from './fleet/application.ts'
import { spread, table } from './fleet/figures.ts'
import type { Requests } from './fleet/messages.ts'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '60' },
    leases: { type: 'string' },
    workers: { type: 'string' },
    trace: { type: 'boolean', default: false },
  },
})
const seconds = Number(values.seconds)

interface Size {
  readonly leases: number
  readonly workers: number
}

const SIZES: readonly Size[] =
  values.leases === undefined
    ? [
        { leases: 32, workers: 4 },
        { leases: 4, workers: 1 },
        { leases: 128, workers: 8 },
      ]
    : [{ leases: Number(values.leases), workers: Number(values.workers) }]

/** Beyond so many leases, a small machine has no time to read each five times a second. */
const MANY_LEASES = 64
const SETTLING_MS = 10_000

interface Figures extends Size {
  readonly load: 'idle' | 'busy'
  /** A second, by operation. */
  readonly rates: Requests
}

async function rates(application: Application): Promise<Requests> {
  await setTimeout(SETTLING_MS)
  const before = await application.requests()
  await setTimeout(seconds * 1_000)
  const after = await application.requests()
  return Object.fromEntries(
    Object.entries(after).map(([operation, count]) => [operation, (count - (before[operation] ?? 0)) / seconds]),
  )
}

async function measure({ leases, workers }: Size): Promise<Figures[]> {
  await using application = await Application.start({
    shards: leases,
    trace: values.trace,
    workerOptions: leases > MANY_LEASES ? { idleTimeBetweenReads: 1_000 } : {},
  })
  // So that it shows who reads what.
  application.write(200)
  await application.startWorkers(workers)
  await application.stopWriting()
  const idle = await rates(application)
  application.write(1_000)
  const busy = await rates(application)
  await application.checkNothingLost()
  return [
    { leases, workers, load: 'idle', rates: idle },
    { leases, workers, load: 'busy', rates: busy },
  ]
}

const figures: Figures[] = []
for (let run = 1; run <= Number(values.runs); run++) {
  for (const size of SIZES) {
    for (const each of await measure(size)) {
      figures.push(each)
      process.stderr.write(`${run}: ${each.leases}/${each.workers} ${each.load}: ${JSON.stringify(each.rates)}\n`)
    }
  }
}

const OPERATIONS = ['UpdateItem', 'Scan', 'Query', 'GetItem'] as const
const rows = [
  ...Map.groupBy(figures, ({ leases, workers, load }) => `${leases} leases, ${workers} workers, ${load}`),
].map(([name, runs]) => [
  name,
  spread(
    runs.map((run) => Object.values(run.rates).reduce((sum, rate) => sum + rate, 0)),
    2,
  ),
  ...OPERATIONS.map((operation) =>
    spread(
      runs.map((run) => run.rates[operation] ?? 0),
      2,
    ),
  ),
])
process.stdout.write(
  `DynamoDB requests a second over ${seconds} s, medians (least–greatest) of ${values.runs} runs.\n\n${table(
    ['fleet', 'all', ...OPERATIONS],
    rows,
  )}`,
)
