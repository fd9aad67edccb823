import type { Streams } from '../streams/streams.ts'
import type { AssignableLease, AssignableWorker } from './assignment.ts'
import { LEADER_KEY } from './leader-lock.ts'
import { holderOf, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { type Moment, Standstill } from './standstill.ts'
import type { Item } from './table.ts'
import { type UntakenLease, UntakenLeases } from './untaken-leases.ts'
import { entryFromItem, type WorkerEntry } from './worker-entry.ts'

export interface FleetViewOptions {
  readonly workerId: string
  /** How many leases this worker takes at most. */
  readonly maxLeases: number
  readonly failoverTime: number
  readonly closeTimeout: number
  readonly streams: Pick<Streams, 'find'>
  /** Whether the lease is named as the application's leases are. */
  readonly isOurs: (lease: Lease) => boolean
  /** An item that is no lease of this application; told once for each. */
  readonly onSkipped: (leaseKey: string, reason: string) => void
}

/** When a look at the table was taken, on the monotonic clock, and on the wall clock when the answer came. */
export interface Look extends Moment {
  readonly wallMs: number
}

/** Why a lease is free. */
export type FreeReason = 'unowned' | 'expired' | 'stuck'

/** Items that are read elsewhere, if at all. */
const OTHER_TYPES = new Set(['LEADER', 'CLIENT_VERSION_MIGRATION', 'TABLE_MIGRATION', 'STREAM', 'STREAM_INFO'])
const CHECKPOINT = /^(\d+|TRIM_HORIZON|LATEST|AT_TIMESTAMP|SHARD_END)$/
/** A worker finds a new lease only at its next look at the table, which for a KCL's may take a failover time. */
const NEW_OWNER_FACTOR = 3
/** For how many failover times a lease that was handed off isn't moved back. */
const COOLDOWN_FACTOR = 3
/** How long a KCL's worker may take for a handoff, until it gives the lease away at once. */
const KCL_HANDOFF_MS = 30_000

/**
 * The application as one worker sees it: the items of its last look at the table, and how long each has stood still since it
 * was first seen so, by this worker's monotonic clock.
 */
export class FleetView {
  readonly #options: FleetViewOptions
  readonly #leaseStandstill = new Standstill()
  readonly #entryStandstill = new Standstill()
  /** Handoffs under way, from whom to whom. */
  readonly #handoffStandstill = new Standstill()
  readonly #skipped = new Set<string>()
  /** Entries that were seen to change: their worker has lived while we looked. */
  readonly #proven = new Set<string>()
  /** Workers that let a lease expire, with the beat of their entry then: they count again when they beat again. */
  readonly #gone = new Map<string, string>()
  /** Workers whose entry was there and is gone: they have left in good order. */
  readonly #left = new Set<string>()
  /** Leases whose holder has changed, hasn't written since, and still has time to. */
  readonly #newlyHeld = new Set<string>()
  /** Leases whose holder was seen to write: it knows that it has them, so it can be asked to hand them off. */
  readonly #takenUp = new Set<string>()
  readonly #untaken: UntakenLeases
  /** Who handed a lease off, and when that was last seen under way. */
  readonly #origins = new Map<string, { readonly workerId: string; readonly atMs: number }>()
  #leases = new Map<string, Lease>()
  #byStream: Map<string | undefined, Lease[]> | undefined
  #entries = new Map<string, WorkerEntry>()
  #leaderItem: Item | undefined
  #others = 0
  #look: Look = { sentAtMs: 0, nowMs: 0, wallMs: 0 }

  constructor(options: FleetViewOptions) {
    this.#options = options
    this.#untaken = new UntakenLeases(options.failoverTime)
  }

  get leases(): Lease[] {
    return [...this.#leases.values()]
  }

  get leaderItem(): Item | undefined {
    return this.#leaderItem
  }

  /** Leases that are named as no lease of this application is: of one stream where it has several, or the other way round. */
  get others(): number {
    return this.#others
  }

  /** Every stream that has leases, also those that are none of the application's any more. */
  get streamIdentifiers(): (string | undefined)[] {
    return [...this.#streams().keys()]
  }

  leasesOf(streamIdentifier: string | undefined): readonly Lease[] {
    return this.#streams().get(streamIdentifier) ?? []
  }

  lease(leaseKey: string): Lease | undefined {
    return this.#leases.get(leaseKey)
  }

  /** Takes in all items of the table. */
  observe(items: readonly Item[], look: Look): void {
    const gapMs = look.sentAtMs - this.#look.nowMs
    this.#look = look
    const before = this.#leases
    this.#leases = new Map()
    this.#byStream = undefined
    const entriesBefore = this.#entries
    this.#entries = new Map()
    this.#leaderItem = undefined
    this.#others = 0
    const seen = new Set<string>()
    for (const item of items) seen.add(this.#sort(item))
    for (const id of entriesBefore.keys()) if (!this.#entries.has(id)) this.#left.add(id)
    for (const id of this.#entries.keys()) this.#left.delete(id)
    this.#untaken.follow(this.#entries)
    const counters = new Map([...this.#leases].map(([key, { counter }]) => [key, String(counter)]))
    for (const key of this.#leaseStandstill.observe(counters, look)) {
      this.#compare(before.get(key)!, this.#leases.get(key)!)
    }
    this.#observeHandoffs()
    const beats = new Map([...this.#entries].map(([id, { beat }]) => [id, beat]))
    for (const id of this.#entryStandstill.observe(beats, look)) {
      // Between two looks that lie far apart it may have changed for the last time long ago.
      if (gapMs <= this.#entries.get(id)!.timeoutMs) this.#proven.add(id)
      else this.#proven.delete(id)
    }
    for (const lease of this.#expired()) this.#letGo(lease)
    this.#forget(seen)
  }

  /** Takes in one lease that this worker has just written. */
  update(item: Item, nowMs: number): void {
    const lease = leaseFromItem(item)
    const before = this.#leases.get(lease?.leaseKey ?? '')
    if (lease === undefined || before === undefined) return
    this.#leases.set(lease.leaseKey, lease)
    this.#byStream = undefined
    if (lease.counter !== before.counter) {
      this.#leaseStandstill.move(lease.leaseKey, String(lease.counter), nowMs)
      // Also if it was this one's before: what it has of the lease is void, so it has to find it anew.
      this.#holderChanged(lease.leaseKey)
    }
    const handoff = handoffOf(lease)
    if (handoff === undefined) return
    this.#handoffStandstill.move(lease.leaseKey, handoff, nowMs)
    this.#origins.set(lease.leaseKey, { workerId: lease.checkpointOwner!, atMs: nowMs })
  }

  /** The unfinished leases of the application's streams, as the leader judges them. */
  assignable(): AssignableLease[] {
    return this.leases
      .filter((lease) => this.#isAssignable(lease))
      .map((lease) => ({
        leaseKey: lease.leaseKey,
        owner: lease.owner ?? lease.checkpointOwner,
        cameFrom: this.#cameFrom(lease),
        state: this.freeReason(lease) !== undefined ? 'free' : this.#isSettled(lease) ? 'live' : 'moving',
      }))
  }

  /** Why somebody else may have the lease at once; undefined if its holder lives and has it. */
  freeReason(lease: Lease): FreeReason | undefined {
    const { failoverTime, closeTimeout } = this.#options
    const holder = holderOf(lease)
    if (holder === undefined) return 'unowned'
    const isNew = this.#newlyHeld.has(lease.leaseKey)
    // Its condition is on the counter: if the holder found the lease before it left, it has written.
    if (isNew && this.#left.has(holder)) return 'unowned'
    if (this.#isExpired(lease, holder)) return 'expired'
    const handoffMs = Math.max(KCL_HANDOFF_MS, closeTimeout) + failoverTime
    return this.#handoffStandstill.forMs(lease.leaseKey) > handoffMs ? 'stuck' : undefined
  }

  /** Workers that may get leases. This one is always among them. */
  workers(): AssignableWorker[] {
    const { workerId, maxLeases } = this.#options
    const others = [...this.#entries.values()].filter(
      (entry) =>
        entry.workerId !== workerId &&
        !entry.isFailing &&
        this.#isAlive(entry.workerId) &&
        !this.#untaken.isWaiting(entry.workerId, this.#look.nowMs),
    )
    return [
      { workerId, maxLeases },
      ...others.map((entry) => ({ workerId: entry.workerId, maxLeases: entry.maxLeases })),
    ]
  }

  /** Whether the worker's entry was seen to change lately. */
  isProven(workerId: string): boolean {
    return this.#proven.has(workerId)
  }

  /** Leases that weren't taken up by whom they were given to, since this was last called. */
  takeUntaken(): readonly UntakenLease[] {
    return this.#untaken.takeUntold()
  }

  /** Entries whose workers have been gone for long. */
  staleEntries(): WorkerEntry[] {
    return [...this.#entries.values()].filter(
      ({ workerId, staleMs }) => this.#entryStandstill.forMs(workerId) > staleMs,
    )
  }

  /** A holder that hasn't found its lease yet can't hand it off: it would be neither's until the handoff counts as stuck. */
  #isSettled(lease: Lease): boolean {
    return handoffOf(lease) === undefined && this.#takenUp.has(lease.leaseKey)
  }

  /** The counter of the lease has moved from one look to the next. */
  #compare(before: Lease, now: Lease): void {
    const { leaseKey } = now
    const holder = holderOf(now)
    // A worker of ours names its acquisition when it has come by a lease.
    const isAcquired = before.token !== now.token
    if (isAcquired || holder === holderOf(before)) {
      if (isAcquired || this.#newlyHeld.has(leaseKey)) this.#untaken.forgive(holder)
      this.#newlyHeld.delete(leaseKey)
      this.#takenUp.add(leaseKey)
    } else {
      if (holder === undefined && this.#newlyHeld.has(leaseKey)) this.#notTakenUp(before, { isGivenBack: true })
      this.#holderChanged(leaseKey)
    }
  }

  /** Its holder has given it back as it was, or has had long enough. */
  #notTakenUp(lease: Lease, { isGivenBack }: { readonly isGivenBack: boolean }): void {
    const entry = this.#entries.get(holderOf(lease) ?? '')
    if (entry === undefined || entry.workerId === this.#options.workerId || !this.#isAssignable(lease)) return
    this.#untaken.add(lease.leaseKey, entry, this.#look.nowMs, isGivenBack)
  }

  #holderChanged(leaseKey: string): void {
    this.#newlyHeld.add(leaseKey)
    this.#takenUp.delete(leaseKey)
  }

  #streams(): Map<string | undefined, Lease[]> {
    this.#byStream ??= Map.groupBy(this.#leases.values(), ({ streamIdentifier }) => streamIdentifier)
    return this.#byStream
  }

  #observeHandoffs(): void {
    const handoffs = new Map<string, string>()
    for (const [key, lease] of this.#leases) {
      const handoff = handoffOf(lease)
      if (handoff === undefined) continue
      handoffs.set(key, handoff)
      this.#origins.set(key, { workerId: lease.checkpointOwner!, atMs: this.#look.nowMs })
    }
    this.#handoffStandstill.observe(handoffs, this.#look)
  }

  /** What is no longer in the table: workers come and go under new names for as long as the application lives. */
  #forget(seen: ReadonlySet<string>): void {
    for (const id of this.#proven) if (!this.#entries.has(id)) this.#proven.delete(id)
    for (const id of this.#gone.keys()) if (!this.#entries.has(id)) this.#gone.delete(id)
    for (const key of this.#newlyHeld) if (!this.#leases.has(key)) this.#newlyHeld.delete(key)
    for (const key of this.#takenUp) if (!this.#leases.has(key)) this.#takenUp.delete(key)
    for (const key of this.#skipped) if (!seen.has(key)) this.#skipped.delete(key)
    const holders = new Set([...this.#leases.values()].map(holderOf))
    for (const id of this.#left) if (!holders.has(id)) this.#left.delete(id)
    const cooledBeforeMs = this.#look.nowMs - COOLDOWN_FACTOR * this.#options.failoverTime
    for (const [key, { atMs }] of this.#origins) if (atMs < cooledBeforeMs) this.#origins.delete(key)
  }

  #sort(item: Item): string {
    const key = item.leaseKey?.S ?? ''
    const type = item.entityType?.S ?? 'LEASE'
    if (key === LEADER_KEY) {
      this.#leaderItem = item
    } else if (type === 'WORKER_METRIC_STATS') {
      const entry = entryFromItem(item)
      if (entry === undefined) this.#skip(key, 'a worker entry without lut')
      else this.#entries.set(key, entry)
    } else if (type === 'LEASE') {
      const lease = leaseOrReason(item)
      if (typeof lease === 'string') this.#skip(key, lease)
      else if (this.#options.isOurs(lease)) this.#leases.set(key, lease)
      else {
        this.#others++
        const streams = lease.streamIdentifier === undefined ? 'one stream' : 'several streams'
        this.#skip(key, `a lease of an application with ${streams}`)
      }
    } else if (!OTHER_TYPES.has(type)) {
      this.#skip(key, `the unknown entityType ${type}`)
    }
    return key
  }

  #skip(key: string, reason: string): void {
    if (this.#skipped.has(key)) return
    this.#skipped.add(key)
    this.#options.onSkipped(key, reason)
  }

  #isAssignable(lease: Lease): boolean {
    return !isFinished(lease) && this.#options.streams.find(lease.streamIdentifier) !== undefined
  }

  #cameFrom(lease: Lease): string | undefined {
    const origin = this.#origins.get(lease.leaseKey)?.workerId
    return origin === lease.owner ? undefined : origin
  }

  #isAlive(workerId: string): boolean {
    const entry = this.#entries.get(workerId)
    if (entry === undefined || this.#gone.get(workerId) === entry.beat) return false
    const stillMs = this.#entryStandstill.forMs(workerId)
    return stillMs <= entry.timeoutMs && (this.#proven.has(workerId) || this.#seemsAlive(entry))
  }

  /**
   * Of an entry that was seen once, its own clock is all there is to tell a running worker from one that died long ago; if the
   * clocks differ, it just has to be seen twice. A KCL's worker leaves its entry behind when it stops, and writes it so rarely
   * that its clock tells nothing: it has to renew a lease first.
   */
  #seemsAlive({ workerId, isOurs, writtenAtMs, timeoutMs }: WorkerEntry): boolean {
    if (isOurs) return Math.abs(this.#look.wallMs - writtenAtMs) <= timeoutMs
    return [...this.#takenUp].some((leaseKey) => holderOf(this.#leases.get(leaseKey)!) === workerId)
  }

  #expired(): Lease[] {
    return this.leases.filter((lease) => {
      const holder = holderOf(lease)
      return holder !== undefined && !isFinished(lease) && this.#isExpired(lease, holder)
    })
  }

  /**
   * The holder hasn't renewed the lease in time, or was given it and never came by it: most likely it is so with all that it has,
   * so it gets none of them back. A KCL's worker leaves its entry behind when it stops.
   */
  #letGo(lease: Lease): void {
    const entry = this.#entries.get(holderOf(lease) ?? '')
    if (entry !== undefined) this.#gone.set(entry.workerId, entry.beat)
    if (this.#newlyHeld.delete(lease.leaseKey)) this.#notTakenUp(lease, { isGivenBack: false })
  }

  #isExpired(lease: Lease, holder: string): boolean {
    const isNew = this.#newlyHeld.has(lease.leaseKey)
    const patience = isNew && this.#isAlive(holder) ? NEW_OWNER_FACTOR : 1
    return this.#leaseStandstill.forMs(lease.leaseKey) > this.#options.failoverTime * patience
  }
}

/** From whom to whom the lease is being handed; undefined if it isn't. */
function handoffOf({ owner, checkpointOwner }: Lease): string | undefined {
  return checkpointOwner === undefined ? undefined : JSON.stringify([checkpointOwner, owner])
}

/** Or why the item is no lease. */
function leaseOrReason(item: Item): Lease | string {
  if (!CHECKPOINT.test(item.checkpoint?.S ?? ''))
    return `a lease with the checkpoint ${JSON.stringify(item.checkpoint)}`
  return leaseFromItem(item) ?? 'a lease without counter or key'
}
