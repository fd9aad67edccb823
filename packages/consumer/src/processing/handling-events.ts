import type { StreamEvent } from '../telemetry/telemetry.ts'
import { recordsOf } from './handler.ts'
import type { Work } from './work.ts'

/** An attempt failed. @param retryInMs undefined if there is no other */
export function handlerFailed(work: Work, error: unknown, retryInMs: number | undefined): StreamEvent {
  return {
    type: 'handlerFailed',
    ...placeOf(work),
    records: recordsOf(work).length,
    attempt: work.attempt,
    retryInMs,
    error,
  }
}

/** The handler didn't settle so long after it was told to give up. */
export function handlerAbandoned(work: Work, afterMs: number): StreamEvent {
  return { type: 'handlerAbandoned', ...placeOf(work), attempt: work.attempt, afterMs }
}

export function undecodableRecord({ record, attempt }: Work, reason: string): StreamEvent {
  const { shardId, sequenceNumber } = record
  return { type: 'undecodableRecord', shardId, sequenceNumber, reason, attempt }
}

export function recordSkipped(work: Work, error: unknown, attempts: number): StreamEvent {
  return { type: 'recordSkipped', ...placeOf(work), attempts, error }
}

export function recordDeadLettered(work: Work, error: unknown, attempts: number): StreamEvent {
  return { type: 'recordDeadLettered', ...placeOf(work), attempts, error }
}

export function deadLetterFailed(work: Work, error: unknown, attempt: number, retryInMs: number): StreamEvent {
  return { type: 'deadLetterFailed', ...placeOf(work), attempt, retryInMs, error }
}

function placeOf({ record }: Work): {
  readonly shardId: string
  readonly partitionKey: string
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
} {
  const { shardId, partitionKey, sequenceNumber, subSequenceNumber } = record
  return { shardId, partitionKey, sequenceNumber, subSequenceNumber }
}
