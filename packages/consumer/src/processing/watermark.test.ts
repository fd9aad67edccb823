import { comparePositions, type Position, TRIM_HORIZON } from '@shardwise/records'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Watermark } from './watermark.ts'

/** Admits the record and returns its number. */
const admit = (watermark: Watermark, index: number, bytes = 1): number =>
  watermark.admit(at(index).sequenceNumber, at(index).subSequenceNumber, `key-${index}`, bytes, index)

const at = (index: number): Position => ({ sequenceNumber: String(100 + (index >> 2)), subSequenceNumber: index & 3 })

test('it says nothing before the first record is finished', () => {
  const watermark = new Watermark(TRIM_HORIZON)
  admit(watermark, 0)
  expect(watermark.moved).toBeUndefined()
  expect(watermark.position).toEqual(TRIM_HORIZON)
})

test('in any order of finishing it is the greatest position with everything before it finished', () => {
  const orders = fc
    .integer({ min: 1, max: 60 })
    .chain((count) =>
      fc.tuple(
        fc.shuffledSubarray([...Array(count).keys()], { minLength: count, maxLength: count }),
        fc.array(fc.boolean(), { minLength: count, maxLength: count }),
      ),
    )
  fc.assert(
    fc.property(orders, ([order, atOnce]) => {
      const watermark = new Watermark(TRIM_HORIZON)
      const finished = new Set<number>()
      const entries = order.map((_, index) => {
        if (atOnce[index]) {
          finished.add(index)
          watermark.pass(at(index).sequenceNumber, at(index).subSequenceNumber, 1)
          return undefined
        }
        return admit(watermark, index)
      })
      const check = (): void => {
        let first = 0
        while (finished.has(first)) first++
        expect(watermark.position).toEqual(first === 0 ? TRIM_HORIZON : at(first - 1))
        expect(watermark.ahead).toBe(order.length - first)
        expect(watermark.aheadBytes).toBe(order.length - first)
        const above = [...order.keys()].filter((index) => index > first && finished.has(index))
        expect(watermark.finishedAbove()).toEqual(above.map(at))
        expect(watermark.oldest?.atMs).toBe(first === order.length ? undefined : first)
      }
      check()
      for (const index of order) {
        const entry = entries[index]
        if (entry === undefined) continue
        const before = watermark.position
        finished.add(index)
        watermark.finish(entry)
        expect(comparePositions(watermark.position, before)).toBeGreaterThanOrEqual(0)
        check()
      }
    }),
  )
})

test('a long span that is finished from the back is passed at once', () => {
  const watermark = new Watermark(TRIM_HORIZON)
  const numbers = Array.from({ length: 5_000 }, (_, index) => admit(watermark, index))
  for (const number of numbers.slice(1).reverse()) watermark.finish(number)
  expect(watermark.ahead).toBe(5_000)
  expect(watermark.oldest).toEqual({ ...at(0), partitionKey: 'key-0', atMs: 0 })
  watermark.finish(numbers[0]!)
  expect(watermark.ahead).toBe(0)
  expect(watermark.aheadBytes).toBe(0)
  expect(watermark.oldest).toBeUndefined()
  expect(watermark.position).toEqual(at(4_999))
})

test('a place with nothing to handle is passed when its turn comes, counts as no record, and many in a row are as one', () => {
  const watermark = new Watermark(TRIM_HORIZON)
  const passNothing = (index: number): void =>
    watermark.passNothing(at(index).sequenceNumber, at(index).subSequenceNumber)
  passNothing(0)
  expect(watermark.position).toEqual(at(0))
  const first = admit(watermark, 1)
  for (let index = 2; index < 1_000; index++) passNothing(index)
  const second = admit(watermark, 1_000)
  passNothing(1_001)
  expect(watermark.ahead).toBe(2)
  expect(watermark.finishedAbove()).toEqual([])
  watermark.finish(first)
  expect(watermark.position).toEqual(at(999))
  expect(watermark.ahead).toBe(1)
  watermark.finish(second)
  expect(watermark.position).toEqual(at(1_001))
  expect(watermark.ahead).toBe(0)
})

test('it goes on as before when its room has grown in the midst of a span', () => {
  const watermark = new Watermark(TRIM_HORIZON)
  const numbers: number[] = []
  let finished = 0
  for (let index = 0; index < 3_000; index++) {
    numbers.push(admit(watermark, index))
    if (index % 3 === 0) watermark.finish(numbers[finished++]!)
  }
  expect(watermark.position).toEqual(at(finished - 1))
  expect(watermark.oldest).toEqual({ ...at(finished), partitionKey: `key-${finished}`, atMs: finished })
  while (finished < numbers.length) watermark.finish(numbers[finished++]!)
  expect(watermark.position).toEqual(at(2_999))
  expect(watermark.ahead).toBe(0)
})
