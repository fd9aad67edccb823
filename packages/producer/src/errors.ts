import { ShardwiseError, type ShardwiseErrorOptions } from '@shardwise/core'
import type { Attempt } from './pending.ts'
import type { UserRecord } from './user-record.ts'

export type ProducerErrorCode =
  /** The partition key isn't a string of 1 to 256 UTF-16 code units, or is missing on a stream that distributes by key. */
  | 'ERR_PARTITION_KEY'
  /** The explicit hash key isn't a decimal integer from 0 to 2^128 − 1. */
  | 'ERR_EXPLICIT_HASH_KEY'
  /** The data is neither bytes nor a string, or the codec refuses it; then `cause` says why. */
  | 'ERR_DATA'
  /** Data and partition key together are larger than a record of this stream may be. */
  | 'ERR_RECORD_TOO_LARGE'
  /** Neither `put` nor the producer names a stream. */
  | 'ERR_STREAM'
  /** More is waiting than `maxOutstandingBytes` allows: await `producer.ready` before `put`. */
  | 'ERR_BUFFER_FULL'
  /** The producer is closed, or its closing was cut short. */
  | 'ERR_CLOSED'
  /** What `close` is rejected with when it is cut short: `undelivered` has every record that was not acknowledged. */
  | 'ERR_UNDELIVERED'
  /** The record could not be written within `recordTtl`; `cause` is the last reason. */
  | 'ERR_EXPIRED'
  /** The record was throttled, and `failIfThrottled` is set. */
  | 'ERR_THROTTLED'
  /** The service refused it for good; `cause` says why. */
  | 'ERR_REFUSED'

export interface ProducerErrorOptions<Value = Uint8Array | string> extends ShardwiseErrorOptions {
  readonly record?: UserRecord<Value> | undefined
  readonly outcome?: 'refused' | 'unknown'
  readonly attempts?: readonly Attempt[]
  readonly undelivered?: readonly ProducerError<Value>[]
}

/** What a `put` is rejected with. It hands the record back and says whether it may be in the stream nevertheless. */
export class ProducerError<Value = Uint8Array | string> extends ShardwiseError<ProducerErrorCode> {
  override readonly name = 'ProducerError'
  /** The record that could not be put: with bytes, or with the value that was given if the producer has a codec. */
  readonly record: UserRecord<Value> | undefined
  /** `refused`: it is not in the stream. `unknown`: an attempt without an answer, or a misplaced copy, may be. */
  readonly outcome: 'refused' | 'unknown'
  /** Every time it was sent, and what became of it. */
  readonly attempts: readonly Attempt[]
  /** Of `ERR_UNDELIVERED` only: one error for each record that was not acknowledged, with the record. */
  readonly undelivered: readonly ProducerError<Value>[]

  constructor(code: ProducerErrorCode, message: string, options: ProducerErrorOptions<Value> = {}) {
    super(code, message, options)
    this.record = options.record
    this.outcome = options.outcome ?? 'refused'
    this.attempts = options.attempts ?? []
    this.undelivered = options.undelivered ?? []
  }
}
