import { ManualClock } from '@shardwise/core/testing'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { collectGarbage } from '../../test/garbage.ts'
import { Alarms } from './alarms.ts'

test('every alarm rings at its time, one that was turned off never, and one sleep serves them all', async () => {
  const alarm = fc.record({
    setAtMs: fc.nat(20),
    inMs: fc.integer({ min: 1, max: 40 }),
    /** The part of its time after which it is turned off. */
    off: fc.option(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(alarm, { maxLength: 30 }), async (plan) => {
      const clock = new ManualClock()
      const alarms = new Alarms(clock)
      const rung: number[][] = []
      const expected: number[][] = []
      const offs: (() => void)[] = []
      for (let ms = 0; ms <= 70; ms++) {
        for (const [index, { setAtMs, inMs, off }] of plan.entries()) {
          if (setAtMs === ms) {
            offs[index] = alarms.set(inMs, () => rung.push([index, clock.monotonicMs()]))
            if (off === null) expected.push([index, ms + inMs])
          }
          if (off !== null && setAtMs + Math.floor(off * inMs) === ms) offs[index]!()
        }
        expect(clock.sleeping).toBeLessThanOrEqual(1)
        await clock.advance(1)
      }
      const sorted = (list: number[][]): number[][] => list.toSorted((a, b) => a[0]! - b[0]!)
      expect(sorted(rung)).toEqual(sorted(expected))
      expect(rung.map(([, atMs]) => atMs)).toEqual(rung.map(([, atMs]) => atMs!).toSorted((a, b) => a! - b!))
      expect(clock.sleeping).toBe(0)
    }),
    { numRuns: 40 },
  )
})

test('the sleep ends with the last alarm that is turned off', () => {
  const clock = new ManualClock()
  const alarms = new Alarms(clock)
  const offs = [300, 100, 200].map((ms) => alarms.set(ms, () => {}))
  expect(clock.sleeping).toBe(1)
  for (const off of offs) off()
  expect(clock.sleeping).toBe(0)
})

test('an alarm that is set, or turned off, by one that rings counts', async () => {
  const clock = new ManualClock()
  const alarms = new Alarms(clock)
  const rung: string[] = []
  const off: (() => void)[] = []
  alarms.set(10, () => {
    rung.push('first')
    off[0]!()
    alarms.set(5, () => rung.push('third'))
  })
  off.push(alarms.set(10, () => rung.push('second')))
  await clock.advance(100)
  expect(rung).toEqual(['first', 'third'])
})

test('an alarm that was turned off holds on to nothing, though others are before it', async () => {
  const alarms = new Alarms(new ManualClock())
  alarms.set(10, () => {})
  const held = ((): WeakRef<object> => {
    const records = { data: Buffer.alloc(1_000) }
    alarms.set(86_400_000, () => records.data)()
    return new WeakRef(records)
  })()
  await collectGarbage()
  expect(held.deref()).toBeUndefined()
})

test('an alarm beyond what timers take sleeps as long as they can', () => {
  const slept: number[] = []
  const clock = {
    monotonicMs: () => 0,
    wallMs: () => 0,
    sleep: (ms: number) => new Promise<void>(() => slept.push(ms)),
  }
  const alarms = new Alarms(clock)
  alarms.set(Number.POSITIVE_INFINITY, () => {})
  alarms.set(2 ** 40, () => {})
  expect(slept).toEqual([2 ** 31 - 1, 2 ** 31 - 1])
})
