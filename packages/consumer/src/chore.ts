import type { Clock } from '@shardwise/core'
import type { Telemetry } from './telemetry/telemetry.ts'

export interface ChoreOptions {
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/** Until a chore that failed is tried again, and so told again if it still fails. */
const REST_MS = 60_000

/** What a leader does in each round and nothing depends on: when it fails the round goes on, and it is left alone for a minute. */
export class Chore {
  readonly #doing: string
  readonly #options: ChoreOptions
  #restsUntilMs = Number.NEGATIVE_INFINITY

  /** @param doing what is done, for the event `callFailed` */
  constructor(doing: string, options: ChoreOptions) {
    this.#doing = doing
    this.#options = options
  }

  async do(work: () => Promise<void>): Promise<void> {
    const { clock, telemetry } = this.#options
    if (clock.monotonicMs() < this.#restsUntilMs) return
    try {
      await work()
    } catch (error) {
      this.#restsUntilMs = clock.monotonicMs() + REST_MS
      telemetry.emit({ type: 'callFailed', doing: this.#doing, error })
    }
  }
}
