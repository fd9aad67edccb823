import type { Clock } from '@shardwise/core'
import { expect, test, vi } from 'vitest'
import { timed } from './timed.ts'

/** Each look at the clock is 5 ms after the one before. */
function steppingClock(): Clock {
  let nowMs = 100
  const tick = (): number => (nowMs += 5)
  return { monotonicMs: tick, wallMs: tick, sleep: () => Promise.resolve() }
}

test('an answer is passed on and told with its duration', async () => {
  const tell = vi.fn()
  expect(await timed(steppingClock(), undefined, async () => 'answer', tell)).toBe('answer')
  expect(tell.mock.calls).toEqual([[5, undefined, 'answer']])
})

test('a failure is passed on and told with its duration', async () => {
  const tell = vi.fn()
  const error = new Error('no')
  await expect(timed(steppingClock(), undefined, () => Promise.reject(error), tell)).rejects.toBe(error)
  expect(tell.mock.calls).toEqual([[5, error, undefined]])
})

test('a call that was cut short is not told', async () => {
  const tell = vi.fn()
  const abort = new AbortController()
  const cut = async (): Promise<never> => {
    abort.abort()
    throw abort.signal.reason
  }
  await expect(timed(steppingClock(), abort.signal, cut, tell)).rejects.toBe(abort.signal.reason)
  expect(tell).not.toHaveBeenCalled()
})

test('an answer that came although the signal was aborted is told', async () => {
  const tell = vi.fn()
  await timed(steppingClock(), AbortSignal.abort(), async () => 1, tell)
  expect(tell).toHaveBeenCalledOnce()
})
