import type { ProducerError } from './errors.ts'
import { type Pending, sizeOf } from './pending.ts'
import type { Place } from './put-records.ts'
import { type OnSettled, type Rejection, reject } from './rejection.ts'
import { attemptsOf, type SealedRecord } from './sealed-record.ts'
import { type Observed, StreamTelemetry } from './stream-telemetry.ts'

export interface SettlementOptions {
  readonly stream: string
  /** Whether callers name the stream in each `put`, so that it is handed back with a record that failed. */
  readonly isNamed: boolean
  readonly recordTtl: number
  readonly onSettled: OnSettled
}

/** How the user records of one stream come to their end, with a receipt or an error, and how many have not. */
export class Settlement implements Observed {
  readonly telemetry: StreamTelemetry
  /** What was ever written. */
  received = 0
  /** What of it has no outcome yet, and the bytes of that. */
  pending = 0
  pendingBytes = 0
  readonly #options: SettlementOptions

  constructor(options: SettlementOptions) {
    this.#options = options
    this.telemetry = new StreamTelemetry(options.stream, () => this)
  }

  /** A user record is written. */
  begin(pending: Pending): void {
    this.received++
    this.pending++
    this.pendingBytes += sizeOf(pending)
  }

  /** Every user record of a Kinesis record has its place in the stream. */
  acknowledge(sealed: SealedRecord, { shardId, sequenceNumber }: Place, sentAtMs: number): void {
    let userBytes = 0
    for (const [subSequenceNumber, pending] of sealed.pending.entries()) {
      const { attempts, earlierCopy } = pending
      pending.resolve({ shardId, sequenceNumber, subSequenceNumber, attempts, earlierCopy })
      userBytes += pending.bytes
      this.#end(pending)
    }
    this.telemetry.accepted({
      shardId,
      userRecords: sealed.pending.length,
      userBytes,
      bytes: sealed.bytes,
      attempts: attemptsOf(sealed),
      bufferingMs: sentAtMs - (sealed.expiresMs - this.#options.recordTtl),
    })
  }

  /** Every user record of a Kinesis record is given up. */
  reject(sealed: SealedRecord, rejection: Rejection): void {
    const { isNamed, stream } = this.#options
    this.telemetry.rejected(rejection.code, sealed.pending.length)
    reject(sealed, rejection, isNamed ? stream : undefined, (pending, error) => this.#end(pending, error))
  }

  #end(pending: Pending, error?: ProducerError): void {
    this.pending--
    this.pendingBytes -= sizeOf(pending)
    this.#options.onSettled(pending, error)
  }
}
