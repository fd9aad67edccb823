import { backoffMs, orAborted, pause } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import type { Lease } from '../leases/lease.ts'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import type { Parents } from '../leases/parents.ts'
import { createChildLeases } from '../leases/shard-end.ts'
import type { Table } from '../leases/table.ts'
import type { ChildShard } from '../retrieval/shard-children.ts'
import { HookCalls } from './hook-calls.ts'
import { LeaseRenewals } from './lease-renewals.ts'
import type { ShardHooks } from './shard-hooks.ts'
import { ShardSessions, type ShardSessionsContext } from './shard-sessions.ts'
import type { ShardState, ShardStatus } from './shard-status.ts'

export interface ShardConsumerContext extends ShardSessionsContext {
  readonly table: Table
  /** Told of calls for the lease that fail. */
  readonly onFailure: (doing: string, error: unknown) => void
  /** How often the lease is renewed at the least. */
  readonly renewalInterval: number
  /** How soon a checkpoint that has moved is written. */
  readonly checkpointIntervalMs: number
  readonly parents: Parents
  readonly parentPollMs: number
  readonly hooks: ShardHooks
  /** How often the hook at the shard's end is tried until the shard stops. */
  readonly maxAttempts: number
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 5_000 }

/**
 * The life of one held lease: wait for the parents, read and handle, then end the shard, hand it off, or give it back. The lease is
 * renewed through all of it.
 */
export class ShardConsumer {
  readonly #holder: LeaseHolder
  readonly #context: ShardConsumerContext
  readonly #renewals: LeaseRenewals
  readonly #sessions: ShardSessions
  readonly #hooks: HookCalls
  /** Aborted when nothing new is to be begun: lost, handed off, given back. */
  readonly #stopping = new AbortController()
  /** Aborted when what is in hand is waited for no longer: `closeTimeout` after the end began, or when it is to end at once. */
  readonly #patience = new AbortController()
  /** Aborted when nothing is to be renewed any more. */
  readonly #over = new AbortController()
  /** Aborted when nothing of it is under way any more. */
  readonly #done = new AbortController()
  #state: ShardState = 'waiting'
  /** User records that were counted as handled. */
  #counted = 0
  #isEnding = false
  /** Who is to have the lease next, if this worker gives it back. */
  #successor: string | undefined

  constructor(holder: LeaseHolder, context: ShardConsumerContext) {
    this.#holder = holder
    this.#context = context
    const sessions = new ShardSessions(holder, context)
    this.#sessions = sessions
    this.#hooks = new HookCalls({ ...context, holder, sessions })
    this.#renewals = new LeaseRenewals({
      ...context,
      holder,
      checkpoint: () => sessions.checkpoint,
      handledBytes: () => {
        this.#countHandled()
        return sessions.handledBytes
      },
      onRenewed: () => this.#renewed(),
    })
    holder.lost.addEventListener('abort', () => {
      this.#end(holder.lost.reason)
      sessions.abort(holder.lost.reason)
    })
  }

  get shardId(): string {
    return this.#holder.lease.shardId
  }

  /** The stream's name or ARN. */
  get stream(): string {
    return this.#context.source.stream
  }

  get lease(): Lease {
    return this.#holder.lease
  }

  /** Something of it was read, be it no record. */
  get hasRead(): boolean {
    return this.#sessions.millisBehindLatest !== undefined
  }

  /** Whether its records may be handled now. */
  isHeld(): boolean {
    return this.#holder.isHeld()
  }

  /** Renews the lease soon: the table may have news of it. Of no use once it is being given up. */
  nudge(): void {
    if (!this.#stopping.signal.aborted) this.#renewals.nudge()
  }

  /**
   * Starts giving the lease to the next owner, or back: what has been begun is finished first.
   *
   * @param successor who gets it if it is not being handed off to somebody; by default nobody
   */
  stop(successor?: string): void {
    this.#successor ??= successor
    this.#end(new ConsumerError('ERR_CLOSED', `${this.shardId} is being given up.`, { shardId: this.shardId }))
  }

  /** Ends the wait of {@link stop} for what is in hand. */
  hurry(): void {
    this.#patience.abort(new ConsumerError('ERR_CLOSED', 'The consumer stops.'))
  }

  /** It was paused, or resumed. */
  pauseChanged(): void {
    this.#sessions.wake()
  }

  /** Tries again at once, if it has stopped. */
  retry(): void {
    this.#sessions.retry()
  }

  status(): ShardStatus {
    const { lease } = this.#holder
    const isStopped = this.#sessions.isResting && (this.#state === 'reading' || this.#state === 'ending')
    return {
      stream: this.stream,
      shardId: this.shardId,
      state: isStopped ? 'stopped' : this.#state,
      waitingFor: this.#state === 'waiting' ? this.#context.parents.waitingFor(lease) : [],
      checkpoint: lease.checkpoint,
      ...this.#sessions.status(),
    }
  }

  /**
   * Resolves when the lease is no longer held and no handler of the shard runs, or a handler ignores its aborted signal
   * for too long. Rejects on what trying again can't mend, after giving the lease back.
   */
  async run(): Promise<void> {
    const { telemetry } = this.#context
    const { lease, lost } = this.#holder
    const { shardId } = this
    const signal = this.#stopping.signal
    telemetry.emit({ type: 'leaseTaken', shardId, checkpoint: lease.checkpoint })
    const renewing = this.#renewals.run(AbortSignal.any([this.#over.signal, lost]))
    try {
      await this.#parentsFinished()
      this.#state = 'starting'
      await this.#hooks.start(signal)
      telemetry.emit({ type: 'shardStarted', shardId, checkpoint: this.#holder.lease.checkpoint })
      this.#state = 'reading'
      const children = await this.#sessions.run(signal)
      this.#state = 'ending'
      const patience = AbortSignal.any([lost, this.#patience.signal])
      await this.#hooks.end(patience, signal)
      await this.#finish(children, patience)
    } catch (error) {
      const asked = signal.aborted
      this.#end(error)
      await this.#giveUp()
      if (!asked) throw error
    } finally {
      this.#over.abort()
      await renewing
      await this.#holder.close()
      if (lost.aborted) await this.#leave()
      this.#countHandled()
      this.#state = 'over'
      this.#done.abort()
    }
  }

  /** Begins the end, for which there is so much time and no more. */
  #end(reason: unknown): void {
    this.#stopping.abort(reason)
    if (this.#isEnding) return
    this.#isEnding = true
    const { clock, closeTimeout } = this.#context
    void pause(clock, closeTimeout, this.#done.signal).then((passed) => {
      if (passed) this.#patience.abort(this.#tooSlow())
    })
  }

  #tooSlow(): ConsumerError {
    const { shardId } = this
    return new ConsumerError('ERR_CLOSED', `The handler took longer than closeTimeout to finish.`, { shardId })
  }

  /** At each renewal and at the end: not for each record. */
  #countHandled(): void {
    const { handledRecords } = this.#sessions
    this.#context.telemetry.measures?.userRecordsHandled(this.shardId, handledRecords - this.#counted)
    this.#counted = handledRecords
  }

  #renewed(): void {
    const { dropMisplaced, facts, telemetry } = this.#context
    const { shardId, checkpoint, millisBehindLatest, bufferedRecords, bufferedBytes, oldestUnfinishedMs } =
      this.status()
    telemetry.emit({
      type: 'shardProgress',
      shardId,
      checkpoint,
      millisBehindLatest,
      bufferedRecords,
      bufferedBytes,
      oldestUnfinishedMs,
    })
    // An answer that came late: its records might not be handled for a moment.
    this.#sessions.wake()
    // Asks, so that it is known when records are misplaced: they come all at once, in a reshard.
    if (dropMisplaced) facts.placement(this.#over.signal)
    const to = this.#holder.handoffTo
    if (to === undefined || this.#stopping.signal.aborted) return
    telemetry.emit({ type: 'handoffStarted', shardId, to })
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

  /** Gives the children their leases, then marks the shard as finished: also if the lease is to be given up, while there is time. */
  async #finish(children: readonly ChildShard[], signal: AbortSignal): Promise<void> {
    const { clock, random, telemetry, onFailure } = this.#context
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
    const { lost } = this.#holder
    const { shardId } = this
    if (lost.aborted) return
    this.#state = 'draining'
    const patience = AbortSignal.any([lost, this.#patience.signal])
    await this.#sessions.drain(patience)
    if (lost.aborted) return
    await this.#sessions.close(this.#tooSlow())
    await this.#hooks.release(patience)
    if (!(await this.#holder.release(this.#sessions.checkpoint, this.#successor))) return
    const { checkpoint, owner } = this.#holder.lease
    this.#context.telemetry.emit(
      owner === undefined || owner === this.#successor
        ? { type: 'leaseReleased', shardId, to: owner, checkpoint }
        : { type: 'leaseHandedOff', shardId, to: owner, checkpoint },
    )
  }

  /** The lease is lost, and its handlers were told to give up. */
  async #leave(): Promise<void> {
    const { telemetry, closeTimeout } = this.#context
    const { reason } = this.#holder.lost
    telemetry.emit({ type: 'leaseLost', shardId: this.shardId, reason: String(reason.message) })
    await this.#sessions.close(reason, closeTimeout, this.#patience.signal)
    await this.#hooks.lost(this.#patience.signal)
  }
}
