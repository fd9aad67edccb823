import pRetry from 'p-retry'
import { type Backoff, backoffMs, type Random } from './backoff.ts'
import type { Clock } from './clock.ts'

export interface RetryOptions {
  readonly clock: Clock
  readonly random: Random
  readonly backoff: Backoff
  /** How many attempts in all. Default: no limit; the signal ends it. */
  readonly attempts?: number
  readonly signal?: AbortSignal | undefined
  /** Whether this error is worth another attempt. */
  readonly shouldRetry: (error: Error) => boolean
  /** Told of each failure that will be followed by another attempt. */
  readonly onRetry?: (error: Error, attempt: number, waitMs: number) => void
}

/**
 * Runs `operation` until it succeeds, fails for good, or `signal` is aborted, sleeping on the given clock in between.
 *
 * @throws the last error, or `signal.reason`
 */
export function retry<T>(operation: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, random, backoff, attempts = Number.POSITIVE_INFINITY, signal, shouldRetry, onRetry } = options
  // p-retry refuses to retry a TypeError; whether an error is worth another attempt is the caller's decision here.
  return pRetry((attempt) => operation(attempt).catch(rethrowAsError), {
    retries: attempts - 1,
    minTimeout: 0,
    signal,
    shouldRetry: ({ error }) => shouldRetry(unwrap(error)),
    onFailedAttempt: async ({ error, attemptNumber, retriesLeft }) => {
      const cause = unwrap(error)
      if (retriesLeft <= 0 || !shouldRetry(cause)) return
      const waitMs = backoffMs(attemptNumber, backoff, random)
      onRetry?.(cause, attemptNumber, waitMs)
      await clock.sleep(waitMs, signal)
    },
  }).catch((error: unknown) => {
    throw error instanceof Error ? unwrap(error) : error
  })
}

class Wrapped extends Error {}

function rethrowAsError(error: unknown): never {
  if (error instanceof Error && !(error instanceof TypeError)) throw error
  throw new Wrapped(String(error), { cause: error })
}

function unwrap(error: Error): Error {
  if (!(error instanceof Wrapped)) return error
  return error.cause instanceof Error ? error.cause : error
}
