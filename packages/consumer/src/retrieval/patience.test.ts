import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, expect, test } from 'vitest'
import { Patience } from './patience.ts'

let clock: ManualClock
let outer: AbortController
let patience: Patience

beforeEach(() => {
  clock = new ManualClock()
  outer = new AbortController()
  patience = new Patience(clock, outer.signal)
})

const never = (): Promise<never> => new Promise(() => {})

/** Waits for something that comes after a time. */
async function comesAfter(ms: number): Promise<string> {
  const waited = patience
    .wait(() => clock.sleep(ms))
    .then(
      () => 'came',
      (error: Error) => error.name,
    )
  await clock.advance(ms)
  return waited
}

test('what comes within 30 s is waited for, again and again', async () => {
  for (let i = 0; i < 5; i++) expect(await comesAfter(29_000)).toBe('came')
  expect(patience.signal.aborted).toBe(false)
})

test('after 30 s and a second of grace it has run out', async () => {
  expect(await comesAfter(32_000)).toBe('TimeoutError')
  expect(patience.signal.reason).toMatchObject({ message: expect.stringContaining('nothing came for 30 s') })
})

test('what came while the process stood still is still taken', async () => {
  expect(await comesAfter(30_500)).toBe('came')
  expect(patience.signal.aborted).toBe(false)
})

test('what takes long to come whole is waited for as long as bytes of it come', async () => {
  let bytes = 0
  const waited = patience.wait(never, () => bytes).catch((error: Error) => error.name)
  for (let s = 0; s < 300; s++) {
    if (s % 25 === 0) bytes++
    await clock.advance(1_000)
  }
  expect(patience.signal.aborted).toBe(false)
  await clock.advance(65_000)
  expect(await waited).toBe('TimeoutError')
})

test('the time in which nobody waits does not count', async () => {
  expect(await comesAfter(25_000)).toBe('came')
  await clock.advance(600_000)
  expect(await comesAfter(29_000)).toBe('came')
})

test('the end, and that of the outer signal, end every wait and leave nothing behind', async () => {
  const waited = expect(patience.wait(never)).rejects.toBe('over')
  outer.abort('over')
  await waited
  const other = new Patience(clock, new AbortController().signal)
  const refused = expect(other.wait(never)).rejects.toBe('the subscription is over')
  other.end()
  await refused
  await settle()
  expect(clock.sleeping).toBe(0)
  expect(new Patience(clock, outer.signal).signal.aborted).toBe(true)
})
