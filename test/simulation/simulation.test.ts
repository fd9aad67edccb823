import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { describe, expect, test } from 'vitest'
import { explore, type SeedResult } from './explore.ts'
import { SUBSCRIPTION_FATES } from './fan-out-service.ts'
import { type Plan, planOf } from './plan.ts'
import { HANDLING_FATES } from './processing-witness.ts'
import { TABLE_WRITES } from './table-requests.ts'
import { World } from './world.ts'

const SEEDS = Number(process.env.SIMULATION_SEEDS ?? 60)
const REGRESSIONS = new URL('./regressions/', import.meta.url)

test(`${SEEDS} seeds keep every promise`, async () => {
  const results: SeedResult[] = []
  await explore({
    seeds: Array.from({ length: SEEDS }, (_, index) => index + 1),
    processes: availableParallelism(),
    onResult: (result) => results.push(result),
  })
  expect(results).toHaveLength(SEEDS)
  const broken = results.filter(({ violation }) => violation !== undefined)
  expect(
    broken.map(
      ({ seed, violation }) => `npm run simulate -- --seed ${seed}: ${violation?.invariant}: ${violation?.message}`,
    ),
  ).toEqual([])
  // The worlds have to be hard enough for the promises to mean something.
  const sum = (of: (result: SeedResult) => number): number => results.reduce((total, result) => total + of(result), 0)
  expect(sum(({ faults }) => faults)).toBeGreaterThan(3 * SEEDS)
  expect(sum(({ acknowledged }) => acknowledged)).toBeGreaterThan(100 * SEEDS)
  expect(sum(({ repeated }) => repeated)).toBeGreaterThan(SEEDS)
  // Nor would a fault at a write that is never recognised.
  const written = new Set(results.flatMap(({ writes }) => [...writes.keys()]))
  expect(TABLE_WRITES.filter((write) => !written.has(write))).toEqual([])
  expect(sum(({ struck }) => struck)).toBeGreaterThan(SEEDS / 4)
  const fates = new Set(results.flatMap(({ subscriptions }) => [...subscriptions.keys()]))
  expect(SUBSCRIPTION_FATES.filter((fate) => !fates.has(fate))).toEqual([])
  const handled = new Set(results.flatMap(({ handled: each }) => [...each.keys()]))
  expect(HANDLING_FATES.filter((fate) => !handled.has(fate))).toEqual([])
}, 240_000)

test('the same seed gives the same trace, byte for byte', async () => {
  const plan = planOf(7)
  const first = await new World(plan, { keepTrace: true }).run()
  const second = await new World(plan, { keepTrace: true }).run()
  expect(second.trace).toEqual(first.trace)
  expect(second.digest).toBe(first.digest)
  expect((await new World({ ...plan, seed: 8 }).run()).digest).not.toBe(first.digest)
})

describe('a run takes nothing from outside its seed', () => {
  const outside = [
    ['setTimeout', globalThis, 'setTimeout'],
    ['setInterval', globalThis, 'setInterval'],
    ['Date.now', Date, 'now'],
    ['performance.now', performance, 'now'],
    ['Math.random', Math, 'random'],
  ] as const

  test.each(outside)('%s is not called', async (_, object, name) => {
    const real = Reflect.get(object, name) as (...given: unknown[]) => unknown
    const callers: string[] = []
    const watched = (...given: unknown[]): unknown => {
      const caller = new Error(name).stack?.split('\n')[2] ?? ''
      if (/packages|simulation/.test(caller)) callers.push(caller)
      return real.apply(object, given)
    }
    Reflect.set(object, name, watched)
    try {
      await new World(planOf(7)).run()
    } finally {
      Reflect.set(object, name, real)
    }
    expect(callers).toEqual([])
  })
})

describe('histories that once broke a promise', () => {
  test.each(readdirSync(REGRESSIONS).filter((name) => name.endsWith('.json')))('%s', async (name) => {
    const plan = JSON.parse(readFileSync(new URL(name, REGRESSIONS), 'utf8')) as Plan
    const { violation } = await new World(plan).run()
    expect(violation).toBeUndefined()
  })
})
