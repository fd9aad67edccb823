import { expect, test } from 'vitest'
import { FailureNotice } from './failure-notice.ts'

test('a failure is told of at once, and then once a minute with how many there were', () => {
  const notice = new FailureNotice()
  const told: (readonly [number, number])[] = []
  for (let ms = 0; ms < 130_000; ms += 1_000) {
    const count = notice.count('InternalFailureException', ms)
    if (count !== undefined) told.push([ms, count])
  }
  expect(told).toEqual([
    [0, 1],
    [60_000, 60],
    [120_000, 60],
  ])
})

test('one of another kind is told of at once', () => {
  const notice = new FailureNotice()
  expect(notice.count('InternalFailureException', 0)).toBe(1)
  expect(notice.count('AccessDeniedException', 1)).toBe(1)
  expect(notice.count('InternalFailureException', 2)).toBeUndefined()
})
