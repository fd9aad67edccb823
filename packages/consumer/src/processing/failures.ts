import type { Clock, Random } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { type DeadLetterSender, deadLetterOf } from './dead-letter.ts'
import type { FailureOptions } from './failure-policy.ts'
import { recordsOf } from './handler.ts'
import {
  deadLetterFailed,
  handlerFailed,
  recordDeadLettered,
  recordSkipped,
  undecodableRecord,
} from './handling-events.ts'
import type { PendingLetter, PoolMember } from './pool-member.ts'
import { afterFailure, deadLetterBackoffMs } from './retry-policy.ts'
import type { Work, WorkQueue } from './work.ts'

export interface FailuresOptions extends FailureOptions, DeadLetterSender {
  readonly clock: Clock
  readonly random: Random
}

/** What the pool does about it. */
export interface FailuresPool {
  /** There may be something to run. */
  readonly onReady: (member: PoolMember) => void
  /** Nothing more of it is to be begun. */
  readonly onStop: (member: PoolMember) => void
}

/** Does what the retry policy and the failure policy say of works that fail. */
export class Failures {
  readonly #options: FailuresOptions
  readonly #pool: FailuresPool

  constructor(options: FailuresOptions, pool: FailuresPool) {
    this.#options = options
    this.#pool = pool
  }

  /** The handler failed. @param isHung it was told to give up and may still be at work */
  failed(member: PoolMember, work: Work, error: unknown, isHung = false): void {
    const { queue, signal, telemetry } = member.shard
    // What an aborted handler throws says nothing: the record isn't ours any more, and comes again elsewhere.
    if (signal.aborted) {
      uncounted(queue, work)
      return
    }
    const { clock, random } = this.#options
    const nowMs = clock.monotonicMs()
    const { attempt, failedAtMs } = work
    const ageMs = failedAtMs === undefined ? undefined : nowMs - failedAtMs
    const records = recordsOf(work).length
    const after = afterFailure({ attempt, records, ageMs, isFinal: isFinal(error), isHung }, this.#options, random)
    const isOver = after.next === 'givenUp' || member.isRemoved
    telemetry.emit(handlerFailed(work, error, isOver ? undefined : after.inMs))
    work.failedAtMs ??= nowMs
    queue.failed(work)
    if (member.isRemoved) return
    if (after.next === 'givenUp') this.#giveUp(member, work, error, attempt)
    else this.#again(member, after.next === 'halves' ? queue.bisect(work) : work, after.inMs)
  }

  /** A Kinesis record that no handler can be called with. */
  undecodable(member: PoolMember, work: Work, { reason, isGone }: NonNullable<Work['undecodable']>): void {
    const { queue, telemetry } = member.shard
    const { shardId, sequenceNumber } = work.record
    const { attempt } = work
    telemetry.emit(undecodableRecord(work, reason))
    work.failedAtMs ??= this.#options.clock.monotonicMs()
    queue.failed(work)
    const error = new ConsumerError(
      'ERR_RECORD',
      `Expected a sound aggregate in the Kinesis record ${sequenceNumber} of ${shardId}, got a damaged one: ${reason}.`,
      { shardId },
    )
    // Its bytes aren't here any more, only in the stream.
    if (isGone) this.#stop(member, work, error, attempt)
    else this.#giveUp(member, work, error, attempt)
  }

  /** The dead letter is kept. */
  sent(member: PoolMember, work: Work, { letter }: PendingLetter): void {
    const { queue, telemetry } = member.shard
    member.letters.delete(work)
    queue.finished(work)
    telemetry.emit(recordDeadLettered(work, letter.error, letter.attempts))
  }

  /** The dead letter couldn't be sent. */
  notSent(member: PoolMember, work: Work, pending: PendingLetter, error: unknown): void {
    const { queue, signal, telemetry } = member.shard
    uncounted(queue, work)
    if (signal.aborted) return
    pending.failures++
    const inMs = deadLetterBackoffMs(pending.failures, this.#options.random)
    telemetry.emit(deadLetterFailed(work, error, pending.failures, inMs))
    this.#again(member, work, inMs)
  }

  #again(member: PoolMember, work: Work, inMs: number): void {
    member.later(inMs, () => {
      member.shard.queue.again(work)
      this.#pool.onReady(member)
    })
  }

  #giveUp(member: PoolMember, work: Work, error: unknown, attempts: number): void {
    const { failurePolicy, clock } = this.#options
    const { queue, telemetry } = member.shard
    if (failurePolicy === 'stop') {
      this.#stop(member, work, error, attempts)
    } else if (failurePolicy === 'skip') {
      queue.finished(work)
      telemetry.emit(recordSkipped(work, error, attempts))
    } else {
      const kind = work.undecodable === undefined ? 'record' : 'undecodable'
      const firstFailedAt = new Date(clock.wallMs() - (clock.monotonicMs() - work.failedAtMs!))
      const letter = deadLetterOf(work.record, kind, { error, attempts, firstFailedAt }, this.#options)
      member.letters.set(work, { letter, failures: 0 })
      // To be sent, it needs a place as any other.
      queue.again(work)
      this.#pool.onReady(member)
    }
  }

  #stop(member: PoolMember, work: Work, error: unknown, attempts: number): void {
    this.#pool.onStop(member)
    member.shard.onStop(work, error, attempts)
  }
}

/** It didn't end well, and was no attempt of the handler that counts. */
export function uncounted(queue: WorkQueue, work: Work): void {
  queue.failed(work)
  work.attempt--
}

/** Whether it is about what the data is, which doesn't change. */
function isFinal(error: unknown): boolean {
  const { code } = Object(error) as { code?: unknown }
  return code === 'ERR_CODEC' || code === 'ERR_JSON'
}
