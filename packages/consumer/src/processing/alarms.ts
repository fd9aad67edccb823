import type { Clock } from '@shardwise/core'

interface Alarm {
  readonly atMs: number
  ring: () => void
  isOff: boolean
}

const NOTHING = (): void => {}
/** The longest that timers take. */
const MAX_SLEEP_MS = 2 ** 31 - 1

/**
 * Any number of points in time with one sleep for all of them. Sleeps only while an alarm is set: a process that has none can
 * exit.
 */
export class Alarms {
  readonly #clock: Clock
  /** A binary heap: none rings before its parent, which is at half its index. From index 1. */
  readonly #heap: (Alarm | undefined)[] = [undefined]
  #sleep: { readonly untilMs: number; readonly over: AbortController } | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @returns turns the alarm off */
  set(inMs: number, ring: () => void): () => void {
    const alarm: Alarm = { atMs: this.#clock.monotonicMs() + inMs, ring, isOff: false }
    this.#push(alarm)
    this.#rest()
    return () => {
      if (alarm.isOff) return
      alarm.isOff = true
      // It stays until its time, and what it was for may hold much memory.
      alarm.ring = NOTHING
      this.#rest()
    }
  }

  /** Sleeps until the next alarm. */
  #rest(): void {
    while (this.#first?.isOff) this.#pop()
    const untilMs = this.#first?.atMs
    if (untilMs === undefined) {
      this.#sleep?.over.abort('no alarm is set')
      this.#sleep = undefined
      return
    }
    // One that is woken too early looks again: cheaper than to begin the sleep anew for each alarm that is turned off.
    if (this.#sleep !== undefined && this.#sleep.untilMs <= untilMs) return
    this.#sleep?.over.abort('another alarm is earlier')
    const sleep = { untilMs, over: new AbortController() }
    this.#sleep = sleep
    const ms = Math.min(Math.max(0, untilMs - this.#clock.monotonicMs()), MAX_SLEEP_MS)
    this.#clock.sleep(ms, sleep.over.signal).then(
      () => {
        if (this.#sleep === sleep) this.#ringDue()
      },
      // Only an earlier or no alarm ends it before its time.
      () => {},
    )
  }

  #ringDue(): void {
    this.#sleep = undefined
    const nowMs = this.#clock.monotonicMs()
    for (let first = this.#first; first !== undefined && first.atMs <= nowMs; first = this.#first) {
      this.#pop()
      if (first.isOff) continue
      first.isOff = true
      first.ring()
    }
    this.#rest()
  }

  get #first(): Alarm | undefined {
    return this.#heap[1]
  }

  #push(alarm: Alarm): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(alarm)
    for (let parent = at >> 1; parent >= 1 && heap[parent]!.atMs > alarm.atMs; parent = at >> 1) {
      heap[at] = heap[parent]
      at = parent
    }
    heap[at] = alarm
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const end = heap.length
    if (end === 1) return
    let at = 1
    for (let child = 2; child < end; child = at * 2) {
      if (child + 1 < end && heap[child + 1]!.atMs < heap[child]!.atMs) child++
      if (heap[child]!.atMs >= last.atMs) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = last
  }
}
