import { type Backoff, backoffMs, type Kinesis } from '@shardwise/core'
import type { ShardMap } from '@shardwise/records'
import { collect, type InFlight } from './collector.ts'
import { askDistribution } from './distribution.ts'
import { ProducerError } from './errors.ts'
import { Fifo } from './fifo.ts'
import type { Lane } from './lane.ts'
import { type Distribution, Lanes } from './lanes.ts'
import type { ResolvedOptions } from './options.ts'
import type { EarlierCopy, Pending } from './pending.ts'
import { type Answers, type Place, putRecords, type Refusal } from './put-records.ts'
import { closed, expired, type Rejection, refused, reject, shardsUnlisted } from './rejection.ts'
import { type SealedRecord, sealLone } from './sealed-record.ts'
import { ShardMapKeeper } from './shard-map-keeper.ts'
import { Strays } from './strays.ts'
import type { ProducerEvent } from './telemetry.ts'
import type { CheckedRecord } from './user-record.ts'

export interface StreamWriterOptions extends ResolvedOptions {
  readonly kinesis: Kinesis
  /** Told of every record that has its outcome, after the caller's promise. */
  readonly onSettled: (pending: Pending) => void
  /** Called whenever something may have expired; returns when the next of what waits in line before the writer does. */
  readonly expireLine: (nowMs: number) => number
}

const BACKOFF: Backoff = { baseMs: 50, maxMs: 2_000 }

/** Why a sleep is given up. Without a reason an exception is made, stack and all. */
const EARLIER = 'not needed any more'

/** A longer timer of Node's fires at once. */
const LONGEST_SLEEP_MS = 2 ** 31 - 1

/**
 * Gets user records into one stream: into lanes by the shard map, from there into requests, and by each answer to
 * acknowledgement, another attempt, or rejection.
 */
export class StreamWriter {
  readonly #options: StreamWriterOptions
  readonly #lanes: Lanes
  readonly #shardMap: ShardMapKeeper
  readonly #strays: Strays
  readonly #abort = new AbortController()
  /** Records that came before the first shard map. */
  readonly #unrouted = new Fifo<{ readonly record: CheckedRecord; readonly pending: Pending }>()
  #loadingMap = false
  #requests = 0
  #flushes = 0
  #pumpScheduled = false
  #wake: AbortController | undefined
  #wakeAtMs = Number.POSITIVE_INFINITY

  constructor(options: StreamWriterOptions) {
    this.#options = options
    const { stream, logger } = options
    const signal = this.#abort.signal
    this.#lanes = new Lanes(options)
    this.#shardMap = new ShardMapKeeper({
      ...options,
      signal,
      onMap: (map) => this.#useMap(map),
      onRetry: (error, waitMs) => {
        logger.warn({ err: error, stream, waitMs }, 'the shards could not be listed, trying again')
        this.#emit({ type: 'shardMapRetried', error, waitMs })
      },
    })
    this.#strays = new Strays({
      lanes: this.#lanes,
      shardMap: this.#shardMap,
      askDistribution: () => askDistribution({ ...options, signal }),
      onDistribution: (distribution) => this.#distribute(distribution),
      acknowledge: (each, place) => this.#acknowledge(each, place),
      resend: (each, place, alone) => this.#resend(each, place, alone),
      reject: (each, error) => {
        mark(each.sealed, 'misplaced')
        this.#finish(each, signal.aborted ? closed(stream) : shardsUnlisted(stream, error))
      },
    })
  }

  /** Takes a user record. It must not be called again after {@link abort}. */
  write(record: CheckedRecord, pending: Pending, nowMs: number): void {
    if (this.#lanes.map === undefined) {
      this.#unrouted.push({ record, pending })
      this.wakeAt(pending.arrivedMs + this.#options.recordTtl, nowMs)
      if (!this.#loadingMap) void this.#loadMap()
    } else if (this.#lanes.add(record, pending, nowMs, this.#hasRoom)) {
      this.#schedulePump()
    } else {
      this.wakeAt(nowMs + this.#options.recordMaxBufferedTime, nowMs)
    }
  }

  /** Until `settled` resolves nothing waits for others to share its aggregate. */
  async hurry(settled: Promise<void>): Promise<void> {
    this.#flushes++
    this.#schedulePump()
    try {
      await settled
    } finally {
      this.#flushes--
    }
  }

  /** Rejects everything that waits or is in flight; nothing is sent any more. */
  abort(): void {
    if (this.#abort.signal.aborted) return
    this.#abort.abort(new ProducerError('ERR_CLOSED', 'the producer is closed'))
    this.#cancelWake()
    const rejection = closed(this.#options.stream)
    for (const sealed of this.#lanes.drain()) this.#reject(sealed, rejection)
    this.#rejectUnrouted(Number.POSITIVE_INFINITY, rejection)
    for (const each of this.#strays.takeExpired(Number.POSITIVE_INFINITY)) {
      mark(each.sealed, 'misplaced')
      this.#finish(each, rejection)
    }
  }

  /** Makes sure that expiry and lanes are looked at by then. */
  wakeAt(atMs: number, nowMs: number): void {
    if (atMs >= this.#wakeAtMs || this.#abort.signal.aborted) return
    this.#wake?.abort(EARLIER)
    const wake = new AbortController()
    this.#wake = wake
    this.#wakeAtMs = atMs
    this.#options.clock.sleep(Math.min(Math.max(0, atMs - nowMs), LONGEST_SLEEP_MS), wake.signal).then(
      () => {
        this.#wakeAtMs = Number.POSITIVE_INFINITY
        this.#pump()
      },
      // The sleep was given up for an earlier one, or for good.
      () => {},
    )
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs()
  }

  get #hasRoom(): boolean {
    return this.#requests < this.#options.maxRequestsInFlight
  }

  #cancelWake(): void {
    this.#wake?.abort(EARLIER)
    this.#wakeAtMs = Number.POSITIVE_INFINITY
  }

  async #loadMap(): Promise<void> {
    this.#loadingMap = true
    try {
      await this.#shardMap.refresh()
    } catch (error) {
      this.#rejectUnrouted(Number.POSITIVE_INFINITY, shardsUnlisted(this.#options.stream, error))
    } finally {
      this.#loadingMap = false
    }
  }

  #useMap(map: ShardMap): void {
    if (this.#abort.signal.aborted) return
    const nowMs = this.#nowMs
    const before = this.#lanes.map
    this.#lanes.replaceMap(map, nowMs)
    const isSame = before?.shards.length === map.shards.length && before.shards.every(({ shardId }) => map.get(shardId))
    if (!isSame) this.#emit({ type: 'shardMapChanged', shardIds: map.shards.map(({ shardId }) => shardId) })
    for (let next = this.#unrouted.shift(); next !== undefined; next = this.#unrouted.shift()) {
      this.#lanes.add(next.record, next.pending, nowMs, this.#hasRoom)
    }
    this.#schedulePump()
  }

  #distribute(distribution: Distribution): void {
    this.#lanes.distribute(distribution, this.#nowMs)
    this.#options.logger.warn({ stream: this.#options.stream, distribution }, 'the distribution of records changed')
    this.#emit({ type: 'distributionChanged', distribution })
    this.#schedulePump()
  }

  /**
   * Once for everything that happens in this turn of the event loop, so that lanes that become ready in it, in whichever
   * microtask, share a request.
   */
  #schedulePump(): void {
    if (this.#pumpScheduled) return
    this.#pumpScheduled = true
    void this.#options.clock.sleep(0).then(() => {
      this.#pumpScheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#abort.signal.aborted) return
    const nowMs = this.#nowMs
    const flushing = this.#flushes > 0
    const nextExpiryMs = this.#rejectExpired(nowMs)
    while (this.#hasRoom) {
      const batch = collect(this.#lanes, nowMs, flushing, this.#options)
      if (batch.length === 0) break
      void this.#send(batch)
    }
    let dueMs = nextExpiryMs
    for (const lane of this.#lanes.active) dueMs = Math.min(dueMs, nowMs + lane.waitMs(nowMs, this.#hasRoom, flushing))
    // A timer that nobody needs would keep the process alive.
    if (dueMs === Number.POSITIVE_INFINITY) this.#cancelWake()
    else this.wakeAt(dueMs, nowMs)
  }

  /** Rejects what is too old, wherever it waits. Returns when the next expires of what isn't in a lane. */
  #rejectExpired(nowMs: number): number {
    const { stream, recordTtl, expireLine } = this.#options
    for (const lane of this.#lanes.active) {
      for (const sealed of lane.takeExpired(nowMs)) this.#reject(sealed, expired(stream, recordTtl))
    }
    for (const each of this.#strays.takeExpired(nowMs)) {
      mark(each.sealed, 'misplaced')
      this.#finish(each, expired(stream, recordTtl, this.#shardMap.lastError))
    }
    this.#rejectUnrouted(nowMs - recordTtl, expired(stream, recordTtl, this.#shardMap.lastError))
    const unroutedMs = (this.#unrouted.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY) + recordTtl
    return Math.min(unroutedMs, this.#strays.nextExpiryMs, expireLine(nowMs))
  }

  async #send(batch: readonly InFlight[]): Promise<void> {
    const { kinesis, stream } = this.#options
    this.#requests++
    for (const { sealed } of batch) for (const pending of sealed.pending) pending.attempts++
    const sealed = batch.map((each) => each.sealed)
    const answers = await putRecords(kinesis, stream, sealed, this.#abort.signal)
    this.#requests--
    this.#answered(batch, answers)
    this.#schedulePump()
  }

  #answered(batch: readonly InFlight[], { answers, failure }: Answers): void {
    if (failure !== undefined && !this.#abort.signal.aborted) {
      const { error, outcome } = failure
      this.#options.logger.warn({ err: error, stream: this.#options.stream, outcome }, 'PutRecords failed')
      this.#emit({ type: 'requestFailed', error, outcome, kinesisRecords: batch.length })
    }
    const throttled = new Set<Lane>()
    const accepted = new Set<Lane>()
    for (const [index, each] of batch.entries()) {
      const answer = answers[index]!
      if ('outcome' in answer) {
        if (answer.outcome === 'throttled') throttled.add(each.lane)
        this.#failed(each, answer)
      } else {
        accepted.add(each.lane)
        this.#strays.judge(each, answer)
      }
    }
    for (const lane of throttled) {
      lane.bucket.throttled()
      this.#emit({ type: 'throttled', shardId: lane.shardId, bytesPerSecond: lane.bucket.bytesPerSecond })
    }
    for (const lane of accepted) if (!throttled.has(lane)) lane.bucket.succeeded()
  }

  #acknowledge({ lane, sealed }: InFlight, { shardId, sequenceNumber }: Place): void {
    for (const [subSequenceNumber, pending] of sealed.pending.entries()) {
      const { attempts, earlierCopy } = pending
      pending.resolve({ shardId, sequenceNumber, subSequenceNumber, attempts, earlierCopy })
      this.#options.onSettled(pending)
    }
    this.#lanes.settle(lane, sealed)
    this.#schedulePump()
  }

  #resend(each: InFlight, { shardId, sequenceNumber }: Place, alone: boolean): void {
    const { lane, sealed } = each
    mark(sealed, 'misplaced')
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
    // After a reshard at once; but what went wrong by a fresh map, or a second time, may go wrong again.
    const isSuspect = !lane.retired || attemptsOf(sealed) > 1
    this.#lanes.resend(lane, sealed, isSuspect ? this.#nowMs + this.#backoffMs(sealed) : 0, alone)
    this.#schedulePump()
  }

  #failed(each: InFlight, { outcome, error }: Refusal): void {
    const { lane, sealed } = each
    if (outcome === 'unknown') mark(sealed, 'unknown')
    for (const pending of sealed.pending) pending.lastError = error
    const rejection = outcome === 'fatal' ? refused(this.#options.stream, error) : this.#endOf(sealed)
    if (rejection !== undefined) {
      this.#finish(each, rejection)
      return
    }
    this.#emit({ type: 'sentAgain', cause: outcome, shardId: lane.shardId, userRecords: sealed.pending.length, error })
    this.#lanes.retry(lane, sealed, this.#nowMs + this.#backoffMs(sealed))
  }

  /** Why a Kinesis record is not sent again, if it isn't. */
  #endOf({ expiresMs }: SealedRecord): Rejection | undefined {
    const { stream, recordTtl } = this.#options
    if (this.#abort.signal.aborted) return closed(stream)
    return expiresMs <= this.#nowMs ? expired(stream, recordTtl) : undefined
  }

  #backoffMs(sealed: SealedRecord): number {
    return backoffMs(attemptsOf(sealed), BACKOFF, this.#options.random)
  }

  /** Rejects what is in flight. */
  #finish({ lane, sealed }: InFlight, rejection: Rejection): void {
    reject(sealed, rejection, this.#options.onSettled)
    this.#lanes.settle(lane, sealed)
    this.#schedulePump()
  }

  /** Rejects what waits in a lane, or never came into one. */
  #reject(sealed: SealedRecord, rejection: Rejection): void {
    reject(sealed, rejection, this.#options.onSettled)
    this.#lanes.discard(sealed)
  }

  #rejectUnrouted(arrivedBeforeMs: number, rejection: Rejection): void {
    while (this.#unrouted.first !== undefined && this.#unrouted.first.pending.arrivedMs <= arrivedBeforeMs) {
      const { record, pending } = this.#unrouted.shift()!
      this.#reject(sealLone(record, pending, this.#options.recordTtl), rejection)
    }
  }

  #emit(event: ProducerEvent): void {
    try {
      this.#options.onEvent(event)
    } catch (error) {
      this.#options.logger.error({ err: error, event: event.type }, 'onEvent threw')
    }
  }
}

function attemptsOf({ pending }: SealedRecord): number {
  return pending[0]?.attempts ?? 1
}

/** A copy that certainly is in the stream says more than one that may be. */
function mark(sealed: SealedRecord, earlierCopy: EarlierCopy): void {
  for (const pending of sealed.pending) if (pending.earlierCopy !== 'misplaced') pending.earlierCopy = earlierCopy
}
