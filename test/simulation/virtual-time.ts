import type { Random } from '@shardwise/core'

/** Something that will happen; {@link VirtualTime.cancel} takes it back. */
export interface Happening {
  readonly atMs: number
  /** Decides among what happens at the same time. */
  readonly order: number
  run: (() => void) | undefined
}

/**
 * Time that moves from one happening to the next. After each, every promise continuation that became ready runs to its end
 * before anything else happens; happenings of the same time come in an order drawn from the seed.
 */
export class VirtualTime {
  readonly #random: Random
  #nowMs = 0
  #count = 0
  /** A binary heap, the next happening first. */
  readonly #heap: Happening[] = []

  constructor(random: Random) {
    this.#random = random
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** How much has happened. */
  get count(): number {
    return this.#count
  }

  at(ms: number, run: () => void): Happening {
    const happening = { atMs: Math.max(ms, this.#nowMs), order: this.#random(), run }
    this.#push(happening)
    return happening
  }

  after(ms: number, run: () => void): Happening {
    return this.at(this.#nowMs + ms, run)
  }

  /** It stays in the heap until its time, as nothing. */
  cancel(happening: Happening): void {
    happening.run = undefined
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  /** Lets things happen until `isOver`, asked after each, or nothing is left to happen. */
  async run(isOver: () => boolean): Promise<void> {
    await turn()
    while (!isOver()) {
      const next = this.#pop()
      if (next === undefined) return
      if (next.run === undefined) continue
      this.#nowMs = next.atMs
      this.#count++
      next.run()
      await turn()
    }
  }

  #push(happening: Happening): void {
    const heap = this.#heap
    let index = heap.length
    heap.push(happening)
    while (index > 0) {
      const parent = (index - 1) >>> 1
      if (!isBefore(happening, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = happening
  }

  #pop(): Happening | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (last === undefined || last === first) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
    return first
  }
}

function isBefore(a: Happening, b: Happening): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/** The microtask queue is empty when the event loop comes round. No timer, no socket: nothing else ever runs here. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
