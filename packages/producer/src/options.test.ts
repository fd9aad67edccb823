import { expect, test } from 'vitest'
import { resolveOptions } from './options.ts'

test('the defaults are those documented', () => {
  expect(resolveOptions({ stream: 'flights' })).toMatchObject({
    aggregation: true,
    aggregationMaxSize: 51_200,
    collectionMaxCount: 500,
    collectionMaxSize: 10_485_760,
    recordMaxBufferedTime: 100,
    recordTtl: 30_000,
    rateLimit: 150,
    maxOutstandingBytes: 67_108_864,
    maxRequestsInFlight: 16,
  })
})

test('undefined counts as not given', () => {
  expect(resolveOptions({ stream: 'flights', rateLimit: undefined as unknown as number }).rateLimit).toBe(150)
})

test('an aggregate leaves room for its own partition key, whatever is asked for', () => {
  expect(resolveOptions({ stream: 'flights', aggregationMaxSize: 2 ** 20 }).aggregationMaxSize).toBe(2 ** 20 - 1)
})

test('an unknown option is refused with the nearest known one', () => {
  expect(() => resolveOptions({ stream: 'flights', recordTTL: 5 } as never)).toThrow('did you mean "recordTtl"?')
})

test('no rate limit is a valid one', () => {
  expect(resolveOptions({ stream: 'flights', rateLimit: Number.POSITIVE_INFINITY }).rateLimit).toBe(
    Number.POSITIVE_INFINITY,
  )
})
