import type { Clock, Kinesis, Random } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import type { ConsumerError } from '../errors.ts'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import type { ReadAhead, ShardPart } from '../retrieval/read-ahead.ts'
import type { ChildShard } from '../retrieval/shard-children.ts'
import type { ReaderOf, ShardReader } from '../retrieval/shard-reader.ts'
import type { SharedListing } from '../retrieval/shared-listing.ts'
import type { StreamFacts } from '../streams/described-stream.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import { Wakeup } from '../waiting.ts'
import type { HandlerPool } from './handler-pool.ts'
import type { ManualCheckpoints } from './handlers.ts'
import { ABORT_GRACE_MS } from './hook-calls.ts'
import type { PoolShard } from './pool-member.ts'
import { ShardQueue } from './shard-queue.ts'
import type { BatchLimits, Ordering, QueueMemory } from './work.ts'

export interface ShardSessionContext {
  readonly kinesis: Kinesis
  readonly source: StreamSource
  readonly pool: HandlerPool
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: StreamTelemetry
  readonly facts: StreamFacts
  readonly listing: SharedListing
  /** Makes what reads a shard. */
  readonly readerOf: ReaderOf
  readonly ordering: Ordering
  /** Undefined where each record is handled alone. */
  readonly batch: BatchLimits | undefined
  readonly maxAheadRecords: number
  readonly maxAheadBytes: number
  readonly maxRecords: number
  readonly idleTimeBetweenReads: number
  /** Whether a shard that may not be read, which shows in the first call, is to end everything. */
  readonly isRefusalFinal: () => boolean
  readonly dropMisplaced: boolean
  /** The worker's memory, of which the shard gets its part. */
  readonly readAhead: ReadAhead
}

export interface ShardSessionOptions {
  readonly holder: LeaseHolder
  readonly isPaused: () => boolean
  /** Where the handler makes checkpoints of its own. */
  readonly checkpoints: ManualCheckpoints | undefined
  /** What the session before knew. */
  readonly memory: QueueMemory | undefined
}

/** Why a shard stopped: what it failed at, and its error. Knows nothing of the record's data, which would stay in memory. */
export interface Failure {
  /** Undefined: the hook `onShardEnd`. */
  readonly record: { readonly partitionKey: string; readonly position: Position } | undefined
  readonly error: unknown
  readonly attempts: number
}

/** How a session ends by itself. */
export type SessionEnd = { readonly children: readonly ChildShard[] } | { readonly failure: Failure }

/** One time of reading and handling a shard without a break: to its end, or until it stops at a record that failed for good. */
export class ShardSession {
  readonly queue: ShardQueue
  readonly #context: ShardSessionContext
  readonly #isPaused: () => boolean
  readonly #memory: ShardPart
  readonly #reader: ShardReader
  readonly #poolShard: PoolShard
  readonly #progress = new Wakeup()
  /** Aborted when the shard has stopped. */
  readonly #stopped = new AbortController()
  /** Aborted when handlers are to give up. */
  readonly #handlers = new AbortController()
  #failure: Failure | undefined

  constructor({ holder, isPaused, checkpoints, memory }: ShardSessionOptions, context: ShardSessionContext) {
    const { source, clock, pool, telemetry, facts, readAhead, readerOf, isRefusalFinal } = context
    const { shardId, hashRange, startMs, checkpoint } = holder.lease
    this.#context = context
    this.#isPaused = isPaused
    // A batch that is being gathered goes when nothing more can come to it.
    const part = readAhead.join(() => pool.wake(this.#poolShard))
    this.#memory = part
    this.queue = new ShardQueue({
      ...context,
      stream: source.stream,
      shardId,
      hashRange,
      checkpoint,
      memory,
      now: () => clock.monotonicMs(),
      isStarved: () => part.isStarved,
      onProgress: () => {
        part.holds(this.queue.bufferedBytes)
        this.#progress.wake()
      },
      onBatchFinished: (durationMs) => telemetry.measures?.answerHandled(shardId, durationMs),
      placement: () => facts.placement(this.#handlers.signal),
      onMisplaced: (sequenceNumber, count, dropped) =>
        telemetry.emit({ type: 'misplacedRecords', shardId, sequenceNumber, count, dropped }),
    })
    this.#poolShard = {
      queue: this.queue,
      signal: this.#handlers.signal,
      mayRun: () => holder.isHeld() && !this.#handlers.signal.aborted && this.#failure === undefined && !isPaused(),
      telemetry,
      checkpoints,
      onStop: ({ record }, error, attempts) => this.#stop({ record: placeOf(record), error, attempts }),
    }
    this.#reader = readerOf({
      ...context,
      stream: source.stream,
      shardId,
      checkpoint: this.queue.position,
      startMs,
      retention: facts,
      isRefusalFinal: isRefusalFinal(),
      readAhead: part,
      onRecords: (records) => {
        const bytes = this.queue.push(records)
        part.holds(this.queue.bufferedBytes)
        pool.wake(this.#poolShard)
        return bytes
      },
    })
  }

  get millisBehindLatest(): number | undefined {
    return this.#reader.millisBehindLatest
  }

  /**
   * Runs once. Resolves when everything is finished, or when the shard has stopped: then {@link settled} is to follow. Rejects when
   * `until` is aborted, or on what trying again can't mend. {@link halt} and {@link leave} must follow in any case.
   */
  async run(until: AbortSignal): Promise<SessionEnd> {
    const { pool } = this.#context
    const signal = AbortSignal.any([until, this.#stopped.signal])
    pool.add(this.#poolShard)
    try {
      const children = await this.#reader.run(signal)
      this.queue.end()
      this.wake()
      while (!this.queue.empty) await this.#progress.wait(signal)
      return { children }
    } catch (error) {
      until.throwIfAborted()
      if (this.#failure === undefined) throw error
      return { failure: this.#failure }
    }
  }

  /** It may run, may not, or be over, now that something outside has changed. */
  wake(): void {
    const { pool } = this.#context
    // Even a handler that has just been called may have paused it: nothing more is begun in this turn.
    if (this.#isPaused()) pool.bar(this.#poolShard)
    pool.wake(this.#poolShard)
    this.#progress.wake()
  }

  /** Waits for what runs. Resolves to false if it still does after `ms`. */
  settled(signal: AbortSignal, ms: number): Promise<boolean> {
    return this.#progress.until(() => this.queue.runningHandlers === 0, signal, this.#context.clock, ms)
  }

  /** Finishes what has been begun; of a shard that is paused, or stops, only what runs. */
  async drain(patience: AbortSignal): Promise<void> {
    this.queue.drain()
    this.wake()
    const isDone = (): boolean =>
      this.queue.idle || ((this.#isPaused() || this.#failure !== undefined) && this.queue.runningHandlers === 0)
    while (!isDone() && !patience.aborted) await this.#progress.wait(patience).catch(() => undefined)
  }

  /** Its handlers are to give up. */
  abort(reason: unknown): void {
    this.#handlers.abort(reason)
  }

  /**
   * What runs is told to give up, and has `graceMs` to do so; then the memory of what was read is free.
   *
   * @param patience ends the grace
   */
  async halt(
    reason: ConsumerError,
    graceMs: number = ABORT_GRACE_MS,
    patience: AbortSignal = new AbortController().signal,
  ): Promise<void> {
    this.#handlers.abort(reason)
    await this.settled(patience, graceMs)
    this.#memory.close()
  }

  /** Waits for handlers that don't heed their signal. Rejects when `signal` is aborted. */
  async deserted(signal: AbortSignal): Promise<void> {
    while (this.queue.runningHandlers > 0) await this.#progress.wait(signal)
  }

  /** What still runs changes nothing any more. */
  leave(): void {
    this.#context.pool.abandon(this.#poolShard)
  }

  #stop(failure: Failure): void {
    this.#failure ??= failure
    this.#stopped.abort(STOPPED)
    this.#progress.wake()
  }
}

/** Nobody sees it. */
const STOPPED = 'stopped'

function placeOf(record: Position & { readonly partitionKey: string }): NonNullable<Failure['record']> {
  const { partitionKey, sequenceNumber, subSequenceNumber } = record
  return { partitionKey, position: { sequenceNumber, subSequenceNumber } }
}
