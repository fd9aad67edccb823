import { backoffMs, type Clock, pause, type Random } from '@shardwise/core'
import type { ConsumerRecord } from './consumer-record.ts'
import type { ShardQueue, Work } from './shard-queue.ts'

/** What a handler is told besides the record. */
export interface HandlerContext {
  /**
   * Aborted when the record is no longer this worker's: its lease was lost, or the consumer stops and has waited for
   * `closeTimeout`. What the handler does afterwards may be done by another worker at the same time.
   */
  readonly signal: AbortSignal
  /** 1 for the first attempt with this record. */
  readonly attempt: number
}

/**
 * Handles one user record. It is finished when the function returns, or when its promise resolves; if it throws or
 * rejects, the same record comes again. A handler that has nothing to wait for should return no promise: the next record
 * then follows at once.
 */
export type EachRecord = (record: ConsumerRecord, context: HandlerContext) => unknown

export interface HandlerPoolOptions {
  readonly concurrency: number
  readonly clock: Clock
  readonly random: Random
}

/** A shard whose records the pool handles. */
export interface PoolShard {
  readonly queue: ShardQueue
  /** Aborted when the shard's handlers should give up. */
  readonly signal: AbortSignal
  /** Whether the lease still holds. A process that was suspended finds out here before its timers do. */
  readonly mayRun: () => boolean
  readonly onFailure: (work: Work, error: unknown, retryInMs: number) => void
}

interface Member {
  readonly shard: PoolShard
  /** One for all records that are tried for the first time. */
  readonly firstContext: HandlerContext
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 30_000 }
/** The event loop gets a turn after this much work, for heartbeats to go out in time. */
const TURN_MS = 10
/** The same where the clock stands still. */
const TURN_RECORDS = 10_000
/** Records of one shard in a row, before the next shard has its turn. */
const RUN_RECORDS = 256

/** Runs the handler on the records of all shards of the worker, at most `concurrency` at once. */
export class HandlerPool {
  readonly #eachRecord: EachRecord
  readonly #concurrency: number
  readonly #clock: Clock
  readonly #random: Random
  #members: Member[] = []
  #turn = 0
  #running = 0
  #scheduled = false
  /** Something of theirs was finished that they haven't been told of. */
  readonly #progressed = new Set<ShardQueue>()

  constructor(eachRecord: EachRecord, { concurrency, clock, random }: HandlerPoolOptions) {
    this.#eachRecord = eachRecord
    this.#concurrency = concurrency
    this.#clock = clock
    this.#random = random
  }

  add(shard: PoolShard): void {
    this.#members.push({ shard, firstContext: { signal: shard.signal, attempt: 1 } })
    this.wake()
  }

  /** Starts nothing more of the shard. What runs of it goes on and keeps its place until it is done. */
  remove(shard: PoolShard): void {
    this.#members = this.#members.filter((member) => member.shard !== shard)
  }

  /** To be called whenever there may be something to run. */
  wake(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    void this.#clock.sleep(0).then(() => {
      this.#scheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    const endMs = this.#clock.monotonicMs() + TURN_MS
    let left = TURN_RECORDS
    let idle = 0
    // Once for many records, and for shards that get no turn too.
    for (const queue of this.#progressed) queue.report()
    this.#progressed.clear()
    while (this.#running < this.#concurrency && idle < this.#members.length) {
      const member = this.#members[this.#turn++ % this.#members.length]!
      const { shard } = member
      let taken = 0
      if (shard.mayRun()) {
        while (taken < RUN_RECORDS && this.#running < this.#concurrency && this.#clock.monotonicMs() < endMs) {
          const work = shard.queue.take()
          if (work === undefined) break
          taken++
          this.#run(member, work)
        }
      }
      shard.queue.report()
      idle = taken === 0 ? idle + 1 : 0
      left -= taken
      if (left <= 0 || this.#clock.monotonicMs() >= endMs) {
        this.wake()
        return
      }
    }
  }

  #run({ shard, firstContext }: Member, work: Work): void {
    const { attempt } = work
    let result: unknown
    try {
      result = this.#eachRecord(work.record, attempt === 1 ? firstContext : { signal: shard.signal, attempt })
    } catch (error) {
      this.#fail(shard, work, error)
      return
    }
    if (!isPromiseLike(result)) {
      shard.queue.finished(work)
      return
    }
    shard.queue.running(work)
    this.#running++
    result.then(
      () => {
        this.#running--
        shard.queue.finished(work)
        this.#progressed.add(shard.queue)
        this.wake()
      },
      (error: unknown) => {
        this.#running--
        this.#fail(shard, work, error)
        this.wake()
      },
    )
  }

  #fail(shard: PoolShard, work: Work, error: unknown): void {
    const retryInMs = backoffMs(work.attempt, RETRY_BACKOFF, this.#random)
    // An aborted handler's error says nothing: the record isn't ours any more, and comes again elsewhere.
    if (!shard.signal.aborted) shard.onFailure(work, error, retryInMs)
    shard.queue.failed(work)
    shard.queue.report()
    void pause(this.#clock, retryInMs, shard.signal).then((over) => {
      if (!over) return
      shard.queue.again(work)
      this.wake()
    })
  }
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}
