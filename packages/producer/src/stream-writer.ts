import type { Link } from '@opentelemetry/api'
import { type Kinesis, type StreamDescription, timedKinesis } from '@shardwise/core'
import type { ShardMap } from '@shardwise/records'
import { Alarm } from './alarm.ts'
import { collect } from './collector.ts'
import { Fifo } from './fifo.ts'
import { nextLookMs } from './lane.ts'
import { type Distribution, Lanes } from './lanes.ts'
import type { ResolvedOptions } from './options.ts'
import type { Pending } from './pending.ts'
import { closed, expired, keyMissing, type OnSettled, type Rejection, reject } from './rejection.ts'
import { type SealedRecord, sealLone } from './sealed-record.ts'
import { Sender } from './sender.ts'
import { Settlement } from './settlement.ts'
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

/** Gets user records into one stream: into lanes, as far as is known of the stream, and from there to the sender. */
export class StreamWriter {
  readonly #options: StreamWriterOptions
  readonly #lanes: Lanes
  readonly #watch: StreamWatch
  readonly #settlement: Settlement
  readonly #sender: Sender
  readonly #alarm: Alarm
  readonly #abort = new AbortController()
  /** Records that came before it was known how to send them. */
  readonly #unrouted = new Fifo<{ readonly record: CheckedRecord; readonly pending: Pending }>()
  /** The largest record that the stream takes. */
  #maxRecordBytes = MAX_RECORD_BYTES
  #pumpScheduled = false

  constructor(options: StreamWriterOptions) {
    this.#options = options
    this.#alarm = new Alarm(options.clock, () => this.#pump())
    this.#settlement = new Settlement(options)
    // The partition key of an aggregate is one byte.
    const aggregationMaxSize = (): number => Math.min(options.aggregationMaxSize, this.#maxRecordBytes - 1)
    this.#lanes = new Lanes({
      ...options,
      get aggregationMaxSize() {
        return aggregationMaxSize()
      },
    })
    const common = {
      ...options,
      kinesis: timedKinesis(options.kinesis, options.clock, options.requestTimeout),
      signal: this.#abort.signal,
      emit: (event: ProducerEvent) => this.#emit(event),
    }
    this.#watch = new StreamWatch({
      ...common,
      onMap: (map) => this.#useMap(map),
      onDescription: (description) => this.#useDescription(description),
    })
    this.#sender = new Sender({
      ...common,
      lanes: this.#lanes,
      watch: this.#watch,
      settlement: this.#settlement,
      onDistribution: (distribution) => this.#distribute(distribution),
      onProgress: () => this.hurry(),
    })
  }

  /** When the oldest of what has no outcome yet was put; Infinity if everything has. */
  get oldestMs(): number {
    const unroutedMs = this.#unrouted.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY
    return Math.min(unroutedMs, this.#lanes.oldestMs, this.#sender.oldestMs)
  }

  /** Its name or ARN. */
  get stream(): string {
    return this.#options.stream
  }

  /** A link to the span that is active now, if there is one, for what is put now. */
  linkOf(): Link | undefined {
    return this.#settlement.telemetry.linkOf()
  }

  /** Takes a user record. It must not be called again after {@link abort}. */
  write(record: CheckedRecord, pending: Pending, nowMs: number): void {
    this.#settlement.begin(pending)
    this.#watch.refreshIfDue(nowMs)
    if (!this.#watch.isReady || this.#unrouted.length > 0 || !this.#isPlain(record)) {
      this.#unrouted.push({ record, pending })
      void this.#watch.start()
      this.#route(nowMs)
      if (this.#unrouted.length > 0) this.#alarm.setBy(pending.arrivedMs + this.#options.recordTtl, nowMs)
    } else if (this.#lanes.add(record, pending, nowMs, this.#sender.hasRoom)) {
      this.hurry()
    } else {
      this.#alarm.setBy(nowMs + this.#options.recordMaxBufferedTime, nowMs)
    }
  }

  /** Rejects a user record that was never written. */
  turnAway(record: CheckedRecord, pending: Pending, rejection: Rejection, onSettled: OnSettled): void {
    const { isNamed, stream, recordTtl } = this.#options
    this.#settlement.telemetry.rejected(rejection.code, 1)
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
    this.#sender.rejectStrays(Number.POSITIVE_INFINITY, rejection)
    this.#settlement.telemetry.close()
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs()
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
    if (!this.#abort.signal.aborted && this.#watch.description?.distributesByKey !== false) this.#distribute('key')
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
      const isReady = misfit === undefined && this.#lanes.add(record, pending, nowMs, this.#sender.hasRoom)
      this.#unrouted.shift()
      if (misfit !== undefined) this.#reject(sealLone(record, pending, this.#options.recordTtl), misfit)
      else if (isReady) this.hurry()
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
    while (this.#sender.hasRoom) {
      const batch = collect(this.#lanes, nowMs, flushing, this.#options)
      if (batch.length === 0) break
      void this.#sender.send(batch)
    }
    let dueMs = nextExpiryMs
    for (const lane of this.#lanes.active)
      dueMs = Math.min(dueMs, nowMs + lane.waitMs(nowMs, this.#sender.hasRoom, flushing))
    // A timer that nobody needs would keep the process alive.
    if (dueMs === Number.POSITIVE_INFINITY) this.#alarm.cancel()
    else this.#alarm.setBy(dueMs, nowMs)
  }

  /** Rejects what is too old, wherever it waits. Returns when the next expires of what isn't in a lane. */
  #rejectExpired(nowMs: number): number {
    const { stream, recordTtl } = this.#options
    // All are taken out before the first is rejected: a rejection makes room, and then what waits for room comes into lanes.
    const late = [...this.#lanes.active].flatMap((lane) =>
      this.#lanes.takeExpired(lane, nowMs, nextLookMs(nowMs, recordTtl)),
    )
    for (const sealed of late) this.#reject(sealed, expired(stream, recordTtl))
    this.#sender.rejectStrays(nowMs, expired(stream, recordTtl, this.#watch.lastError))
    this.#rejectUnrouted(nowMs - recordTtl, expired(stream, recordTtl, this.#watch.lastError))
    const unroutedMs = (this.#unrouted.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY) + recordTtl
    return Math.min(unroutedMs, this.#sender.nextExpiryMs)
  }

  /** Rejects what waits in a lane, or never came into one. */
  #reject(sealed: SealedRecord, rejection: Rejection): void {
    this.#settlement.reject(sealed, rejection)
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
