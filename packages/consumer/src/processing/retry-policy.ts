import { type Backoff, backoffMs, type Random } from '@shardwise/core'

/** One attempt that failed. */
export interface FailedAttempt {
  /** Which attempt it was, from 1. */
  readonly attempt: number
  /** How many user records the handler was called with. */
  readonly records: number
  /** How long ago one failed first, of the batch that this is a part of too; undefined if this is the first. */
  readonly ageMs: number | undefined
  /** Trying again can't help: the data can't be decoded. */
  readonly isFinal: boolean
  /** The handler was told to give up and hasn't settled: it may still be at work. */
  readonly isHung: boolean
}

export interface RetryLimits {
  readonly maxAttempts: number
  readonly maxAgeMs: number
}

/** What comes after a failed attempt: the same again, the halves of the batch, or no more attempts. */
export type AfterFailure =
  | { readonly next: 'again'; readonly inMs: number }
  | { readonly next: 'halves'; readonly inMs: number }
  | { readonly next: 'givenUp' }

const RETRY_BACKOFF: Backoff = { baseMs: 200, maxMs: 30_000 }
const GIVEN_UP: AfterFailure = { next: 'givenUp' }

/**
 * A record is tried `maxAttempts` times and for `maxAgeMs`. A batch is tried once more as a whole, since most failures pass; from
 * then on in halves, soon one after another, until the record that it fails for is alone and has attempts of its own.
 */
export function afterFailure(
  { attempt, records, ageMs, isFinal, isHung }: FailedAttempt,
  { maxAttempts, maxAgeMs }: RetryLimits,
  random: Random,
): AfterFailure {
  const mayRepeat = !isFinal && !isHung && attempt < maxAttempts && (ageMs ?? 0) < maxAgeMs
  if (records > 1) {
    if (isFinal) return { next: 'halves', inMs: 0 }
    const isFirst = ageMs === undefined
    return { next: mayRepeat && isFirst ? 'again' : 'halves', inMs: backoffMs(1, RETRY_BACKOFF, random) }
  }
  return mayRepeat ? { next: 'again', inMs: backoffMs(attempt, RETRY_BACKOFF, random) } : GIVEN_UP
}

/** How long to wait until a dead letter that couldn't be sent is tried once more. @param failures so far, from 1 */
export function deadLetterBackoffMs(failures: number, random: Random): number {
  return backoffMs(failures, RETRY_BACKOFF, random)
}
