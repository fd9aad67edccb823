import type { Clock } from '@shardwise/core'
import { settle } from '@shardwise/core/testing'

/** A clock for many thousands of sleepers, which jumps from one wake-up to the next. Whole milliseconds. */
export class EventClock implements Clock {
  #nowMs = 0
  readonly #wakersAt = new Map<number, Set<() => void>>()
  /** The moments at which somebody wakes, as a binary heap. */
  readonly #moments: number[] = []

  monotonicMs(): number {
    return this.#nowMs
  }

  wallMs(): number {
    return Date.UTC(2026, 0, 1) + this.#nowMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const at = this.#nowMs + Math.max(1, Math.ceil(ms))
      const onAbort = (): void => {
        this.#wakersAt.get(at)?.delete(wake)
        reject(signal?.reason)
      }
      const wake = (): void => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      this.#wakersAtMoment(at).add(wake)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  async advance(ms: number): Promise<void> {
    const end = this.#nowMs + ms
    await settle()
    for (let at = this.#moments[0]; at !== undefined && at <= end; at = this.#moments[0]) {
      this.#popMoment()
      this.#nowMs = at
      const wakers = this.#wakersAt.get(at) ?? []
      this.#wakersAt.delete(at)
      for (const wake of wakers) wake()
      await settle()
    }
    this.#nowMs = end
  }

  #wakersAtMoment(at: number): Set<() => void> {
    let wakers = this.#wakersAt.get(at)
    if (wakers === undefined) {
      wakers = new Set()
      this.#wakersAt.set(at, wakers)
      this.#pushMoment(at)
    }
    return wakers
  }

  #pushMoment(at: number): void {
    const heap = this.#moments
    let index = heap.push(at) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (heap[parent]! <= at) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = at
  }

  #popMoment(): void {
    const heap = this.#moments
    const last = heap.pop()!
    if (heap.length === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++
      if (heap[child]! >= last) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
  }
}
