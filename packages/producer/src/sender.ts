import type { Link } from '@opentelemetry/api'
import { type Backoff, backoffMs, type Clock, errorCode, type Kinesis, type Logger, type Random } from '@shardwise/core'
import type { InFlight } from './collector.ts'
import { type Lane, nextLookMs } from './lane.ts'
import type { Distribution, Lanes, ResendOptions } from './lanes.ts'
import { type Attempt, addAttempt, changeLastAttempt, type EarlierCopy } from './pending.ts'
import { type Answers, type Place, putRecords, type Refusal } from './put-records.ts'
import { closed, expired, keyMissing, type Rejection, refused, throttled } from './rejection.ts'
import { attemptsOf, type SealedRecord, sealLone, splitExpired, unseal } from './sealed-record.ts'
import type { Settlement } from './settlement.ts'
import { Strays } from './strays.ts'
import type { StreamWatch } from './stream-watch.ts'
import type { ProducerEvent } from './telemetry.ts'

export interface SenderOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly recordTtl: number
  readonly failIfThrottled: boolean
  readonly maxRequestsInFlight: number
  readonly lanes: Lanes
  readonly watch: StreamWatch
  readonly settlement: Settlement
  /** Gives up what is in flight. */
  readonly signal: AbortSignal
  readonly emit: (event: ProducerEvent) => void
  readonly onDistribution: (distribution: Distribution) => void
  /** Told when something may go that could not go before. */
  readonly onProgress: () => void
}

const BACKOFF: Backoff = { baseMs: 50, maxMs: 2_000 }

/** What an attempt is called that was accepted by a shard where not all of it belongs; the KPL calls it "Wrong Shard". */
const WRONG_SHARD = 'WrongShard'

/** There is no such stream. */
const NOT_FOUND = 'ResourceNotFoundException'

/** What a request was refused for that one record in it is to blame for. */
const INVALID = new Set([
  'InvalidArgumentException',
  'ValidationException',
  'SerializationException',
  'RequestEntityTooLargeException',
])

/** Sends what the lanes give, and decides by each answer: acknowledgement, another attempt, or rejection. */
export class Sender {
  readonly #options: SenderOptions
  readonly #strays: Strays
  /** Everything that was sent and has no outcome yet, strays too. */
  readonly #inFlight = new Set<InFlight>()
  #requests = 0

  constructor(options: SenderOptions) {
    this.#options = options
    this.#strays = new Strays({
      ...options,
      acknowledge: (each, place) => this.#acknowledge(each, place),
      resend: (each, place, alone) => this.#resend(each, place, alone),
    })
  }

  /** Whether another request may be sent. */
  get hasRoom(): boolean {
    return this.#requests < this.#options.maxRequestsInFlight
  }

  /** When the oldest of what was sent and has no outcome yet was put; Infinity if there is none. */
  get oldestMs(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const { sealed } of this.#inFlight) oldest = Math.min(oldest, sealed.expiresMs - this.#options.recordTtl)
    return oldest
  }

  /** When the first of those that wait for a shard map expires. */
  get nextExpiryMs(): number {
    return this.#strays.nextExpiryMs
  }

  /** Rejects what is in the stream somewhere, and was to be judged by a map by then. */
  rejectStrays(nowMs: number, rejection: Rejection): void {
    for (const each of this.#strays.takeExpired(nowMs)) {
      mark(each.sealed, 'misplaced')
      this.#finish(each, rejection)
    }
  }

  /** One PutRecords. */
  async send(batch: readonly InFlight[]): Promise<void> {
    const { kinesis, stream, clock, signal, settlement, onProgress } = this.#options
    const sent = { atMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    this.#requests++
    for (const each of batch) this.#inFlight.add(each)
    const records = batch.map(({ sealed }) => sealed)
    const span = settlement.telemetry.requestSent({
      kinesisRecords: records.length,
      userRecords: records.reduce((sum, { pending }) => sum + pending.length, 0),
      bytes: records.reduce((sum, { bytes }) => sum + bytes, 0),
      links: settlement.telemetry.hasLinks ? linksOf(records) : [],
    })
    const answers = await span.within(() => putRecords(kinesis, stream, records, signal))
    this.#requests--
    const failed = answers.answers.filter((answer) => 'outcome' in answer).length
    span.answered({ durationMs: clock.monotonicMs() - sent.atMs, failed, error: answers.failure?.error })
    this.#answered(batch, answers, sent)
    onProgress()
  }

  #answered(batch: readonly InFlight[], { answers, failure }: Answers, sent: { atMs: number; wallMs: number }): void {
    const { stream, clock, logger, signal, settlement, emit } = this.#options
    if (failure !== undefined && !signal.aborted) {
      const { error, outcome } = failure
      logger.warn({ err: error, stream, outcome }, 'PutRecords failed')
      emit({ type: 'requestFailed', error, outcome, kinesisRecords: batch.length })
    }
    const nowMs = clock.monotonicMs()
    const took = { sentMs: sent.wallMs, durationMs: nowMs - sent.atMs }
    const success: Attempt = { ...took, code: undefined, message: undefined }
    const slowed = new Set<Lane>()
    for (const [index, each] of batch.entries()) {
      const answer = answers[index]!
      if ('outcome' in answer) {
        const { error, outcome } = answer
        if (outcome === 'throttled') slowed.add(each.lane)
        const code = errorCode(error)
        addAttempt(each.sealed.pending, { ...took, code, message: error.message })
        settlement.telemetry.attemptFailed(each.lane.shardId, code, each.sealed.pending.length)
        this.#failed(each, answer, batch.length)
      } else {
        addAttempt(each.sealed.pending, success)
        this.#strays.judge(each, answer)
      }
    }
    for (const { bucket, shardId } of slowed) {
      bucket.throttled(sent.atMs, nowMs)
      emit({ type: 'throttled', shardId, bytesPerSecond: bucket.bytesPerSecond })
    }
  }

  #acknowledge(each: InFlight, place: Place): void {
    this.#options.settlement.acknowledge(each.sealed, place, each.sentAtMs)
    this.#leave(each)
  }

  #resend(each: InFlight, { shardId, sequenceNumber }: Place, alone: boolean): void {
    const { lane, sealed } = each
    const { settlement, emit, clock } = this.#options
    const userRecords = sealed.pending.length
    mark(sealed, 'misplaced')
    changeLastAttempt(sealed.pending, {
      code: WRONG_SHARD,
      message: `accepted by ${shardId}, where not all that was sent with it belongs`,
    })
    emit({ type: 'misplaced', predictedShardId: lane.shardId, shardId, sequenceNumber, userRecords })
    settlement.telemetry.attemptFailed(lane.shardId, WRONG_SHARD, userRecords)
    const rejection = this.#endOf(sealed)
    if (rejection !== undefined) {
      this.#finish(each, rejection)
      return
    }
    settlement.telemetry.possibleDuplicates(userRecords, 'misplaced')
    // After a reshard at once; but what went wrong by a fresh map, or a second time, may go wrong again.
    const isDoubtful = !lane.retired || attemptsOf(sealed) > 1
    const pausedUntilMs = isDoubtful ? clock.monotonicMs() + this.#backoffMs(sealed) : 0
    this.#sendAgain(each, pausedUntilMs, { parts: unseal(sealed), alone })
  }

  #failed(each: InFlight, { outcome, error }: Refusal, sentTogether: number): void {
    const { lane, sealed } = each
    const { stream, clock, failIfThrottled, settlement, watch, emit } = this.#options
    const userRecords = sealed.pending.length
    if (outcome === 'unknown') {
      mark(sealed, 'unknown')
      // Whoever carries the request that was given up may still read its bytes.
      sealed.builder = undefined
    }
    for (const pending of sealed.pending) pending.lastError = error
    // It may be made anew, with other shards by the same names.
    if (errorCode(error) === NOT_FOUND) watch.goWithoutMap(error)
    // One of them is to blame; each by itself will show which.
    const isSuspect = outcome === 'fatal' && sentTogether > 1 && INVALID.has(errorCode(error))
    const rejection =
      outcome === 'fatal' && !isSuspect
        ? refused(stream, error)
        : outcome === 'throttled' && failIfThrottled
          ? throttled(stream, error)
          : this.#endOf(sealed)
    if (rejection !== undefined) {
      this.#finish(each, rejection)
      return
    }
    sealed.isSuspect = isSuspect
    if (outcome === 'unknown') settlement.telemetry.possibleDuplicates(userRecords, 'unknown')
    emit({ type: 'sentAgain', cause: outcome, shardId: lane.shardId, userRecords, error })
    this.#sendAgain(each, isSuspect ? 0 : clock.monotonicMs() + this.#backoffMs(sealed))
  }

  /** The same bytes again, or where they can't stay together what is not too old of their user records. */
  #sendAgain(each: InFlight, pausedUntilMs: number, options?: ResendOptions): void {
    const { lane, sealed } = each
    const { lanes, stream, clock, recordTtl, settlement, signal, onProgress } = this.#options
    // Whoever was told of it may have closed the producer.
    if (signal.aborted) {
      this.#finish(each, closed(stream))
      return
    }
    const nowMs = clock.monotonicMs()
    this.#inFlight.delete(each)
    if (sealed.expiresMs <= nowMs) {
      const { old, alive } = splitExpired(sealed, nowMs, recordTtl)
      // Its bytes are still to be handed back, and what is told of that may put more.
      sealed.builder = undefined
      lanes.resend(lane, sealed, pausedUntilMs, { ...options, parts: alive, notBeforeMs: nextLookMs(nowMs, recordTtl) })
      for (const { record, pending } of old) {
        settlement.reject(sealLone(record, pending, recordTtl), expired(stream, recordTtl))
      }
    } else if (options === undefined) {
      lanes.retry(lane, sealed, pausedUntilMs)
    } else {
      lanes.resend(lane, sealed, pausedUntilMs, options)
    }
    onProgress()
  }

  /** Why a Kinesis record is not sent again, if it isn't. */
  #endOf(sealed: SealedRecord): Rejection | undefined {
    const { stream, signal, lanes } = this.#options
    if (signal.aborted) return closed(stream)
    return lanes.hasPlaceFor(sealed) ? undefined : keyMissing(stream)
  }

  #backoffMs(sealed: SealedRecord): number {
    return backoffMs(attemptsOf(sealed), BACKOFF, this.#options.random)
  }

  #finish(each: InFlight, rejection: Rejection): void {
    this.#options.settlement.reject(each.sealed, rejection)
    this.#leave(each)
  }

  #leave(each: InFlight): void {
    this.#inFlight.delete(each)
    this.#options.lanes.settle(each.lane, each.sealed)
    this.#options.onProgress()
  }
}

/** A copy that certainly is in the stream says more than one that may be. */
function mark(sealed: SealedRecord, earlierCopy: EarlierCopy): void {
  for (const pending of sealed.pending) if (pending.earlierCopy !== 'misplaced') pending.earlierCopy = earlierCopy
}

function linksOf(records: readonly SealedRecord[]): Link[] {
  return records.flatMap(({ pending }) => pending.flatMap(({ link }) => link ?? []))
}
