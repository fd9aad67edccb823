import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import type { Alarms } from './alarms.ts'
import { Attempt } from './attempt.ts'
import type { DeadLetter } from './dead-letter.ts'
import type { ManualCheckpoints } from './handlers.ts'
import type { Work, WorkQueue } from './work.ts'

/** A shard, for as long as its records are handled without a break, as the pool sees it. */
export interface PoolShard {
  readonly queue: WorkQueue
  /** Aborted when its handlers should give up. What settles afterwards doesn't count as finished. */
  readonly signal: AbortSignal
  /** Whether something may be begun: the lease still holds. A process that was suspended finds out here before its timers do. */
  readonly mayRun: () => boolean
  readonly telemetry: StreamTelemetry
  /** Where the handler makes checkpoints of its own. */
  readonly checkpoints?: ManualCheckpoints | undefined
  /** A record failed for good, and the policy is to stop: nothing more of the shard is begun. Told once. */
  readonly onStop: (work: Work, error: unknown, attempts: number) => void
}

/** A record that is given up, on its way to who keeps it. */
export interface PendingLetter {
  readonly letter: DeadLetter
  /** How often it couldn't be sent. */
  failures: number
}

/** What the pool remembers of a shard. */
export class PoolMember {
  readonly shard: PoolShard
  /** For all records that are tried for the first time, where nothing in it is a record's own. */
  readonly firstContext: Attempt
  /** How many handlers of it hold a place. */
  running = 0
  /** Its last records were done at once: it needs no place. */
  isSynchronous = false
  /** There may be something to run. */
  isReady = false
  /** Nothing of it is begun until it is asked again whether it may run. */
  isBarred = false
  /** Nothing more of it is begun. */
  isRemoved = false
  /** What still runs of it is waited for no longer. */
  isAbandoned = false
  /** An alarm is set for the batch that is being gathered. */
  isGathering = false
  /** What comes out of the queue to be sent, not to be handled. */
  readonly letters: Map<Work, PendingLetter> = new Map()
  readonly #alarms: Alarms
  readonly #offs = new Set<() => void>()

  constructor(shard: PoolShard, alarms: Alarms) {
    this.shard = shard
    this.#alarms = alarms
    this.firstContext = new Attempt(shard, 1, undefined, false)
  }

  /** Nothing of its own is done later than it is removed, or its signal aborted. */
  later(inMs: number, run: () => void): void {
    if (this.isRemoved || this.shard.signal.aborted) return
    const off = this.#alarms.set(inMs, () => {
      this.#offs.delete(off)
      run()
    })
    this.#offs.add(off)
  }

  cancelAlarms(): void {
    for (const off of this.#offs) off()
    this.#offs.clear()
  }
}
