import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RateBucket } from './rate-bucket.ts'

test('a fresh bucket grants one second of the quota, not more, however long it was idle', () => {
  const bucket = new RateBucket(100, 0)
  expect(bucket.waitMs(60_000)).toBe(0)
  let granted = 0
  while (bucket.waitMs(60_000) === 0) {
    bucket.take(10)
    granted++
  }
  expect(granted).toBe(1_000)
})

test('a record larger than the quota passes, and the next waits until the debt is paid', () => {
  const bucket = new RateBucket(100, 0)
  bucket.take(3 * 2 ** 20)
  expect(bucket.waitMs(0)).toBeCloseTo(2_001, 0)
  expect(bucket.waitMs(2_001)).toBe(0)
})

test('throttling lowers the rate down to a floor, and success raises it back to where it was', () => {
  const bucket = new RateBucket(150, 0)
  const full = bucket.bytesPerSecond
  bucket.throttled()
  expect(bucket.bytesPerSecond / full).toBeCloseTo(0.7)
  for (let index = 0; index < 100; index++) bucket.throttled()
  expect(bucket.bytesPerSecond / full).toBeCloseTo(0.05)
  for (let index = 0; index < 100; index++) bucket.succeeded()
  expect(bucket.bytesPerSecond).toBe(full)
})

test('infinity is no limit', () => {
  const bucket = new RateBucket(Number.POSITIVE_INFINITY, 0)
  for (let index = 0; index < 100; index++) bucket.take(2 ** 20)
  expect(bucket.waitMs(0)).toBe(0)
})

test('whoever waits as long as told may go, for any history', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 1, max: 500, noNaN: true }),
      fc.array(fc.integer({ min: 0, max: 2 ** 21 }), { maxLength: 50 }),
      (rateLimit, sizes) => {
        const bucket = new RateBucket(rateLimit, 0)
        let nowMs = 0
        for (const size of sizes) {
          nowMs += bucket.waitMs(nowMs)
          expect(bucket.waitMs(nowMs)).toBe(0)
          bucket.take(size)
        }
      },
    ),
  )
})
