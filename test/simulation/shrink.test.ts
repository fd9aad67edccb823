import { expect, test } from 'vitest'
import type { Fault } from './faults.ts'
import { type Plan, planOf } from './plan.ts'
import { shrink } from './shrink.ts'
import { Violation } from './violation.ts'
import type { Outcome } from './world.ts'

const reshard: Fault = { kind: 'reshard', atMs: 2_000, act: 'split', where: 0.5 }
const harmless: Fault[] = [1_000, 3_000, 4_000, 5_000, 6_000].map((atMs) => ({
  kind: 'pause',
  atMs,
  place: 'worker-0',
  afterSends: 0,
  forMs: 100,
}))

/** A run that breaks a promise exactly if this fault is among those of the plan. */
const breaksWith =
  (needed: Fault) =>
  (plan: Plan): Promise<Outcome> =>
    Promise.resolve({
      violation: plan.faults.includes(needed) ? new Violation('order per key', 'as planned') : undefined,
      virtualMs: 0,
      happenings: 0,
      puts: 0,
      acknowledged: 0,
      repeated: 0,
      expired: 0,
      steadyAfterMs: 0,
      slowestMs: new Map(),
      writes: new Map(),
      struck: 0,
      subscriptions: new Map(),
      handled: new Map(),
      digest: '',
      trace: [],
    })

test.each([reshard, ...harmless])(
  'what has nothing to do with a broken promise is left out of its history',
  async (needed) => {
    const plan: Plan = { ...planOf(1), faults: [...harmless, reshard] }
    const run = breaksWith(needed)
    const shrunk = await shrink(plan, await run(plan), { maxRuns: 60, run })
    expect(shrunk.plan.faults).toEqual([needed])
    expect(shrunk.plan.workers).toHaveLength(1)
    expect(shrunk.outcome.violation?.invariant).toBe('order per key')
  },
)

test('it gives up after so many runs, with the best so far', async () => {
  const plan: Plan = { ...planOf(1), faults: [...harmless, reshard] }
  const run = breaksWith(reshard)
  const shrunk = await shrink(plan, await run(plan), { maxRuns: 1, run })
  expect(shrunk.runs).toBe(1)
  expect(shrunk.plan.faults).toContain(reshard)
})
