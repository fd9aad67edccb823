import { ProducerError, type ProducerErrorCode } from './errors.ts'
import type { Pending } from './pending.ts'
import { type SealedRecord, unseal } from './sealed-record.ts'

/** Why records are rejected. */
export interface Rejection {
  readonly code: ProducerErrorCode
  readonly message: string
  /** Default: the last error that each record met. */
  readonly cause?: unknown
}

/** Rejects the `put` of every user record of a Kinesis record, handing each its own back. */
export function reject(
  sealed: SealedRecord,
  { code, message, cause }: Rejection,
  settled: (pending: Pending) => void,
): void {
  for (const { record, pending } of unseal(sealed)) {
    const { partitionKey, explicitHashKey, data } = record
    const { attempts, earlierCopy, lastError } = pending
    pending.reject(
      new ProducerError(code, message, {
        // A copy: the bytes here are a view into a buffer that will be used again.
        record: { partitionKey, explicitHashKey, data: new Uint8Array(data) },
        outcome: earlierCopy === undefined ? 'refused' : 'unknown',
        attempts,
        cause: cause ?? lastError,
        retryable: code === 'ERR_EXPIRED',
      }),
    )
    settled(pending)
  }
}

export function refused(stream: string, error: Error): Rejection {
  const message = `put to ${stream}: the service refused the record: ${error.name}: ${error.message}`
  return { code: 'ERR_REFUSED', message, cause: error }
}

export function expired(stream: string, recordTtl: number, cause?: unknown): Rejection {
  const message =
    `put to ${stream}: expected an acknowledgement within recordTtl (${recordTtl} ms), got none. ` +
    'The cause says what stood in the way; put the record again, or raise recordTtl or rateLimit if the stream is too slow.'
  return { code: 'ERR_EXPIRED', message, cause }
}

export function closed(stream: string): Rejection {
  return {
    code: 'ERR_CLOSED',
    message: `put to ${stream}: the producer was closed before the record was acknowledged.`,
  }
}

export function shardsUnlisted(stream: string, error: unknown): Rejection {
  const { name, message } = Object(error) as Partial<Error>
  return {
    code: 'ERR_SHARD_MAP',
    message:
      `put to ${stream}: the shards could not be listed (${name}: ${message}). ` +
      "Check the stream's name, region and credentials, and that kinesis:ListShards is granted.",
    cause: error,
  }
}
