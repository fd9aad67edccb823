import { backoffMs, type Clock, classifyError, orAborted, type Random } from '@shardwise/core'
import { ConsumerError } from './errors.ts'
import { FleetView } from './fleet-view.ts'
import { inParallel } from './in-parallel.ts'
import { Leader, type LeaderOptions } from './leader.ts'
import { LeaderLock } from './leader-lock.ts'
import { holderOf, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { release } from './lease-changes.ts'
import { LeaseHolder } from './lease-holder.ts'
import type { Table } from './table.ts'
import type { Telemetry } from './telemetry.ts'
import { pause, Wakeup, within } from './waiting.ts'
import { writeEntry } from './worker-entry.ts'

/** The life of a held lease, as the fleet sees it. */
export interface HeldShard {
  readonly shardId: string
  /** Starts giving the lease to the next owner, or back. */
  stop(): void
  /** Resolves when the lease is no longer held. */
  run(): Promise<void>
}

export interface FleetOptions<Held extends HeldShard> extends LeaderOptions {
  readonly table: Table
  readonly workerId: string
  readonly failoverTime: number
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  /** Makes the consumer of a lease that this worker has just taken up. */
  readonly consume: (holder: LeaseHolder) => Held
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 5_000 }
/** A table of thousands of leases is looked at less often. */
const SCAN_MS_PER_LEASE = 2
/** A look at the table that hangs is given up after so many failover times: the next may succeed. */
const PATIENCE_FACTOR = 3
/** The last writes of a worker that stops: others do without them after a while. */
const FAREWELL_MS = 2_000

/**
 * This worker's part in the application. It looks at the table again and again: takes up the leases that were assigned to
 * it, hands off those that were assigned away, and leads while it holds the leader lock.
 */
export class Fleet<Held extends HeldShard> {
  readonly #options: FleetOptions<Held>
  readonly #view: FleetView
  readonly #lock: LeaderLock
  readonly #leader: Leader
  readonly #wakeup = new Wakeup()
  readonly #shards = new Map<string, Held>()
  readonly #running = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #failure = Promise.withResolvers<never>()
  /** What may still be under way when the loops have been told to end. */
  #looking: Promise<void> = Promise.resolve()
  #beating: Promise<void> = Promise.resolve()
  #left = false
  #woken = false
  #beat = 0

  constructor(options: FleetOptions<Held>) {
    this.#options = options
    const { table, workerId, failoverTime, clock, random, telemetry } = options
    this.#view = new FleetView({
      workerId,
      failoverTime,
      onSkipped: (leaseKey, reason) => telemetry.emit({ type: 'itemSkipped', leaseKey, reason }),
    })
    this.#lock = new LeaderLock({
      table,
      workerId,
      durationMs: Math.round(1.5 * failoverTime),
      clock,
      random,
      telemetry,
    })
    this.#leader = new Leader(this.#view, options)
  }

  get isLeader(): boolean {
    return this.#lock.held
  }

  /** Every lease of the application, as of the last look at the table. */
  get leases(): readonly Lease[] {
    return this.#view.leases
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

  /** Leaves the fleet after {@link run}: another worker may lead, and what is held is finished and given back. */
  async stop(): Promise<void> {
    const { table, workerId, clock, telemetry } = this.#options
    for (const shard of this.#shards.values()) shard.stop()
    try {
      await within(clock, FAREWELL_MS, async () => {
        // A heartbeat that lands after the farewell would raise this worker from the dead.
        await Promise.allSettled([this.#looking, this.#beating])
        await Promise.all([this.#lock.release(), table.delete(workerId, [])])
      })
    } catch (error) {
      telemetry.emit({ type: 'callFailed', doing: 'taking leave of the other workers', error })
    }
    await Promise.all(this.#running)
    this.#left = true
    try {
      await within(clock, FAREWELL_MS, () => this.#returnStrays())
    } catch (error) {
      telemetry.emit({ type: 'callFailed', doing: 'giving back leases', error })
    }
  }

  /** Gives back what was assigned to this worker while it was leaving, by a leader that didn't know yet. */
  async #returnStrays(): Promise<void> {
    const { table, workerId } = this.#options
    const leases = (await table.scan({ consistent: true })).flatMap((item) => leaseFromItem(item) ?? [])
    const strays = leases.filter((lease) => !isFinished(lease) && holderOf(lease) === workerId)
    await inParallel(strays, async (lease) => {
      await table.update(release(lease, workerId, undefined))
    })
  }

  async #heartbeats(signal: AbortSignal): Promise<void> {
    const { table, workerId, failoverTime, clock, random, telemetry } = this.#options
    const periodMs = failoverTime / 2
    let waitMs: number
    let failures = 0
    do {
      const startedAt = clock.monotonicMs()
      try {
        this.#beating = table.update(writeEntry(workerId, ++this.#beat, periodMs, clock)).then(() => this.#lock.renew())
        await within(clock, failoverTime, () => orAborted(this.#beating, signal))
        failures = 0
        waitMs = startedAt + periodMs - clock.monotonicMs()
      } catch (error) {
        if (signal.aborted) return
        telemetry.emit({ type: 'callFailed', doing: 'showing that this worker lives', error })
        waitMs = Math.min(periodMs, backoffMs(++failures, RETRY_BACKOFF, random))
      }
    } while (await pause(clock, waitMs, signal))
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, failoverTime, random, telemetry } = this.#options
    const intervalMs = Math.min(1_000, failoverTime / 10)
    let everLooked = false
    for (let failures = 0; !signal.aborted; ) {
      this.#woken = false
      let waitMs: number
      try {
        this.#looking = this.#look(signal)
        await within(clock, PATIENCE_FACTOR * failoverTime, () => orAborted(this.#looking, signal))
        everLooked = true
        failures = 0
        waitMs = Math.max(intervalMs, this.#view.leases.length * SCAN_MS_PER_LEASE)
      } catch (error) {
        if (signal.aborted) return
        // What is refused for good at the start is a mistake to be told; later it may be a change that is taken back.
        if (error instanceof ConsumerError || (!everLooked && classifyError(error) === 'fatal')) throw error
        telemetry.emit({ type: 'callFailed', doing: 'looking at the leases', error })
        waitMs = backoffMs(++failures, RETRY_BACKOFF, random) + intervalMs
      }
      await this.#wakeup.until(() => this.#woken, signal, clock, waitMs)
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { table, clock } = this.#options
    this.#view.observe(await table.scan(), clock.monotonicMs(), clock.wallMs())
    if (await this.#lock.consider(this.#view.leaderItem)) await this.#leader.lead(signal)
    else this.#leader.rest()
    await this.#takeUp(signal)
  }

  async #takeUp(signal: AbortSignal): Promise<void> {
    await inParallel(this.#view.leases, async (lease) => {
      signal.throwIfAborted()
      const { workerId, table } = this.#options
      if (isFinished(lease) || holderOf(lease) !== workerId) return
      const isHandoff = lease.owner !== workerId
      const shard = this.#shards.get(lease.leaseKey)
      if (shard !== undefined) {
        if (isHandoff) shard.stop()
      } else if (isHandoff) {
        // Asked of an earlier holder with this id, which is gone: nothing is in hand, so the next owner may start.
        await table.update(release(lease, workerId, undefined))
      } else {
        const holder = await LeaseHolder.acquire(lease, this.#options)
        if (holder !== undefined) this.#start(holder)
      }
    })
  }

  #start(holder: LeaseHolder): void {
    // Only after a call that took so long that it was given up. The holder that runs finds out at its next renewal if it has
    // been shut out by this one; two at once there must not be.
    if (this.#left || this.#shards.has(holder.lease.leaseKey)) {
      void holder.close()
      return
    }
    const shard = this.#options.consume(holder)
    this.#shards.set(shard.shardId, shard)
    if (this.#stopping.signal.aborted) shard.stop()
    const run = shard
      .run()
      .catch((error: unknown) => this.#failure.reject(error))
      .finally(() => {
        this.#shards.delete(shard.shardId)
        this.#running.delete(run)
        this.wake()
      })
    this.#running.add(run)
  }
}
