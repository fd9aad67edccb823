import { expect, test } from 'vitest'
import { untilHolds, whileRising } from './waiting.ts'

const never = new AbortController().signal

test('waiting ends when the condition holds, or with what was waited for', async () => {
  let asked = 0
  await untilHolds(() => ++asked > 1, { what: 'it is asked twice', deadlineMs: 10_000, signal: never })
  await expect(untilHolds(() => false, { what: 'pigs fly', deadlineMs: 0, signal: never })).rejects.toThrow(
    'waited 0 s in vain until pigs fly',
  )
})

test('a count is waited for while it rises', async () => {
  let count = 0
  await whileRising(() => Math.min(++count, 3), { goal: 3, patienceMs: 10_000, signal: never })
  expect(count).toBeGreaterThanOrEqual(3)
  await whileRising(() => 2, { goal: 3, patienceMs: 0, signal: never })
})

test('an abort ends every wait with its reason', async () => {
  const signal = AbortSignal.abort(new Error('stopped'))
  await expect(untilHolds(() => false, { what: '', deadlineMs: 10_000, signal })).rejects.toThrow('stopped')
  await expect(whileRising(() => 0, { goal: 1, patienceMs: 10_000, signal })).rejects.toThrow('stopped')
})
