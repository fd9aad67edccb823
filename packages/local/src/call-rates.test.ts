import { expect, test } from 'vitest'
import { errorOf, HOUR_MS, SHARD_0, STREAM_ARN, World } from '../test/model-world.ts'
import { CallRates, DailyLimits } from './call-rates.ts'

test('so many calls a second are admitted, each counted', () => {
  let now = 0
  const rates = new CallRates(true, () => now)
  const stream = {}
  const admitted = (): number => Array.from({ length: 8 }, () => rates.admits('Op', stream, 5)).filter(Boolean).length
  expect(admitted()).toBe(5)
  now += 400
  expect(admitted()).toBe(2)
  now += 60_000
  expect(admitted()).toBe(5)
})

test('each operation and each of what it is called on has its own rate', () => {
  const rates = new CallRates(true, () => 0)
  const [one, other] = [{}, {}]
  expect(rates.admits('A', one, 1)).toBe(true)
  expect(rates.admits('A', one, 1)).toBe(false)
  expect(rates.admits('B', one, 1)).toBe(true)
  expect(rates.admits('A', other, 1)).toBe(true)
})

test('a daily limit counts what was within the last 24 hours', () => {
  let now = 0
  const limits = new DailyLimits(true, () => now)
  const stream = {}
  expect(limits.admits('Op', stream, 2)).toBe(true)
  now = HOUR_MS
  expect(limits.admits('Op', stream, 2)).toBe(true)
  now = 24 * HOUR_MS - 1
  expect(limits.admits('Op', stream, 2)).toBe(false)
  now = 24 * HOUR_MS
  expect(limits.admits('Op', stream, 2)).toBe(true)
  expect(limits.admits('Op', stream, 2)).toBe(false)
})

test.each([
  ['ListStreams', {}, 5],
  ['DescribeStream', { StreamName: 's' }, 10],
  ['DescribeStreamSummary', { StreamName: 's' }, 20],
  ['ListShards', { StreamName: 's' }, 1_000],
  ['DescribeLimits', {}, 1],
  ['ListStreamConsumers', { StreamARN: STREAM_ARN }, 5],
  ['DescribeStreamConsumer', { StreamARN: STREAM_ARN, ConsumerName: 'c' }, 20],
])('%s of %j is answered %i times a second', (operation, request, perSecond) => {
  const world = new World({ limits: true })
  world.register()
  for (let call = 0; call < perSecond; call++) world.execute(operation, request)
  expect(world.refusal(operation, request)).toBe('LimitExceededException')
  world.pass(1_000)
  for (let call = 0; call < perSecond; call++) world.execute(operation, request)
})

test('five consumers a second are registered', () => {
  const world = new World({ limits: true })
  for (let number = 0; number < 5; number++) world.register(`c${number}`)
  expect(errorOf(() => world.register('one-more')).type).toBe('LimitExceededException')
})

test('a consumer subscribes to a shard once a second', () => {
  const world = new World({ limits: true })
  const arn = world.register()
  world.subscribe(arn)
  expect(errorOf(() => world.subscribe(arn)).type).toBe('LimitExceededException')
})

test('without limits there are no rates', () => {
  const world = new World()
  for (let call = 0; call < 50; call++) {
    world.execute('DescribeLimits', {})
    world.iterator(SHARD_0, { ShardIteratorType: 'LATEST' })
  }
})
