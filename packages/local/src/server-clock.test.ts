import { expect, test } from 'vitest'
import { ManualServerClock } from './server-clock.ts'

test('it stands still until it is moved, and both times go on together', async () => {
  const clock = new ManualServerClock(1_000_000)
  expect([clock.monotonicMs(), clock.wallMs()]).toEqual([0, 1_000_000])
  await clock.advance(250)
  expect([clock.monotonicMs(), clock.wallMs()]).toEqual([250, 1_000_250])
  await clock.set(new Date(1_001_000))
  expect([clock.monotonicMs(), clock.wallMs()]).toEqual([1_000, 1_001_000])
})

test('what is due on the way is called at its time and in its order, also what was asked for meanwhile', async () => {
  const clock = new ManualServerClock(0)
  const calls: string[] = []
  const note = (name: string) => (): void => void calls.push(`${name} at ${clock.monotonicMs()}`)
  clock.at(300, note('late'))
  clock.at(100, () => {
    note('early')()
    clock.at(200, note('asked for'))
  })
  clock.at(100, note('called off'))()
  clock.at(1_001, note('not yet'))
  await clock.advance(1_000)
  expect(calls).toEqual(['early at 100', 'asked for at 200', 'late at 300'])
})

test('what was due before is called at once when time moves, without time going back', async () => {
  const clock = new ManualServerClock(0)
  await clock.advance(500)
  let calledMs: number | undefined
  clock.at(100, () => {
    calledMs = clock.monotonicMs()
  })
  await clock.advance(0)
  expect(calledMs).toBe(500)
})

test('time goes forward only', async () => {
  const clock = new ManualServerClock(1_000)
  await expect(clock.advance(-1)).rejects.toThrow('expected milliseconds of at least 0, got -1')
  await expect(clock.advance(Number.NaN)).rejects.toThrow(TypeError)
  await expect(clock.set(new Date(999))).rejects.toThrow(
    'expected a date from now on, which is 1970-01-01T00:00:01.000Z',
  )
  await expect(clock.set(new Date(Number.NaN))).rejects.toThrow(TypeError)
})
