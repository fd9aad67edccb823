import type { Clock, Random } from '@shardwise/core'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { uuid } from '../uuid.ts'
import { type Moment, Standstill } from './standstill.ts'
import type { Condition, Item, Table } from './table.ts'

export interface LeaderLockOptions {
  readonly table: Table
  readonly workerId: string
  /**
   * How long the lock must stand still, by others' clocks, until they may take it. {@link LeaderLock.renew} is to be called
   * three times in it.
   */
  readonly durationMs: number
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
}

export const LEADER_KEY = 'Leader'

const HEARTBEATS = 3
/** A KCL's lock lasts for four of its heartbeats: 120 s and 30 s. */
const KCL_HEARTBEATS = 4
/** A heartbeat that takes a little longer than the one before isn't missed. */
const MISSED_HEARTBEATS = 1.1
/**
 * So many of a large fleet watch the leases when the leader is silent, by chance: a thousand that scan a table at once would cost
 * more than the scans of a day. That none of ten does happens once in 20,000 times.
 */
const WATCHERS = 10
/** Older writes have long arrived or never will; a condition that names hundreds is refused. */
const MAX_VERSIONS = 10
/** Ours: how many workers there are, where there are more than the watchers. */
const WORKERS = 'shardwiseWorkers'

/**
 * The table's `Leader` item, as the KCL's lock client keeps it: whoever writes a new `recordVersionNumber` in time leads.
 * Leading is no right to anything: all that a leader writes is conditional, so two at once only waste requests.
 */
export class LeaderLock {
  readonly #options: LeaderLockOptions
  readonly #standstill = new Standstill()
  #item: Item | undefined
  #workers = 1
  /** Whether this worker is one of those that watch when the leader is silent. */
  #watches = true
  /** Every version that this worker may have left in the table last: an answer may have been lost. */
  #versions: string[] = []
  #heldUntilMs = Number.NEGATIVE_INFINITY
  #abstainsUntilMs = Number.NEGATIVE_INFINITY
  #wasHeld = false

  constructor(options: LeaderLockOptions) {
    this.#options = options
  }

  get held(): boolean {
    return this.#options.clock.monotonicMs() < this.#heldUntilMs
  }

  /**
   * Whether nobody leads, or the leader has missed a heartbeat, as of the last look: who sees it so should watch the leases,
   * to know which have expired when it comes to lead. In a large fleet some do, and the others only if nobody has come to lead.
   */
  get isStale(): boolean {
    if (this.#abstains) return false
    const stillMs = this.#standstill.forMs(LEADER_KEY)
    if (!this.#isReleased && stillMs <= MISSED_HEARTBEATS * this.#heartbeatMs) return false
    return this.#watches || this.#isOwn || stillMs > this.#allowedMs + this.#heartbeatMs
  }

  /** Takes in the item, as just read. */
  observe(item: Item | undefined, moment: Moment): void {
    const version = versionOf(item)
    const isNews = version !== versionOf(this.#item)
    this.#item = item
    this.#standstill.observe(new Map([[LEADER_KEY, version ?? '']]), moment)
    if (!isNews) return
    if (item !== undefined && !this.held) this.#workers = Number(item[WORKERS]?.N ?? 1)
    this.#watches = this.#workers <= WATCHERS || this.#options.random() < WATCHERS / this.#workers
  }

  /** How many workers there are, as this one sees it while it leads. */
  countWorkers(workers: number): void {
    this.#workers = workers
  }

  /** Takes the lock if the item, as just read, allows it. Resolves to whether this worker leads. */
  async consider(item: Item | undefined, moment: Moment): Promise<boolean> {
    this.observe(item, moment)
    const isFree = this.#isReleased || this.#standstill.forMs(LEADER_KEY) > this.#allowedMs
    if (isFree && !this.held && !this.#abstains) await this.#write([versionOf(item)])
    return this.#report()
  }

  /** Shows that this worker still leads. */
  async renew(): Promise<void> {
    if (this.held) await this.#write(this.#versions)
    this.#report()
  }

  /** Lets another worker lead at once. */
  async release(): Promise<void> {
    const versions = this.#versions
    if (versions.length === 0) return
    this.#keep([], Number.NEGATIVE_INFINITY)
    this.#report()
    await this.#options.table.delete('coordinator', LEADER_KEY, versions.map(writtenAs))
  }

  /** Lets another worker lead, and doesn't take the lock again until others have had their chance. */
  async abstain(): Promise<void> {
    const { clock, durationMs } = this.#options
    this.#abstainsUntilMs = clock.monotonicMs() + durationMs
    await this.release()
  }

  get #abstains(): boolean {
    return this.#options.clock.monotonicMs() < this.#abstainsUntilMs
  }

  get #isReleased(): boolean {
    return versionOf(this.#item) === undefined || this.#item?.isReleased !== undefined || this.#isOwn
  }

  /** An earlier run of this worker has left it: it is nobody's. */
  get #isOwn(): boolean {
    return this.#item?.ownerName?.S === this.#options.workerId && !this.held
  }

  /** How long its writer may be silent, as the item says: a KCL's is 120 s by default. */
  get #allowedMs(): number {
    const said = this.#item?.leaseDuration?.S ?? ''
    return /^[1-9]\d{0,8}$/.test(said) ? Number(said) : this.#options.durationMs
  }

  get #heartbeatMs(): number {
    return Math.max(this.#options.durationMs / HEARTBEATS, this.#allowedMs / KCL_HEARTBEATS)
  }

  /** @param seen any of which the item must be at; undefined: absent */
  async #write(seen: readonly (string | undefined)[]): Promise<void> {
    const { table, workerId, durationMs, clock, random } = this.#options
    const when = seen.map(writtenAs)
    const before = this.#versions
    const version = uuid(random)
    const sentAt = clock.monotonicMs()
    before.push(version)
    // The first is the last one that was answered: the likeliest to be there if none of the others has arrived.
    if (before.length > MAX_VERSIONS) before.splice(1, 1)
    const isLarge = this.#workers > WATCHERS
    const item = await table.update({
      kind: 'coordinator',
      key: LEADER_KEY,
      when,
      set: {
        ownerName: { S: workerId },
        recordVersionNumber: { S: version },
        leaseDuration: { S: String(Math.round(durationMs)) },
        entityType: { S: 'LEADER' },
        ...(isLarge && { [WORKERS]: { N: String(this.#workers) } }),
      },
      remove: ['isReleased', ...(isLarge ? [] : [WORKERS])],
    })
    if (this.#versions === before) {
      if (item === undefined) this.#keep([], Number.NEGATIVE_INFINITY)
      else this.#keep([version], sentAt + durationMs)
    } else if (item !== undefined && this.#versions.length === 0) {
      // It was released while this was under way.
      await table.delete('coordinator', LEADER_KEY, [writtenAs(version)])
    }
  }

  #keep(versions: string[], heldUntilMs: number): void {
    this.#versions = versions
    this.#heldUntilMs = heldUntilMs
  }

  #report(): boolean {
    const { held } = this
    if (held !== this.#wasHeld) this.#options.telemetry.emit({ type: 'leaderChanged', leader: held })
    this.#wasHeld = held
    return held
  }
}

function versionOf(item: Item | undefined): string | undefined {
  return item?.recordVersionNumber?.S
}

function writtenAs(version: string | undefined): Condition {
  return { recordVersionNumber: version === undefined ? undefined : { S: version } }
}
