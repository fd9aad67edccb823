import { backoffMs, classifyError, orAborted, type Random } from '@shardwise/core'
import { ConsumerError } from './errors.ts'
import { FleetView } from './fleet-view.ts'
import { inParallel } from './in-parallel.ts'
import { Leader, type LeaderOptions } from './leader.ts'
import { LEADER_KEY, LeaderLock } from './leader-lock.ts'
import { holderOf, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { release } from './lease-changes.ts'
import { LeaseHolder } from './lease-holder.ts'
import { OwnedLeases } from './owned-leases.ts'
import { ReportedLoad } from './reported-load.ts'
import type { StreamSource } from './stream-source.ts'
import { timed } from './timed.ts'
import { pause, Wakeup, within } from './waiting.ts'
import { entryFromItem, WorkerPresence } from './worker-entry.ts'

/** The life of a held lease, as the fleet sees it. */
export interface HeldShard {
  readonly lease: Lease
  /** Starts giving the lease to the next owner, or back. @param successor who gets it if nobody was to have it next */
  stop(successor?: string): void
  /** Renews the lease soon: the table may have news of it. */
  nudge(): void
  /** Resolves when the lease is no longer held. */
  run(): Promise<void>
}

export interface FleetOptions<Held extends HeldShard> extends LeaderOptions {
  readonly workerId: string
  readonly maxLeases: number
  readonly random: Random
  /** Makes the consumer of a lease that this worker has just taken up. */
  readonly consume: (holder: LeaseHolder, source: StreamSource) => Held
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 5_000 }
/** How often a worker that leads, or may soon, looks at the whole table. */
const MAX_SCAN_INTERVAL_MS = 1_000
/** A table of thousands of leases is looked at less often. */
const SCAN_MS_PER_LEASE = 0.5
/** How often the others look for leases that were assigned to them, and at the leader lock: see docs/cost.md. */
const MAX_INDEX_INTERVAL_MS = 1_500
const MAX_LOCK_INTERVAL_MS = 2_000
/** A look at the table that hangs is given up after so many failover times: the next may succeed. */
const PATIENCE_FACTOR = 3
/** The last writes of a worker that stops: others do without them after a while. */
const FAREWELL_MS = 2_000

/**
 * This worker's part in the application. It takes up the leases that were assigned to it, hands off those that were assigned
 * away, and leads while it holds the leader lock. Who leads, or may have to soon, looks at the whole table again and again;
 * the others only at what is theirs.
 */
export class Fleet<Held extends HeldShard> {
  readonly #options: FleetOptions<Held>
  readonly #view: FleetView
  readonly #lock: LeaderLock
  readonly #leader: Leader
  readonly #owned: OwnedLeases
  readonly #presence: WorkerPresence
  readonly #load: ReportedLoad
  readonly #wakeup = new Wakeup()
  /** By lease key. */
  readonly #shards = new Map<string, Held>()
  readonly #running = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #failure = Promise.withResolvers<never>()
  /** What may still be under way when the loops have been told to end. */
  #looking: Promise<void> = Promise.resolve()
  #beating: Promise<void> = Promise.resolve()
  #lockSeenAtMs = Number.NEGATIVE_INFINITY
  #ownedSeenAtMs = Number.NEGATIVE_INFINITY
  #isScanning = false
  #left = false
  #woken = false

  constructor(options: FleetOptions<Held>) {
    this.#options = options
    const { table, workerId, failoverTime, telemetry, streams } = options
    this.#view = new FleetView({
      ...options,
      isOurs: ({ streamIdentifier }) => (streamIdentifier !== undefined) === streams.areSeveral,
      onSkipped: (leaseKey, reason) => telemetry.emit({ type: 'itemSkipped', leaseKey, reason }),
    })
    this.#lock = new LeaderLock({ ...options, durationMs: Math.round(1.5 * failoverTime) })
    this.#leader = new Leader(this.#view, this.#lock, options)
    this.#owned = new OwnedLeases(table, workerId)
    this.#load = new ReportedLoad(options)
    this.#presence = new WorkerPresence({
      ...options,
      periodMs: failoverTime / 2,
      cpuLoads: () => this.#load.sample(),
    })
  }

  get isLeader(): boolean {
    return this.#lock.held
  }

  /** As of the last look at the table: every lease of the application where this worker leads, otherwise those that it holds. */
  get leases(): readonly Lease[] {
    return this.#isScanning ? this.#view.leases : this.shards.map(({ lease }) => lease)
  }

  get shards(): readonly Held[] {
    return [...this.#shards.values()]
  }

  /** Looks at the table soon. */
  wake(): void {
    this.#woken = true
    this.#wakeup.wake()
  }

  /** Runs until the signal is aborted; rejects on what trying again can't mend. Either way {@link stop} must follow. */
  async run(until: AbortSignal): Promise<void> {
    const { signal } = this.#stopping
    until.addEventListener('abort', () => this.#stopping.abort(until.reason), { once: true })
    if (until.aborted) this.#stopping.abort(until.reason)
    const loops = [this.#heartbeats(signal), this.#watch(signal)]
    try {
      await Promise.race([Promise.all(loops), this.#failure.promise])
    } finally {
      this.#stopping.abort()
      await Promise.allSettled(loops)
    }
  }

  /** Leaves the fleet after {@link run}: another worker may lead, and what is held is finished and given back, or passed on. */
  async stop(): Promise<void> {
    const { workerId } = this.#options
    // Before anything is given back: a leader that still sees this worker would assign it to it again.
    await this.#briefly('taking leave of the other workers', async () => {
      // A heartbeat that lands after the farewell would raise this worker from the dead.
      await Promise.allSettled([this.#looking, this.#beating])
      await this.#presence.leave()
    })
    // A leader knows who is to have its leases; nobody has to find them unowned first.
    const successors = this.#lock.held ? this.#leader.successorsOf(workerId) : new Map<string, string>()
    for (const [leaseKey, shard] of this.#shards) shard.stop(successors.get(leaseKey))
    const released = this.#briefly('letting go of the leader lock', () => this.#lock.release())
    await Promise.all([...this.#running, released])
    this.#left = true
    await this.#briefly('giving back leases', () => this.#returnStrays(successors))
  }

  /** Others do without it after a while. */
  async #briefly(doing: string, work: () => Promise<void>): Promise<void> {
    const { clock, telemetry } = this.#options
    try {
      await within(clock, FAREWELL_MS, work)
    } catch (error) {
      telemetry.emit({ type: 'callFailed', doing, error })
    }
  }

  /**
   * Gives back what was assigned to this worker while it was leaving, by a leader that didn't know yet; and what it has passed on
   * to workers that have left meanwhile.
   */
  async #returnStrays(successors: ReadonlyMap<string, string>): Promise<void> {
    const { table, workerId } = this.#options
    const items = this.#isScanning ? await table.scan({ consistent: true }) : undefined
    const leases = items?.flatMap((item) => leaseFromItem(item) ?? []) ?? (await this.#owned.look(() => false)).found
    const present = new Set(items?.flatMap((item) => entryFromItem(item)?.workerId ?? []))
    await inParallel(leases, async (lease) => {
      const holder = holderOf(lease)
      if (holder === undefined || isFinished(lease)) return
      const isLeft = successors.get(lease.leaseKey) === holder && !present.has(holder)
      if (holder === workerId || isLeft) await table.update(release(lease, holder, undefined))
    })
  }

  async #heartbeats(signal: AbortSignal): Promise<void> {
    const { failoverTime, clock, random, telemetry } = this.#options
    const periodMs = failoverTime / 2
    let waitMs: number
    let failures = 0
    let everBeat = false
    do {
      const startedAt = clock.monotonicMs()
      try {
        this.#beating = this.#presence.show().then(() => this.#lock.renew())
        await within(clock, failoverTime, () => orAborted(this.#beating, signal))
        everBeat = true
        failures = 0
        waitMs = startedAt + periodMs - clock.monotonicMs()
      } catch (error) {
        if (signal.aborted) return
        if (!everBeat && isForGood(error)) throw error
        telemetry.emit({ type: 'callFailed', doing: 'showing that this worker lives', error })
        waitMs = Math.min(periodMs, backoffMs(++failures, RETRY_BACKOFF, random))
      }
    } while (await pause(clock, waitMs, signal))
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, failoverTime, random, telemetry } = this.#options
    let everLooked = false
    for (let failures = 0; !signal.aborted; ) {
      if (this.#woken) this.#ownedSeenAtMs = Number.NEGATIVE_INFINITY
      this.#woken = false
      let waitMs: number
      try {
        this.#looking = this.#look(signal)
        await within(clock, PATIENCE_FACTOR * failoverTime, () => orAborted(this.#looking, signal))
        everLooked = true
        failures = 0
        waitMs = this.#waitMs()
      } catch (error) {
        if (signal.aborted) return
        // What is refused for good at the start is a mistake to be told; later it may be a change that is taken back.
        if (isOver(error) || (!everLooked && isForGood(error))) throw error
        telemetry.emit({ type: 'callFailed', doing: 'looking at the leases', error })
        await this.#admitFailure()
        waitMs = backoffMs(++failures, RETRY_BACKOFF, random) + Math.min(MAX_SCAN_INTERVAL_MS, failoverTime / 10)
      }
      await this.#wakeup.until(() => this.#woken, signal, clock, waitMs)
    }
  }

  /** A leader whose rounds fail again and again lets another worker try. */
  async #admitFailure(): Promise<void> {
    const { clock, failoverTime, telemetry } = this.#options
    try {
      await within(clock, failoverTime, () => this.#leader.roundFailed())
    } catch (error) {
      telemetry.emit({ type: 'callFailed', doing: 'letting go of the leader lock', error })
    }
  }

  /** Until the next look. */
  #waitMs(): number {
    const { failoverTime, clock } = this.#options
    return this.#isScanning
      ? Math.max(Math.min(MAX_SCAN_INTERVAL_MS, failoverTime / 10), this.#view.leases.length * SCAN_MS_PER_LEASE)
      : Math.min(this.#lockDueMs, this.#ownedDueMs) - clock.monotonicMs()
  }

  get #lockDueMs(): number {
    return this.#lockSeenAtMs + Math.min(MAX_LOCK_INTERVAL_MS, 0.2 * this.#options.failoverTime)
  }

  get #ownedDueMs(): number {
    return this.#ownedSeenAtMs + Math.min(MAX_INDEX_INTERVAL_MS, 0.15 * this.#options.failoverTime)
  }

  async #look(signal: AbortSignal): Promise<void> {
    await this.#lookAtLock()
    this.#isScanning = this.#lock.held || this.#lock.isStale
    if (this.#isScanning) await this.#scan(signal)
    else await this.#lookAtOwned(signal)
  }

  /** Who scans sees the lock there. */
  async #lookAtLock(): Promise<void> {
    const { table, clock } = this.#options
    const sentAtMs = clock.monotonicMs()
    if (this.#isScanning || sentAtMs < this.#lockDueMs) return
    const item = await table.read('coordinator', LEADER_KEY)
    this.#lock.observe(item, { sentAtMs, nowMs: clock.monotonicMs() })
    this.#lockSeenAtMs = sentAtMs
    await this.#load.follow(item)
  }

  async #scan(signal: AbortSignal): Promise<void> {
    const { table, clock, workerId, telemetry } = this.#options
    const sentAtMs = clock.monotonicMs()
    const items = await table.scan()
    const look = { sentAtMs, nowMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    this.#view.observe(items, look)
    this.#lockSeenAtMs = sentAtMs
    this.#refuseOthers()
    if (await this.#lock.consider(this.#view.leaderItem, look)) {
      await timed(
        clock,
        signal,
        () => this.#leader.lead(signal),
        (durationMs, failure) => telemetry.meter?.led(durationMs, failure),
      )
    } else {
      this.#leader.rest()
    }
    const { leases } = this.#view
    for (const lease of leases) {
      if (holderOf(lease) !== workerId || lease.owner !== workerId) this.#shards.get(lease.leaseKey)?.nudge()
    }
    await this.#takeUp(leases, signal)
  }

  /** With new leases beside those of another form everything would be read anew, or, at LATEST, skipped. */
  #refuseOthers(): void {
    if (this.#view.leases.length > 0 || this.#view.others === 0) return
    const [given, found] = this.#options.streams.areSeveral ? ['streams', 'one stream'] : ['stream', 'several streams']
    throw new ConsumerError(
      'ERR_TABLE',
      `The table holds the leases of an application with ${found}, which option "${given}" can't go on from: ` +
        `give "${given === 'stream' ? 'streams' : 'stream'}", or another application name.`,
    )
  }

  async #lookAtOwned(signal: AbortSignal): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs < this.#ownedDueMs) return
    this.#ownedSeenAtMs = nowMs
    this.#leader.rest()
    const { found, vanished } = await this.#owned.look((leaseKey) => this.#shards.has(leaseKey))
    for (const leaseKey of vanished) this.#shards.get(leaseKey)?.nudge()
    await this.#takeUp(found, signal)
  }

  async #takeUp(leases: readonly Lease[], signal: AbortSignal): Promise<void> {
    const { workerId, table, streams, telemetry } = this.#options
    for (const shard of this.#shards.values()) {
      if (streams.find(shard.lease.streamIdentifier) === undefined) shard.stop()
    }
    await inParallel(leases, async (lease) => {
      signal.throwIfAborted()
      if (isFinished(lease) || holderOf(lease) !== workerId || this.#shards.has(lease.leaseKey)) return
      if ((lease.streamIdentifier !== undefined) !== streams.areSeveral) return
      const source = streams.find(lease.streamIdentifier)
      if (lease.owner !== workerId) {
        // Asked of an earlier holder with this id, which is gone: nothing is in hand, so the next owner may start.
        await table.update(release(lease, workerId, undefined))
      } else if (source === undefined) {
        streams.lookSoon()
      } else {
        const holder = await LeaseHolder.acquire(lease, {
          ...this.#options,
          initialPosition: source.initialPosition,
          measures: telemetry.of(source.stream).measures,
        })
        if (holder !== undefined) this.#start(holder, source)
      }
    })
  }

  #start(holder: LeaseHolder, source: StreamSource): void {
    const { leaseKey } = holder.lease
    // Only after a call that took so long that it was given up. The holder that runs finds out at its next renewal if it has
    // been shut out by this one; two at once there must not be.
    if (this.#left || this.#shards.has(leaseKey)) {
      void holder.close()
      return
    }
    const shard = this.#options.consume(holder, source)
    this.#shards.set(leaseKey, shard)
    if (this.#stopping.signal.aborted) shard.stop()
    const run = shard
      .run()
      .catch((error: unknown) => {
        const isGone = error instanceof ConsumerError && error.code === 'ERR_STREAM'
        if (!isGone || !this.#options.streams.lose(source, error)) this.#failure.reject(error)
      })
      .finally(() => {
        this.#shards.delete(leaseKey)
        this.#running.delete(run)
        this.wake()
      })
    this.#running.add(run)
  }
}

/** Whether trying again is of no use, whenever it happens. */
function isOver(error: unknown): boolean {
  return error instanceof ConsumerError && error.code !== 'ERR_ACCESS'
}

/** Whether trying again is of no use if it never succeeded. */
function isForGood(error: unknown): boolean {
  return error instanceof ConsumerError || classifyError(error) === 'fatal'
}
