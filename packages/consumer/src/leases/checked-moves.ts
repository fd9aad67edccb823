import type { Assign, AssignableLease, AssignableWorker, Move } from './assignment.ts'

/**
 * What `assign` decides, without the moves that change nothing or can't be made yet. Users may have written it.
 *
 * @throws {TypeError} for what can't be carried out; nothing of it is
 */
export function checkedMoves(
  assign: Assign,
  leases: readonly AssignableLease[],
  workers: readonly AssignableWorker[],
): Move[] {
  const decided: unknown = assign(leases, workers)
  if (!Array.isArray(decided)) {
    const isPromise = typeof Object(decided).then === 'function'
    throw wrong('an array of moves', isPromise ? 'a promise; it must not be async' : kindOf(decided))
  }
  const byKey = new Map(leases.map((lease) => [lease.leaseKey, lease]))
  const workerIds = new Set(workers.map(({ workerId }) => workerId))
  const named = new Set<string>()
  return (decided as Move[]).filter((move) => {
    const { leaseKey, to } = Object(move) as Partial<Move>
    if (typeof leaseKey !== 'string' || typeof to !== 'string') {
      throw wrong('moves { leaseKey, to }', JSON.stringify(move))
    }
    const lease = byKey.get(leaseKey)
    if (lease === undefined) throw wrong('a leaseKey among the leases it was given', `"${leaseKey}"`)
    if (!workerIds.has(to)) throw wrong(`the workerId of one of the workers it was given for ${leaseKey}`, `"${to}"`)
    if (named.has(leaseKey)) throw wrong('one move for each lease', `two for ${leaseKey}`)
    named.add(leaseKey)
    return lease.state === 'free' || (lease.state === 'live' && lease.owner !== to)
  })
}

function wrong(expected: string, got: string): TypeError {
  return new TypeError(`Option "assign": expected it to return ${expected}, got ${got}. No lease is moved.`)
}

function kindOf(value: unknown): string {
  return value === null ? 'null' : typeof value
}
