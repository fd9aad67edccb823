import { describe, expect, test } from 'vitest'
import { explore, type SeedResult } from './explore.ts'
import { mutations } from './mutations.ts'

const PLANT = new URL('./plant.ts', import.meta.url).href
const SEEDS = 1_000

/*
 * Whether the simulation would notice: each of these mistakes is planted into the sources that a process loads, and some seed
 * must break a promise there.
 */
describe.concurrent('a mistake in the product breaks a promise', () => {
  test.each(mutations)('$name', { timeout: 240_000 }, async ({ name, noticedBy }) => {
    let caught: SeedResult | undefined
    await explore({
      seeds: [noticedBy, ...Array.from({ length: SEEDS }, (_, index) => index + 1)],
      processes: 1,
      execArgv: ['--import', PLANT],
      env: { MUTATION: name },
      isOver: () => caught !== undefined,
      onResult: (result) => {
        if (result.violation !== undefined) caught = result
      },
    })
    expect(caught, `none of ${SEEDS} seeds`).toBeDefined()
    console.log(`caught by seed ${caught?.seed}: ${name} → ${caught?.violation?.invariant}`)
  })
})
