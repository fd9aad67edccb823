import { ProducerError, type ProducerErrorCode } from './errors.ts'
import type { Pending } from './pending.ts'
import { type SealedRecord, unseal } from './sealed-record.ts'
import type { UserRecord } from './user-record.ts'

/** Why records are rejected. */
export interface Rejection {
  readonly code: ProducerErrorCode
  readonly message: string
  /** Default: the last error that each record met. */
  readonly cause?: unknown
}

/** Told of every record that has its outcome, after the caller's promise: with the error, if it was rejected. */
export type OnSettled = (pending: Pending, error?: ProducerError) => void

/**
 * Rejects the `put` of every user record of a Kinesis record, handing each its own back.
 *
 * @param stream as the caller named it; undefined if it is the producer's
 */
export function reject(
  sealed: SealedRecord,
  { code, message, cause }: Rejection,
  stream: string | undefined,
  onSettled: OnSettled,
): void {
  for (const { record, pending } of unseal(sealed)) {
    const { partitionKey, explicitHashKey, data } = record
    const { attempts, earlierCopy, lastError, value } = pending
    const given = {
      ...(stream !== undefined && { stream }),
      partitionKey,
      explicitHashKey,
      // A copy: the bytes here are a view into a buffer that will be used again.
      data: value === undefined ? new Uint8Array(data) : value,
    }
    const error = new ProducerError(code, message, {
      record: given as UserRecord,
      outcome: earlierCopy === undefined ? 'refused' : 'unknown',
      attempts,
      cause: cause ?? lastError,
      retryable: code === 'ERR_EXPIRED' || code === 'ERR_THROTTLED',
    })
    pending.reject(error)
    onSettled(pending, error)
  }
}

export function refused(stream: string, error: Error): Rejection {
  const message = `put to ${stream}: PutRecords failed, and would fail again: ${error.name}: ${error.message}`
  return { code: 'ERR_REFUSED', message, cause: error }
}

export function throttled(stream: string, error: Error): Rejection {
  const message = `put to ${stream}: the record was throttled, and failIfThrottled is set: ${error.name}: ${error.message}`
  return { code: 'ERR_THROTTLED', message, cause: error }
}

export function expired(stream: string, recordTtl: number, cause?: unknown): Rejection {
  const message =
    `put to ${stream}: expected an acknowledgement within recordTtl (${recordTtl} ms), got none. ` +
    'The cause and the attempts say what stood in the way; put the record again, or raise recordTtl or rateLimit if the stream is too slow.'
  return { code: 'ERR_EXPIRED', message, cause }
}

export function closed(stream: string): Rejection {
  return {
    code: 'ERR_CLOSED',
    message: `put to ${stream}: the producer was closed before the record was acknowledged.`,
  }
}

export function keyMissing(stream: string): Rejection {
  return {
    code: 'ERR_PARTITION_KEY',
    message: `put to ${stream}: expected a partition key, got none. Only streams that distribute records by themselves go without, and this one doesn't.`,
  }
}
