import { expect, test } from 'vitest'
import { bytes, count, percent, seconds, table } from './format.ts'

test('numbers are for people', () => {
  expect(count(1_234_567.4)).toBe('1,234,567')
  expect([0, 999_999, 1.25e6, 324e6].map(bytes)).toEqual(['0 kB', '1,000 kB', '1.3 MB', '324 MB'])
  expect(seconds(12_345)).toBe('12.3 s')
})

test('100 % is all of it and nothing less', () => {
  expect(percent(2_999_999, 3_000_000)).toBe('99 %')
  expect(percent(3_000_000, 3_000_000)).toBe('100 %')
  expect(percent(0, 0)).toBe('100 %')
})

test('columns are aligned by characters', () => {
  expect(
    table(
      [
        ['a', '1'],
        ['äöü', '100'],
      ],
      [1],
    ),
  ).toEqual(['a      1', 'äöü  100'])
})
