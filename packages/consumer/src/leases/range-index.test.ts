import { type HashRange, MAX_HASH_KEY, overlaps } from '@shardwise/records'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { RangeIndex } from './range-index.ts'

const key = fc.oneof(
  fc.bigInt(0n, MAX_HASH_KEY),
  fc.nat(15).map((cell) => BigInt(cell) << 124n),
)
const range = fc.tuple(key, key).map(([a, b]): HashRange => (a < b ? { start: a, end: b } : { start: b, end: a }))

test('finds each that overlaps, once', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), range, (ranges, wanted) => {
      const entries = ranges.map((hashRange) => ({ hashRange }))
      const index = new RangeIndex(entries)
      const expected = entries.filter(({ hashRange }) => overlaps(hashRange, wanted))
      expect(new Set(index.filter(wanted, () => true))).toEqual(new Set(expected))
      expect(index.filter(wanted, () => true)).toHaveLength(expected.length)
      expect(index.some(wanted, () => true)).toBe(expected.length > 0)
      expect(index.some(wanted, () => false)).toBe(false)
    }),
    { numRuns: 50 },
  )
})
