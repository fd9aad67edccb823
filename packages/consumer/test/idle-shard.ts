import type { Clock } from '@shardwise/core'
import type { HeldShard } from '../src/leases/fleet.ts'
import type { Lease } from '../src/leases/lease.ts'
import type { LeaseHolder } from '../src/leases/lease-holder.ts'
import { Wakeup } from '../src/waiting.ts'

/** A held lease of which nothing is read: it is renewed, handed off and released as one of a shard without records. */
export class IdleShard implements HeldShard {
  readonly holder: LeaseHolder
  readonly #clock: Clock
  readonly #periodMs: number
  readonly #wakeup = new Wakeup()
  #isStopping = false
  #isNudged = false
  #successor: string | undefined

  constructor(holder: LeaseHolder, clock: Clock, periodMs: number) {
    this.holder = holder
    this.#clock = clock
    this.#periodMs = periodMs
  }

  get lease(): Lease {
    return this.holder.lease
  }

  stop(successor?: string): void {
    this.#successor = successor
    this.#isStopping = true
    this.#wakeup.wake()
  }

  nudge(): void {
    this.#isNudged = true
    this.#wakeup.wake()
  }

  async run(): Promise<void> {
    const { holder } = this
    for (;;) {
      const isCalled = (): boolean => this.#isStopping || this.#isNudged
      await this.#wakeup.until(isCalled, holder.lost, this.#clock, this.#periodMs)
      if (this.#isStopping || holder.handoffTo !== undefined) break
      this.#isNudged = false
      if (!(await holder.renew({ checkpoint: undefined, throughputKBps: 0 }))) break
    }
    if (holder.lost.aborted) await holder.close()
    else await holder.release(undefined, this.#successor)
  }
}
