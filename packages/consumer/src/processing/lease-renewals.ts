import type { Clock, Random } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import { Throughput } from '../leases/throughput.ts'
import { Wakeup } from '../waiting.ts'

export interface LeaseRenewalsOptions {
  readonly holder: LeaseHolder
  readonly clock: Clock
  readonly random: Random
  /** How often the lease is renewed at the least. */
  readonly renewalInterval: number
  /** How soon a checkpoint that has moved is written. */
  readonly checkpointIntervalMs: number
  /** What may be written as the checkpoint now; undefined: what the table has. */
  readonly checkpoint: () => Position | undefined
  /** Bytes of data of the user records handled so far. Asked for before each renewal. */
  readonly handledBytes: () => number
  readonly onRenewed: () => void
}

/** Renews a lease for as long as it is held, whatever its shard is at, and writes its checkpoint along. */
export class LeaseRenewals {
  readonly #options: LeaseRenewalsOptions
  readonly #nudge = new Wakeup()
  #isNudged = false

  constructor(options: LeaseRenewalsOptions) {
    this.#options = options
  }

  /** Renews the lease soon. */
  nudge(): void {
    this.#isNudged = true
    this.#nudge.wake()
  }

  async run(signal: AbortSignal): Promise<void> {
    const { holder, clock, random, renewalInterval, checkpoint, handledBytes, onRenewed } = this.#options
    const throughput = new Throughput(clock.monotonicMs())
    // Leases that were taken together shall not all be renewed in the same moment.
    const firstMs = clock.monotonicMs() - random() * renewalInterval
    // From one start to the next: the time that a slow table takes counts against the lease already.
    for (let lastMs = firstMs; await this.#isDue(lastMs, signal); ) {
      lastMs = clock.monotonicMs()
      const throughputKBps = throughput.at(lastMs, handledBytes())
      await holder.renew({ checkpoint: checkpoint(), throughputKBps })
      onRenewed()
    }
  }

  /** Waits until the next renewal. Resolves to false when there is nothing to renew any more. */
  async #isDue(lastMs: number, signal: AbortSignal): Promise<boolean> {
    const { holder, clock, renewalInterval, checkpointIntervalMs, checkpoint } = this.#options
    for (let lookMs = lastMs; !signal.aborted; ) {
      lookMs = Math.min(lookMs + checkpointIntervalMs, lastMs + renewalInterval)
      await this.#nudge.until(() => this.#isNudged, signal, clock, lookMs - clock.monotonicMs())
      if (signal.aborted) return false
      if (this.#isNudged) {
        this.#isNudged = false
        return true
      }
      if (lookMs >= lastMs + renewalInterval || holder.isBehind(checkpoint())) return true
    }
    return false
  }
}
