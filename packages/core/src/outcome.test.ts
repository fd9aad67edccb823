import { expect, test } from 'vitest'
import { classifyError, classifyRecordError, errorCode } from './outcome.ts'

const serviceError = (name: string, httpStatusCode: number): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode } })
const networkError = (code: string): Error => Object.assign(new Error(code), { code })

test.each([
  ['a shard over its limit', serviceError('ProvisionedThroughputExceededException', 400), 'throttled'],
  ['an unnamed 429', serviceError('Strange', 429), 'throttled'],
  ['a service that is unavailable', serviceError('ServiceUnavailableException', 503), 'retryable'],
  ['a connection that was refused', networkError('ECONNREFUSED'), 'retryable'],
  ['a name that did not resolve', networkError('ENOTFOUND'), 'retryable'],
  ['expired credentials, which the provider renews', serviceError('ExpiredTokenException', 400), 'retryable'],
  ['an internal failure', serviceError('InternalFailureException', 500), 'unknown'],
  ['a connection reset after the request was sent', networkError('ECONNRESET'), 'unknown'],
  ['a timeout', Object.assign(new Error('slow'), { name: 'TimeoutError' }), 'unknown'],
  ['an error that nobody knows', new Error('what?'), 'unknown'],
  ['a denied action', serviceError('AccessDeniedException', 400), 'fatal'],
  ['a stream that does not exist', serviceError('ResourceNotFoundException', 400), 'fatal'],
  ['a request that is not valid', serviceError('ValidationException', 400), 'fatal'],
  ['missing credentials', Object.assign(new Error('none'), { name: 'CredentialsProviderError' }), 'fatal'],
  ['a client without a region', new Error('Region is missing'), 'fatal'],
  ['an endpoint that is no address', Object.assign(new TypeError('Invalid URL'), { code: 'ERR_INVALID_URL' }), 'fatal'],
])('%s is classified', (_, error, outcome) => {
  expect(classifyError(error)).toBe(outcome)
})

test('a record that the service refused with InternalFailure is certainly not in the stream', () => {
  expect(classifyRecordError('InternalFailure')).toBe('retryable')
})

test('a record over its shard limit is throttled, one that may not be encrypted is fatal', () => {
  expect(classifyRecordError('ProvisionedThroughputExceededException')).toBe('throttled')
  expect(classifyRecordError('KMSAccessDeniedException')).toBe('fatal')
})

test('an error is named by its code where the network made it and by its name where the service did', () => {
  expect(errorCode(networkError('ECONNRESET'))).toBe('ECONNRESET')
  expect(errorCode(serviceError('AccessDeniedException', 400))).toBe('AccessDeniedException')
  expect(errorCode(undefined)).toBe('UnknownError')
})
