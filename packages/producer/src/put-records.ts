import { PutRecordsCommand, type PutRecordsResultEntry } from '@aws-sdk/client-kinesis'
import { classifyError, classifyRecordError, type Kinesis, type Outcome, streamReference } from '@shardwise/core'
import type { SealedRecord } from './sealed-record.ts'

/** Where a Kinesis record is. */
export interface Place {
  readonly shardId: string
  readonly sequenceNumber: string
}

/** Why a Kinesis record was not, or perhaps not, accepted. */
export interface Refusal {
  readonly outcome: Outcome
  readonly error: Error
}

type Answer = Place | Refusal

export interface Answers {
  /** One for each record sent. */
  readonly answers: readonly Answer[]
  /** If the request failed as a whole. */
  readonly failure: Refusal | undefined
}

/** One PutRecords call. Never rejects: every record gets an answer. */
export async function putRecords(
  kinesis: Kinesis,
  stream: string,
  records: readonly SealedRecord[],
  signal: AbortSignal,
): Promise<Answers> {
  try {
    const command = new PutRecordsCommand({
      ...streamReference(stream),
      Records: records.map(({ partitionKey, explicitHashKey, data }) => ({
        PartitionKey: partitionKey,
        ExplicitHashKey: explicitHashKey,
        Data: data,
      })),
    })
    const { Records: results = [] } = await kinesis.send(command, { abortSignal: signal })
    if (results.length === records.length) return { answers: results.map(read), failure: undefined }
    // Which of them were written can't be told.
    const error = new Error(`PutRecords gave ${results.length} results for ${records.length} records`)
    return failed(records, { outcome: 'unknown', error })
  } catch (thrown) {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown })
    return failed(records, { outcome: classifyError(thrown), error })
  }
}

function failed(records: readonly SealedRecord[], failure: Refusal): Answers {
  return { answers: records.map(() => failure), failure }
}

function read({
  ErrorCode: code,
  ErrorMessage: message,
  ShardId: shardId,
  SequenceNumber,
}: PutRecordsResultEntry): Answer {
  // The service leaves out what doesn't apply; some emulators write null.
  if (code !== undefined && code !== null) {
    const error = Object.assign(new Error(message ?? code), { name: code })
    return { outcome: classifyRecordError(code), error }
  }
  if (shardId && SequenceNumber) return { shardId, sequenceNumber: SequenceNumber }
  return {
    outcome: 'unknown',
    error: new Error('PutRecords gave neither an error code nor a shard and sequence number'),
  }
}
