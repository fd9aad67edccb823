import type { Random } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { timed } from '../timed.ts'
import { FleetView } from './fleet-view.ts'
import { Leader, type LeaderOptions } from './leader.ts'
import { LEADER_KEY, LeaderLock } from './leader-lock.ts'
import { holderOf, type Lease } from './lease.ts'
import { OwnedLeases } from './owned-leases.ts'
import { ReportedLoad } from './reported-load.ts'

export interface LookoutOptions extends LeaderOptions {
  readonly workerId: string
  readonly maxLeases: number
  readonly random: Random
}

/** What a look at the table showed this worker. */
export interface Sighting {
  /** Leases that it holds, or is to hold. */
  readonly leases: readonly Lease[]
  /** Keys of leases that it may have lost, or is to hand off. */
  readonly news: readonly string[]
  /** Why this worker's round as the leader failed, if it did: what is its own is to be seen to all the same. */
  readonly failure?: { readonly error: unknown } | undefined
}

/** How often a worker that leads, or may soon, looks at the whole table. */
const MAX_SCAN_INTERVAL_MS = 1_000
/** A table of thousands of leases is looked at less often. */
const SCAN_MS_PER_LEASE = 0.5
/** How often the others look for leases that were assigned to them, and at the leader lock: see docs/cost.md. */
const MAX_INDEX_INTERVAL_MS = 1_500
const MAX_LOCK_INTERVAL_MS = 2_000

/**
 * How this worker looks at the application's table. Who leads, or may have to soon, looks at all of it again and again, and
 * leads while it holds the leader lock; the others look only at what is theirs, and at the lock.
 */
export class Lookout {
  readonly lock: LeaderLock
  readonly #options: LookoutOptions
  readonly #view: FleetView
  readonly #leader: Leader
  readonly #owned: OwnedLeases
  readonly #load: ReportedLoad
  #lockSeenAtMs = Number.NEGATIVE_INFINITY
  #ownedSeenAtMs = Number.NEGATIVE_INFINITY
  #isScanning = false

  constructor(options: LookoutOptions) {
    this.#options = options
    const { table, workerId, failoverTime, telemetry, streams } = options
    this.#view = new FleetView({
      ...options,
      isOurs: ({ streamIdentifier }) => (streamIdentifier !== undefined) === streams.areSeveral,
      onSkipped: (leaseKey, reason) => telemetry.emit({ type: 'itemSkipped', leaseKey, reason }),
    })
    this.lock = new LeaderLock({ ...options, durationMs: Math.round(1.5 * failoverTime) })
    this.#leader = new Leader(this.#view, this.lock, options)
    this.#owned = new OwnedLeases(table, workerId)
    this.#load = new ReportedLoad(options)
  }

  /** Every lease of the application, as of the last look; undefined where that was only at what is this worker's. */
  get allLeases(): readonly Lease[] | undefined {
    return this.#isScanning ? this.#view.leases : undefined
  }

  /** What this worker's entry tells of the machine. */
  cpuLoads(): readonly number[] {
    return this.#load.sample()
  }

  /** Until the next look, at most. */
  get waitMs(): number {
    const { clock } = this.#options
    return this.#isScanning
      ? Math.max(this.minWaitMs, this.#view.leases.length * SCAN_MS_PER_LEASE)
      : Math.min(this.#lockDueMs, this.#ownedDueMs) - clock.monotonicMs()
  }

  /** From one look to the next, at least. */
  get minWaitMs(): number {
    return Math.min(MAX_SCAN_INTERVAL_MS, this.#options.failoverTime / 10)
  }

  /** There may be leases for this worker: the next look is for them. */
  expectLeases(): void {
    this.#ownedSeenAtMs = Number.NEGATIVE_INFINITY
  }

  /**
   * Looks at what is due. Resolves to undefined if that was only the leader lock; rejects if the table can't be reached.
   *
   * @param isRead leases it reads now
   */
  async look(isRead: (leaseKey: string) => boolean, signal: AbortSignal): Promise<Sighting | undefined> {
    await this.#lookAtLock()
    this.#isScanning = this.lock.held || this.lock.isStale
    if (this.#isScanning) return await this.#scan(signal)
    this.#leader.rest()
    const nowMs = this.#options.clock.monotonicMs()
    if (nowMs < this.#ownedDueMs) return undefined
    const { found, vanished } = await this.#owned.look(isRead)
    this.#ownedSeenAtMs = nowMs
    return { leases: found, news: vanished }
  }

  /** The leases of this worker now, as far as it may know without scanning for their sake. */
  async ownLeases(): Promise<readonly Lease[]> {
    return (await this.#owned.look(() => false)).found
  }

  /** A look has failed: a leader whose rounds fail again and again lets another worker try. */
  async admitFailure(error: unknown): Promise<void> {
    await this.#leader.roundFailed(error)
  }

  /** Who is to have this worker's leases when it leaves; empty if it doesn't lead, since then it can't know. */
  successors(): ReadonlyMap<string, string> {
    return this.lock.held ? this.#leader.successorsOf(this.#options.workerId) : new Map()
  }

  get #lockDueMs(): number {
    return this.#lockSeenAtMs + Math.min(MAX_LOCK_INTERVAL_MS, 0.2 * this.#options.failoverTime)
  }

  get #ownedDueMs(): number {
    return this.#ownedSeenAtMs + Math.min(MAX_INDEX_INTERVAL_MS, 0.15 * this.#options.failoverTime)
  }

  /** Who scans sees the lock there. */
  async #lookAtLock(): Promise<void> {
    const { table, clock } = this.#options
    const sentAtMs = clock.monotonicMs()
    if (this.#isScanning || sentAtMs < this.#lockDueMs) return
    const item = await table.read('coordinator', LEADER_KEY)
    this.lock.observe(item, { sentAtMs, nowMs: clock.monotonicMs() })
    this.#lockSeenAtMs = sentAtMs
    await this.#load.follow(item)
  }

  async #scan(signal: AbortSignal): Promise<Sighting> {
    const { table, clock, workerId } = this.#options
    const sentAtMs = clock.monotonicMs()
    const items = await table.scan()
    const look = { sentAtMs, nowMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    this.#view.observe(items, look)
    this.#lockSeenAtMs = sentAtMs
    const { streams } = this.#options
    // With new leases beside those of another form everything would be read anew, or, at LATEST, skipped.
    if (this.#view.leases.length === 0 && this.#view.others > 0) throw wrongTable(streams.areSeveral)
    let failure: { readonly error: unknown } | undefined
    if (await this.lock.consider(this.#view.leaderItem, look)) {
      await this.#lead(signal).catch((error: unknown) => {
        signal.throwIfAborted()
        failure = { error }
      })
    } else {
      this.#leader.rest()
    }
    const { leases } = this.#view
    return {
      failure,
      leases: leases.filter((lease) => holderOf(lease) === workerId),
      news: leases.filter(({ owner }) => owner !== workerId).map(({ leaseKey }) => leaseKey),
    }
  }

  async #lead(signal: AbortSignal): Promise<void> {
    const { clock, telemetry } = this.#options
    await timed(
      clock,
      signal,
      () => this.#leader.lead(signal),
      (durationMs, failure) => telemetry.meter?.led(durationMs, failure),
    )
  }
}

/** The table holds the leases of an application with one stream, or with several, and this one has the other. */
export function wrongTable(areSeveral: boolean): ConsumerError {
  const [given, found, other] = areSeveral
    ? ['streams', 'one stream', 'stream']
    : ['stream', 'several streams', 'streams']
  return new ConsumerError(
    'ERR_TABLE',
    `The table holds the leases of an application with ${found}, which option "${given}" can't go on from: give "${other}", or ` +
      'another application name.',
  )
}
