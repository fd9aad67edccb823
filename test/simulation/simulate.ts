import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { explore, type SeedResult } from './explore.ts'
import { describeFault } from './faults.ts'
import { type Plan, planOf } from './plan.ts'
import { shrink } from './shrink.ts'
import { type Outcome, World } from './world.ts'

const USAGE = `Usage:
  npm run simulate -- --seed 42 [--faults 0,3] [--places worker-0,producer-0] [--trace]
      Replays one seed: with all its faults and programs, or only those; --trace prints all that happened.
  npm run simulate -- --seeds 5000 [--from 1] [--processes 2]
      Runs many seeds, from 1 on. Of those that break a promise, looks for the shortest history.`

const SHRINK_RUNS = 60
const SHRUNK_FAILURES = 3
const LAST_LINES = 60

interface Arguments {
  readonly seed: number | undefined
  readonly faults: string | undefined
  readonly places: string | undefined
  readonly trace: boolean
  readonly seeds: number | undefined
  readonly from: number
  readonly processes: number
}

async function main(): Promise<number> {
  let given: Arguments
  let plan: Plan | undefined
  try {
    given = readArguments()
    plan = given.seed === undefined ? undefined : reduced(planOf(given.seed), given)
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`)
    return 2
  }
  const { seeds, from, processes, trace } = given
  if (plan !== undefined) return await replay(plan, trace)
  if (seeds !== undefined) return await exploreAll(from, seeds, processes)
  console.log(USAGE)
  return 0
}

function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      faults: { type: 'string' },
      places: { type: 'string' },
      trace: { type: 'boolean', default: false },
      seeds: { type: 'string' },
      from: { type: 'string' },
      processes: { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  const { faults, places, trace } = values
  return {
    faults,
    places,
    trace,
    seed: integer('seed', values.seed),
    seeds: integer('seeds', values.seeds),
    from: integer('from', values.from) ?? 1,
    processes: integer('processes', values.processes) ?? availableParallelism(),
  }
}

function integer(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name}: expected an integer from 1, got "${text}"`)
  return value
}

function reduced(plan: Plan, { faults, places }: Arguments): Plan {
  const programs = [...plan.producers, ...plan.workers].map(({ place }) => place)
  const keptPlaces = chosen('places', places, programs)
  const keptFaults = chosen('faults', faults, [...plan.faults.keys()].map(String))
  return {
    ...plan,
    workers: plan.workers.filter(({ place }) => keptPlaces.has(place)),
    producers: plan.producers.filter(({ place }) => keptPlaces.has(place)),
    faults: plan.faults.filter((_, index) => keptFaults.has(String(index))),
  }
}

/** Some of those that there are, or all if nothing is said. */
function chosen(name: string, list: string | undefined, all: readonly string[]): ReadonlySet<string> {
  const some = list?.split(',').filter((text) => text !== '') ?? all
  const unknown = some.find((each) => !all.includes(each))
  if (unknown !== undefined) throw new Error(`--${name}: expected some of ${all.join(', ')}, got "${unknown}"`)
  return new Set(some)
}

async function replay(plan: Plan, wholeTrace: boolean): Promise<number> {
  const outcome = await new World(plan, { keepTrace: true }).run()
  const lines = wholeTrace || outcome.violation === undefined ? outcome.trace : outcome.trace.slice(-LAST_LINES)
  if (wholeTrace || outcome.violation !== undefined) for (const line of lines) console.log(line)
  if (lines.length < outcome.trace.length && !wholeTrace) {
    console.log(`(the last ${lines.length} of ${outcome.trace.length} lines; --trace prints all)`)
  }
  tell(plan, outcome)
  return outcome.violation === undefined ? 0 : 1
}

function tell(plan: Plan, outcome: Outcome): void {
  const all = planOf(plan.seed).faults.map(describeFault)
  const { faults, producers, workers, ...settings } = plan
  console.log(
    `\n${Object.entries(settings)
      .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
      .join(', ')}`,
  )
  for (const program of [...producers, ...workers]) {
    console.log(
      `  ${Object.entries(program)
        .map(([name, value]) => `${name} ${value}`)
        .join(', ')}`,
    )
  }
  for (const fault of faults) console.log(`  ${all.indexOf(describeFault(fault))}: ${describeFault(fault)}`)
  const { violation, virtualMs, happenings, puts, acknowledged, repeated, expired, steadyAfterMs, digest } = outcome
  console.log(
    `${(virtualMs / 1_000).toFixed(1)} s, ${happenings} happenings, ${puts} puts, ${acknowledged} acknowledged, ` +
      `${repeated} handled again, ${expired} expired, well ${(steadyAfterMs / 1_000).toFixed(1)} s after the last fault, trace ${digest.slice(0, 16)}`,
  )
  console.log(
    violation === undefined ? 'Every promise was kept.' : `BROKEN: ${violation.invariant}\n  ${violation.message}`,
  )
}

async function exploreAll(from: number, count: number, processes: number): Promise<number> {
  const startedAt = performance.now()
  const results: SeedResult[] = []
  await explore({
    seeds: Array.from({ length: count }, (_, index) => from + index),
    processes,
    onResult: (result) => {
      results.push(result)
      if (result.violation !== undefined) {
        console.log(`seed ${result.seed}: ${result.violation.invariant}: ${result.violation.message}`)
      } else if (results.length % 100 === 0) {
        console.log(`${results.length} of ${count} seeds`)
      }
    },
  })
  const seconds = (performance.now() - startedAt) / 1_000
  const sum = (of: (result: SeedResult) => number): number => results.reduce((total, result) => total + of(result), 0)
  const virtualHours = sum(({ virtualMs }) => virtualMs) / 3_600_000
  const steady = results.map(({ steadyAfterMs }) => steadyAfterMs).sort((a, b) => a - b)
  console.log(
    `${results.length} seeds in ${seconds.toFixed(1)} s: ${(results.length / seconds).toFixed(1)} seeds a second, ` +
      `${(virtualHours / seconds).toFixed(3)} simulated hours a second in ${processes} processes; ` +
      `${sum(({ faults }) => faults)} faults, ${sum(({ happenings }) => happenings)} happenings, ${sum(({ puts }) => puts)} puts, ` +
      `${sum(({ acknowledged }) => acknowledged)} acknowledged, ${sum(({ repeated }) => repeated)} handled again, ${sum(({ expired }) => expired)} expired; ` +
      `well after ${((steady[steady.length >>> 1] ?? 0) / 1_000).toFixed(1)} s in the middle, ${((steady.at(-1) ?? 0) / 1_000).toFixed(1)} s at most`,
  )
  console.log(
    `writes: ${shown(
      merged(
        results.map(({ writes }) => writes),
        (a, b) => a + b,
      ),
    )}`,
  )
  console.log(`${sum(({ struck }) => struck)} faults right before or after one of them`)
  console.log(
    `subscriptions: ${shown(
      merged(
        results.map(({ subscriptions }) => subscriptions),
        (a, b) => a + b,
      ),
    )}`,
  )
  console.log(
    `handling: ${shown(
      merged(
        results.map(({ handled }) => handled),
        (a, b) => a + b,
      ),
    )}`,
  )
  console.log(
    `slowest, in ms: ${shown(
      merged(
        results.map(({ slowestMs }) => slowestMs),
        Math.max,
      ),
    )}`,
  )
  const failed = results.filter(({ violation }) => violation !== undefined)
  if (failed.length === 0) {
    console.log('Every promise was kept.')
    return 0
  }
  await tellShortest(failed)
  return 1
}

function merged(
  maps: readonly ReadonlyMap<string, number>[],
  both: (a: number, b: number) => number,
): ReadonlyMap<string, number> {
  const all = new Map<string, number>()
  for (const [name, value] of maps.flatMap((map) => [...map])) all.set(name, both(all.get(name) ?? 0, value))
  return all
}

function shown(figures: ReadonlyMap<string, number>): string {
  return [...figures].map(([name, value]) => `${name} ${Math.round(value)}`).join(', ')
}

/** Of a few failing seeds, those with the fewest faults, the shortest history. */
async function tellShortest(failed: readonly SeedResult[]): Promise<void> {
  console.log(
    `${failed.length} seeds break a promise: ${failed
      .map(({ seed }) => seed)
      .sort((a, b) => a - b)
      .join(' ')}`,
  )
  const candidates = [...failed]
    .sort((a, b) => a.faults - b.faults || a.happenings - b.happenings)
    .slice(0, SHRUNK_FAILURES)
  let shortest: { readonly plan: Plan; readonly outcome: Outcome } | undefined
  for (const { seed } of candidates) {
    const plan = planOf(seed)
    const found = await shrink(plan, await new World(plan).run(), { maxRuns: SHRINK_RUNS })
    if (shortest === undefined || length(found) < length(shortest)) shortest = found
  }
  if (shortest === undefined) return
  const { plan } = shortest
  const whole = planOf(plan.seed)
  const indices = plan.faults.map((fault) => whole.faults.map(describeFault).indexOf(describeFault(fault)))
  const places = [...plan.producers, ...plan.workers].map(({ place }) => place)
  console.log(
    `\nThe shortest history found, --seed ${plan.seed} --faults '${indices.join(',')}' --places ${places.join(',')}:\n`,
  )
  await replay(plan, false)
}

function length({ plan, outcome }: { readonly plan: Plan; readonly outcome: Outcome }): number {
  return plan.faults.length * 1e9 + outcome.happenings
}

process.exitCode = await main()
