import type { Clock } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { isTracing, tracedHandler } from '../telemetry/handler-spans.ts'
import type { Alarms } from './alarms.ts'
import { Attempt } from './attempt.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { FailureOptions } from './failure-policy.ts'
import { type Failures, uncounted } from './failures.ts'
import { type Handler, isPromiseLike, NOT_CALLED, recordsOf } from './handler.ts'
import { handlerAbandoned } from './handling-events.ts'
import type { PendingLetter, PoolMember } from './pool-member.ts'
import { Timeouts } from './timeouts.ts'
import type { Work } from './work.ts'

export interface HandlerCallsOptions extends Pick<FailureOptions, 'deadLetter' | 'handlerTimeoutMs' | 'closeTimeout'> {
  readonly application: string
  readonly clock: Clock
  readonly alarms: Alarms
  readonly failures: Failures
  /** What was waited for is over, and its place free. */
  readonly onSettled: (member: PoolMember) => void
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

/** The calls of the handler and of `deadLetter`: each with its context, its time limit, and what comes of its outcome. */
export class HandlerCalls {
  readonly #handler: Handler
  readonly #tracedHandler: Handler
  /** One of the two. */
  #called: Handler
  readonly #options: HandlerCallsOptions
  readonly #clock: Clock
  readonly #failures: Failures
  readonly #timeouts: Timeouts<Running> | undefined
  /** Those that were told to give up. */
  readonly #lastChances: Timeouts<Running>
  #running = 0
  #lastRecord: ConsumerRecord | undefined

  constructor(handler: Handler, options: HandlerCallsOptions) {
    const { application, clock, alarms, handlerTimeoutMs, closeTimeout } = options
    this.#handler = handler
    this.#tracedHandler = tracedHandler(handler, application)
    this.#called = handler
    this.#options = options
    this.#clock = clock
    this.#failures = options.failures
    this.#lastChances = new Timeouts(closeTimeout, clock, alarms, (running) => this.#giveUpOn(running))
    this.#timeouts =
      handlerTimeoutMs === undefined
        ? undefined
        : new Timeouts(handlerTimeoutMs, clock, alarms, (running) => this.#timeOut(running, handlerTimeoutMs))
  }

  /** How many are waited for. */
  get running(): number {
    return this.#running
  }

  /** The record that the handler was called with last, or the first of the batch. */
  get lastRecord(): ConsumerRecord | undefined {
    return this.#lastRecord
  }

  /** For people: which handler it is. */
  get handlerName(): string {
    return this.#handler.name
  }

  /** To be called now and then: from now on calls are traced if the program traces anything. */
  lookForTracing(): void {
    this.#called = isTracing() ? this.#tracedHandler : this.#handler
  }

  /**
   * Calls the handler with the work, or sends it where it is to be dead-lettered.
   *
   * @param sinceMs now, if the call is to be measured
   * @returns whether it isn't done yet
   */
  start(member: PoolMember, work: Work, sinceMs: number | undefined): boolean {
    const { queue, mayRun } = member.shard
    const letter = member.letters.size === 0 ? undefined : member.letters.get(work)
    // Where its bytes have gone, there is nothing to send either.
    if (work.undecodable !== undefined && (letter === undefined || work.undecodable.isGone)) {
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
    const { signal } = member.shard
    if (error === NOT_CALLED && timedOut === undefined) this.#notCalled(member, work)
    // What a handler was told to give up counts as failed, even if it says that all is well: it may have left the work undone.
    else if (isFulfilled && timedOut === undefined && !signal.aborted) this.#finished(member, work, letter)
    else this.#failed(member, work, letter, timedOut ?? error)
    this.#options.onSettled(member)
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
  }

  #finished(member: PoolMember, work: Work, letter: PendingLetter | undefined): void {
    if (letter === undefined) member.shard.queue.finished(work)
    else this.#failures.sent(member, work, letter)
  }

  #failed(member: PoolMember, work: Work, letter: PendingLetter | undefined, error: unknown): void {
    if (letter === undefined) this.#failures.failed(member, work, error)
    else this.#failures.notSent(member, work, letter, error)
  }

  /** It comes again as if it had never been taken, if its shard's lease still holds by then. */
  #notCalled({ shard }: PoolMember, work: Work): void {
    uncounted(shard.queue, work)
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
    this.#options.onSettled(member)
  }

  /** The signals of what runs of the shard are aborted as the shard's is. */
  abort(member: PoolMember): void {
    for (const timeouts of [this.#timeouts, this.#lastChances]) {
      for (const running of timeouts?.items() ?? []) {
        if (running.member === member) running.context.abort(member.shard.signal.reason)
      }
    }
  }

  /** What runs of the shard is waited for no longer. */
  abandon(member: PoolMember): void {
    member.isAbandoned = true
    this.#running -= member.running
    member.running = 0
    for (const timeouts of [this.#timeouts, this.#lastChances]) {
      for (const running of timeouts?.items() ?? []) if (running.member === member) timeouts?.delete(running)
    }
  }

  /** Where nothing runs, no alarm keeps the process. */
  rest(): void {
    this.#timeouts?.rest()
    this.#lastChances.rest()
  }
}
