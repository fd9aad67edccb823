import type { Clock } from '@shardwise/core'
import { LEADER_KEY } from './leader-lock.ts'
import { holderOf, isFinished, type Lease } from './lease.ts'
import type { Item, Table } from './table.ts'
import { leasesOf } from './table-state.ts'
import { entryFromItem, type WorkerEntry } from './worker-entry.ts'

export interface LiveWorkersOptions {
  readonly table: Table
  readonly clock: Clock
  /** The application's. */
  readonly failoverTime: number
}

/** A worker of ours without leases shows itself every half of a failover time, three times before it counts as gone. */
const WATCH_FACTOR = 1.5
const MAX_POLL_MS = 1_000
/** A table of thousands of leases is looked at less often. */
const POLL_MS_PER_LEASE = 2

/** What would change while workers live. */
interface Look {
  readonly leases: ReadonlyMap<string, Lease>
  /** Of workers of ours: a KCL's leaves its entry behind when it stops. */
  readonly entries: ReadonlyMap<string, WorkerEntry>
  readonly lock: Item | undefined
}

/**
 * Which workers of the application were seen to live: the first of them, found by watching the table until something in it moves,
 * at most for longer than any worker may leave all as it is. By that alone: the clocks of others aren't looked at. Where nothing is
 * held and nobody shows himself, one look is enough.
 *
 * @returns what was seen of each, by worker id; empty if nobody lives
 */
export async function liveWorkers(
  { table, clock, failoverTime }: LiveWorkersOptions,
  signal: AbortSignal,
): Promise<Map<string, string>> {
  let before = await lookAt(table)
  if (!mayLive(before)) return new Map()
  const sinceMs = clock.monotonicMs()
  const timeouts = [...before.entries.values()].map(({ timeoutMs }) => timeoutMs)
  const watchMs = Math.max(WATCH_FACTOR * failoverTime, ...timeouts)
  const pollMs = Math.max(Math.min(MAX_POLL_MS, failoverTime / 10), POLL_MS_PER_LEASE * before.leases.size)
  for (;;) {
    await clock.sleep(pollMs, signal)
    const sentAtMs = clock.monotonicMs()
    const now = await lookAt(table)
    const signs = signsOfLife(before, now)
    if (signs.size > 0 || sentAtMs - sinceMs > watchMs) return signs
    before = now
  }
}

async function lookAt(table: Table): Promise<Look> {
  const items = await table.scan({ consistent: true })
  const entries = items.flatMap((item) => {
    const entry = item.entityType?.S === 'WORKER_METRIC_STATS' ? entryFromItem(item) : undefined
    return entry?.isOurs ? [[entry.workerId, entry] as const] : []
  })
  const lock = items.find((item) => item.leaseKey?.S === LEADER_KEY)
  return { leases: leasesOf(items), entries: new Map(entries), lock: lock?.isReleased === undefined ? lock : undefined }
}

function mayLive({ leases, entries, lock }: Look): boolean {
  const isHeld = [...leases.values()].some((lease) => !isFinished(lease) && holderOf(lease) !== undefined)
  return isHeld || entries.size > 0 || lock !== undefined
}

/** What a worker that leaves takes with it is no sign: a lease that nobody has now, an entry or lock that is gone. */
function signsOfLife(before: Look, now: Look): Map<string, string> {
  const signs = new Map<string, string>()
  for (const [key, lease] of now.leases) {
    const holder = holderOf(lease)
    if (holder !== undefined && !isFinished(lease) && lease.counter !== before.leases.get(key)?.counter) {
      signs.set(holder, `it has renewed the lease of ${lease.shardId}`)
    }
  }
  for (const [workerId, { beat }] of now.entries) {
    if (beat !== before.entries.get(workerId)?.beat) signs.set(workerId, 'it has renewed its entry')
  }
  const leader = now.lock?.ownerName?.S
  if (leader !== undefined && now.lock?.recordVersionNumber?.S !== before.lock?.recordVersionNumber?.S) {
    signs.set(leader, 'it has renewed the leader lock')
  }
  return signs
}
