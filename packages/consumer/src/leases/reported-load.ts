import type { Clock } from '@shardwise/core'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { CpuLoad } from './cpu-load.ts'
import type { Item, Table } from './table.ts'
import { goesByCpu } from './worker-entry.ts'

export interface ReportedLoadOptions {
  readonly table: Table
  readonly workerId: string
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Begins to measure. Default: the machine's CPUs. */
  readonly measure?: (() => Pick<CpuLoad, 'sample'>) | undefined
}

const LOOK_INTERVAL_MS = 60_000

/**
 * A KCL that leads balances workers by the metrics that each reports, on EC2, ECS and EKS the CPU load. A worker that reports
 * none would get nothing of a fleet that is even by it; where the KCL itself can't measure it, nobody may report it. So this worker
 * reports what the leader does.
 */
export class ReportedLoad {
  readonly #options: ReportedLoadOptions
  #leader: string | undefined
  #lookedAtMs = 0
  #load: Pick<CpuLoad, 'sample'> | undefined

  constructor(options: ReportedLoadOptions) {
    this.#options = options
  }

  /** In percent, the newest last; none if the leader doesn't go by them. */
  sample(): readonly number[] {
    return this.#load?.sample() ?? []
  }

  /** @param lock the leader lock's item, as just seen */
  async follow(lock: Item | undefined): Promise<void> {
    const { table, workerId, clock, telemetry, measure = () => new CpuLoad() } = this.#options
    const leader = lock?.ownerName?.S
    if (leader === undefined || leader === workerId) return
    if (leader === this.#leader && clock.monotonicMs() - this.#lookedAtMs < LOOK_INTERVAL_MS) return
    this.#leader = leader
    this.#lookedAtMs = clock.monotonicMs()
    try {
      if (!goesByCpu(await table.read('worker', leader))) this.#load = undefined
      else this.#load ??= measure()
    } catch (error) {
      // Nothing hangs on it: asked again in a minute.
      telemetry.emit({ type: 'callFailed', doing: "reading the leader's entry", error })
    }
  }
}
