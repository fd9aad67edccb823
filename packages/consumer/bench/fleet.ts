/**
 * How soon a fleet forms, and for how long shards stand still when workers come and go: worker processes with default settings
 * on local servers, as their handlers see it. A record is put into every shard ten times a second.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/fleet.ts [--runs 3] [--only 'killed'] [--trace]
 *
 * The local DynamoDB makes a table at once; the service takes some seconds.
 */
import { availableParallelism, loadavg } from 'node:os'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Application } from './fleet/application.ts'
import { median, spread, table } from './fleet/figures.ts'
import { nowMs } from './fleet/now.ts'
import type { WorkerProcess } from './fleet/worker-process.ts'

const WRITE_INTERVAL_MS = 100
const WORKERS = 4

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    trace: { type: 'boolean', default: false },
  },
})

interface Scenario {
  readonly what: string
  readonly shards: number
  readonly limitS?: number
  /** Whether every record may be delivered only once. */
  readonly once?: boolean
  /** Resolves to when it began and when it was reached. */
  readonly run: (application: Application) => Promise<{ readonly fromMs: number; readonly toMs: number }>
}

interface Figures {
  readonly seconds: number
  readonly gaps: readonly number[]
  readonly repeated: number
  readonly slowestAnswerS: number
}

const SCENARIOS: readonly Scenario[] = [
  {
    what: 'one worker on an empty table, 4 shards: from run() to the first record handled',
    shards: 4,
    limitS: 2,
    once: true,
    run: async (application) => {
      const worker = await application.boot()
      const fromMs = nowMs()
      worker.run()
      return { fromMs, toMs: await application.deliveries.until('a record', () => application.deliveries.distinct > 0) }
    },
  },
  {
    what: 'four workers at the same moment on an empty table, 32 shards: until each reads 8',
    shards: 32,
    limitS: 10,
    once: true,
    run: async (application) => {
      const workers = await Promise.all(Array.from({ length: WORKERS }, () => application.boot()))
      const fromMs = nowMs()
      for (const worker of workers) worker.run()
      return { fromMs, toMs: await application.atRest(WORKERS) }
    },
  },
  {
    what: 'a second worker joins 32 leases: until each reads 16',
    shards: 32,
    limitS: 10,
    once: true,
    run: async (application) => {
      await application.startWorkers(1)
      const second = await application.boot()
      await anyMoment()
      const fromMs = nowMs()
      second.run()
      return { fromMs, toMs: await application.atRest(2) }
    },
  },
  {
    what: 'one of four workers is stopped, not the leader: until its 8 shards are read elsewhere',
    shards: 32,
    limitS: 3,
    once: true,
    run: (application) => withoutOne(application, (worker) => !worker.leads, stopped),
  },
  {
    what: 'one of four workers is stopped, the leader: until its 8 shards are read elsewhere',
    shards: 32,
    limitS: 3,
    once: true,
    run: (application) => withoutOne(application, (worker) => worker.leads, stopped),
  },
  {
    what: 'one of four workers is killed, not the leader: until its 8 shards are read elsewhere',
    shards: 32,
    limitS: 15,
    run: (application) => withoutOne(application, (worker) => !worker.leads, killed),
  },
  {
    what: 'one of four workers is killed, the leader: until its 8 shards are read elsewhere',
    shards: 32,
    limitS: 20,
    run: (application) => withoutOne(application, (worker) => worker.leads, killed),
  },
  {
    what: 'one of four workers is killed, the leader right after its heartbeat: until its 8 shards are read elsewhere',
    shards: 32,
    limitS: 20,
    run: (application) =>
      withoutOne(
        application,
        (worker) => worker.leads,
        killed,
        () => application.leaderHeartbeat(),
      ),
  },
  {
    what: 'four workers are replaced one after the other (closed, new one booted and run): until each new one reads 8',
    shards: 32,
    once: true,
    run: async (application) => {
      const workers = await application.startWorkers(WORKERS)
      const fromMs = nowMs()
      let toMs = fromMs
      for (const worker of workers) {
        await application.close(worker)
        const next = await application.boot()
        next.run()
        toMs = await application.atRest(WORKERS)
      }
      return { fromMs, toMs }
    },
  },
]

type Leaving = (application: Application, worker: WorkerProcess) => Promise<void>

const stopped: Leaving = (application, worker) => application.close(worker)
const killed: Leaving = (application, worker) => application.kill(worker)

async function withoutOne(
  application: Application,
  isIt: (worker: WorkerProcess) => boolean,
  leave: Leaving,
  moment: () => Promise<void> = () => Promise.resolve(),
): Promise<{ fromMs: number; toMs: number }> {
  await application.startWorkers(WORKERS)
  await anyMoment()
  await moment()
  const worker = application.workers.find(isIt)
  if (worker === undefined) throw new Error('Expected a worker that leads, and one that does not.')
  const { deliveries } = application
  const shards = deliveries.shardsOf(worker.workerId)
  const fromMs = nowMs()
  const isElsewhere = (shardId: string): boolean => deliveries.workerOf(shardId) !== worker.workerId
  const [toMs] = await Promise.all([
    deliveries.until(`the shards of ${worker.workerId} are read elsewhere`, () => shards.every(isElsewhere)),
    leave(application, worker),
  ])
  return { fromMs, toMs }
}

/** Long enough that every lease was renewed, ending anywhere between two heartbeats of the leader. */
async function anyMoment(): Promise<void> {
  await setTimeout(5_000 + Math.random() * 5_000)
}

async function measure({ shards, run }: Scenario): Promise<Figures> {
  await using application = await Application.start({ shards, trace: values.trace })
  application.write(WRITE_INTERVAL_MS)
  const { fromMs, toMs } = await run(application)
  const slowestAnswerS = application.slowestAnswerS(fromMs)
  await application.checkNothingLost()
  const { deliveries } = application
  return {
    seconds: (toMs - fromMs) / 1_000,
    gaps: deliveries.gaps(fromMs),
    repeated: deliveries.repeated(fromMs),
    slowestAnswerS,
  }
}

const scenarios = SCENARIOS.filter(({ what }) => what.includes(values.only))
const figures = new Map<Scenario, Figures[]>(scenarios.map((scenario) => [scenario, []]))
for (let run = 1; run <= Number(values.runs); run++) {
  for (const scenario of scenarios) {
    process.stderr.write(`${run}: ${scenario.what}\n`)
    const figure = await measure(scenario)
    figures.get(scenario)!.push(figure)
    const { seconds, gaps, repeated, slowestAnswerS } = figure
    process.stderr.write(
      `   ${seconds.toFixed(2)} s; gaps ${spread(gaps, 2)} s; repeated ${repeated}; slowest answer ${slowestAnswerS.toFixed(2)} s\n`,
    )
  }
}

const rows = [...figures].map(([{ what, limitS, once }, runs]) => [
  what,
  limitS === undefined ? '' : String(limitS),
  spread(
    runs.map(({ seconds }) => seconds),
    1,
  ),
  spread(
    runs.flatMap(({ gaps }) => (gaps.length > 0 ? median(gaps) : [])),
    1,
  ),
  spread(
    runs.flatMap(({ gaps }) => (gaps.length > 0 ? Math.max(...gaps) : [])),
    1,
  ),
  spread(
    runs.map(({ repeated }) => repeated),
    0,
  ) + (once ? ' (0)' : ''),
  spread(
    runs.map(({ slowestAnswerS }) => slowestAnswerS),
    1,
  ),
])
process.stdout.write(
  `Medians (least–greatest) of ${values.runs} runs; "gap": for how long no record of a moved shard came. Load of the machine at ` +
    `the end: ${loadavg()[2]!.toFixed(1)} on ${availableParallelism()} processors.\n\n${table(
      [
        'what',
        'at most, s',
        's',
        'gap, median shard, s',
        'gap, worst shard, s',
        'records repeated',
        'slowest answer of the table, s',
      ],
      rows,
    )}`,
)
