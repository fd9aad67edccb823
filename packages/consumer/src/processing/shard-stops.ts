import type { Clock } from '@shardwise/core'
import { comparePositions, type Position } from '@shardwise/records'
import type { Failure } from './shard-session.ts'
import type { StoppedShard, UnfinishedRecord } from './shard-status.ts'

export interface ShardStopsOptions {
  readonly clock: Pick<Clock, 'monotonicMs' | 'wallMs'>
  /** How long it rests after the first time. */
  readonly stoppedRetryMs: number
}

/** The rest grows up to so many times the first. */
const MAX_FACTOR = 10

interface Stop {
  readonly failure: Failure
  readonly finished: Position
  readonly sinceMs: number
  readonly retryAtMs: number
  readonly retryInMs: number
  /** What held the checkpoint back then, and since when. */
  readonly oldest: { readonly record: UnfinishedRecord; readonly sinceMs: number } | undefined
}

/** How often a shard has stopped in a row without coming further, and how long it rests. */
export class ShardStops {
  readonly #options: ShardStopsOptions
  #stop: Stop | undefined

  constructor(options: ShardStopsOptions) {
    this.#options = options
  }

  /**
   * The shard has stopped.
   *
   * @param finished up to where it is finished
   * @param oldest what holds that back
   * @returns for how long it rests
   */
  add(failure: Failure, finished: Position, oldest: UnfinishedRecord | undefined): number {
    const { clock, stoppedRetryMs } = this.#options
    const nowMs = clock.monotonicMs()
    const before = this.#stop
    const isStuck = before !== undefined && comparePositions(finished, before.finished) <= 0
    const retryInMs = isStuck ? Math.min(2 * before.retryInMs, MAX_FACTOR * stoppedRetryMs) : stoppedRetryMs
    this.#stop = {
      failure,
      finished,
      sinceMs: isStuck ? before.sinceMs : nowMs,
      retryAtMs: nowMs + retryInMs,
      retryInMs,
      oldest: this.#oldest(oldest) ?? before?.oldest,
    }
    return retryInMs
  }

  /** What still ran when it stopped has settled: it is finished up to here now. */
  settled(finished: Position): void {
    if (this.#stop !== undefined) this.#stop = { ...this.#stop, finished }
  }

  /** How much of the rest is left. */
  get restMs(): number {
    return Math.max(0, (this.#stop?.retryAtMs ?? 0) - this.#options.clock.monotonicMs())
  }

  /** The shard is finished up to here: perhaps beyond what it stopped at. */
  passed(finished: Position): void {
    const record = this.#stop?.failure.record
    if (record !== undefined && comparePositions(finished, record.position) >= 0) this.clear()
  }

  /** What it stopped at is behind it. */
  clear(): void {
    this.#stop = undefined
  }

  get current(): StoppedShard | undefined {
    if (this.#stop === undefined) return undefined
    const { failure, sinceMs, retryAtMs } = this.#stop
    return { ...failure, since: this.#dateOf(sinceMs), retryAt: this.#dateOf(retryAtMs) }
  }

  /** The record that holds the checkpoint back, where it was in hand before the stop already. @param now as its queue says */
  oldest(now: UnfinishedRecord | undefined): UnfinishedRecord | undefined {
    const before = this.#stop?.oldest
    if (before === undefined) return now
    if (now !== undefined && comparePositions(now, before.record) !== 0) return now
    return { ...before.record, ageMs: this.#options.clock.monotonicMs() - before.sinceMs }
  }

  #oldest(now: UnfinishedRecord | undefined): Stop['oldest'] {
    const record = this.oldest(now)
    return record && { record, sinceMs: this.#options.clock.monotonicMs() - record.ageMs }
  }

  #dateOf(ms: number): Date {
    const { clock } = this.#options
    return new Date(clock.wallMs() - clock.monotonicMs() + ms)
  }
}
