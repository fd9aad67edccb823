import { expect, test } from 'vitest'
import { UntakenLeases } from './untaken-leases.ts'
import type { WorkerEntry } from './worker-entry.ts'

const F = 10_000

const entry = (run: string | undefined): WorkerEntry => ({
  workerId: 'a',
  isOurs: true,
  beat: '1',
  asSeen: { shardwiseRun: run === undefined ? undefined : { S: run } },
  timeoutMs: 0,
  staleMs: 0,
  writtenAtMs: 0,
  maxLeases: 1,
  isFailing: false,
})

test('a worker gets nothing for twice as long each time, for ten minutes at most', () => {
  const untaken = new UntakenLeases(F)
  let nowMs = 0
  const waits = Array.from({ length: 8 }, () => {
    untaken.add('shardId-0', entry('x'), nowMs, false)
    const [{ againInMs = 0 } = {}] = untaken.takeUntold()
    expect(untaken.isWaiting('a', nowMs + againInMs - 1)).toBe(true)
    nowMs += againInMs
    expect(untaken.isWaiting('a', nowMs)).toBe(false)
    return againInMs / F
  })
  expect(waits).toEqual([3, 6, 12, 24, 48, 60, 60, 60])
})

test('what has come is told once', () => {
  const untaken = new UntakenLeases(F)
  untaken.add('shardId-0', entry('x'), 0, false)
  expect(untaken.takeUntold()).toEqual([{ leaseKey: 'shardId-0', to: 'a', againInMs: 3 * F }])
  expect(untaken.takeUntold()).toEqual([])
})

test.each([
  ['the same run', 'x', 'x', true],
  ['one of the KCL, which names no run', undefined, undefined, true],
  ['another run', 'x', 'y', false],
])('seen again, it is %s', (_, before, after, isWaiting) => {
  const untaken = new UntakenLeases(F)
  untaken.add('shardId-0', entry(before), 0, false)
  untaken.follow(new Map([['a', entry(after)]]))
  expect(untaken.isWaiting('a', 1)).toBe(isWaiting)
})

test('who has left, or has taken up one, is forgotten', () => {
  const untaken = new UntakenLeases(F)
  untaken.add('shardId-0', entry('x'), 0, false)
  untaken.follow(new Map())
  expect(untaken.isWaiting('a', 1)).toBe(false)
  untaken.add('shardId-0', entry('x'), 0, false)
  untaken.forgive('b')
  expect(untaken.isWaiting('a', 1)).toBe(true)
  untaken.forgive('a')
  expect(untaken.isWaiting('a', 1)).toBe(false)
})

test('a worker that gives leases back says so itself: the time does not grow', () => {
  const untaken = new UntakenLeases(F)
  for (const nowMs of [0, 3 * F, 6 * F, 9 * F]) {
    untaken.add('shardId-0', entry('x'), nowMs, true)
    expect(untaken.takeUntold()).toMatchObject([{ againInMs: 3 * F }])
  }
})
