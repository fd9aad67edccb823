import { expect, test } from 'vitest'
import { systemClock } from './clock.ts'
import { ManualClock, settle } from './manual-clock.ts'

test('a sleep on the system clock ends with the reason of its signal', async () => {
  const controller = new AbortController()
  const slept = systemClock.sleep(60_000, controller.signal)
  controller.abort(new Error('closing'))
  await expect(slept).rejects.toThrow('closing')
})

test('a sleep with a signal that is already aborted never starts', async () => {
  await expect(systemClock.sleep(60_000, AbortSignal.abort(new Error('closed')))).rejects.toThrow('closed')
})

test('a manual clock wakes its sleepers in the order of their time, at their time', async () => {
  const clock = new ManualClock()
  const woken: string[] = []
  const note = (name: string) => () => woken.push(`${name} at ${clock.monotonicMs()}`)
  const sleeps = [clock.sleep(20).then(note('late')), clock.sleep(10).then(note('early'))]
  await clock.advance(15)
  expect(woken).toEqual(['early at 10'])
  await clock.advance(15)
  expect(woken).toEqual(['early at 10', 'late at 20'])
  await Promise.all(sleeps)
})

test('a sleeper that goes to sleep again within the same advance is woken again', async () => {
  const clock = new ManualClock()
  let ticks = 0
  const ticking = (async () => {
    while (ticks < 3) {
      await clock.sleep(10)
      ticks++
    }
  })()
  await clock.advance(30)
  expect(ticks).toBe(3)
  await ticking
})

test('an aborted sleeper on a manual clock is forgotten', async () => {
  const clock = new ManualClock()
  const controller = new AbortController()
  const slept = clock.sleep(10, controller.signal)
  controller.abort(new Error('closing'))
  await expect(slept).rejects.toThrow('closing')
  await settle()
  expect(clock.sleeping).toBe(0)
})
