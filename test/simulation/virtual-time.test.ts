import { seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { VirtualTime } from './virtual-time.ts'

const timeOf = (seed = 1): VirtualTime => new VirtualTime(seededRandom(seed))

test('what is to happen happens in the order of its time, whatever the order it was asked for in', async () => {
  const time = timeOf()
  const random = seededRandom(5)
  const happened: number[] = []
  const times = Array.from({ length: 500 }, () => random() * 1_000)
  for (const ms of times) time.at(ms, () => happened.push(time.nowMs))
  await time.run(() => false)
  expect(happened).toEqual(times.toSorted((a, b) => a - b))
})

test('every continuation of one happening has run before the next', async () => {
  const time = timeOf()
  const log: string[] = []
  const chain = async (name: string): Promise<void> => {
    for (let step = 0; step < 50; step++) await Promise.resolve()
    log.push(name)
  }
  time.at(1, () => void chain('the first'))
  time.at(1.000001, () => log.push('the second'))
  await time.run(() => false)
  expect(log).toEqual(['the first', 'the second'])
})

test('things of the same time happen in an order that the seed decides', async () => {
  const orderOf = async (seed: number): Promise<string> => {
    const time = timeOf(seed)
    let order = ''
    for (const name of 'abcdefgh') {
      time.at(7, () => {
        order += name
      })
    }
    await time.run(() => false)
    return order
  }
  expect(await orderOf(1)).toBe(await orderOf(1))
  expect(new Set(await Promise.all([1, 2, 3, 4].map(orderOf))).size).toBeGreaterThan(1)
})

test('what was taken back does not happen, and time does not stop for it', async () => {
  const time = timeOf()
  const log: number[] = []
  const taken = time.at(5, () => log.push(5))
  time.at(9, () => log.push(9))
  time.cancel(taken)
  await time.run(() => false)
  expect(log).toEqual([9])
  expect(time.count).toBe(1)
})
