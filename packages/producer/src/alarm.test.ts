import type { Clock } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { Alarm } from './alarm.ts'

/** An alarm, and when it rang. */
function alarmOn(clock: ManualClock): { alarm: Alarm; rangAtMs: number[] } {
  const rangAtMs: number[] = []
  return { alarm: new Alarm(clock, () => rangAtMs.push(clock.monotonicMs())), rangAtMs }
}

test('rings by the earliest time it was set to, whichever came first, and once', async () => {
  const clock = new ManualClock()
  const { alarm, rangAtMs } = alarmOn(clock)
  for (const atMs of [300, 100, 100, 200]) alarm.setBy(atMs, 0)
  expect(clock.sleeping).toBe(1)
  await clock.advance(1_000)
  expect([rangAtMs, clock.sleeping]).toEqual([[100], 0])
})

test('can be set again, also to a later time than the last, and while it rings', async () => {
  const clock = new ManualClock()
  const rangAtMs: number[] = []
  const alarm = new Alarm(clock, () => {
    const nowMs = clock.monotonicMs()
    rangAtMs.push(nowMs)
    if (rangAtMs.length < 3) alarm.setBy(nowMs + 50, nowMs)
  })
  alarm.setBy(100, 0)
  await clock.advance(1_000)
  alarm.setBy(1_500, 1_000)
  await clock.advance(1_000)
  expect(rangAtMs).toEqual([100, 150, 200, 1_500])
})

test('counts from the time it was set at, and rings in the next turn for a time that is over', async () => {
  const clock = new ManualClock()
  const { alarm, rangAtMs } = alarmOn(clock)
  await clock.advance(70)
  alarm.setBy(100, 70)
  await clock.advance(30)
  alarm.setBy(40, 100)
  expect(rangAtMs).toEqual([100])
  await clock.advance(0)
  expect(rangAtMs).toEqual([100, 100])
})

test('that is cancelled rings no more and leaves no timer, and can be set again', async () => {
  const clock = new ManualClock()
  const { alarm, rangAtMs } = alarmOn(clock)
  alarm.setBy(100, 0)
  alarm.cancel()
  expect(clock.sleeping).toBe(0)
  await clock.advance(1_000)
  expect(rangAtMs).toEqual([])
  alarm.setBy(1_200, 1_000)
  await clock.advance(200)
  expect(rangAtMs).toEqual([1_200])
})

test("asks for no longer timer than Node's longest, which is 2^31 - 1 ms, and rings early instead", async () => {
  const asked: number[] = []
  const clock: Clock = {
    monotonicMs: () => 0,
    wallMs: () => 0,
    sleep: (ms) => {
      asked.push(ms)
      return new Promise(() => {})
    },
  }
  const alarm = new Alarm(clock, () => {})
  for (const atMs of [2 ** 40, 2 ** 31, 2 ** 31 - 1, 2 ** 31 - 2]) alarm.setBy(atMs, 0)
  expect(asked).toEqual([2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 2])
})
