import { LoadRanking, WorkerLoad } from './worker-loads.ts'

/** What the leader knows of one unfinished lease. */
export interface AssignableLease {
  /** The shard's id, behind the stream's identifier where the application has several streams. */
  readonly leaseKey: string
  /** Who has it, or gets it next; undefined if nobody. A free lease may still name the one who had it. */
  readonly owner: string | undefined
  /**
   * - `free`: nobody holds it, or its holder is gone, or didn't hand it off in time.
   * - `live`: held and renewed.
   * - `moving`: on its way to `owner`, by a handoff or because `owner` hasn't taken it up yet.
   */
  readonly state: 'free' | 'live' | 'moving'
  /** The worker it was handed away from a short while ago; it should not move back yet. */
  readonly cameFrom: string | undefined
}

/** A worker that may get leases. */
export interface AssignableWorker {
  readonly workerId: string
  /** How many it takes at most; Infinity if it didn't say. */
  readonly maxLeases: number
}

/**
 * Decides which leases go where: a pure function that the leader calls about once a second. Its moves are written with
 * conditions, and what it is given the next time shows what came of them. Leases that it doesn't name stay where they are.
 *
 * @example
 * // Everything on the first worker, as long as it lives.
 * const assign: Assign = (leases, [first]) => leases.map(({ leaseKey }) => ({ leaseKey, to: first!.workerId }))
 */
export type Assign = (leases: readonly AssignableLease[], workers: readonly AssignableWorker[]) => readonly Move[]

/**
 * One lease goes to a worker: a free one at once, a live one by handoff. It is no move if the lease is there already; one that
 * is on its way elsewhere arrives there first.
 */
export interface Move {
  readonly leaseKey: string
  readonly to: string
}

/**
 * Spreads leases over workers by count. Free leases are given out at once, each to the worker with the fewest; a live lease
 * moves only from a worker that has at least two more than another, or more than its `maxLeases`, so that an even fleet stays
 * as it is, and never back to where it came from a short while ago. No worker is given more than its `maxLeases`; where not
 * all can be given, those that nobody has had go before those whose holder is gone.
 *
 * The result depends on what is given, not on its order.
 *
 * @param workers those that may get leases; leases of others stay where they are as long as they are live
 */
export function assignByCount(leases: readonly AssignableLease[], workers: readonly AssignableWorker[]): Move[] {
  const loads = loadsOf(leases, workers)
  const receivers = new LoadRanking(loads.filter(({ hasRoom }) => hasRoom))
  const givers = new LoadRanking(loads)
  const moves: Move[] = []
  const changing = <T>(load: WorkerLoad, change: () => T): T => {
    receivers.remove(load)
    givers.remove(load)
    const result = change()
    if (load.hasRoom) receivers.add(load)
    givers.add(load)
    return result
  }
  const give = ({ leaseKey }: AssignableLease, to: WorkerLoad): void => {
    changing(to, () => to.receive())
    moves.push({ leaseKey, to: to.workerId })
  }
  const moveFrom = (from: WorkerLoad, difference: number): boolean => {
    const to = receiverFor(from, receivers, difference)
    if (to === undefined) return false
    const lease = changing(from, () => from.giveTo(to.workerId))
    give(lease, to)
    return true
  }

  for (const lease of leases.filter(({ state }) => state === 'free').sort(unownedFirst)) {
    const to = leastBut(lease.cameFrom, receivers)
    if (to !== undefined) give(lease, to)
  }
  for (const load of loads) while (load.isOverLimit && moveFrom(load, Number.NEGATIVE_INFINITY));
  // Who has nothing to give to anybody drops out; who has given comes in again.
  for (let from = givers.takeGreatest(); from !== undefined; from = givers.takeGreatest()) {
    moveFrom(from, WORTH_A_MOVE)
  }
  return moves
}

/** With a difference of one, a move would only turn it round. */
const WORTH_A_MOVE = 2

/** The worker with the fewest that may get a lease of `from`. */
function receiverFor(from: WorkerLoad, receivers: LoadRanking, difference: number): WorkerLoad | undefined {
  for (const to of receivers.ascending()) {
    if (from.count - to.count < difference) return undefined
    if (from.canGiveTo(to.workerId)) return to
  }
  return undefined
}

/** The worker with the fewest; among equals, rather not the one that the lease came from. */
function leastBut(origin: string | undefined, receivers: LoadRanking): WorkerLoad | undefined {
  let least: WorkerLoad | undefined
  for (const load of receivers.ascending()) {
    if (least !== undefined && load.count > least.count) break
    least = load
    if (load.workerId !== origin) break
  }
  return least
}

/** Ordered by name, each with its leases. */
function loadsOf(leases: readonly AssignableLease[], workers: readonly AssignableWorker[]): WorkerLoad[] {
  const byId = new Map(workers.map((worker) => [worker.workerId, new WorkerLoad(worker)]))
  for (const lease of leases.toSorted((a, b) => compare(b.leaseKey, a.leaseKey))) {
    if (lease.state !== 'free' && lease.owner !== undefined) byId.get(lease.owner)?.hold(lease)
  }
  return [...byId.values()].sort((a, b) => compare(a.workerId, b.workerId))
}

function unownedFirst(a: AssignableLease, b: AssignableLease): number {
  return Number(a.owner !== undefined) - Number(b.owner !== undefined) || compare(a.leaseKey, b.leaseKey)
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
