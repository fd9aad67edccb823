import type { AssignableLease } from './assignment.ts'
import { LEADER_KEY } from './leader-lock.ts'
import { holderOf, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { Standstill } from './standstill.ts'
import type { Item } from './table.ts'
import { entryFromItem, type WorkerEntry } from './worker-entry.ts'

export interface FleetViewOptions {
  readonly workerId: string
  readonly failoverTime: number
  /** An item that is no lease of this application; told once for each. */
  readonly onSkipped: (leaseKey: string, reason: string) => void
}

/** The KCL's own notes in the table. */
const OTHER_TYPES = new Set(['CLIENT_VERSION_MIGRATION', 'TABLE_MIGRATION', 'STREAM', 'STREAM_INFO'])
/** A worker finds a new lease only at its next look at the table, which for a KCL's may take a failover time. */
const NEW_OWNER_FACTOR = 3

/**
 * The application as one worker sees it: the items of its last look at the table, and how long each has stood still since it
 * was first seen so, by this worker's monotonic clock.
 */
export class FleetView {
  readonly #options: FleetViewOptions
  readonly #leaseStandstill = new Standstill()
  readonly #entryStandstill = new Standstill()
  readonly #skipped = new Set<string>()
  /** Entries that were seen to change: their worker has lived while we looked. */
  readonly #proven = new Set<string>()
  /** Workers that let a lease expire, with the beat of their entry then: they count again when they beat again. */
  readonly #gone = new Map<string, string>()
  /** Leases whose holder has changed and hasn't written since. */
  readonly #newlyHeld = new Set<string>()
  #leases = new Map<string, Lease>()
  #entries = new Map<string, WorkerEntry>()
  #leaderItem: Item | undefined
  #nowMs = 0
  #wallMs = 0

  constructor(options: FleetViewOptions) {
    this.#options = options
  }

  get leases(): Lease[] {
    return [...this.#leases.values()]
  }

  get leaderItem(): Item | undefined {
    return this.#leaderItem
  }

  /** Takes in all items of the table. */
  observe(items: readonly Item[], nowMs: number, wallMs: number): void {
    this.#nowMs = nowMs
    this.#wallMs = wallMs
    const before = this.#leases
    this.#leases = new Map()
    this.#entries = new Map()
    this.#leaderItem = undefined
    for (const item of items) this.#sort(item)
    const counters = new Map([...this.#leases].map(([key, lease]) => [key, `${lease.counter}`]))
    for (const key of this.#leaseStandstill.observe(counters, nowMs)) {
      if (holderOf(before.get(key)!) === holderOf(this.#leases.get(key)!)) this.#newlyHeld.delete(key)
      else this.#newlyHeld.add(key)
    }
    const beats = new Map([...this.#entries].map(([id, { beat }]) => [id, beat]))
    for (const id of this.#entryStandstill.observe(beats, nowMs)) this.#proven.add(id)
    for (const [id, beat] of beats) if (this.#hasLetGo(id)) this.#gone.set(id, beat)
    this.#forget()
  }

  /** Takes in one lease that this worker has just written. */
  update(item: Item): void {
    const lease = leaseFromItem(item)
    if (lease === undefined) return
    this.#leases.set(lease.leaseKey, lease)
    this.#newlyHeld.add(lease.leaseKey)
  }

  /** The unfinished leases, as the leader judges them. */
  assignable(): AssignableLease[] {
    return this.leases
      .filter((lease) => !isFinished(lease))
      .map((lease) => ({
        leaseKey: lease.leaseKey,
        owner: lease.owner,
        state: this.#isFree(lease) ? 'free' : lease.checkpointOwner !== undefined ? 'moving' : 'live',
      }))
  }

  /** Workers that may get leases. This one is always among them. */
  workers(): string[] {
    const others = [...this.#entries.keys()].filter((id) => id !== this.#options.workerId && this.#isAlive(id))
    return [this.#options.workerId, ...others]
  }

  /** Entries whose workers have been gone for long. */
  staleEntries(): WorkerEntry[] {
    return [...this.#entries.values()].filter(
      ({ workerId, staleMs }) => staleMs !== undefined && this.#entryStandstill.forMs(workerId, this.#nowMs) > staleMs,
    )
  }

  /** What is no longer in the table: workers come and go under new names for as long as the application lives. */
  #forget(): void {
    for (const id of this.#proven) if (!this.#entries.has(id)) this.#proven.delete(id)
    for (const id of this.#gone.keys()) if (!this.#entries.has(id)) this.#gone.delete(id)
    for (const key of this.#newlyHeld) if (!this.#leases.has(key)) this.#newlyHeld.delete(key)
  }

  #sort(item: Item): void {
    const key = item.leaseKey?.S ?? ''
    const type = item.entityType?.S ?? 'LEASE'
    if (key === LEADER_KEY || type === 'LEADER') {
      this.#leaderItem = item
    } else if (type === 'WORKER_METRIC_STATS') {
      const entry = entryFromItem(item)
      if (entry === undefined) this.#skip(key, 'a worker entry without lut')
      else this.#entries.set(key, entry)
    } else if (type === 'LEASE') {
      const lease = item.streamName === undefined ? leaseFromItem(item) : undefined
      if (lease !== undefined) this.#leases.set(key, lease)
      else
        this.#skip(
          key,
          item.streamName ? 'a lease of a multi-stream application' : 'a lease without counter or checkpoint',
        )
    } else if (!OTHER_TYPES.has(type)) {
      this.#skip(key, `the unknown entityType ${type}`)
    }
  }

  #skip(key: string, reason: string): void {
    if (this.#skipped.has(key)) return
    this.#skipped.add(key)
    this.#options.onSkipped(key, reason)
  }

  #isFree(lease: Lease): boolean {
    const holder = holderOf(lease)
    if (holder === undefined) return true
    const stillMs = this.#leaseStandstill.forMs(lease.leaseKey, this.#nowMs)
    const patience = this.#newlyHeld.has(lease.leaseKey) && this.#isAlive(holder) ? NEW_OWNER_FACTOR : 1
    return stillMs > this.#options.failoverTime * patience
  }

  #isAlive(workerId: string): boolean {
    const entry = this.#entries.get(workerId)
    if (entry === undefined || this.#gone.get(workerId) === entry.beat) return false
    const stillMs = this.#proven.has(workerId)
      ? this.#entryStandstill.forMs(workerId, this.#nowMs)
      : // Seen once, its own clock is all there is to tell a running worker from one that died long ago. If the clocks differ,
        // it just has to be seen twice.
        Math.max(this.#wallMs - entry.writtenAtMs, this.#entryStandstill.forMs(workerId, this.#nowMs))
    return stillMs <= entry.timeoutMs
  }

  /** It holds a lease that it hasn't renewed in time: most likely all will follow, so it gets none of them back. */
  #hasLetGo(workerId: string): boolean {
    return this.leases.some(
      (lease) =>
        holderOf(lease) === workerId &&
        !isFinished(lease) &&
        !this.#newlyHeld.has(lease.leaseKey) &&
        this.#leaseStandstill.forMs(lease.leaseKey, this.#nowMs) > this.#options.failoverTime,
    )
  }
}
