import type { Clock } from '@shardwise/core'
import { Chore } from '../chore.ts'
import { inParallel } from '../in-parallel.ts'
import type { FleetView } from '../leases/fleet-view.ts'
import { unchanged } from '../leases/lease-changes.ts'
import type { Table } from '../leases/table.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Streams } from './streams.ts'

export interface FormerStreamsOptions {
  readonly table: Table
  readonly streams: Streams
  /** How long the leases are kept. */
  readonly formerStreamWaitMs: number
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/**
 * Deletes the leases of streams that are none of the application's any more, a while after the leader has begun to see them. A
 * lease that some worker still renews stays: to that worker the stream belongs to the application.
 */
export class FormerStreams {
  readonly #view: FleetView
  readonly #options: FormerStreamsOptions
  readonly #chore: Chore
  /** Since when each has been seen. */
  readonly #sinceMs = new Map<string, number>()

  constructor(view: FleetView, options: FormerStreamsOptions) {
    this.#view = view
    this.#options = options
    this.#chore = new Chore('deleting the leases of streams that were removed', options)
  }

  /** To be called at each look. */
  async cleanUp(): Promise<void> {
    const { clock, formerStreamWaitMs, streams } = this.#options
    const nowMs = clock.monotonicMs()
    this.#follow(nowMs)
    // What seems to be none of the application's may be a stream that can't be told by its name just now.
    if (streams.isUnsure) return
    await this.#chore.do(async () => {
      for (const [identifier, sinceMs] of this.#sinceMs) {
        if (nowMs - sinceMs >= formerStreamWaitMs) await this.#delete(identifier)
      }
    })
  }

  /** Another worker leads. */
  rest(): void {
    this.#sinceMs.clear()
  }

  #follow(nowMs: number): void {
    const { streams } = this.#options
    const former = new Set(this.#view.streamIdentifiers.filter((identifier) => identifier !== undefined))
    for (const identifier of former) if (streams.find(identifier) !== undefined) former.delete(identifier)
    for (const identifier of this.#sinceMs.keys()) if (!former.has(identifier)) this.#sinceMs.delete(identifier)
    for (const identifier of former) {
      if (this.#sinceMs.has(identifier)) continue
      this.#sinceMs.set(identifier, nowMs)
      // It may have been added a moment ago, and another worker knows already.
      streams.lookSoon()
    }
  }

  async #delete(identifier: string): Promise<void> {
    const { table, telemetry } = this.#options
    const unheld = this.#view.leasesOf(identifier).filter((lease) => this.#view.freeReason(lease) !== undefined)
    await inParallel(unheld, async (lease) => {
      if (!(await table.delete('lease', lease.leaseKey, [unchanged(lease)]))) return
      telemetry.of(identifier).emit({ type: 'leaseDeleted', shardId: lease.shardId, reason: 'removed' })
    })
  }
}
