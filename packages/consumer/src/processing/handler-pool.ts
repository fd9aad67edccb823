import type { Clock, Random } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { isTracing, tracedHandler } from '../telemetry/handler-spans.ts'
import { Alarms } from './alarms.ts'
import { Attempt } from './attempt.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { DeadLetterSender } from './dead-letter.ts'
import type { FailureOptions } from './failure-policy.ts'
import { Failures } from './failures.ts'
import { type Handler, isPromiseLike, NOT_CALLED, recordsOf } from './handler.ts'
import { handlerAbandoned } from './handling-events.ts'
import { type PendingLetter, PoolMember, type PoolShard } from './pool-member.ts'
import { Timeouts } from './timeouts.ts'
import type { Work, WorkQueue } from './work.ts'

export type { PoolShard } from './pool-member.ts'

export interface HandlerPoolOptions extends FailureOptions, DeadLetterSender {
  readonly concurrency: number
  readonly clock: Clock
  readonly random: Random
}

/** A handler, or the sending of a dead letter, that is waited for. */
interface Running {
  readonly member: PoolMember
  readonly work: Work
  /** What is being sent; undefined: the handler runs. */
  readonly letter: PendingLetter | undefined
  /** Its own if it is timed. */
  readonly context: Attempt
  /** Undefined where it isn't measured. */
  readonly sinceMs: number | undefined
  /** Why it was told to give up. */
  timedOut: ConsumerError | undefined
  /** It is waited for no longer. */
  isOver: boolean
}

/** The event loop gets a turn after this much work, for heartbeats to go out in time. */
const TURN_MS = 10
/** The same where the clock stands still. */
const TURN_RECORDS = 10_000
/** Records of one shard in a row, before the next shard has its turn. */
const RUN_RECORDS = 256
/** At most so many places, and a quarter of them, are kept free of shards that have more than their share. */
const MAX_RESERVED = 8

/**
 * Runs the handler on the records of all shards of the worker, at most `concurrency` at once. A free place goes to the shard
 * that has the fewest; and one shard, however slow its handlers are, never has all of them if there are others.
 */
export class HandlerPool {
  readonly #handler: Handler
  readonly #tracedHandler: Handler
  /** One of the two. */
  #called: Handler
  readonly #options: HandlerPoolOptions
  readonly #concurrency: number
  readonly #clock: Clock
  readonly #alarms: Alarms
  readonly #failures: Failures
  readonly #timeouts: Timeouts<Running> | undefined
  /** Those that were told to give up. */
  readonly #lastChances: Timeouts<Running>
  readonly #members = new Map<PoolShard, PoolMember>()
  /** Those that may have something to run, who waits longest first. */
  readonly #ready: PoolMember[] = []
  /** The same of shards that may begin nothing now. */
  #barred: PoolMember[] = []
  /** How many shards may begin something. */
  #shards = 0
  #running = 0
  #scheduled = false
  #lastRecord: ConsumerRecord | undefined
  /** Something of theirs was finished that they haven't been told of. */
  readonly #progressed = new Set<WorkQueue>()

  constructor(handler: Handler, options: HandlerPoolOptions) {
    const { concurrency, clock, handlerTimeoutMs, closeTimeout } = options
    this.#handler = handler
    this.#tracedHandler = tracedHandler(handler, options.application)
    this.#called = handler
    this.#options = options
    this.#concurrency = concurrency
    this.#clock = clock
    this.#alarms = new Alarms(clock)
    this.#failures = new Failures(options, {
      onReady: (member) => this.#wakeFor(member),
      onStop: (member) => this.remove(member.shard),
    })
    this.#lastChances = new Timeouts(closeTimeout, clock, this.#alarms, (running) => this.#giveUpOn(running))
    this.#timeouts =
      handlerTimeoutMs === undefined
        ? undefined
        : new Timeouts(handlerTimeoutMs, clock, this.#alarms, (running) => this.#timeOut(running, handlerTimeoutMs))
  }

  /** The record that the handler was called with last, or the first of the batch. */
  get lastRecord(): ConsumerRecord | undefined {
    return this.#lastRecord
  }

  /** For people: which handler it is. */
  get handlerName(): string {
    return this.#handler.name
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
    this.#forget(member)
  }

  /** Removes the shard; what still runs of it is waited for no longer: its places are free, and what becomes of it changes nothing. */
  abandon(shard: PoolShard): void {
    this.remove(shard)
    const member = this.#members.get(shard)
    if (member === undefined) return
    member.isAbandoned = true
    this.#running -= member.running
    member.running = 0
    for (const timeouts of [this.#timeouts, this.#lastChances]) {
      for (const running of timeouts?.items() ?? []) if (running.member === member) timeouts?.delete(running)
    }
    this.#forget(member)
    this.#schedule()
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
    if (this.#members.size > 0) return
    this.#timeouts?.rest()
    this.#lastChances.rest()
  }

  #turn(): void {
    // Once for many records, and for shards that get no turn too.
    for (const queue of this.#progressed) queue.report()
    this.#progressed.clear()
    const barred = this.#barred
    this.#barred = []
    this.#ready.push(...barred)
    this.#called = isTracing() ? this.#tracedHandler : this.#handler
    const endMs = this.#clock.monotonicMs() + TURN_MS
    let left = TURN_RECORDS
    for (let member = this.#next(); member !== undefined; member = this.#next()) {
      left -= this.#run(member, endMs, left)
      if (left <= 0 || this.#clock.monotonicMs() >= endMs) {
        this.#schedule()
        return
      }
    }
  }

  /** Of the shards that may have something to run, the one with the fewest running that may have a place. */
  #next(): PoolMember | undefined {
    let best = -1
    let fewest = Number.POSITIVE_INFINITY
    for (let index = 0; index < this.#ready.length && fewest > 0; index++) {
      const member = this.#ready[index]!
      if (member.running < fewest && this.#hasPlace(member)) {
        best = index
        fewest = member.running
      }
    }
    return best === -1 ? undefined : this.#ready.splice(best, 1)[0]
  }

  #hasPlace({ running }: PoolMember): boolean {
    const free = this.#concurrency - this.#running
    if (free <= 0) return false
    const reserved = Math.min(this.#shards - 1, Math.floor(this.#concurrency / 4), MAX_RESERVED)
    return free > reserved || running < this.#concurrency / this.#shards
  }

  /** Runs what the shard has, for a while. Returns how much it was. */
  #run(member: PoolMember, endMs: number, most: number): number {
    const { queue, mayRun } = member.shard
    if (member.isRemoved) return 0
    if (!mayRun()) {
      this.#barred.push(member)
      queue.report()
      return 0
    }
    let taken = 0
    let mayHaveMore = true
    while (mayHaveMore && taken < RUN_RECORDS && taken < most) {
      const work = queue.take()
      if (work === undefined) {
        mayHaveMore = false
        this.#gather(member)
        break
      }
      taken++
      // Of single records one in a run: to measure each would cost more than what most handlers do.
      const sinceMs = taken === 1 || work.batch !== undefined ? this.#clock.monotonicMs() : undefined
      const isRunning = this.#start(member, work, sinceMs)
      mayHaveMore = !member.isRemoved
      // After every record: one that took long may have cost the lease, and nothing may be begun then.
      if (this.#clock.monotonicMs() >= endMs) break
      if (isRunning && (this.#ready.length > 0 || !this.#hasPlace(member))) break
    }
    queue.report()
    if (mayHaveMore) this.#ready.push(member)
    else member.isReady = false
    return taken
  }

  /** A batch that isn't full goes when its time has come. */
  #gather(member: PoolMember): void {
    const { waitMs } = member.shard.queue
    if (waitMs === undefined || member.isGathering) return
    member.isGathering = true
    member.later(waitMs, () => {
      member.isGathering = false
      this.#wakeFor(member)
    })
  }

  /** Returns whether it isn't done yet. */
  #start(member: PoolMember, work: Work, sinceMs: number | undefined): boolean {
    const { queue, mayRun } = member.shard
    const letter = member.letters.size === 0 ? undefined : member.letters.get(work)
    if (work.undecodable !== undefined && letter === undefined) {
      this.#failures.undecodable(member, work, work.undecodable)
      return false
    }
    const context = this.#contextOf(member, work)
    let result: unknown
    let isAsync = false
    try {
      if (letter === undefined) {
        this.#lastRecord = work.record
        result = this.#called.call(work, context, mayRun)
      } else {
        result = this.#options.deadLetter!(letter.letter, context)
      }
      isAsync = isPromiseLike(result)
    } catch (error) {
      this.#failed(member, work, letter, error)
      return false
    }
    if (!isAsync) {
      if (sinceMs !== undefined && letter === undefined) this.#measure(member, work, sinceMs)
      this.#finished(member, work, letter)
      return false
    }
    queue.running(work)
    this.#running++
    member.running++
    const running: Running = { member, work, letter, context, sinceMs, timedOut: undefined, isOver: false }
    this.#timeouts?.add(running)
    // One that isn't a promise of the language may settle twice, or throw.
    Promise.resolve(result).then(
      () => this.#settled(running, true, undefined),
      (error: unknown) => this.#settled(running, false, error),
    )
    return true
  }

  #contextOf(member: PoolMember, work: Work): Attempt {
    const isTimed = this.#timeouts !== undefined
    if (!isTimed && work.attempt === 1 && member.shard.checkpoints === undefined) return member.firstContext
    return new Attempt(member.shard, work.attempt, recordsOf(work).at(-1), isTimed)
  }

  #settled(running: Running, isFulfilled: boolean, error: unknown): void {
    const { member, work, letter, sinceMs, timedOut } = running
    if (running.isOver || member.isAbandoned) return
    this.#release(running)
    if (sinceMs !== undefined && letter === undefined) this.#measure(member, work, sinceMs)
    const { queue, signal } = member.shard
    if (error === NOT_CALLED) this.#notCalled(member, work)
    // What a handler was told to give up counts as failed, even if it says that all is well: it may have left the work undone.
    else if (isFulfilled && timedOut === undefined && !signal.aborted) this.#finished(member, work, letter)
    else this.#failed(member, work, letter, timedOut ?? error)
    this.#progressed.add(queue)
    this.#wakeFor(member)
  }

  #measure({ shard }: PoolMember, work: Work, sinceMs: number): void {
    shard.telemetry.measures?.handlerCalled(work.record.shardId, this.#clock.monotonicMs() - sinceMs)
  }

  #release(running: Running): void {
    const { member } = running
    running.isOver = true
    this.#running--
    member.running--
    this.#timeouts?.delete(running)
    this.#lastChances.delete(running)
    this.#forget(member)
  }

  #finished(member: PoolMember, work: Work, letter: PendingLetter | undefined): void {
    if (letter === undefined) member.shard.queue.finished(work)
    else this.#failures.sent(member, work, letter)
  }

  #failed(member: PoolMember, work: Work, letter: PendingLetter | undefined, error: unknown): void {
    if (letter === undefined) this.#failures.failed(member, work, error)
    else this.#failures.notSent(member, work, letter, error)
    this.#progressed.add(member.shard.queue)
  }

  /** It comes again as if it had never been taken, if its shard's lease still holds by then. */
  #notCalled({ shard }: PoolMember, work: Work): void {
    shard.queue.failed(work)
    work.attempt--
    if (!shard.signal.aborted) shard.queue.again(work)
  }

  #timeOut(running: Running, afterMs: number): void {
    const { shardId, sequenceNumber, subSequenceNumber } = running.work.record
    running.timedOut = new ConsumerError(
      'ERR_HANDLER_TIMEOUT',
      `Expected the ${running.letter === undefined ? this.#handler.name : 'deadLetter'} of ${shardId} ${sequenceNumber}:${subSequenceNumber} ` +
        `to settle within handlerTimeoutMs (${afterMs} ms), and it didn't. Heed the signal, or raise the option.`,
      { shardId, retryable: true },
    )
    this.#lastChances.add(running)
    running.context.abort(running.timedOut)
  }

  /** It was told to, and doesn't settle: its place is free, and what becomes of it changes nothing. */
  #giveUpOn(running: Running): void {
    const { member, work, letter, timedOut } = running
    this.#release(running)
    member.shard.telemetry.emit(handlerAbandoned(work, this.#options.closeTimeout))
    if (letter === undefined) this.#failures.failed(member, work, timedOut, true)
    else this.#failures.notSent(member, work, letter, timedOut)
    this.#progressed.add(member.shard.queue)
    this.#wakeFor(member)
  }

  #abort(member: PoolMember): void {
    member.cancelAlarms()
    for (const timeouts of [this.#timeouts, this.#lastChances]) {
      for (const running of timeouts?.items() ?? []) {
        if (running.member === member) running.context.abort(member.shard.signal.reason)
      }
    }
  }
}
