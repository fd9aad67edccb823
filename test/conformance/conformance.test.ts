import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Backend, backendKinds, EMULATORS_LACK } from './backends.ts'
import type { Case } from './case.ts'
import { CONCEPTS } from './cases/index.ts'
import { DIFFERENCES, type Difference } from './differences.ts'
import { differencesPage } from './differences-page.ts'
import { Stage } from './stage.ts'

/** A container may have to be downloaded first. */
const START_MS = 180_000

const kinds = await backendKinds()

describe.each(kinds)('$name', ({ name, missing, parallel, lacks, start }) => {
  if (missing !== undefined) {
    test('is available', ({ skip }) => skip(`${name}: ${missing}`))
    return
  }
  let backend: Backend | undefined
  beforeAll(async () => {
    backend = await start()
  }, START_MS)
  afterAll(async () => {
    await backend?.stop()
  })

  const cases = parallel ? describe.concurrent : describe
  cases.each(Object.entries(CONCEPTS))('%s', (_, ofConcept) => {
    test.for(ofConcept)('$name', async (aCase, { skip }) => {
      const lack = aCase.needs && lacks[aCase.needs]
      skip(lack !== undefined, `${name}, cases that need ${lack?.need}: ${lack?.why}`)
      const difference = DIFFERENCES.find((known) => known.backends.includes(name) && known.case === aCase.name)
      if (difference === undefined) await run(aCase, backend!)
      else await expectDifference(run(aCase, backend!), difference)
    })
  })
})

async function run(aCase: Case, backend: Backend): Promise<void> {
  await using stage = new Stage(await backend.open(aCase.needs))
  await aCase.run(stage)
}

/** A known difference has to show as it is described, so that one that is gone is noticed. */
async function expectDifference(running: Promise<void>, { fails, sometimes }: Difference): Promise<void> {
  const failure = await running.then(
    () => undefined,
    (error: unknown) => String(error),
  )
  if (failure === undefined && sometimes) return
  expect(failure ?? 'none: the difference is gone, take it out of differences.ts').toMatch(fails)
}

test('docs/conformance.md shows the known differences', async () => {
  const lacks = Object.values(EMULATORS_LACK)
  const cases = Object.values(CONCEPTS).flat().length
  // `vitest run --update` writes it anew.
  await expect(differencesPage(cases, DIFFERENCES, lacks)).toMatchFileSnapshot('../../docs/conformance.md')
})

test('every known difference is of a case that there is, once for a backend', () => {
  const names = Object.values(CONCEPTS).flatMap((ofConcept) => ofConcept.map(({ name }) => name))
  const known = DIFFERENCES.flatMap(({ backends, case: name }) => backends.map((backend) => `${backend}: ${name}`))
  expect(new Set(names).size).toBe(names.length)
  expect(new Set(known).size).toBe(known.length)
  for (const { case: name } of DIFFERENCES) expect(names).toContain(name)
})
