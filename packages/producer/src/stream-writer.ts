import type { Link } from '@opentelemetry/api'
import { type Backoff, backoffMs, errorCode, type Kinesis, type StreamDescription, timedKinesis } from '@shardwise/core'
import type { ShardMap } from '@shardwise/records'
import { Alarm } from './alarm.ts'
import { collect, type InFlight } from './collector.ts'
import type { ProducerError } from './errors.ts'
import { Fifo } from './fifo.ts'
import type { Lane } from './lane.ts'
import { type Distribution, Lanes, type ResendOptions } from './lanes.ts'
import type { ResolvedOptions } from './options.ts'
import { type Attempt, addAttempt, changeLastAttempt, type EarlierCopy, type Pending, sizeOf } from './pending.ts'
import { type Answers, type Place, putRecords, type Refusal } from './put-records.ts'
import { closed, expired, keyMissing, type OnSettled, type Rejection, refused, reject, throttled } from './rejection.ts'
import { type SealedRecord, sealLone, type Unsealed, unseal } from './sealed-record.ts'
import { Strays } from './strays.ts'
import { StreamTelemetry } from './stream-telemetry.ts'
import { StreamWatch } from './stream-watch.ts'
import type { ProducerEvent } from './telemetry.ts'
import { type CheckedRecord, MAX_RECORD_BYTES, tooLarge } from './user-record.ts'

export interface StreamWriterOptions extends Omit<ResolvedOptions, 'stream' | 'encode' | 'onError' | 'client'> {
  /** Its name or ARN. */
  readonly stream: string
  /** Whether callers name it in each `put`, so that it is handed back with a record that failed. */
  readonly isNamed: boolean
  readonly kinesis: Kinesis
  readonly onSettled: OnSettled
  /** Whether nothing is to wait for others to share its aggregate. */
  readonly isFlushing: () => boolean
}

const BACKOFF: Backoff = { baseMs: 50, maxMs: 2_000 }

/** What a request was refused for that one record in it is to blame for. */
const INVALID = new Set([
  'InvalidArgumentException',
  'ValidationException',
  'SerializationException',
  'RequestEntityTooLargeException',
])

/** What an attempt is called that was accepted by a shard where not all of it belongs; the KPL calls it "Wrong Shard". */
const WRONG_SHARD = 'WrongShard'

/**
 * Gets user records into one stream: into lanes by the shard map, from there into requests, and by each answer to
 * acknowledgement, another attempt, or rejection.
 */
export class StreamWriter {
  readonly #options: StreamWriterOptions
  readonly #kinesis: Kinesis
  readonly #lanes: Lanes
  readonly #watch: StreamWatch
  readonly #strays: Strays
  readonly #alarm: Alarm
  readonly #abort = new AbortController()
  /** Records that came before it was known how to send them. */
  readonly #unrouted = new Fifo<{ readonly record: CheckedRecord; readonly pending: Pending }>()
  /** Everything that was sent and has no outcome yet, strays too. */
  readonly #inFlight = new Set<InFlight>()
  /** The largest record that the stream takes. */
  #maxRecordBytes = MAX_RECORD_BYTES
  readonly #telemetry: StreamTelemetry
  /** What was ever written, what of it has no outcome yet, and the bytes of that. */
  #received = 0
  #pending = 0
  #pendingBytes = 0
  /** Whether some put was made while a span was active. */
  #hasLinks = false
  #requests = 0
  #pumpScheduled = false

  constructor(options: StreamWriterOptions) {
    this.#options = options
    this.#alarm = new Alarm(options.clock, () => this.#pump())
    this.#telemetry = new StreamTelemetry(options.stream, () => ({
      received: this.#received,
      pending: this.#pending,
      pendingBytes: this.#pendingBytes,
    }))
    this.#kinesis = timedKinesis(options.kinesis, options.clock, options.requestTimeout)
    // The partition key of an aggregate is one byte.
    const aggregationMaxSize = (): number => Math.min(options.aggregationMaxSize, this.#maxRecordBytes - 1)
    this.#lanes = new Lanes({
      ...options,
      get aggregationMaxSize() {
        return aggregationMaxSize()
      },
    })
    this.#watch = new StreamWatch({
      ...options,
      kinesis: this.#kinesis,
      signal: this.#abort.signal,
      onMap: (map) => this.#useMap(map),
      onDescription: (description) => this.#useDescription(description),
      emit: (event) => this.#emit(event),
    })
    this.#strays = new Strays({
      lanes: this.#lanes,
      watch: this.#watch,
      onDistribution: (distribution) => this.#distribute(distribution),
      acknowledge: (each, place) => this.#acknowledge(each, place),
      resend: (each, place, alone) => this.#resend(each, place, alone),
    })
  }

  /** When the oldest of what has no outcome yet was put; Infinity if everything has. */
  get oldestMs(): number {
    let oldest = Math.min(this.#lanes.oldestMs, this.#unrouted.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY)
    for (const { sealed } of this.#inFlight) oldest = Math.min(oldest, sealed.expiresMs - this.#options.recordTtl)
    return oldest
  }

  /** Its name or ARN. */
  get stream(): string {
    return this.#options.stream
  }

  /** A link to the span that is active now, if there is one, for what is put now. */
  linkOf(): Link | undefined {
    const link = this.#telemetry.linkOf()
    if (link !== undefined) this.#hasLinks = true
    return link
  }

  /** Takes a user record. It must not be called again after {@link abort}. */
  write(record: CheckedRecord, pending: Pending, nowMs: number): void {
    this.#received++
    this.#pending++
    this.#pendingBytes += sizeOf(pending)
    this.#watch.refreshIfDue(nowMs)
    if (!this.#watch.isReady || this.#unrouted.length > 0 || !this.#isPlain(record)) {
      this.#unrouted.push({ record, pending })
      void this.#watch.start()
      this.#route(nowMs)
      if (this.#unrouted.length > 0) this.#alarm.setBy(pending.arrivedMs + this.#options.recordTtl, nowMs)
    } else if (this.#lanes.add(record, pending, nowMs, this.#hasRoom)) {
      this.hurry()
    } else {
      this.#alarm.setBy(nowMs + this.#options.recordMaxBufferedTime, nowMs)
    }
  }

  /** Rejects a user record that was never written. */
  turnAway(record: CheckedRecord, pending: Pending, rejection: Rejection, onSettled: OnSettled): void {
    const { isNamed, stream, recordTtl } = this.#options
    this.#telemetry.rejected(rejection.code, 1)
    reject(sealLone(record, pending, recordTtl), rejection, isNamed ? stream : undefined, onSettled)
  }

  /**
   * Sends what may go. Once for everything that happens in this turn of the event loop, so that lanes that become ready in
   * it, in whichever microtask, share a request.
   */
  hurry(): void {
    if (this.#pumpScheduled) return
    this.#pumpScheduled = true
    void this.#options.clock.sleep(0).then(() => {
      this.#pumpScheduled = false
      this.#pump()
    })
  }

  /** Rejects everything that waits or is in flight; nothing is sent any more. */
  abort(): void {
    if (this.#abort.signal.aborted) return
    this.#abort.abort(Object.assign(new Error('the producer is closed'), { name: 'AbortError' }))
    this.#alarm.cancel()
    const rejection = closed(this.#options.stream)
    for (const sealed of this.#lanes.drain()) this.#reject(sealed, rejection)
    this.#rejectUnrouted(Number.POSITIVE_INFINITY, rejection)
    for (const each of this.#strays.takeExpired(Number.POSITIVE_INFINITY)) {
      this.#mark(each.sealed, 'misplaced')
      this.#finish(each, rejection)
    }
    this.#telemetry.close()
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs()
  }

  get #hasRoom(): boolean {
    return this.#requests < this.#options.maxRequestsInFlight
  }

  #useMap(map: ShardMap | undefined): void {
    if (this.#abort.signal.aborted) return
    const nowMs = this.#nowMs
    const before = this.#lanes.map
    this.#rejectHomeless(this.#lanes.replaceMap(map, nowMs))
    const isSame =
      before?.shards.length === map?.shards.length && before?.shards.every(({ shardId }) => map?.get(shardId))
    if (map !== undefined && !isSame) {
      this.#emit({ type: 'shardMapChanged', shardIds: map.shards.map(({ shardId }) => shardId) })
    }
    this.#route(nowMs)
    this.hurry()
  }

  #useDescription(description: StreamDescription | undefined): void {
    if (this.#abort.signal.aborted) return
    const nowMs = this.#nowMs
    if (description !== undefined) {
      const { maxRecordBytes, isOnDemand, distributesByKey } = description
      this.#maxRecordBytes = maxRecordBytes
      this.#lanes.limitTo(isOnDemand ? Number.POSITIVE_INFINITY : this.#options.rateLimit, nowMs)
      if (!distributesByKey) this.#distribute('service')
      else if (this.#lanes.distribution === 'service') void this.#goBackToKeys()
    }
    this.#route(nowMs)
    this.hurry()
  }

  async #goBackToKeys(): Promise<void> {
    await this.#watch.refresh()
    if (!this.#abort.signal.aborted) this.#distribute('key')
  }

  #distribute(distribution: Distribution): void {
    if (this.#lanes.distribution === distribution) return
    this.#rejectHomeless(this.#lanes.distribute(distribution, this.#nowMs))
    this.#options.logger.warn({ stream: this.#options.stream, distribution }, 'the distribution of records changed')
    this.#emit({ type: 'distributionChanged', distribution })
    this.hurry()
  }

  /** Whether any stream takes such a record. */
  #isPlain({ partitionKey, bytes }: CheckedRecord): boolean {
    return partitionKey !== undefined && bytes <= MAX_RECORD_BYTES
  }

  /** Moves records into lanes, in their order, as far as it is known how to send them. */
  #route(nowMs: number): void {
    if (!this.#watch.isReady) return
    for (let first = this.#unrouted.first; first !== undefined; first = this.#unrouted.first) {
      const { record, pending } = first
      const misfit = this.#misfitOf(record)
      if (misfit !== undefined && this.#watch.isDescriptionPending) return
      this.#unrouted.shift()
      if (misfit !== undefined) this.#reject(sealLone(record, pending, this.#options.recordTtl), misfit)
      else if (this.#lanes.add(record, pending, nowMs, this.#hasRoom)) this.hurry()
      else this.#alarm.setBy(nowMs + this.#options.recordMaxBufferedTime, nowMs)
    }
  }

  /** Why this stream doesn't take a record, as far as is known. */
  #misfitOf(record: CheckedRecord): Rejection | undefined {
    const { stream } = this.#options
    if (record.bytes > this.#maxRecordBytes) {
      const isKnown = this.#watch.description !== undefined
      const hint = isKnown ? '' : ' If the stream takes larger ones, grant kinesis:DescribeStreamSummary.'
      return { code: 'ERR_RECORD_TOO_LARGE', message: tooLarge(record.bytes, this.#maxRecordBytes, stream) + hint }
    }
    return this.#lanes.hasPlaceFor(record) ? undefined : keyMissing(stream)
  }

  #rejectHomeless(homeless: readonly SealedRecord[]): void {
    for (const sealed of homeless) this.#reject(sealed, keyMissing(this.#options.stream))
  }

  #pump(): void {
    if (this.#abort.signal.aborted) return
    const nowMs = this.#nowMs
    const flushing = this.#options.isFlushing()
    const nextExpiryMs = this.#rejectExpired(nowMs)
    while (this.#hasRoom) {
      const batch = collect(this.#lanes, nowMs, flushing, this.#options)
      if (batch.length === 0) break
      void this.#send(batch)
    }
    let dueMs = nextExpiryMs
    for (const lane of this.#lanes.active) dueMs = Math.min(dueMs, nowMs + lane.waitMs(nowMs, this.#hasRoom, flushing))
    // A timer that nobody needs would keep the process alive.
    if (dueMs === Number.POSITIVE_INFINITY) this.#alarm.cancel()
    else this.#alarm.setBy(dueMs, nowMs)
  }

  /** Rejects what is too old, wherever it waits. Returns when the next expires of what isn't in a lane. */
  #rejectExpired(nowMs: number): number {
    const { stream, recordTtl } = this.#options
    for (const lane of this.#lanes.active) {
      const alive = lane.takeExpired(nowMs).flatMap((sealed) => this.#rejectExpiredIn(sealed, nowMs))
      if (alive.length > 0) this.#lanes.putBack(lane, alive, this.#nextLookMs(nowMs))
    }
    for (const each of this.#strays.takeExpired(nowMs)) {
      this.#mark(each.sealed, 'misplaced')
      this.#finish(each, expired(stream, recordTtl, this.#watch.lastError))
    }
    this.#rejectUnrouted(nowMs - recordTtl, expired(stream, recordTtl, this.#watch.lastError))
    const unroutedMs = (this.#unrouted.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY) + recordTtl
    return Math.min(unroutedMs, this.#strays.nextExpiryMs)
  }

  /** Rejects those user records of a Kinesis record that are too old; returns those that aren't. */
  #rejectExpiredIn(sealed: SealedRecord, nowMs: number): Unsealed[] {
    const { stream, recordTtl } = this.#options
    const { old = [], alive = [] } = Object.groupBy(unseal(sealed), ({ pending }) =>
      pending.arrivedMs + recordTtl > nowMs ? 'alive' : 'old',
    )
    const rejection = expired(stream, recordTtl)
    for (const { record, pending } of old) this.#rejectAll(sealLone(record, pending, recordTtl), rejection)
    return alive
  }

  /** Taking an aggregate apart for every record that expires would cost too much: not before this time again. */
  #nextLookMs(nowMs: number): number {
    return nowMs + this.#options.recordTtl / 100
  }

  async #send(batch: readonly InFlight[]): Promise<void> {
    const { stream, clock } = this.#options
    const sent = { atMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    this.#requests++
    for (const each of batch) this.#inFlight.add(each)
    const records = batch.map(({ sealed }) => sealed)
    const span = this.#telemetry.requestSent({
      kinesisRecords: records.length,
      userRecords: records.reduce((sum, { pending }) => sum + pending.length, 0),
      bytes: records.reduce((sum, { bytes }) => sum + bytes, 0),
      links: this.#hasLinks ? linksOf(records) : [],
    })
    const answers = await span.within(() => putRecords(this.#kinesis, stream, records, this.#abort.signal))
    this.#requests--
    const failed = answers.answers.filter((answer) => 'outcome' in answer).length
    span.answered({ durationMs: clock.monotonicMs() - sent.atMs, failed, error: answers.failure?.error })
    this.#answered(batch, answers, sent)
    this.hurry()
  }

  #answered(batch: readonly InFlight[], { answers, failure }: Answers, sent: { atMs: number; wallMs: number }): void {
    if (failure !== undefined && !this.#abort.signal.aborted) {
      const { error, outcome } = failure
      this.#options.logger.warn({ err: error, stream: this.#options.stream, outcome }, 'PutRecords failed')
      this.#emit({ type: 'requestFailed', error, outcome, kinesisRecords: batch.length })
    }
    const nowMs = this.#nowMs
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
        this.#telemetry.attemptFailed(each.lane.shardId, code, each.sealed.pending.length)
        this.#failed(each, answer, batch.length)
      } else {
        addAttempt(each.sealed.pending, success)
        this.#strays.judge(each, answer)
      }
    }
    for (const { bucket, shardId } of slowed) {
      bucket.throttled(sent.atMs, nowMs)
      this.#emit({ type: 'throttled', shardId, bytesPerSecond: bucket.bytesPerSecond })
    }
  }

  #acknowledge(each: InFlight, { shardId, sequenceNumber }: Place): void {
    const { lane, sealed } = each
    let userBytes = 0
    for (const [subSequenceNumber, pending] of sealed.pending.entries()) {
      const { attempts, earlierCopy } = pending
      pending.resolve({ shardId, sequenceNumber, subSequenceNumber, attempts, earlierCopy })
      userBytes += pending.bytes
      this.#settled(pending)
    }
    this.#telemetry.accepted({
      shardId,
      userRecords: sealed.pending.length,
      userBytes,
      bytes: sealed.bytes,
      attempts: attemptsOf(sealed),
      bufferingMs: each.sentAtMs - (sealed.expiresMs - this.#options.recordTtl),
    })
    this.#inFlight.delete(each)
    this.#lanes.settle(lane, sealed)
    this.hurry()
  }

  #resend(each: InFlight, { shardId, sequenceNumber }: Place, alone: boolean): void {
    const { lane, sealed } = each
    this.#mark(sealed, 'misplaced')
    changeLastAttempt(sealed.pending, {
      code: WRONG_SHARD,
      message: `accepted by ${shardId}, where not all that was sent with it belongs`,
    })
    this.#emit({
      type: 'misplaced',
      predictedShardId: lane.shardId,
      shardId,
      sequenceNumber,
      userRecords: sealed.pending.length,
    })
    const rejection = this.#endOf(sealed)
    if (rejection !== undefined) {
      this.#finish(each, rejection)
      return
    }
    this.#telemetry.attemptFailed(lane.shardId, WRONG_SHARD, sealed.pending.length)
    this.#telemetry.possibleDuplicates(sealed.pending.length, 'misplaced')
    // After a reshard at once; but what went wrong by a fresh map, or a second time, may go wrong again.
    const isSuspect = !lane.retired || attemptsOf(sealed) > 1
    this.#sendAgain(each, isSuspect ? this.#nowMs + this.#backoffMs(sealed) : 0, { parts: unseal(sealed), alone })
  }

  #failed(each: InFlight, { outcome, error }: Refusal, sentTogether: number): void {
    const { lane, sealed } = each
    const { stream, failIfThrottled } = this.#options
    if (outcome === 'unknown') {
      this.#mark(sealed, 'unknown')
      // Whoever carries the request that was given up may still read its bytes.
      sealed.builder = undefined
    }
    for (const pending of sealed.pending) pending.lastError = error
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
    if (outcome === 'unknown') this.#telemetry.possibleDuplicates(sealed.pending.length, 'unknown')
    this.#emit({ type: 'sentAgain', cause: outcome, shardId: lane.shardId, userRecords: sealed.pending.length, error })
    this.#sendAgain(each, isSuspect ? 0 : this.#nowMs + this.#backoffMs(sealed))
  }

  /** The same bytes again, or where they can't stay together what is not too old of their user records. */
  #sendAgain(each: InFlight, pausedUntilMs: number, options?: ResendOptions): void {
    const { lane, sealed } = each
    const nowMs = this.#nowMs
    this.#inFlight.delete(each)
    if (sealed.expiresMs <= nowMs) {
      const parts = this.#rejectExpiredIn(sealed, nowMs)
      this.#lanes.resend(lane, sealed, pausedUntilMs, { ...options, parts, notBeforeMs: this.#nextLookMs(nowMs) })
    } else if (options === undefined) {
      this.#lanes.retry(lane, sealed, pausedUntilMs)
    } else {
      this.#lanes.resend(lane, sealed, pausedUntilMs, options)
    }
    this.hurry()
  }

  /** Why a Kinesis record is not sent again, if it isn't. */
  #endOf(sealed: SealedRecord): Rejection | undefined {
    const { stream } = this.#options
    if (this.#abort.signal.aborted) return closed(stream)
    return this.#lanes.hasPlaceFor(sealed) ? undefined : keyMissing(stream)
  }

  #backoffMs(sealed: SealedRecord): number {
    return backoffMs(attemptsOf(sealed), BACKOFF, this.#options.random)
  }

  /** Rejects what is in flight. */
  #finish(each: InFlight, rejection: Rejection): void {
    const { lane, sealed } = each
    this.#rejectAll(sealed, rejection)
    this.#inFlight.delete(each)
    this.#lanes.settle(lane, sealed)
    this.hurry()
  }

  /** Rejects what waits in a lane, or never came into one. */
  #reject(sealed: SealedRecord, rejection: Rejection): void {
    this.#rejectAll(sealed, rejection)
    this.#lanes.discard(sealed)
  }

  #rejectAll(sealed: SealedRecord, rejection: Rejection): void {
    const { isNamed, stream } = this.#options
    this.#telemetry.rejected(rejection.code, sealed.pending.length)
    reject(sealed, rejection, isNamed ? stream : undefined, (pending, error) => this.#settled(pending, error))
  }

  #settled(pending: Pending, error?: ProducerError): void {
    this.#pending--
    this.#pendingBytes -= sizeOf(pending)
    this.#options.onSettled(pending, error)
  }

  #rejectUnrouted(arrivedBeforeMs: number, rejection: Rejection): void {
    while (this.#unrouted.first !== undefined && this.#unrouted.first.pending.arrivedMs <= arrivedBeforeMs) {
      const { record, pending } = this.#unrouted.shift()!
      this.#reject(sealLone(record, pending, this.#options.recordTtl), rejection)
    }
  }

  /** A copy that certainly is in the stream says more than one that may be. */
  #mark(sealed: SealedRecord, earlierCopy: EarlierCopy): void {
    for (const pending of sealed.pending) if (pending.earlierCopy !== 'misplaced') pending.earlierCopy = earlierCopy
  }

  #emit(event: ProducerEvent): void {
    try {
      this.#options.onEvent(event)
    } catch (error) {
      this.#options.logger.error({ err: error, event: event.type }, 'onEvent threw')
    }
  }
}

function linksOf(records: readonly SealedRecord[]): Link[] {
  return records.flatMap(({ pending }) => pending.flatMap(({ link }) => link ?? []))
}

function attemptsOf({ pending }: SealedRecord): number {
  return pending[0]?.attempts.length ?? 1
}
