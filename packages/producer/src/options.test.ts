import { expect, test } from 'vitest'
import { resolveOptions } from './options.ts'

test('the defaults are those documented', () => {
  expect(resolveOptions({ stream: 'flights' })).toMatchObject({
    aggregation: true,
    ordering: 'key',
    failIfThrottled: false,
    requestTimeout: 10_000,
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

test('a request may take half as long as a record at most', () => {
  const timeoutOf = (recordTtl: number): number => resolveOptions({ recordTtl }).requestTimeout
  expect([timeoutOf(30_000), timeoutOf(2_000)]).toEqual([10_000, 1_000])
  expect(resolveOptions({ recordTtl: 2_000, requestTimeout: 9_000 }).requestTimeout).toBe(9_000)
})

test('a record does not wait for company until it expires', () => {
  expect(resolveOptions({ recordMaxBufferedTime: 60_000 }).recordMaxBufferedTime).toBe(15_000)
  expect(resolveOptions({ recordTtl: 100 }).recordMaxBufferedTime).toBe(50)
})

test.each([
  ['ordering', 'shard', 'one of "key", "none"'],
  ['aggregation', 'never', 'true, false or "always"'],
  ['codec', {}, 'a codec with encode, or a Standard Schema'],
  ['collectionMaxSize', 11 * 2 ** 20, 'a whole number from 52224 to 10485760'],
  ['failIfThrottled', 1, 'true or false'],
  ['onError', 'log', 'a function'],
  ['requestTimeout', Number.POSITIVE_INFINITY, 'a number from 50 to 2147483647'],
  ['recordTtl', Number.POSITIVE_INFINITY, 'a number from 100 to 9007199254740991'],
])('%s can not be %s', (name, value, expected) => {
  expect(() => resolveOptions({ [name]: value } as never)).toThrow(`option "${name}" must be ${expected}`)
})

test('an unknown option is refused with the nearest known one', () => {
  expect(() => resolveOptions({ stream: 'flights', recordTTL: 5 } as never)).toThrow('did you mean "recordTtl"?')
})

test('no rate limit is a valid one', () => {
  expect(resolveOptions({ stream: 'flights', rateLimit: Number.POSITIVE_INFINITY }).rateLimit).toBe(
    Number.POSITIVE_INFINITY,
  )
})

test('a client and the configuration of another are not both taken', () => {
  expect(() => resolveOptions({ client: { send: () => {} } as never, clientConfig: {} })).toThrow('got both')
})
