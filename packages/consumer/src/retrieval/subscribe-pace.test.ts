import { expect, test } from 'vitest'
import { SubscribePace } from './subscribe-pace.ts'

const never = (): number => 0
const always = (): number => 0.999_999

test('the first call may be sent at once, and no second one within a second', () => {
  const pace = new SubscribePace(never)
  expect(pace.nextMs).toBe(Number.NEGATIVE_INFINITY)
  pace.calling(5_000)
  pace.failed(5_010, 'other')
  expect(pace.nextMs).toBe(6_100)
})

test('after a subscription has begun there is none for five seconds: the service would refuse it', () => {
  const pace = new SubscribePace(never)
  pace.calling(0)
  pace.began(50)
  expect(pace.failed(60, 'other')).toBe(5_090)
  expect(pace.nextMs).toBe(5_150)
})

test('one that ends after five minutes is followed by another at once', () => {
  const pace = new SubscribePace(always)
  pace.calling(0)
  pace.began(50)
  pace.came()
  expect(pace.nextMs).toBeLessThan(300_000)
})

test('failures in a row double the wait up to 20 s, with full jitter, and an event ends the row', () => {
  const wait = (random: () => number, failures: number): number => {
    const pace = new SubscribePace(random)
    for (let i = 1; i < failures; i++) pace.failed(0, 'other')
    return Math.round(pace.failed(1_000_000, 'other'))
  }
  expect([1, 2, 3, 4, 5, 6, 7, 100].map((failures) => wait(always, failures))).toEqual([
    1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000,
  ])
  expect(wait(never, 7)).toBe(0)
  const pace = new SubscribePace(always)
  for (let i = 0; i < 5; i++) pace.failed(0, 'other')
  pace.came()
  expect(Math.round(pace.failed(1_000_000, 'other'))).toBe(1_000)
})

test('who lost the shard to another waits 5 to 20 s, so that the two do not fight over it', () => {
  expect(new SubscribePace(never).failed(0, 'takenOver')).toBe(5_000)
  expect(Math.round(new SubscribePace(always).failed(0, 'takenOver'))).toBe(20_000)
})

test('who finds the shard held tries again about every second at first: the service lets go within five', () => {
  const pace = new SubscribePace(always)
  const news: boolean[] = []
  const waits = Array.from({ length: 11 }, () => {
    const waitMs = Math.round(pace.failed(1_000_000, 'held'))
    news.push(pace.isRefusalNews)
    return waitMs
  })
  expect(news).toEqual([...Array(5).fill(false), ...Array(6).fill(true)])
  expect(waits).toEqual([1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000])
})

test('with a consumer that was registered anew there is nothing to wait for', () => {
  const pace = new SubscribePace(always)
  pace.calling(0)
  pace.began(50)
  pace.freed()
  expect(pace.nextMs).toBe(Number.NEGATIVE_INFINITY)
})
