import type { Plan } from './plan.ts'
import type { FleetMember } from './simulated-worker.ts'
import { Violation } from './violation.ts'
import type { VirtualTime } from './virtual-time.ts'

/** What happens to a fleet that is at rest, and has to be made up for in good time. */
export type FleetChange = 'close' | 'kill' | 'killLeader' | 'join'

export interface PromptnessOptions {
  readonly plan: Plan
  readonly time: VirtualTime
  readonly openShards: () => readonly string[]
  readonly workers: () => readonly FleetMember[]
  readonly report: (violation: Violation) => void
}

const LOOK_MS = 25
/** What is added for the ways of a few requests, and for what handlers have in hand. */
const REQUESTS = 20
const HANDLERS_MS = 500

/** How long it takes until every shard is read again after one change, where nothing else goes wrong. */
export class Promptness {
  readonly #options: PromptnessOptions
  readonly #slowestMs = new Map<FleetChange, number>()

  constructor(options: PromptnessOptions) {
    this.#options = options
  }

  /** The longest that each change has taken. */
  get slowestMs(): ReadonlyMap<FleetChange, number> {
    return this.#slowestMs
  }

  /** @param worker that closes, dies, or has just started */
  happened(change: FleetChange, worker: FleetMember): void {
    const { plan, time } = this.#options
    if (plan.isPrompt !== true) return
    const others = this.#options.workers().filter((each) => each !== worker)
    if (others.length === 0 || this.#unread([...others, worker]).length > 0) return
    this.#look(change, worker, time.nowMs)
  }

  #look(change: FleetChange, worker: FleetMember, sinceMs: number): void {
    const { time, workers, report } = this.#options
    const tookMs = time.nowMs - sinceMs
    const running = workers().filter((each) => each !== worker || change === 'join')
    const wrong = change === 'join' ? uneven(running) : this.#unread(running)
    if (wrong.length === 0) this.#slowestMs.set(change, Math.max(this.#slowestMs.get(change) ?? 0, tookMs))
    else if (tookMs <= this.#mostMs(change)) time.after(LOOK_MS, () => this.#look(change, worker, sinceMs))
    else {
      report(
        new Violation(
          'shards move promptly',
          `${tookMs.toFixed(0)} ms after ${worker.process.name} (${change}): ${wrong.join(', ')}`,
        ),
      )
    }
  }

  #mostMs(change: FleetChange): number {
    const { failoverTime, wayMs } = this.#options.plan
    const failovers = { close: 0.3, kill: 1.5, killLeader: 2, join: 1 }[change]
    return failovers * failoverTime + REQUESTS * wayMs + HANDLERS_MS
  }

  #unread(workers: readonly FleetMember[]): string[] {
    const read = new Set(workers.flatMap(({ readShards }) => readShards))
    return this.#options.openShards().filter((shard) => !read.has(shard))
  }
}

function uneven(workers: readonly FleetMember[]): string[] {
  const counts = workers.map(({ readShards }) => readShards.length)
  if (Math.max(...counts) - Math.min(...counts) < 2) return []
  return workers.map(({ workerId, readShards }) => `${workerId} reads ${readShards.length}`)
}
