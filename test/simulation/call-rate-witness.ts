import type { SimulatedProcess } from './process.ts'
import { type Invariant, Violation } from './violation.ts'

export interface CallRateWitnessOptions {
  readonly nowMs: () => number
  /** Whether one worker is alone with the streams, and nothing makes the service refuse a read. */
  readonly isUndisturbed: boolean
  readonly report: (violation: Violation) => void
}

interface Calls {
  /** When the latest were made. */
  atMs: number[]
  /** When those were that have been refused since the last success. */
  refusedMs: number[]
}

/** The service's five a second, over so long, and what its burst adds. */
const POLLS = { withinMs: 10_000, most: 55 }
/** A second, as a clock that runs fast and a timer that comes early have it. */
const SUBSCRIBE_GAP_MS = 998
/** Within a minute so many calls may be refused in a row. */
const REFUSED = { withinMs: 60_000, most: 20 }

/** How often each worker calls the service to read a shard. */
export class CallRateWitness {
  readonly #options: CallRateWitnessOptions
  readonly #polls = new Map<string, Calls>()
  readonly #subscribes = new Map<string, Calls>()
  readonly #shardOfIterator = new Map<string, string>()

  constructor(options: CallRateWitnessOptions) {
    this.#options = options
  }

  /** An iterator was given out. */
  iterates(iterator: string | undefined, shard: string): void {
    if (iterator !== undefined) this.#shardOfIterator.set(iterator, shard)
  }

  /** Which shard an iterator is of. */
  shardOf(iterator: string): string {
    return this.#shardOfIterator.get(iterator) ?? 'a shard'
  }

  polls(process: SimulatedProcess, iterator: string): void {
    const shard = this.shardOf(iterator)
    const calls = callsOf(this.#polls, process, shard)
    const recent = this.#within(calls.atMs, POLLS.withinMs)
    calls.atMs = recent
    if (recent.length <= POLLS.most) return
    this.#object(
      'polls in moderation',
      `${process.name} has called GetRecords of ${shard} ${recent.length} times within ${POLLS.withinMs / 1_000} s`,
    )
  }

  throttled(process: SimulatedProcess, iterator: string): void {
    if (!this.#options.isUndisturbed) return
    this.#object(
      'polls in moderation',
      `GetRecords of ${this.shardOf(iterator)}, which ${process.name} alone reads, is throttled`,
    )
  }

  subscribes(process: SimulatedProcess, shard: string): void {
    const calls = callsOf(this.#subscribes, process, shard)
    const [last] = calls.atMs
    const nowMs = this.#options.nowMs()
    if (last !== undefined && nowMs - last < SUBSCRIBE_GAP_MS) {
      this.#object(
        'subscribes in moderation',
        `${process.name} calls SubscribeToShard of ${shard} ${(nowMs - last).toFixed(0)} ms after it did last`,
      )
    }
    calls.atMs = [nowMs]
  }

  /** A consumer is registered: another one than before, be it under the same ARN. */
  registered(): void {
    this.#subscribes.clear()
  }

  subscribed(process: SimulatedProcess, shard: string): void {
    callsOf(this.#subscribes, process, shard).refusedMs = []
  }

  refused(process: SimulatedProcess, shard: string): void {
    const calls = callsOf(this.#subscribes, process, shard)
    calls.refusedMs = this.#within(calls.refusedMs, REFUSED.withinMs)
    if (calls.refusedMs.length <= REFUSED.most) return
    this.#object(
      'subscribes in moderation',
      `${process.name} was refused ${calls.refusedMs.length} subscriptions to ${shard} within ${REFUSED.withinMs / 1_000} s`,
    )
  }

  /** The times that are no older than this, and now. */
  #within(timesMs: readonly number[], ms: number): number[] {
    const nowMs = this.#options.nowMs()
    return [...timesMs.filter((atMs) => atMs > nowMs - ms), nowMs]
  }

  #object(invariant: Invariant, message: string): void {
    this.#options.report(new Violation(invariant, message))
  }
}

function callsOf(all: Map<string, Calls>, { name }: SimulatedProcess, shard: string): Calls {
  const key = `${name} ${shard}`
  let calls = all.get(key)
  if (calls === undefined) {
    calls = { atMs: [], refusedMs: [] }
    all.set(key, calls)
  }
  return calls
}
