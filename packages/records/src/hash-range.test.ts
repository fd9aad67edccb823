import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MAX_HASH_KEY } from './hash-key.ts'
import {
  contains,
  FULL_HASH_RANGE,
  findHoles,
  findOverlaps,
  type HashRange,
  overlaps,
  splitEvenly,
} from './hash-range.ts'

const range = (start: bigint, end: bigint): HashRange => ({ start, end })

// Few distinct ends, so that touching, equal and nested ranges are common.
const anyRange = fc.tuple(fc.bigInt(0n, 12n), fc.bigInt(0n, 12n)).map(([a, b]) => (a < b ? range(a, b) : range(b, a)))
const SAMPLE = Array.from({ length: 15 }, (_, key) => BigInt(key))

test('both ends belong to a range', () => {
  expect([0n, 1n, 2n, 3n, 4n].map((key) => contains(range(1n, 3n), key))).toEqual([false, true, true, true, false])
})

test('ranges overlap when they have a hash key in common', () => {
  fc.assert(
    fc.property(anyRange, anyRange, (a, b) => {
      expect(overlaps(a, b)).toBe(SAMPLE.some((key) => contains(a, key) && contains(b, key)))
    }),
  )
})

describe('splitEvenly', () => {
  test('gives the ranges that the service gives a stream of 2, 3 and 5 shards', () => {
    expect(splitEvenly(2)).toEqual([
      range(0n, 170141183460469231731687303715884105727n),
      range(170141183460469231731687303715884105728n, MAX_HASH_KEY),
    ])
    expect(splitEvenly(3)).toEqual([
      range(0n, 113427455640312821154458202477256070484n),
      range(113427455640312821154458202477256070485n, 226854911280625642308916404954512140969n),
      range(226854911280625642308916404954512140970n, MAX_HASH_KEY),
    ])
    expect(splitEvenly(5)[0]).toEqual(range(0n, 68056473384187692692674921486353642290n))
  })

  test('covers any range without a hole or an overlap', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.bigInt(0n, 2n ** 127n),
        fc.bigInt(50n, 2n ** 127n - 1n),
        (count, start, size) => {
          const parts = splitEvenly(count, range(start, start + size))
          expect(parts).toHaveLength(count)
          expect(parts[0]?.start).toBe(start)
          expect(parts.at(-1)?.end).toBe(start + size)
          for (let index = 1; index < count; index++)
            expect(parts[index]?.start).toBe((parts[index - 1]?.end ?? 0n) + 1n)
        },
      ),
    )
  })

  test.each([0, -1, 1.5, Number.NaN])('refuses a count of %s', (count) => {
    expect(() => splitEvenly(count)).toThrow(expect.objectContaining({ code: 'ERR_HASH_RANGE' }))
  })

  test('refuses more parts than there are hash keys', () => {
    expect(splitEvenly(3, range(5n, 7n))).toEqual([range(5n, 5n), range(6n, 6n), range(7n, 7n)])
    expect(() => splitEvenly(4, range(5n, 7n))).toThrow(
      /from 1 to the number of hash keys in the range \(3\), but got 4/,
    )
  })
})

describe('findHoles and findOverlaps', () => {
  test('an even split has neither', () => {
    expect(findHoles(splitEvenly(7))).toEqual([])
    expect(findOverlaps(splitEvenly(7))).toEqual([])
  })

  test('no ranges leave one hole, all hash keys', () => {
    expect(findHoles([])).toEqual([FULL_HASH_RANGE])
    expect(findOverlaps([])).toEqual([])
  })

  test('find holes at the start, in the middle and at the end', () => {
    expect(findHoles([range(8n, 9n), range(2n, 4n)])).toEqual([range(0n, 1n), range(5n, 7n), range(10n, MAX_HASH_KEY)])
  })

  test('agree with counting who covers each hash key, and do not touch', () => {
    fc.assert(
      fc.property(fc.array(anyRange, { maxLength: 6 }), (ranges) => {
        const holes = findHoles(ranges)
        const doubles = findOverlaps(ranges)
        for (const key of SAMPLE) {
          const cover = ranges.filter((each) => contains(each, key)).length
          expect(holes.filter((hole) => contains(hole, key))).toHaveLength(cover === 0 ? 1 : 0)
          expect(doubles.filter((double) => contains(double, key))).toHaveLength(cover > 1 ? 1 : 0)
        }
        for (const found of [holes, doubles]) {
          for (let index = 1; index < found.length; index++) {
            expect(found[index]?.start).toBeGreaterThan((found[index - 1]?.end ?? 0n) + 1n)
          }
        }
      }),
    )
  })

  test.each([range(3n, 2n), range(-1n, 2n), range(0n, MAX_HASH_KEY + 1n)])('refuse what is no range', (wrong) => {
    expect(() => findHoles([wrong])).toThrow(expect.objectContaining({ code: 'ERR_HASH_RANGE' }))
    expect(() => findOverlaps([wrong])).toThrow(expect.objectContaining({ code: 'ERR_HASH_RANGE' }))
  })
})
