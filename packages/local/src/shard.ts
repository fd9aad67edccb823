import type { HashRange } from '@shardwise/records'
import { RecordLog } from './record-log.ts'
import { TokenBucket } from './token-bucket.ts'

/** The service's limits of one shard (AWS documentation, "Quotas and limits"). */
const BYTES_IN_PER_SECOND = 2 ** 20
const RECORDS_IN_PER_SECOND = 1_000
const BYTES_OUT_PER_SECOND = 2 * 2 ** 20
const CALLS_OUT_PER_SECOND = 5

export interface ShardLimits {
  readonly bytesIn: TokenBucket
  readonly recordsIn: TokenBucket
  readonly bytesOut: TokenBucket
  readonly callsOut: TokenBucket
}

export interface ShardOrigin {
  readonly number: number
  readonly hashRange: HashRange
  /** None for a first shard, one after a split, two after a merge. */
  readonly parents: readonly Shard[]
  readonly startingSequenceNumber: string
  readonly createdMs: number
}

/** One shard with its records. Closed by a reshard, it can still be read until its records are trimmed. */
export class Shard {
  readonly id: string
  readonly number: number
  readonly hashRange: HashRange
  readonly parents: readonly Shard[]
  readonly children: Shard[] = []
  readonly startingSequenceNumber: string
  readonly createdMs: number
  readonly log: RecordLog = new RecordLog()
  readonly limits: ShardLimits
  endingSequenceNumber: string | undefined
  closedMs: number = Number.POSITIVE_INFINITY

  constructor({ number, hashRange, parents, startingSequenceNumber, createdMs }: ShardOrigin) {
    this.id = `shardId-${String(number).padStart(12, '0')}`
    this.number = number
    this.hashRange = hashRange
    this.parents = parents
    this.startingSequenceNumber = startingSequenceNumber
    this.createdMs = createdMs
    this.limits = {
      bytesIn: new TokenBucket(BYTES_IN_PER_SECOND, createdMs),
      recordsIn: new TokenBucket(RECORDS_IN_PER_SECOND, createdMs),
      bytesOut: new TokenBucket(BYTES_OUT_PER_SECOND, createdMs),
      callsOut: new TokenBucket(CALLS_OUT_PER_SECOND, createdMs),
    }
  }

  get isOpen(): boolean {
    return this.endingSequenceNumber === undefined
  }

  close(endingSequenceNumber: string, nowMs: number): void {
    this.endingSequenceNumber = endingSequenceNumber
    this.closedMs = nowMs
  }
}
