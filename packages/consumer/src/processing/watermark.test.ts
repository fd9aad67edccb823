import { comparePositions, type Position, TRIM_HORIZON } from '@shardwise/records'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { collectGarbage } from '../../test/garbage.ts'
import { Watermark, type WatermarkEntry } from './watermark.ts'

const at = (index: number): Position => ({ sequenceNumber: String(100 + (index >> 2)), subSequenceNumber: index & 3 })

test('it says nothing before the first record is finished', () => {
  const watermark = new Watermark(TRIM_HORIZON)
  watermark.admit({ ...at(0), finished: false })
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
      const entries: (WatermarkEntry | undefined)[] = order.map((_, index) => {
        if (atOnce[index]) {
          finished.add(index)
          watermark.pass(at(index).sequenceNumber, at(index).subSequenceNumber)
          return undefined
        }
        const entry = { ...at(index), finished: false }
        watermark.admit(entry)
        return entry
      })
      const check = (): void => {
        let first = 0
        while (finished.has(first)) first++
        expect(watermark.position).toEqual(first === 0 ? TRIM_HORIZON : at(first - 1))
        expect(watermark.ahead).toBe(order.length - first)
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
  const entries = Array.from({ length: 5_000 }, (_, index) => ({ ...at(index), finished: false }))
  for (const entry of entries) watermark.admit(entry)
  for (const entry of entries.slice(1).reverse()) watermark.finish(entry)
  expect(watermark.ahead).toBe(5_000)
  expect(watermark.oldest).toBe(entries[0])
  watermark.finish(entries[0]!)
  expect(watermark.ahead).toBe(0)
  expect(watermark.position).toEqual(at(4_999))
})

test('what it has passed is held no longer, though others are still to be finished', async () => {
  const watermark = new Watermark(TRIM_HORIZON)
  const admitAndFinish = (): WeakRef<object> => {
    const entries = [0, 1, 2].map((index) => ({ ...at(index), finished: false }))
    for (const entry of entries) watermark.admit(entry)
    watermark.finish(entries[0]!)
    return new WeakRef(entries[0]!)
  }
  const first = admitAndFinish()
  await collectGarbage()
  expect(first.deref()).toBeUndefined()
  expect(watermark.ahead).toBe(2)
})
