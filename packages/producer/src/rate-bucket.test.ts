import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RateBucket } from './rate-bucket.ts'

const MIB = 2 ** 20

/** The rate, in units of a shard's quota. */
function rateOf(bucket: RateBucket): number {
  return bucket.bytesPerSecond / MIB
}

/** How many records of so many bytes go at this moment. */
function drain(bucket: RateBucket, nowMs: number, bytes = 10): number {
  let count = 0
  for (; bucket.waitMs(nowMs) === 0; count++) bucket.take(bytes, nowMs)
  return count
}

/** Sends so many small records, ten a second. Returns when. */
function sendSlowly(bucket: RateBucket, records: number, fromMs: number): number {
  let nowMs = fromMs
  for (let sent = 0; sent < records; sent++) {
    nowMs += 100
    bucket.take(10, nowMs)
  }
  return nowMs
}

describe('tokens', () => {
  test('a fresh bucket grants one second of the quota at once, or of a lower limit', () => {
    expect(drain(new RateBucket(100, 0), 0)).toBe(1_000)
    expect(drain(new RateBucket(1_000, 0), 0)).toBe(1_000)
    expect(drain(new RateBucket(10, 0), 0)).toBe(100)
  })

  test('they grow at the rate limit, for records and for bytes', () => {
    const small = new RateBucket(150, 0)
    drain(small, 0)
    expect(drain(small, 99.5)).toBe(150)
    const large = new RateBucket(150, 0)
    expect(drain(large, 0, 10_000) + drain(large, 500, 10_000)).toBe(Math.ceil((1.75 * MIB) / 10_000))
  })

  test('no more than a second of the rate is saved, however long nothing was sent', () => {
    expect(drain(new RateBucket(100, 0), 60_000)).toBe(1_000)
    expect(drain(new RateBucket(200, 0), 60_000)).toBe(2_000)
    expect(drain(new RateBucket(50, 0), 60_000)).toBe(500)
  })

  test('a record larger than the quota passes, and the next waits until the debt is paid', () => {
    const bucket = new RateBucket(100, 0)
    bucket.take(3 * MIB, 0)
    expect(bucket.waitMs(0)).toBeCloseTo(2_001, 0)
    expect(bucket.waitMs(1_950)).toBeGreaterThan(0)
    expect(bucket.waitMs(2_001)).toBe(0)
  })
})

describe('the rate', () => {
  test('is unlimited before the first throttle if the limit is Infinity, and then about what was used', () => {
    const bucket = new RateBucket(Number.POSITIVE_INFINITY, 0)
    expect(bucket.bytesPerSecond).toBe(Number.POSITIVE_INFINITY)
    for (let ms = 0; ms < 5_000; ms += 10) {
      expect(bucket.waitMs(ms)).toBe(0)
      bucket.take(0.03 * MIB, ms)
    }
    bucket.throttled(4_990, 5_000)
    expect(rateOf(bucket)).toBeCloseTo(2.6, 1)
    expect(drain(bucket, 5_000)).toBe(0)
  })

  test('falls to 80 % by a throttle, and rises as CUBIC does: soon near where it was, slowly there, then fast', () => {
    const bucket = new RateBucket(200, 0)
    bucket.take(2 * MIB, 0)
    bucket.throttled(0, 0)
    expect(rateOf(bucket)).toBeCloseTo(1.6, 6)
    bucket.limitTo(1_000, 0)
    // In debt all the time.
    bucket.take(1_000_000 * MIB, 0)
    const cycle = 8_000
    const shares: number[] = []
    let nowMs = 0
    for (let quarter = 1; quarter <= 12; quarter++) {
      nowMs = sendSlowly(bucket, cycle / 4, nowMs)
      shares.push(rateOf(bucket) / 2)
    }
    const expected = shares.map((_, index) => 1 + 0.2 * ((index + 1) / 4 - 1) ** 3)
    for (const [index, share] of shares.entries()) expect(share).toBeCloseTo(expected[index]!, 3)
  })

  test('falls once for all requests that were under way', () => {
    const bucket = new RateBucket(150, 0)
    bucket.take(MIB, 0)
    bucket.throttled(1_000, 1_100)
    const lowered = rateOf(bucket)
    bucket.throttled(1_010, 1_110)
    bucket.throttled(1_099, 1_199)
    expect(rateOf(bucket)).toBeCloseTo(lowered, 4)
    bucket.throttled(1_100, 1_200)
    expect(rateOf(bucket)).toBeCloseTo(0.8 * lowered, 4)
  })

  test('falls from what was used, of which a quarter of the quota is the least', () => {
    const idle = new RateBucket(150, 0)
    idle.take(100, 10_000)
    idle.throttled(10_000, 10_020)
    expect(rateOf(idle)).toBeCloseTo(0.2, 3)

    const busy = new RateBucket(1_000, 0)
    for (let ms = 0; ms < 5_000; ms += 100) busy.take(0.05 * MIB, ms)
    busy.throttled(4_900, 5_000)
    expect(rateOf(busy)).toBeCloseTo(0.4, 1)
  })

  test('does not fall far below what the shard goes on accepting, however many throttles there are', () => {
    const rateAfter = (throttledOf: (index: number) => boolean): number => {
      const bucket = new RateBucket(150, 0)
      for (let index = 0; index < 400; index++) {
        const nowMs = index * 10
        bucket.take(0.005 * MIB, nowMs)
        if (index >= 300 && throttledOf(index)) bucket.throttled(nowMs, nowMs + 5)
      }
      return rateOf(bucket)
    }
    expect(rateAfter((index) => index % 5 === 4)).toBeGreaterThan(0.3)
    expect(rateAfter(() => true)).toBeLessThan(0.2)
  })

  test('never falls below a hundredth of the quota, or its limit', () => {
    const bucket = new RateBucket(150, 0)
    for (let ms = 0; ms < 100; ms++) bucket.throttled(ms, ms)
    expect(rateOf(bucket)).toBe(0.01)
    const slow = new RateBucket(1, 0)
    for (let ms = 0; ms < 100; ms++) slow.throttled(ms, ms)
    expect(rateOf(slow)).toBe(0.01)
  })

  test('recovers to its limit, by records where the bucket holds its lane back, by time where it does not', () => {
    const busy = new RateBucket(100, 0)
    busy.throttled(0, 0)
    const lowered = rateOf(busy)
    busy.take(100 * MIB, 0)
    busy.waitMs(60_000)
    expect(rateOf(busy)).toBe(lowered)
    sendSlowly(busy, 5_000, 60_000)
    expect(rateOf(busy)).toBe(1)

    const idle = new RateBucket(100, 0)
    for (let ms = 0; ms < 10; ms++) idle.throttled(ms, ms)
    const low = rateOf(idle)
    idle.waitMs(2_000)
    idle.waitMs(12_000)
    expect(rateOf(idle)).toBeGreaterThan(low)
    idle.waitMs(600_000)
    expect(rateOf(idle)).toBe(1)
  })

  test('follows a new limit, but not above what throttles have told', () => {
    const bucket = new RateBucket(150, 0)
    bucket.limitTo(Number.POSITIVE_INFINITY, 0)
    expect(bucket.bytesPerSecond).toBe(Number.POSITIVE_INFINITY)
    bucket.limitTo(150, 0)
    expect(rateOf(bucket)).toBe(1.5)
    bucket.throttled(0, 0)
    const lowered = rateOf(bucket)
    bucket.limitTo(Number.POSITIVE_INFINITY, 0)
    expect(rateOf(bucket)).toBe(lowered)
    bucket.limitTo(10, 0)
    expect(rateOf(bucket)).toBe(0.1)
  })
})

describe('for any history', () => {
  const limit = fc.oneof(fc.double({ min: 1, max: 500, noNaN: true }), fc.constant(Number.POSITIVE_INFINITY))
  const step = fc.record({
    /** Backward now and then, and now and then by years. */
    ms: fc.oneof(
      { weight: 8, arbitrary: fc.double({ min: 0, max: 2_000, noNaN: true }) },
      fc.constantFrom(0, -50_000, 1e12),
    ),
    what: fc.constantFrom('take', 'take', 'take', 'throttled', 'limitTo'),
    bytes: fc.oneof(fc.integer({ min: 0, max: 2 ** 17 }), fc.integer({ min: 0, max: 10 * MIB })),
    limit,
  })

  test('whoever waits as long as told may go', () => {
    fc.assert(
      fc.property(limit, fc.array(step, { maxLength: 60 }), (rateLimit, steps) => {
        const bucket = new RateBucket(rateLimit, 0)
        let nowMs = 0
        for (const { what, bytes } of steps) {
          const waitMs = bucket.waitMs(nowMs)
          expect(waitMs).toBeGreaterThanOrEqual(0)
          expect(waitMs).toBeLessThan(3_600_000)
          nowMs += waitMs
          expect(bucket.waitMs(nowMs)).toBe(0)
          bucket.take(bytes, nowMs)
          if (what === 'throttled') bucket.throttled(nowMs, nowMs)
        }
      }),
    )
  })

  test('the rate stays within its bounds, falls by nothing but throttles and limits, and no number goes wrong', () => {
    fc.assert(
      fc.property(limit, fc.array(step, { maxLength: 100 }), (rateLimit, steps) => {
        const bucket = new RateBucket(rateLimit, 0)
        let ceiling = rateLimit / 100
        let nowMs = 0
        for (const { ms, what, bytes, limit: next } of steps) {
          nowMs += ms
          const before = rateOf(bucket)
          const waitMs = bucket.waitMs(nowMs)
          expect(waitMs).toBeGreaterThanOrEqual(0)
          expect(waitMs).toBeLessThan(Number.POSITIVE_INFINITY)
          if (what === 'take') bucket.take(bytes, nowMs)
          expect(rateOf(bucket)).toBeGreaterThanOrEqual(before)
          if (what === 'throttled') {
            const high = rateOf(bucket)
            bucket.throttled(nowMs, nowMs)
            expect(rateOf(bucket)).toBeLessThanOrEqual(high)
            expect(rateOf(bucket)).toBeLessThan(Number.POSITIVE_INFINITY)
          }
          if (what === 'limitTo') {
            bucket.limitTo(next, nowMs)
            ceiling = next / 100
          }
          expect(rateOf(bucket)).toBeGreaterThanOrEqual(Math.min(0.01, ceiling))
          expect(rateOf(bucket)).toBeLessThanOrEqual(ceiling)
        }
      }),
    )
  })

  test('over any stretch of time it grants no more than the rate, and what may be saved and owed', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1, max: 300, noNaN: true }),
        fc.array(step, { maxLength: 40 }),
        (rateLimit, steps) => {
          const bucket = new RateBucket(rateLimit, 0)
          const rate = rateLimit / 100
          const size = 20_000
          let nowMs = 0
          let granted = 0
          for (const { ms } of steps) {
            nowMs += Math.min(2_000, Math.max(0, ms))
            granted += drain(bucket, nowMs, size) * size
          }
          expect(granted).toBeLessThanOrEqual((Math.min(1, rate) + (rate * nowMs) / 1_000) * MIB + size)
        },
      ),
    )
  })
})
