import {
  GetRecordsCommand,
  type GetRecordsCommandOutput,
  GetShardIteratorCommand,
  type _Record as ServiceRecord,
} from '@aws-sdk/client-kinesis'
import { backoffMs, classifyError, errorCode, orAborted, streamReference } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { timed } from '../timed.ts'
import { FailureNotice } from './failure-notice.ts'
import { ReadPace } from './read-pace.ts'
import { ReadingPlace } from './reading-place.ts'
import { type ChildShard, childrenAtEnd, childrenIfGone, EndJudge } from './shard-children.ts'
import type { ShardReader, ShardReaderOptions } from './shard-reader.ts'

const RETRY_BACKOFF = { baseMs: 400, maxMs: 20_000 }
/** While the size of records isn't known, few are asked for: aggregates may have this, and much more. */
const FIRST_RECORD_BYTES = 10 * 2 ** 10
const FIRST_LIMIT = 100
/** Readers that share a shard are throttled now and then; it is told of when it doesn't pass. */
const THROTTLED_FOR_LONG_MS = 10_000

/** Reads one shard with GetRecords. */
export class PollingReader implements ShardReader {
  readonly #options: ShardReaderOptions
  readonly #place: ReadingPlace
  readonly #pace: ReadPace
  readonly #end: EndJudge
  readonly #notice = new FailureNotice()
  #iterator: string | undefined
  #everRead = false
  /** What a record takes up in memory, by recent answers. */
  #recordBytes: number | undefined
  #lastAnswerMs: number

  constructor(options: ShardReaderOptions) {
    const { clock, idleTimeBetweenReads, random } = options
    this.#options = options
    this.#place = new ReadingPlace(options)
    this.#end = new EndJudge(options.shardId)
    this.#lastAnswerMs = clock.monotonicMs()
    this.#pace = new ReadPace(idleTimeBetweenReads, this.#lastAnswerMs, random)
  }

  get millisBehindLatest(): number | undefined {
    return this.#place.millisBehindLatest
  }

  async run(signal: AbortSignal): Promise<readonly ChildShard[]> {
    const { clock, retention } = this.#options
    // Asks, so that it is known when it is needed.
    retention.known(signal)
    for (let failures = 0; ; ) {
      let waitMs: number
      try {
        const children = await this.#readOnce(signal)
        if (children !== undefined) return children
        failures = 0
        waitMs = this.#pace.nextMs - clock.monotonicMs()
      } catch (error) {
        signal.throwIfAborted()
        const children = await this.#recover(error, ++failures, signal)
        if (children !== undefined) return children
        waitMs = this.#pause(error, failures)
      }
      if (waitMs > 0) await clock.sleep(waitMs, signal)
    }
  }

  /** Returns the children at the shard's end. */
  async #readOnce(signal: AbortSignal): Promise<readonly ChildShard[] | undefined> {
    const reservation = await this.#options.readAhead.reserve(signal)
    let bytes: number | undefined
    let isMore = false
    try {
      const limit = this.#limit(Math.min(reservation.bytes, this.#pace.answerBytes))
      const answer = await this.#ask(limit, signal)
      const isEnd = this.#isEnd(answer)
      isMore = isCut(answer, limit)
      bytes = await this.#accept(answer, isMore, isEnd, signal)
      return isEnd ? await childrenAtEnd(answer.ChildShards, this.#options, signal) : undefined
    } finally {
      reservation.done(bytes, isMore)
    }
  }

  #limit(bytes: number): number {
    const { maxRecords } = this.#options
    const most = this.#recordBytes === undefined ? Math.min(FIRST_LIMIT, maxRecords) : maxRecords
    return Math.min(most, Math.max(1, Math.floor(bytes / (this.#recordBytes ?? FIRST_RECORD_BYTES))))
  }

  async #ask(limit: number, signal: AbortSignal): Promise<GetRecordsCommandOutput> {
    const { kinesis, stream, shardId, clock, telemetry } = this.#options
    this.#iterator ??= await this.#newIterator(signal)
    const command = new GetRecordsCommand({
      ShardIterator: this.#iterator,
      Limit: limit,
      ...(stream.startsWith('arn:') && { StreamARN: stream }),
    })
    this.#place.asking()
    this.#pace.sent(clock.monotonicMs())
    return await timed(
      clock,
      signal,
      () => orAborted(kinesis.send(command, { abortSignal: signal }), signal),
      (durationMs, failure) => telemetry.measures?.recordsAsked(shardId, durationMs, failure),
    )
  }

  async #newIterator(signal: AbortSignal): Promise<string> {
    const { kinesis, stream, shardId, clock, telemetry } = this.#options
    const { Type, SequenceNumber, Timestamp } = this.#place.position
    const command = new GetShardIteratorCommand({
      ...streamReference(stream),
      ShardId: shardId,
      ShardIteratorType: Type,
      ...(SequenceNumber !== undefined && { StartingSequenceNumber: SequenceNumber }),
      ...(Timestamp !== undefined && { Timestamp }),
    })
    const { ShardIterator } = await timed(
      clock,
      signal,
      () => orAborted(kinesis.send(command, { abortSignal: signal }), signal),
      (durationMs, failure) => telemetry.measures?.iteratorAsked(durationMs, failure),
    )
    if (ShardIterator === undefined) throw new Error('GetShardIterator answered without an iterator')
    this.#place.started(SequenceNumber)
    return ShardIterator
  }

  #isEnd({ NextShardIterator, ChildShards: children, MillisBehindLatest = 0 }: GetRecordsCommandOutput): boolean {
    // If nothing of the answer counts, it is read again from the last record on.
    this.#iterator = undefined
    const answer = { goesOn: Boolean(NextShardIterator), children, millisBehindLatest: MillisBehindLatest }
    return this.#end.isEnd(answer, this.#place.position.SequenceNumber)
  }

  /** @returns how many bytes the records take up */
  async #accept(
    { Records: records = [], MillisBehindLatest: millisBehindLatest = 0, NextShardIterator }: GetRecordsCommandOutput,
    isBehind: boolean,
    isEnd: boolean,
    signal: AbortSignal,
  ): Promise<number> {
    const nowMs = this.#options.clock.monotonicMs()
    this.#everRead = true
    this.#lastAnswerMs = nowMs
    this.#pace.answered({ records: records.length, bytes: sizeOf(records), isBehind }, nowMs)
    const bytes = await this.#place.accept({ records, millisBehindLatest, isEnd }, signal)
    this.#iterator = NextShardIterator
    if (bytes > 0) {
      const each = bytes / records.length
      this.#recordBytes = Math.max(each, (each + (this.#recordBytes ?? each)) / 2)
    }
    return bytes
  }

  /** Prepares the next try after an error. Returns the children if the shard is no longer there to be read. */
  async #recover(error: unknown, failures: number, signal: AbortSignal): Promise<readonly ChildShard[] | undefined> {
    const { shardId, stream, isRefusalFinal, telemetry } = this.#options
    const code = errorCode(error)
    if (code === 'ExpiredIteratorException' || code === 'InvalidArgumentException') this.#iterator = undefined
    // A thin line: half as many may come in time.
    if (code === 'TimeoutError') this.#recordBytes = 2 * (this.#recordBytes ?? FIRST_RECORD_BYTES)
    if (code === 'ResourceNotFoundException') {
      this.#iterator = undefined
      try {
        const children = await childrenIfGone(this.#options, signal)
        if (children !== undefined) telemetry.emit({ type: 'shardGone', shardId })
        return children
      } catch (listing) {
        signal.throwIfAborted()
        if (listing instanceof ConsumerError) throw listing
        return undefined
      }
    }
    if (
      isRefusalFinal &&
      !this.#everRead &&
      failures === 1 &&
      classifyError(error) === 'fatal' &&
      /access|credential|token/i.test(code)
    ) {
      throw new ConsumerError(
        'ERR_ACCESS',
        `Reading ${shardId} of ${stream} was refused (${code}). The consumer needs kinesis:GetShardIterator, ` +
          'kinesis:GetRecords and kinesis:ListShards on the stream.',
        { cause: error, shardId },
      )
    }
    return undefined
  }

  /** How long to wait after an error, which is told of. */
  #pause(error: unknown, failures: number): number {
    const { shardId, clock, random, telemetry } = this.#options
    const code = errorCode(error)
    // An iterator lives five minutes; a reader that had no room for longer just takes a new one.
    if (code === 'ExpiredIteratorException' && failures === 1) return 0
    const nowMs = clock.monotonicMs()
    if (code === 'ProvisionedThroughputExceededException') {
      this.#pace.throttled(nowMs)
      const retryInMs = this.#pace.nextMs - nowMs
      const isForLong = nowMs - this.#lastAnswerMs >= THROTTLED_FOR_LONG_MS
      const told = isForLong ? this.#notice.count(code, nowMs) : undefined
      if (told !== undefined) telemetry.emit({ type: 'readFailed', shardId, failures: told, retryInMs, error })
      return retryInMs
    }
    const retryInMs = backoffMs(failures, RETRY_BACKOFF, random)
    const told = this.#notice.count(code, nowMs)
    if (told !== undefined) telemetry.emit({ type: 'readFailed', shardId, failures: told, retryInMs, error })
    return retryInMs
  }
}

/** Whether more could have been read. */
function isCut(
  { Records: records = [], MillisBehindLatest: millisBehindLatest = 0 }: GetRecordsCommandOutput,
  limit: number,
): boolean {
  return millisBehindLatest > 0 || records.length >= limit
}

/** As the service counts it. */
function sizeOf(records: readonly ServiceRecord[]): number {
  let bytes = 0
  for (const { Data, PartitionKey } of records) {
    bytes += (Data?.byteLength ?? 0) + (PartitionKey === undefined ? 0 : Buffer.byteLength(PartitionKey))
  }
  return bytes
}
