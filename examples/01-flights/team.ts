import { seconds } from './format.ts'
import { shortShardId } from './progress.ts'
import { type Delivery, nanoseconds } from './report-channel.ts'
import type { Kill } from './verdict.ts'
import { type WorkerConfig, WorkerProcess } from './worker-process.ts'

export interface TeamListener {
  onDelivery(delivery: Delivery, worker: number): void
  onLine(text: string, kind: 'event' | 'warning'): void
  onFailure(message: string): void
}

const STOP_DEADLINE_MS = 15_000
const HURRIED_STOP_DEADLINE_MS = 2_000

/** The worker processes of the application. */
export class Team implements AsyncDisposable {
  readonly workers: readonly WorkerProcess[]
  /** Of the worker that was killed. */
  kill: Kill | undefined
  readonly #listener: TeamListener
  readonly #warned = new Set<string>()
  /** The killed worker's shards that nobody has taken over yet. */
  readonly #orphaned = new Set<string>()

  constructor(configs: readonly WorkerConfig[], listener: TeamListener) {
    this.#listener = listener
    this.workers = configs.map(
      (config, index) =>
        new WorkerProcess(index, config, {
          onDelivery: (delivery) => listener.onDelivery(delivery, index),
          onStatus: () => this.#announceTakeovers(),
          onLog: ({ name }, text) => this.#warn(`${name}: ${text}`),
          onDeath: ({ name }, how) => listener.onFailure(`${name} ${how}`),
        }),
    )
  }

  /** Whether every worker is up and, all together, they hold each shard once, in fair parts. */
  hasShared(shards: number): boolean {
    const held = this.workers.map((worker) => worker.shardIds.length)
    const fair = Math.floor(shards / this.workers.length)
    return this.workers.every(({ up }) => up) && Math.min(...held) >= fair && held.reduce((a, b) => a + b) === shards
  }

  /** The name of each held shard's owner, by shard id. */
  owners(): Map<string, string> {
    return new Map(this.workers.flatMap(({ name, shardIds }) => shardIds.map((shardId) => [shardId, name] as const)))
  }

  /** The worker that holds the most shards. */
  busiest(): WorkerProcess {
    return [...this.workers].sort((a, b) => b.shardIds.length - a.shardIds.length)[0]!
  }

  /** Kills it with SIGKILL; the others find that out by themselves. */
  async killWorker(victim: WorkerProcess): Promise<void> {
    const shardIds = [...victim.shardIds].sort()
    for (const shardId of shardIds) this.#orphaned.add(shardId)
    this.#listener.onLine(
      `${victim.name} is killed with SIGKILL; it held ${shardIds.map(shortShardId).join(', ')}`,
      'event',
    )
    this.kill = { worker: victim.index, at: await victim.kill() }
  }

  /** Once for each: being throttled, for one, is said again with every call. */
  #warn(text: string): void {
    if (this.#warned.has(text)) return
    this.#warned.add(text)
    this.#listener.onLine(text, 'warning')
  }

  /** Says which of the killed worker's shards have found a new owner since it was last asked. */
  #announceTakeovers(): void {
    if (this.kill === undefined) return
    for (const [shardId, owner] of this.owners()) {
      if (!this.#orphaned.delete(shardId)) continue
      const after = seconds((nanoseconds(process.hrtime()) - this.kill.at) / 1e6)
      this.#listener.onLine(`${owner} carries on with ${shortShardId(shardId)}, ${after} after the kill`, 'event')
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop(STOP_DEADLINE_MS)))
  }

  /** Leaves no process behind, however the job ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop(HURRIED_STOP_DEADLINE_MS)))
  }
}
