import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AfterFailure, afterFailure, deadLetterBackoffMs, type FailedAttempt } from './retry-policy.ts'

const failed = (given: Partial<FailedAttempt>): FailedAttempt => ({
  attempt: 1,
  records: 1,
  ageMs: undefined,
  isFinal: false,
  isHung: false,
  ...given,
})
const limits = { maxAttempts: 3, maxAgeMs: 1_000 }
const after = (given: Partial<FailedAttempt>): AfterFailure => afterFailure(failed(given), limits, () => 0.5)

describe('a record', () => {
  test('comes again after a pause that doubles, until it has had its attempts', () => {
    expect(after({})).toEqual({ next: 'again', inMs: 100 })
    expect(after({ attempt: 2, ageMs: 100 })).toEqual({ next: 'again', inMs: 200 })
    expect(after({ attempt: 3, ageMs: 300 })).toEqual({ next: 'givenUp' })
  })

  test('is given up once it has failed for so long', () => {
    expect(after({ attempt: 2, ageMs: 999 }).next).toBe('again')
    expect(after({ attempt: 2, ageMs: 1_000 }).next).toBe('givenUp')
  })

  test('is given up at once where trying again can not help, or its handler still runs', () => {
    expect(after({ isFinal: true }).next).toBe('givenUp')
    expect(after({ isHung: true }).next).toBe('givenUp')
  })
})

describe('a batch', () => {
  test('comes once more as a whole, and then in halves', () => {
    expect(after({ records: 8 })).toEqual({ next: 'again', inMs: 100 })
    expect(after({ records: 8, attempt: 2, ageMs: 100 })).toEqual({ next: 'halves', inMs: 100 })
  })

  test('that is a part of one comes in halves at its first failure', () => {
    expect(after({ records: 4, attempt: 1, ageMs: 200 })).toEqual({ next: 'halves', inMs: 100 })
  })

  test('of which one record can not be decoded is split without a pause', () => {
    expect(after({ records: 8, isFinal: true })).toEqual({ next: 'halves', inMs: 0 })
  })

  test('is not repeated as a whole where nothing is tried twice', () => {
    expect(afterFailure(failed({ records: 8 }), { ...limits, maxAttempts: 1 }, () => 0.5).next).toBe('halves')
  })
})

const attempts = fc.record({
  attempt: fc.integer({ min: 1, max: 100 }),
  records: fc.integer({ min: 1, max: 500 }),
  ageMs: fc.option(fc.nat(1e6), { nil: undefined }),
  isFinal: fc.boolean(),
  isHung: fc.boolean(),
})
const bounds = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 50 }),
  maxAgeMs: fc.oneof(fc.nat(1e6), fc.constant(Number.POSITIVE_INFINITY)),
})
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

test('the policy is asked for single records only, and only for those that may not be tried again', () => {
  fc.assert(
    fc.property(attempts, bounds, chance, (attempt, limits, random) => {
      const { next } = afterFailure(attempt, limits, () => random)
      const isSpent =
        attempt.isFinal ||
        attempt.isHung ||
        attempt.attempt >= limits.maxAttempts ||
        (attempt.ageMs ?? 0) >= limits.maxAgeMs
      expect(next === 'givenUp').toBe(attempt.records === 1 && isSpent)
      if (attempt.records === 1) expect(next).not.toBe('halves')
    }),
  )
})

test('no pause is longer than 30 s', () => {
  fc.assert(
    fc.property(attempts, bounds, chance, (attempt, limits, random) => {
      const after = afterFailure(attempt, limits, () => random)
      if (after.next !== 'givenUp') expect(after.inMs).toBeLessThanOrEqual(30_000)
      expect(deadLetterBackoffMs(attempt.attempt, () => random)).toBeLessThanOrEqual(30_000)
    }),
  )
})

test('what fails always is given up after a bounded number of calls, each record of a batch by itself', () => {
  const calls = (records: number, attempt: number, ageMs: number | undefined): number => {
    const { next } = afterFailure(failed({ records, attempt, ageMs }), { ...limits, maxAgeMs: Infinity }, () => 0)
    if (next === 'givenUp') return 1
    if (next === 'again') return 1 + calls(records, attempt + 1, 0)
    return 1 + calls(Math.ceil(records / 2), 1, 0) + calls(Math.floor(records / 2), 1, 0)
  }
  // Twice the whole, once each part of several, three times each record.
  expect(calls(8, 1, undefined)).toBe(2 + 2 + 4 + 8 * 3)
})
