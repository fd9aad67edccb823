import fc from 'fast-check'
import { expect, test } from 'vitest'
import { backoffMs } from './backoff.ts'

test('the longest wait doubles with each attempt up to its bound', () => {
  const longest = [1, 2, 3, 4, 5].map((attempt) => backoffMs(attempt, { baseMs: 100, maxMs: 1000 }, () => 1))
  expect(longest).toEqual([100, 200, 400, 800, 1000])
})

test('a wait lies between nothing and the bound for any attempt and any random number', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (attempt, random) => {
        const wait = backoffMs(attempt, { baseMs: 50, maxMs: 30_000 }, () => random)
        expect(wait).toBeGreaterThanOrEqual(0)
        expect(wait).toBeLessThanOrEqual(30_000)
      },
    ),
  )
})
