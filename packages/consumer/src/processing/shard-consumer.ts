import { backoffMs, type Clock, type Kinesis, orAborted, pause, type Random } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import type { Lease } from '../leases/lease.ts'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import type { Parents } from '../leases/parents.ts'
import { createChildLeases } from '../leases/shard-end.ts'
import type { Table } from '../leases/table.ts'
import { Throughput } from '../leases/throughput.ts'
import type { ReadAhead, ShardPart } from '../retrieval/read-ahead.ts'
import type { ChildShard } from '../retrieval/shard-children.ts'
import type { ReaderOf, ShardReader } from '../retrieval/shard-reader.ts'
import type { SharedListing } from '../retrieval/shared-listing.ts'
import type { StreamFacts } from '../streams/described-stream.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import { Wakeup } from '../waiting.ts'
import type { HandlerPool, PoolShard } from './handler-pool.ts'
import { ShardQueue, type Work } from './shard-queue.ts'

/**
 * What a held lease is at.
 *
 * - `waiting`: for its parents to be finished.
 * - `reading`: records are read and handled.
 * - `draining`: the lease goes to another worker or is given back; what has been begun is being finished.
 * - `ending`: everything is handled, and its children get their leases.
 * - `over`: the lease is no longer held.
 */
export type ShardState = 'waiting' | 'reading' | 'draining' | 'ending' | 'over'

/** One held lease in {@link Consumer.status}. */
export interface ShardStatus {
  /** The stream's name or ARN. */
  readonly stream: string
  readonly shardId: string
  readonly state: ShardState
  /** What the table has. */
  readonly checkpoint: Position
  /** As of the last read; undefined before the first. */
  readonly millisBehindLatest: number | undefined
  /** Kinesis records of which anything is unfinished. */
  readonly bufferedRecords: number
  readonly bufferedBytes: number
  /** For how long the record that holds the checkpoint back has been in hand; undefined if nothing is. */
  readonly oldestUnfinishedMs: number | undefined
}

export interface ShardConsumerContext {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly source: StreamSource
  readonly pool: HandlerPool
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: StreamTelemetry
  /** Told of calls for the lease that fail. */
  readonly onFailure: (doing: string, error: unknown) => void
  readonly facts: StreamFacts
  readonly listing: SharedListing
  /** Makes what reads a shard. */
  readonly readerOf: ReaderOf
  /** How often the lease is renewed at the least. */
  readonly renewalInterval: number
  /** How soon a checkpoint that has moved is written. */
  readonly checkpointIntervalMs: number
  readonly parents: Parents
  readonly parentPollMs: number
  readonly closeTimeout: number
  readonly maxAheadRecords: number
  readonly maxRecords: number
  readonly idleTimeBetweenReads: number
  /** Whether a shard that may not be read, which shows in the first call, is to end everything. */
  readonly isRefusalFinal: () => boolean
  readonly dropMisplaced: boolean
  /** The worker's memory, of which the shard gets its part. */
  readonly readAhead: ReadAhead
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 5_000 }
const POISON_BACKOFF = { baseMs: 1_000, maxMs: 60_000 }
/** What handlers get to settle after their signal was aborted, before the lease goes on regardless. */
const ABORT_GRACE_MS = 250

/** The life of one held lease: wait for the parents, read and handle, then end the shard, hand it off, or give it back. */
export class ShardConsumer {
  readonly #holder: LeaseHolder
  readonly #context: ShardConsumerContext
  readonly #queue: ShardQueue
  readonly #poolShard: PoolShard
  readonly #progress = new Wakeup()
  /** Aborted when nothing new is to be begun: lost, handed off, given back. */
  readonly #stopping = new AbortController()
  /** Aborted when handlers are to give up. */
  readonly #handlers = new AbortController()
  /** Aborted when the wait for what is in hand is to end now. */
  readonly #hurry = new AbortController()
  readonly #over = new AbortController()
  #state: ShardState = 'waiting'
  #memory: ShardPart | undefined
  #reader: ShardReader | undefined
  readonly #nudge = new Wakeup()
  #isNudged = false
  /** User records that were counted as handled. */
  #counted = 0
  /** Who is to have the lease next, if this worker gives it back. */
  #successor: string | undefined

  constructor(holder: LeaseHolder, context: ShardConsumerContext) {
    this.#holder = holder
    this.#context = context
    const { lease } = holder
    const { shardId } = lease
    this.#queue = new ShardQueue({
      stream: context.source.stream,
      shardId,
      hashRange: lease.hashRange,
      checkpoint: lease.checkpoint,
      dropMisplaced: context.dropMisplaced,
      maxAheadRecords: context.maxAheadRecords,
      now: () => context.clock.monotonicMs(),
      onProgress: () => {
        this.#memory?.holds(this.#queue.bufferedBytes)
        this.#progress.wake()
      },
      onBatchFinished: (durationMs) => context.telemetry.measures?.answerHandled(shardId, durationMs),
      placement: () => context.facts.placement(this.#stopping.signal),
      onMisplaced: (sequenceNumber, count, dropped) =>
        context.telemetry.emit({ type: 'misplacedRecords', shardId, sequenceNumber, count, dropped }),
      onPoison: (sequenceNumber, reason, attempt) => this.#onPoison(sequenceNumber, reason, attempt),
    })
    this.#poolShard = {
      queue: this.#queue,
      signal: this.#handlers.signal,
      mayRun: () => holder.isHeld() && !this.#handlers.signal.aborted,
      onFailure: (work, error, retryInMs) => this.#onFailure(work, error, retryInMs),
    }
    holder.lost.addEventListener('abort', () => {
      this.#stopping.abort(holder.lost.reason)
      this.#handlers.abort(holder.lost.reason)
    })
  }

  get shardId(): string {
    return this.#holder.lease.shardId
  }

  get lease(): Lease {
    return this.#holder.lease
  }

  /** Renews the lease soon: the table may have news of it. Of no use once it is being given up. */
  nudge(): void {
    if (this.#stopping.signal.aborted) return
    this.#isNudged = true
    this.#nudge.wake()
  }

  /**
   * Starts giving the lease to the next owner, or back: what has been begun is finished first.
   *
   * @param successor who gets it if it is not being handed off to somebody; by default nobody
   */
  stop(successor?: string): void {
    this.#successor ??= successor
    this.#stopping.abort(
      new ConsumerError('ERR_CLOSED', `${this.shardId} is being given up.`, { shardId: this.shardId }),
    )
  }

  /** Ends the wait of {@link stop} for what is in hand. */
  hurry(): void {
    this.#hurry.abort(new ConsumerError('ERR_CLOSED', 'The consumer stops.'))
  }

  status(): ShardStatus {
    return {
      stream: this.#context.source.stream,
      shardId: this.shardId,
      state: this.#state,
      checkpoint: this.#holder.lease.checkpoint,
      millisBehindLatest: this.#reader?.millisBehindLatest,
      bufferedRecords: this.#queue.bufferedRecords,
      bufferedBytes: this.#queue.bufferedBytes,
      oldestUnfinishedMs: this.#queue.oldestUnfinishedMs,
    }
  }

  /**
   * Resolves when the lease is no longer held and no handler of the shard runs, or a handler ignores its aborted signal
   * for too long. Rejects on what trying again can't mend, after giving the lease back.
   */
  async run(): Promise<void> {
    const { telemetry, pool, closeTimeout } = this.#context
    const { lease, lost } = this.#holder
    const { shardId } = this
    telemetry.emit({ type: 'leaseTaken', shardId, checkpoint: lease.checkpoint })
    const renewing = this.#renew()
    try {
      await this.#parentsFinished()
      this.#state = 'reading'
      telemetry.emit({ type: 'shardStarted', shardId, checkpoint: lease.checkpoint })
      pool.add(this.#poolShard)
      const children = await this.#read()
      while (!this.#queue.empty) await this.#progress.wait(this.#stopping.signal)
      this.#state = 'ending'
      await this.#end(children)
    } catch (error) {
      const asked = this.#stopping.signal.aborted
      this.#stopping.abort(error)
      await this.#giveUp()
      if (!asked) throw error
    } finally {
      this.#over.abort()
      pool.remove(this.#poolShard)
      this.#memory?.close()
      await renewing
      await this.#holder.close()
      if (lost.aborted) {
        telemetry.emit({ type: 'leaseLost', shardId, reason: String(lost.reason.message) })
        await this.#handlersSettled(closeTimeout)
      }
      this.#handlers.abort(new ConsumerError('ERR_LEASE_LOST', `${shardId} is no longer this worker's.`, { shardId }))
      this.#countHandled()
      this.#state = 'over'
    }
  }

  /** At each renewal and at the end: not for each record. */
  #countHandled(): void {
    const { finishedRecords } = this.#queue
    this.#context.telemetry.measures?.userRecordsHandled(this.shardId, finishedRecords - this.#counted)
    this.#counted = finishedRecords
  }

  async #renew(): Promise<void> {
    const { clock, random, renewalInterval, dropMisplaced, facts } = this.#context
    const signal = AbortSignal.any([this.#over.signal, this.#holder.lost])
    const throughput = new Throughput(clock.monotonicMs())
    // Leases that were taken together shall not all be renewed in the same moment.
    const firstMs = clock.monotonicMs() - random() * renewalInterval
    // From one start to the next: the time that a slow table takes counts against the lease already.
    for (let lastMs = firstMs; await this.#renewalIsDue(lastMs, signal); ) {
      lastMs = clock.monotonicMs()
      this.#countHandled()
      const throughputKBps = throughput.at(lastMs, this.#queue.finishedBytes)
      await this.#holder.renew({ checkpoint: this.#queue.checkpoint, throughputKBps })
      this.#tellProgress()
      // Asks, so that it is known when records are misplaced: they come all at once, in a reshard.
      if (dropMisplaced) facts.placement(signal)
      this.#noticeHandoff()
    }
  }

  #tellProgress(): void {
    const { stream: _, state: __, ...progress } = this.status()
    this.#context.telemetry.emit({ type: 'shardProgress', ...progress })
  }

  /** Waits until the next renewal. Resolves to false when there is nothing to renew any more. */
  async #renewalIsDue(lastMs: number, signal: AbortSignal): Promise<boolean> {
    const { clock, renewalInterval, checkpointIntervalMs } = this.#context
    for (let lookMs = lastMs; !signal.aborted; ) {
      lookMs = Math.min(lookMs + checkpointIntervalMs, lastMs + renewalInterval)
      await this.#nudge.until(() => this.#isNudged, signal, clock, lookMs - clock.monotonicMs())
      if (signal.aborted) return false
      if (this.#isNudged) {
        this.#isNudged = false
        return true
      }
      if (lookMs >= lastMs + renewalInterval || this.#holder.isBehind(this.#queue.checkpoint)) return true
    }
    return false
  }

  #noticeHandoff(): void {
    const to = this.#holder.handoffTo
    if (to === undefined || this.#stopping.signal.aborted) return
    this.#context.telemetry.emit({ type: 'handoffStarted', shardId: this.shardId, to })
    this.stop()
  }

  async #parentsFinished(): Promise<void> {
    const { parents, clock, parentPollMs, onFailure } = this.#context
    const signal = this.#stopping.signal
    for (;;) {
      try {
        if (await orAborted(parents.areFinished(this.#holder.lease), signal)) return
      } catch (error) {
        signal.throwIfAborted()
        onFailure(`reading the parents of ${this.shardId}`, error)
      }
      await clock.sleep(parentPollMs, signal)
    }
  }

  #read(): Promise<readonly ChildShard[]> {
    const { lease } = this.#holder
    const { source, facts, pool, readAhead, readerOf, isRefusalFinal } = this.#context
    const memory = readAhead.join()
    this.#memory = memory
    this.#reader = readerOf({
      ...this.#context,
      stream: source.stream,
      shardId: this.shardId,
      checkpoint: lease.checkpoint,
      startMs: lease.startMs,
      retention: facts,
      isRefusalFinal: isRefusalFinal(),
      readAhead: memory,
      onRecords: (records) => {
        const bytes = this.#queue.push(records)
        memory.holds(this.#queue.bufferedBytes)
        pool.wake()
        return bytes
      },
    })
    return this.#reader.run(this.#stopping.signal)
  }

  async #end(children: readonly ChildShard[]): Promise<void> {
    const { clock, random, telemetry, onFailure } = this.#context
    const signal = this.#stopping.signal
    const within = { ...this.#context, isHeld: () => this.#holder.isHeld() }
    for (let attempt = 1; ; attempt++) {
      try {
        if (await orAborted(createChildLeases(this.shardId, children, within, signal), signal)) break
      } catch (error) {
        signal.throwIfAborted()
        onFailure(`creating the leases of the children of ${this.shardId}`, error)
      }
      await clock.sleep(backoffMs(attempt, RETRY_BACKOFF, random), signal)
    }
    const childShardIds = children.map(({ shardId }) => shardId)
    if (await this.#holder.end(childShardIds)) {
      telemetry.emit({ type: 'shardEnded', shardId: this.shardId, childShardIds })
    }
  }

  /** Finishes what has been begun, then makes the last write. */
  async #giveUp(): Promise<void> {
    const { clock, closeTimeout, pool, telemetry } = this.#context
    const { lost } = this.#holder
    const { shardId } = this
    this.#state = 'draining'
    this.#queue.drain()
    pool.wake()
    const patience = AbortSignal.any([lost, this.#hurry.signal])
    const finished = await this.#progress.until(() => this.#queue.idle, patience, clock, closeTimeout)
    if (!finished && !lost.aborted) {
      this.#handlers.abort(
        new ConsumerError('ERR_CLOSED', `The handler took longer than closeTimeout to finish.`, { shardId }),
      )
      await this.#handlersSettled(ABORT_GRACE_MS)
    }
    if (!(await this.#holder.release(this.#queue.checkpoint, this.#successor))) return
    const { checkpoint, owner } = this.#holder.lease
    telemetry.emit(
      owner === undefined || owner === this.#successor
        ? { type: 'leaseReleased', shardId, to: owner, checkpoint }
        : { type: 'leaseHandedOff', shardId, to: owner, checkpoint },
    )
  }

  async #handlersSettled(ms: number): Promise<void> {
    const never = new AbortController().signal
    await this.#progress.until(() => this.#queue.runningHandlers === 0, never, this.#context.clock, ms)
  }

  #onFailure({ record, attempt }: Work, error: unknown, retryInMs: number): void {
    const { shardId, partitionKey, sequenceNumber, subSequenceNumber } = record
    this.#context.telemetry.emit({
      type: 'handlerFailed',
      shardId,
      partitionKey,
      sequenceNumber,
      subSequenceNumber,
      attempt,
      retryInMs,
      error,
    })
  }

  #onPoison(sequenceNumber: string, reason: string, attempt: number): void {
    const { clock, random, telemetry, pool } = this.#context
    const retryInMs = backoffMs(attempt, POISON_BACKOFF, random)
    telemetry.emit({ type: 'undecodableRecord', shardId: this.shardId, sequenceNumber, reason, attempt, retryInMs })
    void pause(clock, retryInMs, this.#stopping.signal).then((over) => {
      if (!over) return
      this.#queue.retryPoison()
      pool.wake()
    })
  }
}
