import { seededRandom } from '@shardwise/core/testing'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Polled, type Poller, pollTogether } from '../../test/polled-shard.ts'
import { ReadPace } from './read-pace.ts'

const MiB = 2 ** 20
const MINUTE_MS = 60_000
const half = (): number => 0.5
/** From a call to the next, by 5 calls a second less the slack. */
const SPACING_MS = 1_000 / 4.9

const behind = (bytes: number) => ({ records: 1, bytes, isBehind: true })
const AT_TIP = { records: 1, bytes: 0, isBehind: false }
const NOTHING = { records: 0, bytes: 0, isBehind: false }

function pace(idleTimeBetweenReads = 200): ReadPace {
  return new ReadPace(idleTimeBetweenReads, 0, half)
}

describe('behind', () => {
  test('the next call goes as soon as five a second allow', () => {
    const reader = pace(1_000)
    reader.sent(100)
    reader.answered(behind(1_000), 150)
    expect(reader.nextMs).toBe(100 + SPACING_MS)
  })

  test('a call that took longer is followed at once', () => {
    const reader = pace()
    reader.sent(0)
    reader.answered(behind(1_000), 700)
    expect(reader.nextMs).toBeLessThan(700)
  })

  test('bytes are paid for at 2 MiB a second, from when the last were', () => {
    const reader = pace()
    reader.sent(0)
    reader.answered(behind(2 * MiB), 400)
    // A little of it is left to others.
    expect(reader.nextMs).toBeCloseTo(1_000 / 0.98)
  })

  test('a full answer of the service closes the shard for five seconds', () => {
    const reader = pace()
    reader.sent(60_000)
    reader.answered(behind(10 * MiB), 61_000)
    expect(reader.nextMs).toBe(66_250)
  })

  test('what was not read for a while may be read then, but not more than a second of it', () => {
    const reader = pace()
    reader.sent(10 * MINUTE_MS)
    reader.answered(behind(3 * MiB), 10 * MINUTE_MS)
    expect(reader.nextMs).toBeCloseTo(10 * MINUTE_MS + 500 / 0.98)
  })
})

describe('at the tip', () => {
  test('calls are as far apart as idleTimeBetweenReads says', () => {
    const reader = pace(700)
    reader.sent(1_000)
    reader.answered(AT_TIP, 1_050)
    expect(reader.nextMs).toBe(1_700)
  })

  test('and a tenth of the time in which nothing came, up to a second', () => {
    const reader = pace()
    const pauseAfter = (ms: number): number => {
      reader.sent(ms)
      reader.answered(NOTHING, ms)
      return reader.nextMs - ms
    }
    expect(pauseAfter(1_000)).toBe(SPACING_MS)
    expect(pauseAfter(5_000)).toBe(500)
    expect(pauseAfter(20_000)).toBe(1_000)
    reader.answered(AT_TIP, 20_100)
    expect(reader.nextMs - 20_000).toBeCloseTo(SPACING_MS)
  })

  test('a longer idleTimeBetweenReads than a second stays what it is', () => {
    const reader = pace(5_000)
    reader.sent(MINUTE_MS)
    reader.answered(NOTHING, MINUTE_MS)
    expect(reader.nextMs).toBe(MINUTE_MS + 5_000)
  })
})

test('an idleTimeBetweenReads below 200 says that the shard gives more than the service does, calls and bytes alike', () => {
  const reader = pace(20)
  reader.sent(0)
  reader.answered(AT_TIP, 5)
  expect(reader.nextMs).toBeCloseTo(SPACING_MS / 10)
  reader.sent(100)
  reader.answered(behind(10 * MiB), 100)
  expect(reader.nextMs).toBeLessThan(700)
  expect(pace(0).share).toBe(pace(20).share)
})

describe('throttled', () => {
  test('the share falls once for a row of refusals, which are further and further apart', () => {
    const reader = pace()
    reader.sent(0)
    reader.throttled(10)
    expect(reader.share).toBe(0.7)
    expect(reader.nextMs - 10).toBeCloseTo(SPACING_MS / 0.7)
    const pauses = Array.from({ length: 10 }, () => {
      reader.throttled(1_000)
      return reader.nextMs - 1_000
    })
    expect(reader.share).toBe(0.7)
    expect(pauses[0]).toBeCloseTo((1.5 * SPACING_MS) / 0.7)
    expect(pauses.at(-1)).toBe(2_000)
    reader.answered(AT_TIP, 5_000)
    reader.throttled(5_200)
    expect(reader.share).toBeLessThan(0.7)
  })

  test('the share never falls below a twentieth, and comes back whole within a minute and a half', () => {
    const reader = pace()
    for (let call = 0; call < 100; call++) {
      reader.throttled(call)
      reader.answered(AT_TIP, call)
    }
    expect(reader.share).toBe(0.05)
    expect(reader.answerBytes).toBe(MiB / 2)
    const [start, end] = [100, 100 + 1.5 * MINUTE_MS]
    for (let nowMs = start; nowMs <= end; nowMs += 1_000) reader.answered(AT_TIP, nowMs)
    expect(reader.share).toBe(1)
    expect(reader.answerBytes).toBe(Number.POSITIVE_INFINITY)
  })

  test('time in which nothing was asked for gives back no more than five seconds do', () => {
    const reader = pace()
    reader.throttled(0)
    reader.answered(AT_TIP, 10 * MINUTE_MS)
    expect(reader.share).toBeLessThan(0.75)
  })
})

describe('on a shard with the limits of the service', () => {
  const catchingUp = (bytes: number, rest: Partial<Poller> = {}): Poller => ({ finds: () => behind(bytes), ...rest })
  const rate = ({ answered }: Polled, fromMs: number, toMs: number): number => {
    const seen = answered.filter(({ atMs }) => atMs >= fromMs && atMs < toMs)
    return seen.reduce((sum, { bytes }) => sum + bytes, 0) / MiB / ((toMs - fromMs) / 1_000)
  }
  const callsPerSecond = ({ answered }: Polled, fromMs: number, toMs: number): number =>
    answered.filter(({ atMs }) => atMs >= fromMs && atMs < toMs).length / ((toMs - fromMs) / 1_000)
  const throttledShare = ({ answered, throttled }: Polled, fromMs: number): number => {
    const refused = throttled.filter((atMs) => atMs >= fromMs).length
    return refused / (refused + answered.filter(({ atMs }) => atMs >= fromMs).length)
  }

  test.each([0.5, 1, 2, 4, 10])(
    'one that is alone reads %d MiB at a time at the full rate and is never throttled',
    (size) => {
      const [alone] = pollTogether([catchingUp(size * MiB)], 5 * MINUTE_MS, seededRandom(1))
      expect(rate(alone!, MINUTE_MS, 5 * MINUTE_MS)).toBeGreaterThan(1.85)
      expect(alone!.throttled).toEqual([])
    },
  )

  test('one that is alone is never throttled, whatever it finds and however long answers take', () => {
    const found = fc.record({
      records: fc.nat(100),
      bytes: fc.oneof(fc.nat(1_000), fc.nat(3 * MiB), fc.nat(10 * MiB)),
      isBehind: fc.boolean(),
    })
    const property = fc.property(
      fc.array(found, { minLength: 1, maxLength: 20 }),
      fc.array(fc.integer({ min: 2, max: 600 }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 200, max: 3_000 }),
      (answers, trips, idleTimeBetweenReads) => {
        let [finding, trip] = [0, 0]
        const poller = {
          idleTimeBetweenReads,
          finds: () => answers[finding++ % answers.length]!,
          tripMs: () => trips[trip++ % trips.length]!,
        }
        const [alone] = pollTogether([poller], 2 * MINUTE_MS, half)
        expect(alone!.throttled).toEqual([])
      },
    )
    fc.assert(property, { numRuns: 200 })
  })

  test.each([1, 2, 3])('two that catch up come to read about half each, with few refusals (seed %d)', (seed) => {
    const pollers = [catchingUp(2 * MiB), catchingUp(2 * MiB, { fromMs: MINUTE_MS })]
    const both = pollTogether(pollers, 10 * MINUTE_MS, seededRandom(seed))
    for (const each of both) {
      expect(rate(each, 3 * MINUTE_MS, 10 * MINUTE_MS)).toBeGreaterThan(0.8)
      expect(rate(each, 3 * MINUTE_MS, 10 * MINUTE_MS)).toBeLessThan(1.2)
      expect(throttledShare(each, 3 * MINUTE_MS)).toBeLessThan(0.04)
    }
    expect(both.reduce((sum, each) => sum + rate(each, 3 * MINUTE_MS, 10 * MINUTE_MS), 0)).toBeGreaterThan(1.8)
  })

  test.each([1, 2, 3])('two at the tip come to make about half of the calls each (seed %d)', (seed) => {
    const tip = { finds: () => ({ records: 1, bytes: 500, isBehind: false }) }
    const both = pollTogether([tip, { ...tip, fromMs: 5_000 }], 10 * MINUTE_MS, seededRandom(seed))
    for (const each of both) {
      expect(callsPerSecond(each, 2 * MINUTE_MS, 10 * MINUTE_MS)).toBeGreaterThan(2)
      expect(throttledShare(each, 2 * MINUTE_MS)).toBeLessThan(0.04)
    }
  })

  test('five find their part too', () => {
    const pollers = [0, 1, 2, 3, 4].map((each) => catchingUp(2 * MiB, { fromMs: each * 10_000 }))
    for (const each of pollTogether(pollers, 10 * MINUTE_MS, seededRandom(1))) {
      expect(rate(each, 3 * MINUTE_MS, 10 * MINUTE_MS)).toBeGreaterThan(0.25)
      expect(throttledShare(each, 3 * MINUTE_MS)).toBeLessThan(0.2)
    }
  })

  test('one that is left alone again takes the whole within a minute', () => {
    const pollers = [catchingUp(2 * MiB), catchingUp(2 * MiB, { fromMs: 10_000, untilMs: 5 * MINUTE_MS })]
    const [first] = pollTogether(pollers, 8 * MINUTE_MS, seededRandom(1))
    expect(rate(first!, 6 * MINUTE_MS, 8 * MINUTE_MS)).toBeGreaterThan(1.9)
  })
})
