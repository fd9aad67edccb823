import { PutRecordsCommand, type PutRecordsResultEntry } from '@aws-sdk/client-kinesis'
import {
  type Backoff,
  backoffMs,
  classifyError,
  classifyRecordError,
  type Kinesis,
  type Outcome,
  streamReference,
} from '@shardwise/core'
import { contains } from '@shardwise/records'
import { collect, type InFlight } from './collector.ts'
import { ProducerError, type ProducerErrorCode } from './errors.ts'
import { Fifo } from './fifo.ts'
import { Lanes } from './lanes.ts'
import type { ResolvedOptions } from './options.ts'
import type { EarlierCopy, Pending } from './pending.ts'
import { type SealedRecord, sealLone, unseal } from './sealed-record.ts'
import { ShardMapKeeper } from './shard-map-keeper.ts'
import type { ProducerEvent } from './telemetry.ts'
import type { CheckedRecord } from './user-record.ts'

export interface StreamWriterOptions extends ResolvedOptions {
  readonly kinesis: Kinesis
  /** Told of every record that has its outcome, after the caller's promise. */
  readonly onSettled: (pending: Pending) => void
}

const BACKOFF: Backoff = { baseMs: 50, maxMs: 2_000 }

/**
 * Gets user records into one stream: into lanes by the shard map, from there into requests, and by each answer to
 * acknowledgement, another attempt, or rejection.
 */
export class StreamWriter {
  readonly #options: StreamWriterOptions
  readonly #lanes: Lanes
  readonly #shardMap: ShardMapKeeper
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
    this.#lanes = new Lanes(options)
    this.#shardMap = new ShardMapKeeper({
      ...options,
      signal: this.#abort.signal,
      onMap: (map) => {
        this.#lanes.replaceMap(map, this.#nowMs)
        this.#emit({ type: 'shardMapChanged', shardIds: map.shards.map(({ shardId }) => shardId) })
        for (let next = this.#unrouted.shift(); next !== undefined; next = this.#unrouted.shift()) {
          this.#lanes.add(next.record, next.pending, this.#nowMs)
        }
        this.#schedulePump()
      },
      onRetry: (error, waitMs) => {
        options.logger.warn(
          { err: error, stream: options.stream, waitMs },
          'the shards could not be listed, trying again',
        )
        this.#emit({ type: 'shardMapRetried', error, waitMs })
      },
    })
  }

  write(record: CheckedRecord, pending: Pending): void {
    if (this.#lanes.map === undefined) {
      this.#unrouted.push({ record, pending })
      this.#wakeIn(pending.arrivedMs + this.#options.recordTtl - this.#nowMs)
      if (!this.#loadingMap) void this.#loadMap()
    } else if (this.#lanes.add(record, pending, this.#nowMs)) {
      this.#schedulePump()
    } else {
      this.#wakeIn(this.#options.recordMaxBufferedTime)
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
    this.#wake?.abort()
    const message = 'the producer was closed before the record was acknowledged'
    for (const sealed of this.#lanes.drain()) this.#reject(sealed, 'ERR_CLOSED', message)
    this.#rejectUnrouted(() => true, 'ERR_CLOSED', message)
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs()
  }

  async #loadMap(): Promise<void> {
    this.#loadingMap = true
    try {
      await this.#shardMap.refresh()
    } catch (error) {
      this.#rejectUnrouted(() => true, 'ERR_SHARD_MAP', listingRefused(this.#options.stream, error), error)
    } finally {
      this.#loadingMap = false
    }
  }

  /** Once for everything that happens in this turn, so that lanes that become ready together share a request. */
  #schedulePump(): void {
    if (this.#pumpScheduled) return
    this.#pumpScheduled = true
    queueMicrotask(() => {
      this.#pumpScheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#abort.signal.aborted) return
    const nowMs = this.#nowMs
    const { maxRequestsInFlight, recordTtl } = this.#options
    const flushing = this.#flushes > 0
    for (const lane of this.#lanes.active) {
      for (const sealed of lane.takeExpired(nowMs)) this.#rejectExpired(sealed)
    }
    this.#rejectUnrouted(({ arrivedMs }) => arrivedMs + recordTtl <= nowMs, 'ERR_EXPIRED', expired(recordTtl))
    while (this.#requests < maxRequestsInFlight) {
      const batch = collect(this.#lanes, nowMs, flushing, this.#options)
      if (batch.length === 0) break
      void this.#send(batch)
    }
    let waitMs = (this.#unrouted.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY) + recordTtl - nowMs
    for (const lane of this.#lanes.active) {
      waitMs = Math.min(waitMs, lane.waitMs(nowMs, this.#requests < maxRequestsInFlight, flushing))
    }
    this.#wakeIn(waitMs)
  }

  #wakeIn(ms: number): void {
    const atMs = this.#nowMs + Math.max(0, ms)
    if (atMs >= this.#wakeAtMs || this.#abort.signal.aborted) return
    this.#wake?.abort()
    const wake = new AbortController()
    this.#wake = wake
    this.#wakeAtMs = atMs
    this.#options.clock.sleep(Math.max(0, ms), wake.signal).then(
      () => {
        this.#wakeAtMs = Number.POSITIVE_INFINITY
        this.#pump()
      },
      // The sleep was given up for an earlier one, or for good.
      () => {},
    )
  }

  async #send(batch: readonly InFlight[]): Promise<void> {
    this.#requests++
    for (const { sealed } of batch) for (const pending of sealed.pending) pending.attempts++
    let results: readonly PutRecordsResultEntry[] | undefined
    try {
      results = await this.#putRecords(batch)
    } catch (error) {
      this.#failAll(batch, error as Error)
    } finally {
      this.#requests--
    }
    if (results !== undefined) for (const [index, each] of batch.entries()) this.#answered(each, results[index]!)
    this.#schedulePump()
  }

  async #putRecords(batch: readonly InFlight[]): Promise<readonly PutRecordsResultEntry[]> {
    const { kinesis, stream } = this.#options
    const { Records: results = [] } = await kinesis.send(
      new PutRecordsCommand({
        ...streamReference(stream),
        Records: batch.map(({ sealed }) => ({
          PartitionKey: sealed.partitionKey,
          ExplicitHashKey: sealed.explicitHashKey,
          Data: sealed.data,
        })),
      }),
      { abortSignal: this.#abort.signal },
    )
    if (results.length !== batch.length) {
      // Which of them were written can't be told.
      throw Object.assign(new Error(`PutRecords answered ${results.length} results for ${batch.length} records`), {
        name: 'InternalFailure',
      })
    }
    return results
  }

  #failAll(batch: readonly InFlight[], error: Error): void {
    const outcome = classifyError(error)
    if (!this.#abort.signal.aborted) {
      this.#options.logger.warn({ err: error, stream: this.#options.stream, outcome }, 'PutRecords failed')
      this.#emit({ type: 'requestFailed', error, outcome, kinesisRecords: batch.length })
    }
    for (const each of batch) this.#failed(each, outcome, error)
  }

  #answered(each: InFlight, result: PutRecordsResultEntry): void {
    const { lane } = each
    const { ErrorCode: code, ErrorMessage: message, ShardId: shardId, SequenceNumber: sequenceNumber } = result
    if (code !== undefined && code !== null) {
      const error = Object.assign(new Error(message ?? code), { name: code })
      this.#failed(each, classifyRecordError(code), error)
    } else if (shardId === undefined || sequenceNumber === undefined) {
      this.#failed(each, 'unknown', new Error('PutRecords answered neither an error nor a shard and sequence number'))
    } else {
      lane.bucket.succeeded()
      if (shardId === lane.shardId) this.#acknowledge(each, shardId, sequenceNumber)
      else void this.#judge(each, shardId, sequenceNumber)
    }
  }

  /**
   * A Kinesis record that another shard took than the predicted one. If all of it belongs there, it is acknowledged.
   * Otherwise nothing of it is: a reader that is a KCL drops an aggregate of which one record is misplaced as a whole.
   */
  async #judge(each: InFlight, shardId: string, sequenceNumber: string): Promise<void> {
    const { lane, sealed } = each
    try {
      // The map that predicted wrong is out of date, unless another has replaced it while this was under way.
      if (!lane.retired) await this.#shardMap.refresh()
      const range = this.#shardMap.rangeOf(shardId) ?? (await this.#shardMap.refreshUntilKnown(shardId))
      const isAllThere = unseal(sealed).every(({ record }) => contains(range, record.hashKey))
      if (isAllThere) this.#acknowledge(each, shardId, sequenceNumber)
      else this.#resend(each, shardId, sequenceNumber)
    } catch (error) {
      mark(sealed, 'misplaced')
      const code = this.#abort.signal.aborted ? 'ERR_CLOSED' : 'ERR_SHARD_MAP'
      this.#reject(sealed, code, listingRefused(this.#options.stream, error), error)
      this.#lanes.settle(lane, sealed)
    }
    this.#schedulePump()
  }

  #resend({ lane, sealed }: InFlight, shardId: string, sequenceNumber: string): void {
    mark(sealed, 'misplaced')
    this.#emit({
      type: 'misplaced',
      predictedShardId: lane.shardId,
      shardId,
      sequenceNumber,
      userRecords: sealed.pending.length,
    })
    if (this.#isOver(sealed)) {
      this.#rejectExpired(sealed)
      this.#lanes.settle(lane, sealed)
      return
    }
    // A lane that is still there after a fresh listing would send to the same place again: not at once, then.
    if (!lane.retired) lane.pausedUntilMs = this.#nowMs + this.#backoffMs(sealed)
    this.#lanes.resend(lane, sealed)
  }

  #acknowledge({ lane, sealed }: InFlight, shardId: string, sequenceNumber: string): void {
    for (const [subSequenceNumber, pending] of sealed.pending.entries()) {
      const { attempts, earlierCopy } = pending
      pending.resolve({ shardId, sequenceNumber, subSequenceNumber, attempts, earlierCopy })
      this.#options.onSettled(pending)
    }
    this.#lanes.settle(lane, sealed)
  }

  #failed({ lane, sealed }: InFlight, outcome: Outcome, error: Error): void {
    if (outcome === 'unknown') mark(sealed, 'unknown')
    for (const pending of sealed.pending) pending.lastError = error
    if (outcome === 'fatal') {
      this.#reject(sealed, 'ERR_REFUSED', `the service refused the record: ${error.name}: ${error.message}`, error)
      this.#lanes.settle(lane, sealed)
    } else if (this.#abort.signal.aborted) {
      this.#reject(sealed, 'ERR_CLOSED', 'the producer was closed before the record was acknowledged', error)
      this.#lanes.settle(lane, sealed)
    } else if (this.#isOver(sealed)) {
      this.#rejectExpired(sealed)
      this.#lanes.settle(lane, sealed)
    } else {
      if (outcome === 'throttled') {
        lane.bucket.throttled()
        this.#emit({ type: 'throttled', shardId: lane.shardId, bytesPerSecond: lane.bucket.bytesPerSecond })
      }
      this.#lanes.retry(lane, sealed, this.#nowMs + this.#backoffMs(sealed))
    }
  }

  #isOver({ expiresMs }: SealedRecord): boolean {
    return expiresMs <= this.#nowMs || this.#abort.signal.aborted
  }

  #backoffMs({ pending }: SealedRecord): number {
    return backoffMs(pending[0]?.attempts ?? 1, BACKOFF, this.#options.random)
  }

  #rejectExpired(sealed: SealedRecord): void {
    this.#reject(sealed, 'ERR_EXPIRED', expired(this.#options.recordTtl))
  }

  #rejectUnrouted(
    isConcerned: (pending: Pending) => boolean,
    code: ProducerErrorCode,
    message: string,
    cause?: unknown,
  ): void {
    while (this.#unrouted.first !== undefined && isConcerned(this.#unrouted.first.pending)) {
      const { record, pending } = this.#unrouted.shift()!
      this.#reject(sealLone(record, pending, this.#options.recordTtl), code, message, cause)
    }
  }

  #reject(sealed: SealedRecord, code: ProducerErrorCode, message: string, cause?: unknown): void {
    for (const { record, pending } of unseal(sealed)) {
      const { partitionKey, explicitHashKey, data } = record
      const { attempts, earlierCopy, lastError } = pending
      pending.reject(
        new ProducerError(code, `put to ${this.#options.stream}: ${message}`, {
          // A copy: the bytes here are a view into a buffer that will be used again.
          record: { partitionKey, explicitHashKey, data: Uint8Array.from(data) },
          outcome: earlierCopy === undefined ? 'refused' : 'unknown',
          attempts,
          cause: cause ?? lastError,
          retryable: code === 'ERR_EXPIRED',
        }),
      )
      this.#options.onSettled(pending)
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

/** A copy that certainly is in the stream says more than one that may be. */
function mark(sealed: SealedRecord, earlierCopy: EarlierCopy): void {
  for (const pending of sealed.pending) if (pending.earlierCopy !== 'misplaced') pending.earlierCopy = earlierCopy
}

function listingRefused(stream: string, error: unknown): string {
  const { name, message } = error as Error
  return `the shards of ${stream} could not be listed: ${name}: ${message} Check the stream's name, region and credentials, and that kinesis:ListShards is granted.`
}

function expired(recordTtl: number): string {
  return `not acknowledged within recordTtl (${recordTtl} ms)`
}
