import { type Backoff, type Clock, classifyError, type Random, retry } from '@shardwise/core'

export interface AskAgainOptions {
  readonly clock: Clock
  readonly random: Random
  readonly backoff: Backoff
  readonly signal?: AbortSignal | undefined
}

const ATTEMPTS = 5

/**
 * Asks for one part of many, and again a few times if the service refuses for now: to begin with the first part anew would cost
 * more than what was too much.
 */
export function askAgain<T>(ask: () => Promise<T>, options: AskAgainOptions): Promise<T> {
  return retry(ask, {
    ...options,
    attempts: ATTEMPTS,
    shouldRetry: (error) => ['throttled', 'retryable'].includes(classifyError(error)),
  })
}
