import { backoffMs, type Clock, orAborted, pause, type Random } from '@shardwise/core'
import { comparePositions, type Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import { REFUSED, type StreamMeasures } from '../telemetry/stream-meter.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { timed } from '../timed.ts'
import { uuid } from '../uuid.ts'
import { within } from '../waiting.ts'
import { isSamePosition, type Lease, leaseFromItem } from './lease.ts'
import { acquire, end, judgeRefusal, missingStart, type Progress, prepare, release, renew } from './lease-changes.ts'
import type { InitialPosition } from './shard-sync.ts'
import type { Item, ItemChange, Table } from './table.ts'

export interface LeaseHolderContext {
  readonly table: Table
  readonly workerId: string
  readonly failoverTime: number
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  /** Of the stream, for a lease that doesn't tell where to start. */
  readonly initialPosition: InitialPosition
  /** Told of every write to a held lease. */
  readonly measures?: StreamMeasures | undefined
}

const RETRY_BACKOFF = { baseMs: 50, maxMs: 1_000 }

/**
 * One lease that this worker holds, and the only place that writes to it while it does.
 *
 * held → released, handed over or ended by a last write; or → lost, when a write shows another holder, or when `failoverTime`
 * has passed since the last successful write was sent. From then on others may hold it, so nothing is written any more.
 */
export class LeaseHolder {
  readonly #context: LeaseHolderContext
  #lease: Lease
  /**
   * When the last successful write was sent. Others may take the lease `failoverTime` after they saw the write, which is later.
   * The monotonic clock stands still while a machine is suspended, the other may be set: the lease is over by whichever is
   * first.
   */
  #sentAt: Moment
  /** The last checkpoint that was announced by this holder. */
  #prepared: Position | undefined
  readonly #lost = new AbortController()
  readonly #over = new AbortController()
  readonly #watching: Promise<void>
  /** Writes go one after the other: each needs the counter that the one before has left. */
  #lastWrite: Promise<boolean> = Promise.resolve(true)

  /** Takes up a lease whose owner is this worker. Undefined if it isn't as it was seen; rejects if the table can't be reached. */
  static async acquire(lease: Lease, context: LeaseHolderContext): Promise<LeaseHolder | undefined> {
    const sentAt = momentOf(context.clock)
    const startMs = missingStart(lease, context.initialPosition, context.clock.wallMs())
    const change = acquire(lease, context.workerId, uuid(context.random), startMs)
    const item = await inTime(context, () => context.table.update(change))
    const held = item && leaseFromItem(item)
    return held && new LeaseHolder(held, sentAt, context)
  }

  private constructor(lease: Lease, sentAt: Moment, context: LeaseHolderContext) {
    this.#context = context
    this.#lease = lease
    this.#sentAt = sentAt
    this.#watching = this.#watch()
  }

  get lease(): Lease {
    return this.#lease
  }

  /** Aborted when the lease is lost. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  /** Whether records may be handled under it now. */
  isHeld(): boolean {
    return !this.#lost.signal.aborted && !this.#over.signal.aborted && this.#leftMs > 0
  }

  /** To whom the leader wants it handed off. */
  get handoffTo(): string | undefined {
    const { owner, checkpointOwner } = this.#lease
    return checkpointOwner === this.#context.workerId && owner !== checkpointOwner ? owner : undefined
  }

  /** Whether the checkpoint is another than what the table has. */
  isBehind(checkpoint: Position | undefined): boolean {
    return moved(this.#lease, checkpoint) !== undefined
  }

  /** Heartbeat, with the checkpoint if it has moved. Resolves to false if the lease is lost. */
  renew({ checkpoint, throughputKBps }: Progress): Promise<boolean> {
    return this.#write((lease) =>
      renew(lease, this.#context.workerId, {
        checkpoint: moved(lease, checkpoint),
        throughputKBps,
        keepsPending: this.#isPendingBehind(checkpoint),
      }),
    )
  }

  /**
   * Announces a checkpoint. Resolves to false if the lease is lost.
   *
   * @param checkpoint what may be written as the checkpoint now: the same write has it
   */
  prepare(position: Position, state: Uint8Array | undefined, checkpoint?: Position | undefined): Promise<boolean> {
    this.#prepared = position
    return this.#write((lease) =>
      prepare(lease, this.#context.workerId, { position, state, checkpoint: moved(lease, checkpoint) }),
    )
  }

  /** Last write: to the next owner in a handoff, otherwise to the successor, or to nobody. */
  async release(checkpoint: Position | undefined, successor?: string | undefined): Promise<boolean> {
    const written = await this.#write((lease) =>
      release(lease, this.#context.workerId, moved(lease, checkpoint), successor, this.#isPendingBehind(checkpoint)),
    )
    await this.close()
    return written
  }

  /** Last write: the shard is finished. */
  async end(childShardIds: readonly string[]): Promise<boolean> {
    const written = await this.#write((lease) => end(lease, this.#context.workerId, childShardIds))
    await this.close()
    return written
  }

  /** Writes nothing more. */
  async close(): Promise<void> {
    this.#over.abort()
    await this.#watching
  }

  /** A checkpoint may be written that was made before another was announced. */
  #isPendingBehind(checkpoint: Position | undefined): boolean {
    const prepared = this.#prepared
    return checkpoint !== undefined && prepared !== undefined && comparePositions(checkpoint, prepared) < 0
  }

  async #watch(): Promise<void> {
    const { clock, failoverTime } = this.#context
    const signal = AbortSignal.any([this.#over.signal, this.#lost.signal])
    // In steps, since timers stand still while the machine is suspended.
    while (await pause(clock, Math.min(this.#leftMs, failoverTime / 10), signal)) this.#loseIfExpired()
  }

  /** For how long it can still be counted on. */
  get #leftMs(): number {
    const { clock, failoverTime } = this.#context
    const now = momentOf(clock)
    const passedMs = Math.max(now.monotonicMs - this.#sentAt.monotonicMs, now.wallMs - this.#sentAt.wallMs)
    return failoverTime - passedMs
  }

  #loseIfExpired(): void {
    if (this.#leftMs <= 0) this.#lose(`it could not be renewed for ${this.#context.failoverTime} ms`)
  }

  #lose(why: string): void {
    const { shardId } = this.#lease
    this.#lost.abort(new ConsumerError('ERR_LEASE_LOST', `The lease of ${shardId} is lost: ${why}.`, { shardId }))
  }

  #write(changeOf: (lease: Lease) => ItemChange): Promise<boolean> {
    this.#lastWrite = this.#lastWrite.then(() => this.#writeNow(changeOf))
    return this.#lastWrite
  }

  async #writeNow(changeOf: (lease: Lease) => ItemChange): Promise<boolean> {
    const { table, clock, random, telemetry, workerId } = this.#context
    let change = changeOf(this.#lease)
    let firstSentAt = momentOf(clock)
    for (let attempt = 1; this.isHeld(); attempt++) {
      try {
        const sentAt = momentOf(clock)
        const item = await this.#update(change)
        if (item !== undefined) return this.#adopt(item, sentAt)
        const seen = await orAborted(
          inTime(this.#context, () => table.read('lease', change.key)),
          this.#lost.signal,
        )
        const verdict = judgeRefusal(change, this.#lease, workerId, seen)
        if (verdict === 'lost' || seen === undefined) {
          this.#lose(`another worker has changed it${seen?.leaseOwner?.S ? `, ${seen.leaseOwner.S}` : ''}`)
        } else if (verdict === 'written') {
          return this.#adopt(seen, firstSentAt)
        } else {
          this.#lease = leaseFromItem(seen) ?? this.#lease
          change = changeOf(this.#lease)
          firstSentAt = momentOf(clock)
          if (attempt > 1) await pause(clock, backoffMs(attempt, RETRY_BACKOFF, random), this.#lost.signal)
        }
      } catch (error) {
        if (this.#lost.signal.aborted) return false
        telemetry.emit({ type: 'callFailed', doing: `writing the lease of ${change.key}`, error })
        await pause(clock, backoffMs(attempt, RETRY_BACKOFF, random), this.#lost.signal)
      }
    }
    if (!this.#over.signal.aborted) this.#loseIfExpired()
    return false
  }

  #update(change: ItemChange): Promise<Item | undefined> {
    const { table, clock, measures } = this.#context
    const signal = this.#lost.signal
    return timed(
      clock,
      signal,
      () =>
        orAborted(
          inTime(this.#context, () => table.update(change)),
          signal,
        ),
      (durationMs, failure, item) =>
        measures?.leaseWritten(durationMs, failure ?? (item === undefined ? REFUSED : undefined)),
    )
  }

  #adopt(item: Item, sentAt: Moment): boolean {
    this.#lease = leaseFromItem(item) ?? this.#lease
    this.#sentAt = sentAt
    return true
  }
}

/** A call may never be answered: then the next, while there is time, may be. But one may take a while without being lost. */
function inTime<T>({ clock, failoverTime }: LeaseHolderContext, call: () => Promise<T>): Promise<T> {
  return within(clock, Math.max(failoverTime / 3, Math.min(1_000, failoverTime / 2)), call)
}

interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

function momentOf(clock: Clock): Moment {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
}

function moved(lease: Lease, checkpoint: Position | undefined): Position | undefined {
  return checkpoint === undefined || isSamePosition(lease.checkpoint, checkpoint) ? undefined : checkpoint
}
