import {
  GetRecordsCommand,
  type GetRecordsCommandOutput,
  GetShardIteratorCommand,
  type GetShardIteratorCommandInput,
} from '@aws-sdk/client-kinesis'
import {
  backoffMs,
  type Clock,
  classifyError,
  errorCode,
  type Kinesis,
  orAborted,
  type Random,
  streamReference,
} from '@shardwise/core'
import { type HashRange, isSentinel, type Position, parseHashKey } from '@shardwise/records'
import { ConsumerError } from './errors.ts'
import { ExpiryWatch } from './expiry-watch.ts'
import type { KinesisRecord } from './record-buffer.ts'
import type { Retention } from './retention.ts'
import { shardsOf } from './shard-list.ts'
import type { StreamTelemetry } from './telemetry.ts'
import { timed } from './timed.ts'

/** A shard that goes on where another ended. */
export interface ChildShard {
  readonly shardId: string
  readonly hashRange: HashRange
  readonly parentShardIds: readonly string[]
}

export interface ShardReaderOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly shardId: string
  readonly checkpoint: Position
  /** Where to start if the checkpoint is LATEST or AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
  readonly maxRecords: number
  readonly idleTimeBetweenReads: number
  /** Whether to fail at the start if the shard may not be read; otherwise it is tried again and again. */
  readonly isRefusalFinal: boolean
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: StreamTelemetry
  readonly retention: Retention
  /** Resolves when the answer of another call may be kept. @param bytes what the last answer had */
  readonly room: (bytes: number) => Promise<void>
  readonly onRecords: (records: readonly KinesisRecord[]) => void
}

/** Twice the spacing that the service's five calls a second and shard ask for. */
const RETRY_BACKOFF = { baseMs: 400, maxMs: 20_000 }
/** Between reads that find nothing, where `idleTimeBetweenReads` asks for no pause at all. */
const MIN_IDLE_MS = 20

/** Reads one shard by polling, in order and without a gap, as fast as there is room. */
export class ShardReader {
  readonly #options: ShardReaderOptions
  readonly #expiry: ExpiryWatch
  #iterator: string | undefined
  /** The last record that was read and passed on. */
  #lastRead: string | undefined
  #lastBytes = 0
  #millisBehindLatest: number | undefined
  #everRead = false

  constructor(options: ShardReaderOptions) {
    this.#options = options
    this.#expiry = new ExpiryWatch(options)
  }

  /** How far the last answer was behind the tip, as the service says; undefined before the first. */
  get millisBehindLatest(): number | undefined {
    return this.#millisBehindLatest
  }

  /**
   * Resolves to the shard's children when its last record has been passed on. Rejects when aborted, or on what trying again
   * can't mend.
   */
  async run(signal: AbortSignal): Promise<readonly ChildShard[]> {
    const { clock, idleTimeBetweenReads, room, retention } = this.#options
    // Asks, so that it is known when it is needed.
    retention.known(signal)
    for (let failures = 0; ; ) {
      await room(this.#lastBytes)
      signal.throwIfAborted()
      const startedAt = clock.monotonicMs()
      let waitMs: number
      try {
        const answer = await this.#read(signal)
        const children = await this.#accept(answer, signal)
        if (children !== undefined) return children
        failures = 0
        const idleMs = answer.Records?.length ? idleTimeBetweenReads : Math.max(idleTimeBetweenReads, MIN_IDLE_MS)
        waitMs = startedAt + idleMs - clock.monotonicMs()
      } catch (error) {
        signal.throwIfAborted()
        const children = await this.#recover(error, ++failures, signal)
        if (children !== undefined) return children
        waitMs = this.#backoff(error, failures)
      }
      if (waitMs > 0) await clock.sleep(waitMs, signal)
    }
  }

  /** The last record known to be before what hasn't been read. */
  get #lastKnown(): string | undefined {
    const { checkpoint } = this.#options
    return this.#lastRead ?? (isSentinel(checkpoint) ? undefined : checkpoint.sequenceNumber)
  }

  async #read(signal: AbortSignal): Promise<GetRecordsCommandOutput> {
    const { kinesis, stream, shardId, maxRecords, clock, telemetry } = this.#options
    this.#iterator ??= await this.#newIterator(signal)
    const command = new GetRecordsCommand({
      ShardIterator: this.#iterator,
      Limit: maxRecords,
      ...(stream.startsWith('arn:') && { StreamARN: stream }),
    })
    this.#expiry.sending()
    return await timed(
      clock,
      signal,
      () => orAborted(kinesis.send(command, { abortSignal: signal }), signal),
      (durationMs, failure) => telemetry.measures?.recordsAsked(shardId, durationMs, failure),
    )
  }

  async #newIterator(signal: AbortSignal): Promise<string> {
    const { kinesis, stream, shardId, clock, telemetry } = this.#options
    const position = this.#startingPosition()
    const command = new GetShardIteratorCommand({ ...streamReference(stream), ShardId: shardId, ...position })
    const { ShardIterator } = await timed(
      clock,
      signal,
      () => orAborted(kinesis.send(command, { abortSignal: signal }), signal),
      (durationMs, failure) => telemetry.measures?.iteratorAsked(durationMs, failure),
    )
    if (ShardIterator === undefined) throw new Error('GetShardIterator answered without an iterator')
    this.#expiry.iteratorTaken(position.StartingSequenceNumber)
    return ShardIterator
  }

  #startingPosition(): Pick<
    GetShardIteratorCommandInput,
    'ShardIteratorType' | 'StartingSequenceNumber' | 'Timestamp'
  > {
    const { checkpoint, startMs } = this.#options
    const lastKnown = this.#lastKnown
    // At it, not after it: if it doesn't come, it has expired, and what lies behind it may have too. And a checkpoint may lie
    // inside an aggregate.
    if (lastKnown !== undefined) return { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: lastKnown }
    if (checkpoint.sequenceNumber === 'TRIM_HORIZON' || startMs === undefined) {
      return { ShardIteratorType: 'TRIM_HORIZON' }
    }
    // LATEST too: an iterator at the tip, asked for anew, would skip what has come since the first.
    return { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: new Date(startMs) }
  }

  /** Passes the records on; returns the children at the shard's end. */
  async #accept(answer: GetRecordsCommandOutput, signal: AbortSignal): Promise<readonly ChildShard[] | undefined> {
    const { shardId, telemetry, onRecords } = this.#options
    this.#everRead = true
    const found = answer.Records ?? []
    const first = found[0]?.SequenceNumber
    const millisBehindLatest = answer.MillisBehindLatest ?? 0
    const isLast = millisBehindLatest === 0 || !answer.NextShardIterator
    // Before the records are passed on: what has expired must be told of even if this is the last thing that the worker does.
    await this.#expiry.answered({ first, millisBehindLatest, isLast }, this.#lastKnown, signal)
    signal.throwIfAborted()
    const isRepeated = first !== undefined && first === this.#lastRead
    const records = (isRepeated ? found.slice(1) : found).map((record) => ({
      sequenceNumber: record.SequenceNumber ?? '',
      // Absent on service-managed streams.
      partitionKey: record.PartitionKey ?? '',
      data: record.Data ?? new Uint8Array(),
      arrivedAt: record.ApproximateArrivalTimestamp,
    }))
    this.#lastBytes = records.reduce((sum, { data }) => sum + data.byteLength, 0)
    this.#lastRead = records.at(-1)?.sequenceNumber ?? this.#lastRead
    this.#iterator = answer.NextShardIterator ?? undefined
    this.#millisBehindLatest = millisBehindLatest
    if (records.length > 0) {
      onRecords(records)
      telemetry.emit({
        type: 'recordsRead',
        shardId,
        kinesisRecords: records.length,
        bytes: this.#lastBytes,
        millisBehindLatest,
      })
    }
    if (this.#iterator !== undefined) return undefined
    const children = (answer.ChildShards ?? []).map((child) => ({
      shardId: child.ShardId ?? '',
      hashRange: {
        start: parseHashKey(child.HashKeyRange?.StartingHashKey ?? ''),
        end: parseHashKey(child.HashKeyRange?.EndingHashKey ?? ''),
      },
      parentShardIds: child.ParentShards ?? [shardId],
    }))
    if (children.length > 0) return children
    const listed = await this.#listChildren(signal)
    if (listed.children.length > 0) return listed.children
    throw new Error(`the answer has no next iterator, and the stream lists no children of ${shardId}`)
  }

  async #listChildren(signal: AbortSignal): Promise<{ listed: boolean; children: ChildShard[] }> {
    const { kinesis, stream, shardId } = this.#options
    const shards = await orAborted(shardsOf(kinesis, stream, { signal }), signal)
    return {
      listed: shards.some((shard) => shard.shardId === shardId),
      children: shards.filter((shard) => shard.parentShardIds.includes(shardId)),
    }
  }

  /** Prepares the next try after an error. Returns the children if the shard is no longer there to be read. */
  async #recover(error: unknown, failures: number, signal: AbortSignal): Promise<readonly ChildShard[] | undefined> {
    const { shardId, stream, isRefusalFinal, telemetry } = this.#options
    const code = errorCode(error)
    if (code === 'ExpiredIteratorException' || code === 'InvalidArgumentException') this.#iterator = undefined
    if (code === 'ResourceNotFoundException') {
      this.#iterator = undefined
      try {
        const { listed, children } = await this.#listChildren(signal)
        if (listed) return undefined
        telemetry.emit({ type: 'shardGone', shardId })
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

  #backoff(error: unknown, failures: number): number {
    const { shardId, random, telemetry } = this.#options
    // An iterator lives five minutes; a reader that had no room for longer just takes a new one.
    if (errorCode(error) === 'ExpiredIteratorException' && failures === 1) return 0
    const retryInMs = backoffMs(failures, RETRY_BACKOFF, random)
    telemetry.emit({ type: 'readFailed', shardId, retryInMs, error })
    return retryInMs
  }
}
