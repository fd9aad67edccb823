/** What the leader knows of one unfinished lease. */
export interface AssignableLease {
  readonly leaseKey: string
  /** Who has it, or gets it next; undefined if nobody. */
  readonly owner: string | undefined
  /**
   * - `free`: nobody holds it, or its holder is gone.
   * - `live`: held and renewed.
   * - `moving`: on its way to `owner` by a handoff.
   */
  readonly state: 'free' | 'live' | 'moving'
}

/** One lease goes to a worker: at once if nobody holds it, otherwise by handoff. */
export interface Move {
  readonly leaseKey: string
  readonly to: string
  readonly handoff: boolean
}

/**
 * Spreads leases over workers by count. Free leases are given out at once, each to the worker with the fewest; a live lease
 * moves only while some worker has at least two more than another, so that an even fleet stays as it is.
 *
 * @param workers those that may get leases; leases of others stay where they are as long as they are live
 */
export function assign(leases: readonly AssignableLease[], workers: readonly string[]): Move[] {
  const load = new Map<string, AssignableLease[]>([...workers].sort().map((worker) => [worker, []]))
  const free: AssignableLease[] = []
  for (const lease of [...leases].sort((a, b) => (a.leaseKey < b.leaseKey ? -1 : 1))) {
    if (lease.state === 'free') free.push(lease)
    else if (lease.owner !== undefined) load.get(lease.owner)?.push(lease)
  }
  const moves: Move[] = []
  if (load.size === 0) return moves
  for (const lease of free) {
    const to = extreme(load, (count, best) => count < best)
    load.get(to)!.push({ ...lease, owner: to, state: 'moving' })
    moves.push({ leaseKey: lease.leaseKey, to, handoff: false })
  }
  for (;;) {
    const to = extreme(load, (count, best) => count < best)
    const from = fullestWithMovable(load)
    if (from === undefined || load.get(from)!.length - load.get(to)!.length < 2) return moves
    const held = load.get(from)!
    const [lease] = held.splice(
      held.findIndex(({ state }) => state === 'live'),
      1,
    )
    load.get(to)!.push({ ...lease!, owner: to, state: 'moving' })
    moves.push({ leaseKey: lease!.leaseKey, to, handoff: true })
  }
}

function fullestWithMovable(load: ReadonlyMap<string, readonly AssignableLease[]>): string | undefined {
  const movable = new Map([...load].filter(([, held]) => held.some(({ state }) => state === 'live')))
  return movable.size === 0 ? undefined : extreme(movable, (count, best) => count > best)
}

/** The first worker whose count is better than all others'. */
function extreme(
  load: ReadonlyMap<string, readonly unknown[]>,
  isBetter: (count: number, best: number) => boolean,
): string {
  let best: { worker: string; count: number } | undefined
  for (const [worker, { length: count }] of load) {
    if (best === undefined || isBetter(count, best.count)) best = { worker, count }
  }
  return best!.worker
}
