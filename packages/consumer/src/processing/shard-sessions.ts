import { comparePositions, type Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import type { ChildShard } from '../retrieval/shard-children.ts'
import { Wakeup } from '../waiting.ts'
import type { Pauses } from './pauses.ts'
import { ShardCheckpoints } from './shard-checkpoints.ts'
import { type Failure, ShardSession, type ShardSessionContext } from './shard-session.ts'
import type { ShardStatus } from './shard-status.ts'
import { ShardStops } from './shard-stops.ts'
import type { QueueMemory } from './work.ts'

export interface ShardSessionsContext extends ShardSessionContext {
  readonly checkpointing: 'automatic' | 'manual'
  readonly closeTimeout: number
  readonly pauses: Pauses
  readonly onStop: 'retry' | 'exit'
  readonly stoppedRetryMs: number
}

/** What of {@link ShardStatus} the handling of records decides. */
export type HandlingStatus = Pick<
  ShardStatus,
  | 'paused'
  | 'stopped'
  | 'millisBehindLatest'
  | 'bufferedRecords'
  | 'bufferedBytes'
  | 'oldestUnfinished'
  | 'oldestUnfinishedMs'
  | 'aheadRecords'
  | 'aheadBytes'
  | 'isAheadFull'
>

/** The handling of one held shard, from where it was finished to its end: one session, and another each time that it has stopped. */
export class ShardSessions {
  /** Where the handler makes checkpoints of its own. */
  readonly checkpoints: ShardCheckpoints | undefined
  readonly #holder: LeaseHolder
  readonly #context: ShardSessionsContext
  readonly #stops: ShardStops
  readonly #changed = new Wakeup()
  #session: ShardSession | undefined
  /** What the last session knew. */
  #memory: QueueMemory | undefined
  #newest: Position | undefined
  #millisBehindLatest: number | undefined
  /** Handled in former sessions. */
  #handledRecords = 0
  #handledBytes = 0
  #isResting = false
  #retryNow = false

  constructor(holder: LeaseHolder, context: ShardSessionsContext) {
    this.#holder = holder
    this.#context = context
    this.#stops = new ShardStops(context)
    const { checkpointing, source } = context
    const newest = (): Position | undefined => later(this.#newest, this.#session?.queue.newest)
    const finished = (): Position => this.finished
    this.checkpoints =
      checkpointing === 'manual' ? new ShardCheckpoints({ stream: source.stream, holder, newest, finished }) : undefined
  }

  /** Up to where everything is finished. */
  get finished(): Position {
    return this.#session?.queue.position ?? this.#memory?.checkpoint ?? this.#holder.lease.checkpoint
  }

  /** What may be written as the checkpoint; undefined: what the table has. */
  get checkpoint(): Position | undefined {
    if (this.checkpoints !== undefined) return this.checkpoints.at(this.finished)
    return this.#session?.queue.checkpoint ?? this.#memory?.checkpoint
  }

  /** User records handled so far. */
  get handledRecords(): number {
    return this.#handledRecords + (this.#session?.queue.finishedRecords ?? 0)
  }

  /** Bytes of their data. */
  get handledBytes(): number {
    return this.#handledBytes + (this.#session?.queue.finishedBytes ?? 0)
  }

  /** As of the last read; undefined before the first. */
  get millisBehindLatest(): number | undefined {
    return this.#session?.millisBehindLatest ?? this.#millisBehindLatest
  }

  /** It has stopped, and isn't tried again yet. */
  get isResting(): boolean {
    return this.#isResting
  }

  status(): HandlingStatus {
    const queue = this.#session?.queue
    this.#stops.passed(this.finished)
    const oldestUnfinished = this.#stops.oldest(queue?.oldestUnfinished)
    const { finishedAbove = [], tried = [] } = queue === undefined ? (this.#memory ?? {}) : {}
    return {
      paused: this.#isPaused(),
      stopped: this.#stops.current,
      millisBehindLatest: this.millisBehindLatest,
      bufferedRecords: queue?.bufferedRecords ?? 0,
      bufferedBytes: queue?.bufferedBytes ?? 0,
      oldestUnfinished,
      oldestUnfinishedMs: oldestUnfinished?.ageMs,
      aheadRecords: queue?.aheadRecords ?? finishedAbove.length + tried.length,
      aheadBytes: queue?.aheadBytes ?? 0,
      isAheadFull: queue?.isAheadFull ?? false,
    }
  }

  /**
   * Resolves to the shard's children when every record is finished. Rejects when the signal is aborted, or on what trying again can't
   * mend: then {@link drain} and {@link close} are to follow.
   */
  async run(signal: AbortSignal): Promise<readonly ChildShard[]> {
    const { closeTimeout } = this.#context
    const { shardId } = this.#holder.lease
    for (;;) {
      const session = new ShardSession(
        {
          holder: this.#holder,
          isPaused: () => this.#isPaused(),
          checkpoints: this.checkpoints,
          memory: this.#memory,
        },
        this.#context,
      )
      this.#session = session
      const end = await session.run(signal)
      const reason = new ConsumerError('ERR_STOPPED', `The handling of ${shardId} has stopped.`, { shardId })
      if ('children' in end) {
        await this.close(reason)
        return end.children
      }
      this.#stop(end.failure, signal)
      await session.settled(signal, closeTimeout)
      signal.throwIfAborted()
      await this.#halt(session, reason)
      this.#stops.settled(this.finished)
      try {
        // Of a record that one of them still works on there must not be a second.
        await session.deserted(signal)
      } finally {
        session.leave()
      }
      await this.#rest(signal)
    }
  }

  /**
   * The shard stops for something else than a record; resolves when it is to be tried again.
   *
   * @throws {ConsumerError} `ERR_STOPPED` if the worker is to end then
   */
  async rest(failure: Failure, signal: AbortSignal): Promise<void> {
    this.#stop(failure, signal)
    await this.#rest(signal)
  }

  /** Tries again at once, if it has stopped. */
  retry(): void {
    this.#retryNow = true
    this.#changed.wake()
  }

  /** It may go on, or may not, now that something outside has changed. */
  wake(): void {
    this.#session?.wake()
    this.#changed.wake()
  }

  /** What it stopped at is behind it. */
  recovered(): void {
    this.#stops.clear()
  }

  /** Finishes what has been begun; of a shard that is paused or has stopped, only what runs. */
  async drain(patience: AbortSignal): Promise<void> {
    await this.#session?.drain(patience)
  }

  /** Handlers are to give up. */
  abort(reason: unknown): void {
    this.#session?.abort(reason)
  }

  /**
   * What still runs is told to give up, and has a moment to do so. Memory is freed; what is known of the records is kept.
   *
   * @param graceMs the moment, if it isn't the usual one
   * @param patience ends it
   */
  async close(reason: ConsumerError, graceMs?: number, patience?: AbortSignal): Promise<void> {
    const session = this.#session
    if (session === undefined) return
    await this.#halt(session, reason, graceMs, patience)
    session.leave()
  }

  async #halt(session: ShardSession, reason: ConsumerError, graceMs?: number, patience?: AbortSignal): Promise<void> {
    await session.halt(reason, graceMs, patience)
    this.#memory = session.queue.memory()
    this.#newest = later(this.#newest, session.queue.newest)
    this.#millisBehindLatest = session.millisBehindLatest
    this.#handledRecords += session.queue.finishedRecords
    this.#handledBytes += session.queue.finishedBytes
    this.#session = undefined
  }

  #stop(failure: Failure, signal: AbortSignal): void {
    const { telemetry, onStop } = this.#context
    const { shardId } = this.#holder.lease
    this.#isResting = true
    this.#retryNow = false
    const restMs = this.#stops.add(failure, this.finished, this.#session?.queue.oldestUnfinished)
    const { record, error, attempts } = failure
    telemetry.emit({
      type: 'shardStopped',
      shardId,
      partitionKey: record?.partitionKey,
      sequenceNumber: record?.position.sequenceNumber,
      subSequenceNumber: record?.position.subSequenceNumber,
      attempts,
      retryInMs: onStop === 'exit' || signal.aborted ? undefined : restMs,
      error,
    })
    if (onStop === 'exit') throw stopped(shardId, failure)
  }

  async #rest(signal: AbortSignal): Promise<void> {
    await this.#changed.until(() => this.#retryNow, signal, this.#context.clock, this.#stops.restMs)
    while (this.#isPaused()) await this.#changed.wait(signal)
    signal.throwIfAborted()
    this.#isResting = false
    const { shardId } = this.#holder.lease
    this.#context.telemetry.emit({ type: 'shardResumed', shardId, checkpoint: this.finished })
  }

  #isPaused(): boolean {
    return this.#context.pauses.isPaused(this.#context.source.stream, this.#holder.lease.shardId)
  }
}

function stopped(shardId: string, { record, error, attempts }: Failure): ConsumerError {
  const at = record && `${record.position.sequenceNumber}:${record.position.subSequenceNumber}`
  return new ConsumerError(
    'ERR_STOPPED',
    `${shardId} has stopped ${at === undefined ? 'at its end' : `at the record ${at}`}, which failed for good after ${attempts} ` +
      `attempts (${String(error)}). Mend the cause and start again: nothing was skipped.`,
    { cause: error, shardId },
  )
}

function later(one: Position | undefined, other: Position | undefined): Position | undefined {
  if (one === undefined || other === undefined) return one ?? other
  return comparePositions(one, other) < 0 ? other : one
}
