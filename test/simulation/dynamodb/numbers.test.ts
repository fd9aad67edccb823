import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addNumbers, canonicalNumber, compareNumbers, subtractNumbers } from './numbers.ts'

const UNITS = 1_000_000n
/** Of at most six decimals, in millionths. */
const millionths = fc.oneof(fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }), fc.bigInt({ min: -99n, max: 99n }))
const textOf = (value: bigint): string => {
  const positive = value < 0n ? -value : value
  return `${value < 0n ? '-' : ''}${positive / UNITS}.${String(positive % UNITS).padStart(6, '0')}`
}

describe('numbers', () => {
  test('have one text for each value', () => {
    const same = [
      ['007', '7'],
      ['-0', '0'],
      ['1e2', '100'],
      ['1.50', '1.5'],
      ['.5', '0.5'],
      ['-12.5E-3', '-0.0125'],
      ['0.000', '0'],
      ['1e-3', '0.001'],
    ] as const
    for (const [given, canonical] of same) expect(canonicalNumber(given)).toBe(canonical)
  })

  test('are exact', () => {
    fc.assert(
      fc.property(millionths, millionths, (a, b) => {
        const [x, y] = [canonicalNumber(textOf(a)), canonicalNumber(textOf(b))]
        expect(addNumbers(x, y)).toBe(canonicalNumber(textOf(a + b)))
        expect(subtractNumbers(x, y)).toBe(canonicalNumber(textOf(a - b)))
        expect(Math.sign(compareNumbers(x, y))).toBe(a < b ? -1 : a > b ? 1 : 0)
      }),
    )
  })

  test('out of range or no numbers at all are refused', () => {
    for (const text of ['', 'x', '1e126', '1e-131', '1'.repeat(39), '1_000', '0x1', 'NaN', ' 1']) {
      expect(() => canonicalNumber(text), text).toThrow(expect.objectContaining({ name: 'ValidationException' }))
    }
    expect(canonicalNumber('1e125')).toHaveLength(126)
  })
})
