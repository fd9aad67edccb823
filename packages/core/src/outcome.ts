/**
 * What a failed call to AWS means for the caller.
 *
 * - `throttled`: refused for going too fast; slow down, then try again.
 * - `retryable`: refused, nothing was done; try again.
 * - `unknown`: it may or may not have been done (timeout, reset, internal failure); trying again may do it twice.
 * - `fatal`: refused, and trying again would be refused too.
 */
export type Outcome = 'throttled' | 'retryable' | 'unknown' | 'fatal'

const THROTTLED = new Set([
  'ProvisionedThroughputExceededException',
  'ProvisionedThroughputExceeded',
  'LimitExceededException',
  'ThrottlingException',
  'Throttling',
  'RequestLimitExceeded',
  'RequestThrottled',
  'TooManyRequestsException',
  'SlowDown',
  'KMSThrottlingException',
])

const RETRYABLE = new Set([
  'ServiceUnavailable',
  'ServiceUnavailableException',
  'ExpiredTokenException',
  'ExpiredToken',
  'RequestTimeTooSkewed',
  'RequestExpired',
  'ResourceInUseException',
  // The connection was never made, so nothing was sent.
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

const UNKNOWN = new Set([
  'InternalFailure',
  'InternalFailureException',
  'InternalServerError',
  'InternalServiceError',
  'TimeoutError',
  'RequestTimeout',
  'RequestTimeoutException',
  'AbortError',
  'NetworkingError',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
])

/** A client that isn't set up right: the SDK finds out before it sends anything, and will each time. */
const FATAL = new Set(['CredentialsProviderError', 'ERR_INVALID_URL'])

/** The SDK gives this one no name of its own. */
const REGION_MISSING = 'Region is missing'

/** The name AWS or Node gives an error: `error.name` for the service's, `error.code` for the network's. */
export function errorCode(error: unknown): string {
  const { name, code } = Object(error) as { name?: unknown; code?: unknown }
  const isKnown = typeof code === 'string' && (RETRYABLE.has(code) || UNKNOWN.has(code) || FATAL.has(code))
  if (typeof code === 'string' && (isKnown || name === 'Error' || name === undefined)) return code
  return typeof name === 'string' ? name : 'UnknownError'
}

/**
 * Classifies the error of a whole call. What isn't recognised goes by its HTTP status: 4xx is fatal (429 throttled),
 * 503 retryable, any other 5xx or none unknown, because the service may have done the work before it failed.
 */
export function classifyError(error: unknown): Outcome {
  const code = errorCode(error)
  if (THROTTLED.has(code)) return 'throttled'
  if (RETRYABLE.has(code)) return 'retryable'
  if (UNKNOWN.has(code)) return 'unknown'
  const { $metadata: metadata, message } = Object(error) as {
    $metadata?: { httpStatusCode?: number }
    message?: unknown
  }
  if (FATAL.has(code) || message === REGION_MISSING) return 'fatal'
  const status = metadata?.httpStatusCode
  if (status === 429) return 'throttled'
  if (status === 503) return 'retryable'
  if (status !== undefined && status >= 400 && status < 500) return 'fatal'
  return 'unknown'
}

/**
 * Classifies the `ErrorCode` of one record in a PutRecords answer. There the service has refused the record for certain,
 * so nothing is unknown: InternalFailure is retryable.
 */
export function classifyRecordError(code: string): Outcome {
  if (THROTTLED.has(code)) return 'throttled'
  return RETRYABLE.has(code) || UNKNOWN.has(code) ? 'retryable' : 'fatal'
}
