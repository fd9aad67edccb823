import type { Clock, Random } from '@shardwise/core'
import { Alarms } from './alarms.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { DeadLetterSender } from './dead-letter.ts'
import type { FailureOptions } from './failure-policy.ts'
import { Failures } from './failures.ts'
import type { Handler } from './handler.ts'
import { HandlerCalls } from './handler-calls.ts'
import { PoolMember, type PoolShard } from './pool-member.ts'
import type { WorkQueue } from './work.ts'

export type { PoolShard } from './pool-member.ts'

export interface HandlerPoolOptions extends FailureOptions, DeadLetterSender {
  readonly concurrency: number
  readonly clock: Clock
  readonly random: Random
}

/** The event loop gets a turn after this much work, for heartbeats to go out in time. */
const TURN_MS = 10
/** The same where the clock stands still. */
const TURN_RECORDS = 10_000
/** Records of one shard in a row, before the next shard has its turn. */
const RUN_RECORDS = 256
/** The same where each takes a place, there are plenty, and the others want some too. */
const FEW_RECORDS = 8
/** At most so many places, and a quarter of them, are kept free of shards that have more than their share. */
const MAX_RESERVED = 8
/** Where nobody has less than its share, who has few is looked for among so many of those that wait longest. */
const MAX_LOOK = 32
const ASK_BARRED_MS = 100

/**
 * Runs the handler on the records of all shards of the worker, at most `concurrency` at once. A free place goes to a shard
 * that has less than its share of them; and one shard, however slow its handlers are, never has all of them if there are others.
 */
export class HandlerPool {
  readonly #concurrency: number
  readonly #clock: Clock
  readonly #alarms: Alarms
  readonly #calls: HandlerCalls
  readonly #members = new Map<PoolShard, PoolMember>()
  /** How many of them may begin something. */
  #shards = 0
  /** Those that may have something to run, who waits longest first. */
  readonly #ready: PoolMember[] = []
  /** Those that may begin nothing now, and when they are asked again though nobody has woken them. */
  readonly #barred = new Set<PoolMember>()
  #askBarredAtMs = 0
  /** Something of theirs was finished that they haven't been told of. */
  readonly #progressed = new Set<WorkQueue>()
  #scheduled = false

  constructor(handler: Handler, options: HandlerPoolOptions) {
    const { concurrency, clock } = options
    this.#concurrency = concurrency
    this.#clock = clock
    this.#alarms = new Alarms(clock)
    this.#calls = new HandlerCalls(handler, {
      ...options,
      alarms: this.#alarms,
      failures: new Failures(options, {
        onReady: (member) => this.#wakeFor(member),
        onStop: (member) => this.remove(member.shard),
      }),
      onSettled: (member) => {
        this.#progressed.add(member.shard.queue)
        this.#forget(member)
        this.#wakeFor(member)
      },
    })
  }

  /** The record that the handler was called with last, or the first of the batch. */
  get lastRecord(): ConsumerRecord | undefined {
    return this.#calls.lastRecord
  }

  /** For people: which handler it is. */
  get handlerName(): string {
    return this.#calls.handlerName
  }

  add(shard: PoolShard): void {
    const member = new PoolMember(shard, this.#alarms)
    this.#members.set(shard, member)
    this.#shards++
    shard.signal.addEventListener('abort', () => this.#abort(member), { once: true })
    this.#wakeFor(member)
  }

  /**
   * Starts nothing more of the shard, and tries nothing of it again. What runs of it goes on and keeps its place until it is done, or
   * the shard is {@link abandon abandoned}.
   */
  remove(shard: PoolShard): void {
    const member = this.#members.get(shard)
    if (member === undefined || member.isRemoved) return
    member.isRemoved = true
    this.#shards--
    member.cancelAlarms()
    this.#barred.delete(member)
    this.#forget(member)
  }

  /** Removes the shard; what still runs of it is waited for no longer: its places are free, and what becomes of it changes nothing. */
  abandon(shard: PoolShard): void {
    this.remove(shard)
    const member = this.#members.get(shard)
    if (member === undefined) return
    this.#calls.abandon(member)
    this.#forget(member)
    this.#schedule()
  }

  /** To be called when the shard may run no longer, for a while: in a run of its records it isn't asked before each. */
  bar(shard: PoolShard): void {
    const member = this.#members.get(shard)
    if (member !== undefined) member.isBarred = true
  }

  /**
   * To be called whenever there may be something to run, or to report.
   *
   * @param shard where; default: anywhere
   */
  wake(shard?: PoolShard): void {
    if (shard === undefined) {
      for (const member of this.#members.values()) this.#makeReady(member)
    } else {
      const member = this.#members.get(shard)
      if (member !== undefined) this.#makeReady(member)
    }
    this.#schedule()
  }

  #wakeFor(member: PoolMember): void {
    this.#makeReady(member)
    this.#schedule()
  }

  #makeReady(member: PoolMember): void {
    if (member.isReady || member.isRemoved) return
    member.isReady = true
    this.#barred.delete(member)
    this.#ready.push(member)
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    void this.#clock.sleep(0).then(() => {
      this.#scheduled = false
      this.#turn()
    })
  }

  /** Once nothing is left to wait for, the process can exit. */
  #forget(member: PoolMember): void {
    if (member.isRemoved && member.running === 0) this.#members.delete(member.shard)
    if (this.#members.size === 0) this.#calls.rest()
  }

  #turn(): void {
    // Once for many records, and for shards that get no turn too.
    for (const queue of this.#progressed) queue.report()
    this.#progressed.clear()
    this.#calls.lookForTracing()
    const nowMs = this.#clock.monotonicMs()
    this.#askBarred(nowMs)
    const endMs = nowMs + TURN_MS
    let left = TURN_RECORDS
    for (let member = this.#next(); member !== undefined; member = this.#next()) {
      left -= this.#run(member, endMs, left)
      if (left <= 0 || this.#clock.monotonicMs() >= endMs) {
        this.#schedule()
        return
      }
    }
  }

  /** Who bars a shard wakes it too; this is for a lease that holds again after all. */
  #askBarred(nowMs: number): void {
    if (this.#barred.size === 0 || nowMs < this.#askBarredAtMs) return
    this.#askBarredAtMs = nowMs + ASK_BARRED_MS
    for (const member of this.#barred) this.#makeReady(member)
    this.#barred.clear()
  }

  /**
   * Of the shards that may have something to run: one that has less than its share of the places; or else the one that waits longest, unless
   * others that are to get a place too have fewer.
   */
  #next(): PoolMember | undefined {
    if (this.#calls.running >= this.#concurrency) return undefined
    let best = -1
    for (let index = 0; index < this.#ready.length; index++) {
      if (index >= MAX_LOOK && best !== -1) break
      const member = this.#ready[index]!
      if (!this.#hasPlace(member)) continue
      const first = this.#ready[best]
      if (!member.isSynchronous && this.#hasLess(member)) {
        best = index
        break
      }
      if (first === undefined || (!first.isSynchronous && !member.isSynchronous && member.running < first.running)) {
        best = index
      }
    }
    if (best === -1) return undefined
    return best === 0 ? this.#ready.shift() : this.#ready.splice(best, 1)[0]
  }

  /** Whether it has less than its share. */
  #hasLess({ running }: PoolMember): boolean {
    return running < Math.max(1, Math.floor(this.#concurrency / this.#shards))
  }

  #hasPlace(member: PoolMember): boolean {
    const free = this.#concurrency - this.#calls.running
    if (free === 0) return false
    const reserved = Math.min(this.#shards - 1, Math.floor(this.#concurrency / 4), MAX_RESERVED)
    // What the shares leave over may be taken from there too.
    return free > reserved || member.running < this.#concurrency / this.#shards
  }

  /** Runs what the shard has, for a while. Returns how much it was. */
  #run(member: PoolMember, endMs: number, most: number): number {
    const { queue, mayRun } = member.shard
    if (member.isRemoved) return 0
    if (!mayRun()) {
      member.isReady = false
      this.#barred.add(member)
      queue.report()
      return 0
    }
    member.isBarred = false
    let hasStarted = false
    let taken = 0
    let mayHaveMore = true
    while (mayHaveMore && !member.isBarred && taken < RUN_RECORDS && taken < most) {
      const work = queue.take()
      if (work === undefined) {
        mayHaveMore = false
        this.#gather(member)
        break
      }
      taken++
      // Of single records one in a run: to measure each would cost more than what most handlers do.
      const sinceMs = taken === 1 || work.batch !== undefined ? this.#clock.monotonicMs() : undefined
      const isRunning = this.#calls.start(member, work, sinceMs)
      hasStarted ||= isRunning
      mayHaveMore = !member.isRemoved
      // After every record: one that took long may have cost the lease, and nothing may be begun then.
      if (this.#clock.monotonicMs() >= endMs) break
      if (isRunning && !this.#mayTakeMore(member, taken)) break
    }
    queue.report()
    if (taken > 0) member.isSynchronous = !hasStarted
    if (mayHaveMore) this.#ready.push(member)
    else member.isReady = false
    return taken
  }

  /** Without the others having their turn. */
  #mayTakeMore(member: PoolMember, taken: number): boolean {
    if (!this.#hasPlace(member)) return false
    if (this.#ready.length === 0 || this.#hasLess(member)) return true
    // A turn costs as much as handling three records, and there is enough for all.
    return taken < FEW_RECORDS && this.#calls.running < this.#concurrency / 2
  }

  /** A batch that isn't full goes when its time has come. */
  #gather(member: PoolMember): void {
    const { waitMs } = member.shard.queue
    // It only needs a pause.
    if (waitMs === 0) member.later(0, () => this.#wakeFor(member))
    if (waitMs === undefined || waitMs === 0 || member.isGathering) return
    member.isGathering = true
    member.later(waitMs, () => {
      member.isGathering = false
      this.#wakeFor(member)
    })
  }

  #abort(member: PoolMember): void {
    member.cancelAlarms()
    this.#calls.abort(member)
  }
}
