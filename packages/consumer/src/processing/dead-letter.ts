import type { ConsumerRecord } from './consumer-record.ts'

/** Where a dead letter comes from. */
export interface DeadLetterOrigin {
  readonly application: string
  readonly worker: string
  /** The stream's name or ARN, as the consumer was given it. */
  readonly stream: string
  readonly shardId: string
  readonly sequenceNumber: string
  /** The record's index inside its aggregate; 0 for a lone record, and for all of an undecodable one. */
  readonly subSequenceNumber: number
  /** When the stream took the Kinesis record, by the service's clock. */
  readonly arrivedAt: Date | undefined
}

/** What every dead letter tells. */
interface Letter {
  readonly partitionKey: string
  /** The record's data; of an undecodable Kinesis record all of it. A view, not a copy. */
  readonly data: Uint8Array
  /** Why it was given up: what the handler threw last, or the codec, or what is wrong with the Kinesis record. */
  readonly error: unknown
  /** How often the handler was called with it. */
  readonly attempts: number
  /** When it first failed, by this machine's clock. */
  readonly firstFailedAt: Date
  readonly origin: DeadLetterOrigin
}

/** A record that is given up, for a `deadLetter` function to keep. */
export type DeadLetter<Value = unknown> =
  /** `record.value` is undefined if it is the codec that refused it. */
  | (Letter & { readonly kind: 'record'; readonly record: ConsumerRecord<Value | undefined> })
  /** An aggregate that is damaged inside: nobody can say which user records it held. */
  | (Letter & { readonly kind: 'undecodable' })

/**
 * Keeps a record that is given up: when it returns, or its promise resolves, the record counts as finished. If it throws or rejects, it is
 * called again with backoff, without end: meanwhile the record's key waits, and nothing is lost. After a crash the same letter may come twice.
 */
export type SendDeadLetter<Value = unknown> = (
  letter: DeadLetter<Value>,
  context: { readonly signal: AbortSignal },
) => unknown

/** Who sends dead letters. */
export interface DeadLetterSender {
  readonly application: string
  readonly workerId: string
}

/** @param record of an undecodable Kinesis record all of it */
export function deadLetterOf(
  record: ConsumerRecord,
  kind: DeadLetter['kind'],
  failure: Pick<DeadLetter, 'error' | 'attempts' | 'firstFailedAt'>,
  { application, workerId }: DeadLetterSender,
): DeadLetter {
  const { partitionKey, data, stream, shardId, sequenceNumber, subSequenceNumber, arrivedAt } = record
  const origin = { application, worker: workerId, stream, shardId, sequenceNumber, subSequenceNumber, arrivedAt }
  const letter = { partitionKey, data, ...failure, origin }
  return kind === 'record' ? { kind, ...letter, record } : { kind, ...letter }
}
