import { expect, test } from 'vitest'
import { seededRandom } from './seeded-random.ts'

const draw = (seed: number): number[] => {
  const random = seededRandom(seed)
  return Array.from({ length: 1_000 }, random)
}

test('a seed gives the same numbers again, another seed gives others', () => {
  expect(draw(7)).toEqual(draw(7))
  expect(draw(7)).not.toEqual(draw(8))
})

test('the numbers are spread over 0 to 1', () => {
  const numbers = draw(1)
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0)
  expect(Math.max(...numbers)).toBeLessThan(1)
  const tenths = new Set(numbers.map((number) => Math.floor(number * 10)))
  expect(tenths.size).toBe(10)
})
