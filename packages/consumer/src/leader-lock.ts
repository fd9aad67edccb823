import type { Clock, Random } from '@shardwise/core'
import { Standstill } from './standstill.ts'
import type { Item, Table } from './table.ts'
import type { Telemetry } from './telemetry.ts'
import { uuid } from './uuid.ts'

export interface LeaderLockOptions {
  readonly table: Table
  readonly workerId: string
  /** How long the lock must stand still, by others' clocks, until they may take it. */
  readonly durationMs: number
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
}

export const LEADER_KEY = 'Leader'

/**
 * The table's `Leader` item, as the KCL's lock client keeps it: whoever writes a new `recordVersionNumber` in time leads.
 * Leading is no right to anything: all that a leader writes is conditional, so two at once only waste requests.
 */
export class LeaderLock {
  readonly #options: LeaderLockOptions
  readonly #standstill = new Standstill()
  /** The version this worker wrote last; undefined while it doesn't lead. */
  #version: string | undefined
  #heldUntilMs = 0
  #wasHeld = false

  constructor(options: LeaderLockOptions) {
    this.#options = options
  }

  get held(): boolean {
    return this.#version !== undefined && this.#options.clock.monotonicMs() < this.#heldUntilMs
  }

  /** Takes the lock if the item, as just read, allows it. Resolves to whether this worker leads. */
  async consider(item: Item | undefined): Promise<boolean> {
    const { clock, workerId, durationMs } = this.#options
    const now = clock.monotonicMs()
    const seen = item?.recordVersionNumber?.S
    this.#standstill.observe(new Map(seen === undefined ? [] : [[LEADER_KEY, seen]]), now)
    if (!this.held) {
      // The item says how long its writer may be silent: a KCL's is 120 s by default.
      const allowedMs = Number(item?.leaseDuration?.S ?? durationMs)
      const isFree =
        seen === undefined ||
        item?.isReleased !== undefined ||
        item?.ownerName?.S === workerId ||
        this.#standstill.forMs(LEADER_KEY, now) > (Number.isFinite(allowedMs) ? allowedMs : durationMs)
      if (isFree) await this.#write(seen)
    }
    return this.#report()
  }

  /** Shows that this worker still leads. */
  async renew(): Promise<void> {
    if (this.#version !== undefined) await this.#write(this.#version)
    this.#report()
  }

  /** Lets another worker lead at once. */
  async release(): Promise<void> {
    const version = this.#version
    if (version === undefined) return
    this.#version = undefined
    this.#report()
    await this.#options.table.delete(LEADER_KEY, [{ recordVersionNumber: { S: version } }])
  }

  async #write(seen: string | undefined): Promise<void> {
    const { table, workerId, durationMs, clock, random } = this.#options
    const version = uuid(random)
    const sentAt = clock.monotonicMs()
    const item = await table.update({
      key: LEADER_KEY,
      when: [{ recordVersionNumber: seen === undefined ? undefined : { S: seen } }],
      set: {
        ownerName: { S: workerId },
        recordVersionNumber: { S: version },
        leaseDuration: { S: String(durationMs) },
        entityType: { S: 'LEADER' },
      },
      remove: ['isReleased'],
    })
    if (item === undefined) {
      this.#version = undefined
      return
    }
    this.#version = version
    this.#heldUntilMs = sentAt + durationMs
  }

  #report(): boolean {
    const { held } = this
    if (held !== this.#wasHeld) this.#options.telemetry.emit({ type: 'leaderChanged', leader: held })
    this.#wasHeld = held
    return held
  }
}
