import { expect, test } from 'vitest'
import { Standstill } from './standstill.ts'

const at = (sentAtMs: number, nowMs = sentAtMs): { sentAtMs: number; nowMs: number } => ({ sentAtMs, nowMs })
const value = (text: string): Map<string, string> => new Map([['x', text]])

test('what is seen for the first time has not stood still, nor has what is not there', () => {
  const standstill = new Standstill()
  expect(standstill.observe(value('1'), at(5_000))).toEqual(new Set())
  expect([standstill.forMs('x'), standstill.forMs('y')]).toEqual([0, 0])
})

test('time counts from the answer of the first look to the question of the last', () => {
  const standstill = new Standstill()
  standstill.observe(value('1'), at(0, 100))
  standstill.observe(value('1'), at(1_000, 90_000))
  expect(standstill.forMs('x')).toBe(900)
})

test('a change is told and counts anew', () => {
  const standstill = new Standstill()
  standstill.observe(value('1'), at(0))
  expect(standstill.observe(value('2'), at(1_000))).toEqual(new Set(['x']))
  standstill.observe(value('2'), at(1_400))
  expect(standstill.forMs('x')).toBe(400)
})

test('what one has moved oneself is no change at the next look', () => {
  const standstill = new Standstill()
  standstill.observe(value('1'), at(0))
  standstill.move('x', '2', 700)
  expect(standstill.forMs('x')).toBe(0)
  expect(standstill.observe(value('2'), at(1_000))).toEqual(new Set())
  expect(standstill.forMs('x')).toBe(300)
})

test('what was gone in between counts as new', () => {
  const standstill = new Standstill()
  standstill.observe(value('1'), at(0))
  standstill.observe(new Map(), at(1_000))
  standstill.observe(value('1'), at(2_000))
  expect(standstill.forMs('x')).toBe(0)
})
