import type { AssignableLease, AssignableWorker } from './assignment.ts'

/** One worker and what it has, while an assignment is worked out. */
export class WorkerLoad {
  readonly workerId: string
  readonly maxLeases: number
  #count = 0
  /** Live leases, which can be asked back: those that weren't moved lately, and the others by the worker they came from. */
  readonly #settled: AssignableLease[] = []
  readonly #moved = new Map<string, AssignableLease[]>()

  constructor({ workerId, maxLeases }: AssignableWorker) {
    this.workerId = workerId
    this.maxLeases = maxLeases
  }

  get count(): number {
    return this.#count
  }

  get hasRoom(): boolean {
    return this.#count < this.maxLeases
  }

  get isOverLimit(): boolean {
    return this.#count > this.maxLeases
  }

  /** Whether it has a live lease that didn't come from `to` a short while ago. */
  canGiveTo(to: string): boolean {
    return this.#settled.length > 0 || this.#moved.size > Number(this.#moved.has(to))
  }

  /** Takes in what the worker has. */
  hold(lease: AssignableLease): void {
    this.#count++
    if (lease.state !== 'live') return
    if (lease.cameFrom === undefined) {
      this.#settled.push(lease)
    } else {
      const sameOrigin = this.#moved.get(lease.cameFrom)
      if (sameOrigin === undefined) this.#moved.set(lease.cameFrom, [lease])
      else sameOrigin.push(lease)
    }
  }

  /** Gives a lease away, the last taken in first, rather one that wasn't moved lately. {@link canGiveTo} must hold. */
  giveTo(to: string): AssignableLease {
    this.#count--
    const settled = this.#settled.pop()
    if (settled !== undefined) return settled
    const [first, second] = this.#moved.keys()
    const origin = (first === to ? second : first)!
    const leases = this.#moved.get(origin)!
    if (leases.length === 1) this.#moved.delete(origin)
    return leases.pop()!
  }

  /** It is given a lease, which won't move on at once. */
  receive(): void {
    this.#count++
  }
}

/** Loads by their count. Finding the least and the greatest takes next to no time, as does a change by one. */
export class LoadRanking {
  readonly #byCount: Set<WorkerLoad>[] = []
  /** None has less. */
  #least = 0

  constructor(loads: readonly WorkerLoad[]) {
    for (const load of loads) this.add(load)
  }

  add(load: WorkerLoad): void {
    while (this.#byCount.length <= load.count) this.#byCount.push(new Set())
    this.#byCount[load.count]!.add(load)
    this.#least = Math.min(this.#least, load.count)
  }

  /** To be done before its count changes. */
  remove(load: WorkerLoad): void {
    this.#byCount[load.count]?.delete(load)
  }

  /** The least first; loads must not be changed before it is done. */
  *ascending(): Generator<WorkerLoad> {
    while (this.#byCount[this.#least]?.size === 0) this.#least++
    for (let count = this.#least; count < this.#byCount.length; count++) yield* this.#byCount[count]!
  }

  /** Removes one of those with the most; undefined if none is left. */
  takeGreatest(): WorkerLoad | undefined {
    while (this.#byCount.at(-1)?.size === 0) this.#byCount.pop()
    const [greatest] = this.#byCount.at(-1) ?? []
    if (greatest !== undefined) this.remove(greatest)
    return greatest
  }
}
