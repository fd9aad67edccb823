import { backoffMs, classifyError, orAborted, pause } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import { Wakeup, within } from '../waiting.ts'
import { holderOf, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { release } from './lease-changes.ts'
import { LeaseHolder } from './lease-holder.ts'
import { Lookout, type LookoutOptions, wrongTable } from './lookout.ts'
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

export interface FleetOptions<Held extends HeldShard> extends LookoutOptions {
  /** Makes the consumer of a lease that this worker has just taken up. */
  readonly consume: (holder: LeaseHolder, source: StreamSource) => Held
}

const RETRY_BACKOFF = { baseMs: 200, maxMs: 5_000 }
/** A look at the table that hangs is given up after so many failover times: the next may succeed. */
const PATIENCE_FACTOR = 3
const MAX_PERIOD_MS = 20_000
/** The last writes of a worker that stops: others do without them after a while. */
const FAREWELL_MS = 2_000

/**
 * This worker's part in the application: shows that it lives, takes up the leases that were assigned to it, hands off those that
 * were assigned away, and gives all back when it leaves.
 */
export class Fleet<Held extends HeldShard> {
  readonly #options: FleetOptions<Held>
  readonly #lookout: Lookout
  readonly #presence: WorkerPresence
  readonly #wakeup = new Wakeup()
  /** By lease key. */
  readonly #shards = new Map<string, Held>()
  readonly #running = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #failure = Promise.withResolvers<never>()
  /** What may still be under way when the loops have been told to end. */
  #looking: Promise<void> = Promise.resolve()
  #beating: Promise<void> = Promise.resolve()
  /** When this worker last saw which leases are its own. */
  #lookedAtMs: number
  /** Each loop has its next turn by then, however the calls go that it makes. */
  #beatDueMs: number
  #lookDueMs: number
  #isSettled = false
  /** Streams that it doesn't know, by identifier: since when leases of them have been in its name. */
  readonly #unknownSinceMs = new Map<string | undefined, number>()
  #left = false
  #woken = false

  constructor(options: FleetOptions<Held>) {
    this.#options = options
    this.#lookout = new Lookout(options)
    this.#lookedAtMs = options.clock.monotonicMs()
    this.#beatDueMs = this.#lookedAtMs
    this.#lookDueMs = this.#lookedAtMs
    this.#presence = new WorkerPresence({
      ...options,
      periodMs: periodOf(options),
      cpuLoads: () => this.#lookout.cpuLoads(),
    })
  }

  get isLeader(): boolean {
    return this.#lookout.lock.held
  }

  /**
   * Its loops turn, or have ended since it leaves, for which there is a deadline. Whether the table can be reached doesn't matter: to
   * start the process anew wouldn't mend that.
   */
  get isLive(): boolean {
    const { clock, failoverTime } = this.#options
    if (this.#stopping.signal.aborted) return true
    return clock.monotonicMs() <= Math.min(this.#beatDueMs, this.#lookDueMs) + failoverTime
  }

  /** It has looked at the table, and holds every lease that it then saw to be its own. */
  get isSettled(): boolean {
    return this.#isSettled
  }

  /** As of the last look at the table: every lease of the application where this worker leads, otherwise those that it holds. */
  get leases(): readonly Lease[] {
    return this.#lookout.allLeases ?? this.shards.map(({ lease }) => lease)
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
    const { lock } = this.#lookout
    // Before anything is given back: a leader that still sees this worker would assign it to it again.
    await this.#briefly('taking leave of the other workers', async () => {
      // A heartbeat that lands after the farewell would raise this worker from the dead.
      await Promise.allSettled([this.#looking, this.#beating])
      await this.#presence.leave()
    })
    // A leader knows who is to have its leases; nobody has to find them unowned first.
    const successors = this.#lookout.successors()
    const passed = new Map<string, Held>()
    for (const [leaseKey, shard] of this.#shards) {
      if (successors.has(leaseKey)) passed.set(leaseKey, shard)
      shard.stop(successors.get(leaseKey))
    }
    const released = this.#briefly('letting go of the leader lock', () => lock.release())
    while (this.#running.size > 0) await Promise.all(this.#running)
    await released
    this.#left = true
    await this.#briefly('giving back leases', () => this.#returnStrays(passed))
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
   * to workers that have left without taking it up.
   */
  async #returnStrays(passed: ReadonlyMap<string, Held>): Promise<void> {
    const { table, workerId } = this.#options
    const items = this.#lookout.allLeases && (await table.scan({ consistent: true }))
    const leases = items?.flatMap((item) => leaseFromItem(item) ?? []) ?? (await this.#lookout.ownLeases())
    // What bears this worker's name may be another's who has come under it.
    const isAlone = await this.#presence.isAlone()
    const present = new Set(items?.flatMap((item) => entryFromItem(item)?.workerId ?? []))
    await inParallel(leases, async (lease) => {
      const holder = holderOf(lease)
      if (holder === undefined || isFinished(lease)) return
      const isAsPassed = passed.get(lease.leaseKey)?.lease.counter === lease.counter
      const isLeft = isAsPassed && !present.has(holder)
      if ((holder === workerId && isAlone) || isLeft) await table.update(release(lease, holder, undefined))
    })
  }

  async #heartbeats(signal: AbortSignal): Promise<void> {
    const { failoverTime, clock, random, telemetry } = this.#options
    const periodMs = periodOf(this.#options)
    let waitMs: number
    let failures = 0
    let everBeat = false
    do {
      const startedAt = clock.monotonicMs()
      this.#beatDueMs = startedAt + failoverTime
      try {
        this.#beating = this.#beat()
        await within(clock, failoverTime, () => orAborted(this.#beating, signal))
        everBeat = true
        failures = 0
        waitMs = startedAt + periodMs - clock.monotonicMs()
      } catch (error) {
        if (signal.aborted) return
        if (isOver(error) || (!everBeat && isForGood(error))) throw error
        telemetry.emit({ type: 'callFailed', doing: 'showing that this worker lives', error })
        waitMs = Math.min(periodMs, backoffMs(++failures, RETRY_BACKOFF, random))
      }
      this.#beatDueMs = clock.monotonicMs() + Math.max(0, waitMs)
    } while (await pause(clock, waitMs, signal))
  }

  /** Who can't find its leases doesn't show that it lives, since it would be given more of them; nor does it go on leading. */
  async #beat(): Promise<void> {
    const { clock, failoverTime } = this.#options
    const { lock, waitMs } = this.#lookout
    const blindMs = clock.monotonicMs() - this.#lookedAtMs
    const patienceMs = PATIENCE_FACTOR * Math.max(failoverTime, waitMs)
    if (blindMs <= patienceMs) await this.#presence.show()
    if (lock.held && blindMs > 2 * patienceMs) await lock.abstain()
    else await lock.renew()
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, failoverTime, random, telemetry } = this.#options
    let everLooked = false
    for (let failures = 0; !signal.aborted; ) {
      if (this.#woken) this.#lookout.expectLeases()
      this.#woken = false
      let waitMs: number
      this.#lookDueMs = clock.monotonicMs() + PATIENCE_FACTOR * failoverTime + FAREWELL_MS
      try {
        this.#looking = this.#look(signal)
        await within(clock, PATIENCE_FACTOR * failoverTime, () => orAborted(this.#looking, signal))
        everLooked = true
        failures = 0
        waitMs = this.#lookout.waitMs
      } catch (error) {
        if (signal.aborted) return
        // What is refused for good at the start is a mistake to be told; later it may be a change that is taken back.
        if (isOver(error) || (!everLooked && isForGood(error))) throw error
        telemetry.emit({ type: 'callFailed', doing: 'looking at the leases', error })
        await this.#briefly('letting go of the leader lock', () => this.#lookout.admitFailure(error))
        waitMs = backoffMs(++failures, RETRY_BACKOFF, random) + this.#lookout.minWaitMs
      }
      this.#lookDueMs = clock.monotonicMs() + Math.max(0, waitMs)
      await this.#wakeup.until(() => this.#woken, signal, clock, waitMs)
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const sighting = await this.#lookout.look((leaseKey) => this.#shards.has(leaseKey), signal)
    if (sighting === undefined) return
    const { leases, news, failure } = sighting
    for (const leaseKey of news) this.#shards.get(leaseKey)?.nudge()
    await this.#takeUp(leases, signal)
    this.#lookedAtMs = this.#options.clock.monotonicMs()
    if (failure !== undefined) throw failure.error
  }

  async #takeUp(leases: readonly Lease[], signal: AbortSignal): Promise<void> {
    const { workerId, table, streams, telemetry } = this.#options
    for (const shard of this.#shards.values()) {
      if (streams.find(shard.lease.streamIdentifier) === undefined) shard.stop()
    }
    await inParallel(leases, async (lease) => {
      signal.throwIfAborted()
      if (isFinished(lease) || holderOf(lease) !== workerId || this.#shards.has(lease.leaseKey)) return
      if ((lease.streamIdentifier !== undefined) !== streams.areSeveral) throw wrongTable(streams.areSeveral)
      const source = streams.find(lease.streamIdentifier)
      if (lease.owner !== workerId || (source === undefined && this.#isStrange(lease))) {
        // A handoff asked of an earlier holder with this id, which is gone, or none of this worker's streams: nothing is in hand.
        await table.update(release(lease, workerId, undefined))
      } else if (source !== undefined) {
        const holder = await LeaseHolder.acquire(lease, {
          ...this.#options,
          initialPosition: source.initialPosition,
          measures: telemetry.of(source.stream).measures,
        })
        if (holder !== undefined) this.#start(holder, source)
      }
    })
    this.#isSettled = leases.every(
      (lease) => isFinished(lease) || holderOf(lease) !== workerId || this.#shards.has(lease.leaseKey),
    )
  }

  /** Whether the lease is of a stream that this worker doesn't know even now that it has looked for it. */
  #isStrange({ streamIdentifier }: Lease): boolean {
    const { streams, clock } = this.#options
    // Also where it is given back at once: the stream may have come since.
    streams.lookSoon()
    const sinceMs = this.#unknownSinceMs.get(streamIdentifier)
    if (sinceMs === undefined) this.#unknownSinceMs.set(streamIdentifier, clock.monotonicMs())
    return sinceMs !== undefined && streams.lookedAtMs > sinceMs
  }

  #start(holder: LeaseHolder, source: StreamSource): void {
    const { leaseKey } = holder.lease
    // Only after a call that took so long that it was given up. The holder that runs finds out at its next renewal if it has
    // been shut out by this one; two at once there must not be.
    if (this.#shards.has(leaseKey)) {
      void holder.close()
      return
    }
    this.#unknownSinceMs.delete(source.identifier)
    if (this.#left) {
      void holder.release(undefined)
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
        // Its children are to be assigned, or taken up. A lease that was given away needs no look.
        if (isFinished(shard.lease)) this.wake()
      })
    this.#running.add(run)
  }
}

/** A KCL that leads counts a worker as gone after a minute, however long the failover time. */
function periodOf({ failoverTime }: { readonly failoverTime: number }): number {
  return Math.min(failoverTime / 2, MAX_PERIOD_MS)
}

/** Whether trying again is of no use, whenever it happens. */
function isOver(error: unknown): boolean {
  return error instanceof ConsumerError && error.code !== 'ERR_ACCESS'
}

/** Whether trying again is of no use if it never succeeded. */
function isForGood(error: unknown): boolean {
  return error instanceof ConsumerError || classifyError(error) === 'fatal'
}
