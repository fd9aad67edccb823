import type { Fault } from './faults.ts'
import type { Plan } from './plan.ts'
import { type Outcome, World } from './world.ts'

/** A plan that breaks a promise, with as little going wrong as could be found. */
export interface Shrunk {
  readonly plan: Plan
  readonly outcome: Outcome
  /** How many runs it took. */
  readonly runs: number
}

export interface ShrinkOptions {
  /** Gives up looking for less after so many runs. */
  readonly maxRuns: number
  /** How a plan is run; by default in a {@link World}. */
  readonly run?: (plan: Plan) => Promise<Outcome>
}

/**
 * Leaves out faults, in ever smaller parts, as long as the same promise is still broken (Zeller and Hildebrandt's ddmin),
 * and then the programs that aren't needed.
 */
export async function shrink(
  plan: Plan,
  outcome: Outcome,
  { maxRuns, run = (candidate) => new World(candidate).run() }: ShrinkOptions,
): Promise<Shrunk> {
  const invariant = outcome.violation?.invariant
  let best: { plan: Plan; outcome: Outcome } = { plan, outcome }
  let runs = 0
  const tryOut = async (candidate: Plan): Promise<boolean> => {
    if (runs >= maxRuns) return false
    runs++
    const found = await run(candidate)
    if (found.violation?.invariant !== invariant) return false
    best = { plan: candidate, outcome: found }
    return true
  }

  for (let parts = 2; best.plan.faults.length > 0 && runs < maxRuns; ) {
    const { faults } = best.plan
    const size = Math.ceil(faults.length / parts)
    let isLess = false
    for (let from = 0; from < faults.length && !isLess; from += size) {
      isLess = await tryOut({ ...best.plan, faults: without(faults, from, size) })
    }
    if (isLess) parts = Math.max(2, parts - 1)
    else if (size === 1) break
    else parts = Math.min(faults.length, parts * 2)
  }
  for (const kind of ['workers', 'producers'] as const) {
    for (const { place } of best.plan[kind]) {
      const left = best.plan[kind].filter((each) => each.place !== place)
      if (left.length > 0) await tryOut({ ...best.plan, [kind]: left })
    }
  }
  return { ...best, runs }
}

function without(faults: readonly Fault[], from: number, size: number): Fault[] {
  return [...faults.slice(0, from), ...faults.slice(from + size)]
}
