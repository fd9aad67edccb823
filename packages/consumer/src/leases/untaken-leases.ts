import type { WorkerEntry } from './worker-entry.ts'

/** A lease that was given to a worker, which didn't take it up. */
export interface UntakenLease {
  readonly leaseKey: string
  readonly to: string
  /** How long that worker gets nothing, from now on. */
  readonly againInMs: number
}

interface Wait {
  /** Of the worker, as its entry names it; a KCL's has none. */
  readonly run: string | undefined
  readonly ms: number
  readonly untilMs: number
}

/** How long a worker gets nothing the first time, in failover times. */
const FIRST_WAIT_FACTOR = 3
const MAX_WAIT_MS = 600_000

/**
 * Workers that were given leases and didn't take them up: they get nothing for a while, twice as long each time, until they take
 * up one. How they beat is of no account: they may well live and not come by their leases, and would be given the same ones for
 * ever.
 */
export class UntakenLeases {
  readonly #failoverTime: number
  readonly #waits = new Map<string, Wait>()
  #untold: UntakenLease[] = []

  constructor(failoverTime: number) {
    this.#failoverTime = failoverTime
  }

  /** Takes in who is there: a worker that has left, or is another run under the same name, starts clean. */
  follow(entries: ReadonlyMap<string, WorkerEntry>): void {
    for (const [workerId, { run }] of this.#waits) {
      const entry = entries.get(workerId)
      if (entry === undefined || runOf(entry) !== run) this.#waits.delete(workerId)
    }
  }

  /**
   * The worker didn't take up the lease. While it gets nothing, others that it was given before don't make it worse.
   *
   * @param isGivenBack it has said so itself, as a worker does that doesn't know the stream (yet): then the time doesn't grow,
   *   since little is lost
   */
  add(leaseKey: string, entry: WorkerEntry, nowMs: number, isGivenBack: boolean): void {
    const { workerId } = entry
    let wait = this.#waits.get(workerId)
    if (wait === undefined || wait.untilMs <= nowMs) {
      const firstMs = FIRST_WAIT_FACTOR * this.#failoverTime
      const ms = Math.min(MAX_WAIT_MS, isGivenBack || wait === undefined ? firstMs : 2 * wait.ms)
      wait = { run: runOf(entry), ms, untilMs: nowMs + ms }
      this.#waits.set(workerId, wait)
    }
    this.#untold.push({ leaseKey, to: workerId, againInMs: wait.untilMs - nowMs })
  }

  /** The worker has taken up a lease that it was given. */
  forgive(workerId: string | undefined): void {
    if (workerId !== undefined) this.#waits.delete(workerId)
  }

  /** Whether the worker gets nothing now. */
  isWaiting(workerId: string, nowMs: number): boolean {
    return nowMs < (this.#waits.get(workerId)?.untilMs ?? Number.NEGATIVE_INFINITY)
  }

  /** What has come since this was last called. */
  takeUntold(): readonly UntakenLease[] {
    const untold = this.#untold
    this.#untold = []
    return untold
  }
}

function runOf({ asSeen }: WorkerEntry): string | undefined {
  return asSeen.shardwiseRun?.S
}
