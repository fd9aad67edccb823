import { ShardwiseError, type ShardwiseErrorOptions } from '@shardwise/core'
import type { UserRecord } from './user-record.ts'

export type ProducerErrorCode =
  /** The partition key isn't a string of 1 to 256 characters. */
  | 'ERR_PARTITION_KEY'
  /** The explicit hash key isn't a decimal integer from 0 to 2^128 − 1. */
  | 'ERR_EXPLICIT_HASH_KEY'
  /** The data is neither bytes nor a string. */
  | 'ERR_DATA'
  /** Data and partition key together are larger than a Kinesis record may be. */
  | 'ERR_RECORD_TOO_LARGE'
  /** More is waiting than `maxOutstandingBytes` allows: await `producer.ready` before `put`. */
  | 'ERR_BUFFER_FULL'
  /** The producer is closed, or its closing was cut short. */
  | 'ERR_CLOSED'
  /** The record could not be written within `recordTtl`; `cause` is the last reason. */
  | 'ERR_EXPIRED'
  /** The service refused it for good; `cause` says why. */
  | 'ERR_REFUSED'
  /** The stream's shards could not be listed; `cause` says why. */
  | 'ERR_SHARD_MAP'

export interface ProducerErrorOptions extends ShardwiseErrorOptions {
  readonly record?: UserRecord | undefined
  readonly outcome?: 'refused' | 'unknown'
  readonly attempts?: number
}

/** What a `put` is rejected with. It hands the record back and says whether it may be in the stream nevertheless. */
export class ProducerError extends ShardwiseError<ProducerErrorCode> {
  override readonly name = 'ProducerError'
  /** The record that could not be put. */
  readonly record: UserRecord | undefined
  /** `refused`: it is not in the stream. `unknown`: an attempt without an answer, or a misplaced copy, may be. */
  readonly outcome: 'refused' | 'unknown'
  /** How often it was sent. */
  readonly attempts: number

  constructor(code: ProducerErrorCode, message: string, options: ProducerErrorOptions = {}) {
    super(code, message, options)
    this.record = options.record
    this.outcome = options.outcome ?? 'refused'
    this.attempts = options.attempts ?? 0
  }
}
