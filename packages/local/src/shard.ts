import type { HashRange } from '@shardwise/records'
import { RecordLog } from './record-log.ts'
import { TokenBucket } from './token-bucket.ts'

/** The service's limits of one shard (AWS documentation, "Quotas and limits"). */
const BYTES_IN_PER_SECOND = 2 ** 20
const RECORDS_IN_PER_SECOND = 1_000
const BYTES_OUT_PER_SECOND = 2 * 2 ** 20
const CALLS_OUT_PER_SECOND = 5

/** What all who poll a shard share, and all who write to it. */
export interface ShardLimits {
  readonly bytesIn: TokenBucket
  readonly recordsIn: TokenBucket
  readonly bytesOut: TokenBucket
  readonly callsOut: TokenBucket
  /** After a full answer nobody polls until then. */
  pollableAtMs: number
}

export interface ShardOrigin {
  readonly number: number
  readonly hashRange: HashRange
  /** None for a first shard, one after a split, two after a merge. */
  readonly parents: readonly { readonly id: string }[]
  readonly startingSequenceNumber: string
  readonly createdMs: number
}

/** One shard with its records. Closed by a reshard, it can still be read until its records are past the retention. */
export class Shard {
  readonly id: string
  readonly number: number
  readonly hashRange: HashRange
  readonly parents: readonly { readonly id: string }[]
  readonly children: Shard[] = []
  readonly startingSequenceNumber: string
  readonly createdMs: number
  readonly log: RecordLog = new RecordLog()
  readonly limits: ShardLimits = {
    bytesIn: new TokenBucket(BYTES_IN_PER_SECOND),
    recordsIn: new TokenBucket(RECORDS_IN_PER_SECOND),
    bytesOut: new TokenBucket(BYTES_OUT_PER_SECOND),
    callsOut: new TokenBucket(CALLS_OUT_PER_SECOND),
    pollableAtMs: Number.NEGATIVE_INFINITY,
  }
  endingSequenceNumber: string | undefined
  closedMs: number = Number.POSITIVE_INFINITY
  /** Who is told when a record has arrived or the shard was closed. */
  readonly listeners: Set<() => void> = new Set()

  constructor({ number, hashRange, parents, startingSequenceNumber, createdMs }: ShardOrigin) {
    this.id = `shardId-${String(number).padStart(12, '0')}`
    this.number = number
    this.hashRange = hashRange
    this.parents = parents
    this.startingSequenceNumber = startingSequenceNumber
    this.createdMs = createdMs
  }

  get isOpen(): boolean {
    return this.endingSequenceNumber === undefined
  }

  close(endingSequenceNumber: string, nowMs: number): void {
    this.endingSequenceNumber = endingSequenceNumber
    this.closedMs = nowMs
  }

  announce(): void {
    // A listener may leave while it is told.
    for (const listener of [...this.listeners]) listener()
  }
}
