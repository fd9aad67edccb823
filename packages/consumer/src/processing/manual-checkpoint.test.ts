import { comparePositions, type Position, TRIM_HORIZON } from '@shardwise/records'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ManualCheckpoint } from './manual-checkpoint.ts'

const at = (sequence: number, subSequenceNumber = 0): Position => ({
  sequenceNumber: String(sequence),
  subSequenceNumber,
})

test('a named position counts once everything up to it is finished', () => {
  const manual = new ManualCheckpoint()
  expect(manual.at(at(9))).toBeUndefined()
  manual.name(at(5, 2))
  expect(manual.at(TRIM_HORIZON)).toBeUndefined()
  expect(manual.at(at(5, 1))).toBeUndefined()
  expect(manual.at(at(5, 2))).toEqual(at(5, 2))
  expect(manual.at(at(8))).toEqual(at(5, 2))
})

test('one below what was reached never moves it back', () => {
  const manual = new ManualCheckpoint()
  manual.name(at(5))
  expect(manual.at(at(7))).toEqual(at(5))
  manual.name(at(4))
  manual.name(at(5))
  expect(manual.at(at(7))).toEqual(at(5))
})

const positions = fc.array(
  fc.record({ sequence: fc.integer({ min: 1, max: 30 }), sub: fc.integer({ min: 0, max: 2 }) }),
)

test('it is the greatest that was named at or below what is finished, whatever came in which order', () => {
  fc.assert(
    fc.property(positions, fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 5 }), (given, upTo, early) => {
      const manual = new ManualCheckpoint()
      const named = given.map(({ sequence, sub }) => at(sequence, sub))
      for (const [index, position] of named.entries()) {
        manual.name(position)
        // Looking in between changes nothing, as long as what is finished only grows.
        if (index === early) manual.at(at(Math.min(early, upTo)))
      }
      const finished = at(upTo, 1)
      const expected = named.filter((position) => comparePositions(position, finished) <= 0).toSorted(comparePositions)
      expect(manual.at(finished)).toEqual(expected.at(-1))
    }),
  )
})
