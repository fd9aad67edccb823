import type { Clock, Random } from '@shardwise/core'
import type { VirtualTime } from './virtual-time.ts'

export interface ProcessOptions {
  readonly time: VirtualTime
  /** Its own, for everything that is random inside. */
  readonly random: Random
  /** Which start of which program, such as `worker-1#2`. */
  readonly name: string
  /** How fast its monotonic clock runs: 1 is right. */
  readonly clockRate: number
  /** How far its wall clock is off. */
  readonly wallOffsetMs: number
}

/** How the names of workers begin that aren't ours. */
export const FOREIGN = 'kcl-'

export function isForeign({ name }: { readonly name: string }): boolean {
  return name.startsWith(FOREIGN)
}

/** How the name of a program begins that resets the application. */
export const RESETTER = 'reset#'

export function isResetter({ name }: { readonly name: string }): boolean {
  return name.startsWith(RESETTER)
}

/** When the world begins: a fixed time, so that runs are the same. */
export const EPOCH_MS: number = Date.UTC(2026, 0, 1)
/** A timer may come early, by the granularity of the event loop's own clock, and late. */
const TIMER_EARLY_MS = 0.5
const TIMER_LATE_MS = 1.5

/**
 * A program on a machine, as its boundary: all that comes in from outside, an answer or a timer, comes through
 * {@link enter}. A paused process gets it when it goes on; a dead one never does, so no promise of it ever settles again.
 */
export class SimulatedProcess implements Clock {
  readonly name: string
  readonly random: Random
  readonly #time: VirtualTime
  readonly #clockRate: number
  #wallOffsetMs: number
  readonly #bornMs: number
  #pausedUntilMs = 0
  /** For how long its machine has slept, up to when it goes on. */
  #suspendedMs = 0
  #wokenMs = Number.NEGATIVE_INFINITY
  /** Up to then it has computed already: it is ahead of the world. */
  #computedToMs = 0
  #dead = false
  #onSends: { left: number; readonly run: () => void } | undefined

  constructor({ time, random, name, clockRate, wallOffsetMs }: ProcessOptions) {
    this.name = name
    this.random = random
    this.#time = time
    this.#clockRate = clockRate
    this.#wallOffsetMs = wallOffsetMs
    this.#bornMs = time.nowMs
  }

  get isDead(): boolean {
    return this.#dead
  }

  /** Nothing of it runs now. */
  get isStopped(): boolean {
    return this.#dead || this.#pausedUntilMs > this.#time.nowMs
  }

  /** When it went on after the last time that it was paused. */
  get lastPausedMs(): number {
    return this.#pausedUntilMs
  }

  /** When its machine woke up last. */
  get lastWokenMs(): number {
    return this.#wokenMs
  }

  kill(): void {
    this.#dead = true
  }

  /** Stops everything inside for a while, as a garbage collection does. */
  pause(ms: number): void {
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, this.#time.nowMs + ms)
  }

  /**
   * Computes for a while, with its event loop blocked. What is called from here on in the same turn happens after that, by its clocks and by
   * when its requests go out; nothing comes in meanwhile.
   */
  block(ms: number): void {
    this.#computedToMs = this.#nowMs + ms
    this.pause(this.#computedToMs - this.#time.nowMs)
  }

  /** For how long it has computed beyond the world's time. */
  get aheadMs(): number {
    return this.#nowMs - this.#time.nowMs
  }

  get #nowMs(): number {
    return Math.max(this.#computedToMs, this.#time.nowMs)
  }

  /** The machine sleeps: its monotonic clock stands still, as Linux's does. */
  suspend(ms: number): void {
    const beginsMs = Math.max(this.#pausedUntilMs, this.#time.nowMs)
    this.pause(ms)
    this.#suspendedMs += Math.max(0, this.#pausedUntilMs - beginsMs)
    this.#wokenMs = this.#pausedUntilMs
  }

  /** Its wall clock is set. */
  setClock(byMs: number): void {
    this.#wallOffsetMs += byMs
  }

  /** Something happens to it as soon as it has sent so many more requests; with 0 now. */
  afterSends(count: number, run: () => void): void {
    if (count === 0) run()
    else this.#onSends = { left: count, run }
  }

  /** It has sent a request. What follows from that happens when it has come to rest. */
  sent(): void {
    const due = this.#onSends
    if (due === undefined || --due.left > 0) return
    this.#onSends = undefined
    this.#time.after(0, due.run)
  }

  /** Something comes in from outside. */
  enter(run: () => void): void {
    if (this.#dead) return
    if (this.#pausedUntilMs > this.#time.nowMs) this.#time.at(this.#pausedUntilMs, () => this.enter(run))
    else run()
  }

  monotonicMs(): number {
    return (this.#nowMs - this.#bornMs - this.#suspendedMs) * this.#clockRate
  }

  wallMs(): number {
    return EPOCH_MS + this.#wallOffsetMs + this.#nowMs * this.#clockRate
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      let suspendedMs = this.#suspendedMs
      const wake = (): void => {
        if (signal?.aborted) return
        if (this.#suspendedMs > suspendedMs) {
          // The timer has stood still too.
          dueMs += this.#suspendedMs - suspendedMs
          suspendedMs = this.#suspendedMs
          happening = this.#time.at(dueMs, () => this.enter(wake))
          return
        }
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      let dueMs = this.#nowMs + this.#timerMs(ms)
      let happening = this.#time.at(dueMs, () => this.enter(wake))
      const onAbort = (): void => {
        this.#time.cancel(happening)
        reject(signal?.reason)
      }
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  #timerMs(ms: number): number {
    if (ms <= 0) return 0
    return Math.max(0, ms / this.#clockRate - TIMER_EARLY_MS + this.random() * (TIMER_EARLY_MS + TIMER_LATE_MS))
  }
}
