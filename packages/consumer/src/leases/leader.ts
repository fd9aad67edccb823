import { type Clock, classifyError, type Kinesis } from '@shardwise/core'
import { Chore } from '../chore.ts'
import { inParallel } from '../in-parallel.ts'
import { FormerStreams } from '../streams/former-streams.ts'
import type { Streams } from '../streams/streams.ts'
import type { StreamTelemetry, Telemetry } from '../telemetry/telemetry.ts'
import type { Assign, Move } from './assignment.ts'
import { checkedMoves } from './checked-moves.ts'
import type { FleetView } from './fleet-view.ts'
import type { LeaderLock } from './leader-lock.ts'
import { holderOf, type Lease } from './lease.ts'
import { assignTo, handOff } from './lease-changes.ts'
import { StreamSyncs } from './stream-syncs.ts'
import type { Table } from './table.ts'

export interface LeaderOptions {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly streams: Streams
  readonly assign: Assign
  readonly failoverTime: number
  readonly closeTimeout: number
  readonly formerStreamWaitMs: number
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/** After so many rounds in a row that failed, another worker may do better. */
const MAX_FAILED_ROUNDS = 3

/** What the worker that holds the leader lock does for all: creates, assigns and deletes leases. All its writes are conditional. */
export class Leader {
  readonly #view: FleetView
  readonly #lock: Pick<LeaderLock, 'held' | 'abstain' | 'countWorkers'>
  readonly #options: LeaderOptions
  readonly #syncs: StreamSyncs
  readonly #formerStreams: FormerStreams
  readonly #staleEntries: Chore
  #failedRounds = 0
  /** As last told; undefined while another leads. */
  #workers: string | undefined

  constructor(view: FleetView, lock: Pick<LeaderLock, 'held' | 'abstain' | 'countWorkers'>, options: LeaderOptions) {
    this.#view = view
    this.#lock = lock
    this.#options = options
    this.#syncs = new StreamSyncs(view, { ...options, lookAgain: () => this.#lookAgain() })
    this.#formerStreams = new FormerStreams(view, options)
    this.#staleEntries = new Chore('deleting the entries of workers that are gone', options)
  }

  /** One round, after the view has been brought up to date. */
  async lead(signal: AbortSignal): Promise<void> {
    this.#tellWorkers()
    this.#tellUntaken()
    // First, since a lease whose holder is gone shouldn't wait for a listing of shards.
    await this.#assign(signal)
    if (await this.#syncs.run(signal)) await this.#assign(signal)
    await this.#formerStreams.cleanUp()
    await this.#staleEntries.do(async () => {
      for (const { workerId, asSeen } of this.#view.staleEntries()) {
        await this.#options.table.delete('worker', workerId, [asSeen])
      }
    })
    if (!this.#syncs.areFailing) this.#failedRounds = 0
  }

  /**
   * A round has failed, or the look at the table before it. After three in a row another worker leads; a lone worker goes on
   * trying, and so does one that is throttled: others would be too.
   */
  async roundFailed(error: unknown): Promise<void> {
    if (!this.#lock.held || classifyError(error) === 'throttled') return
    if (++this.#failedRounds < MAX_FAILED_ROUNDS) return
    this.#failedRounds = 0
    if (this.#view.workers().length > 1) await this.#lock.abstain()
  }

  /** Another worker leads. */
  rest(): void {
    this.#failedRounds = 0
    this.#workers = undefined
    // For the leader to tell.
    this.#view.takeUntaken()
    this.#syncs.rest()
    this.#formerStreams.rest()
  }

  /** Who should get each of the leases that a worker holds when it stops. Only what can be told without asking the table. */
  successorsOf(workerId: string): Map<string, string> {
    const { assign, telemetry } = this.#options
    // Nobody looks after it if one of them turns out to be dead, so only such as were seen to live.
    const workers = this.#view
      .workers()
      .filter((worker) => worker.workerId !== workerId && this.#view.isProven(worker.workerId))
    if (workers.length === 0) return new Map()
    const left = new Set(this.#view.leases.filter((lease) => isHeldBy(lease, workerId)).map(({ leaseKey }) => leaseKey))
    const leases = this.#view
      .assignable()
      .map((lease) => (left.has(lease.leaseKey) ? { ...lease, owner: undefined, state: 'free' as const } : lease))
    try {
      const moves = checkedMoves(assign, leases, workers).filter(({ leaseKey }) => left.has(leaseKey))
      return new Map(moves.map(({ leaseKey, to }) => [leaseKey, to]))
    } catch (error) {
      telemetry.emit({ type: 'callFailed', doing: 'choosing who gets the leases of a worker that stops', error })
      return new Map()
    }
  }

  async #lookAgain(): Promise<void> {
    const { table, clock } = this.#options
    const sentAtMs = clock.monotonicMs()
    const items = await table.scan({ consistent: true })
    this.#view.observe(items, { sentAtMs, nowMs: clock.monotonicMs(), wallMs: clock.wallMs() })
  }

  #tellWorkers(): void {
    const workers = this.#view
      .workers()
      .map(({ workerId }) => workerId)
      .sort()
    this.#lock.countWorkers(workers.length)
    const text = JSON.stringify(workers)
    if (text !== this.#workers) this.#options.telemetry.emit({ type: 'workersChanged', workers })
    this.#workers = text
  }

  #tellUntaken(): void {
    for (const { leaseKey, to, againInMs } of this.#view.takeUntaken()) {
      const lease = this.#view.lease(leaseKey)
      if (lease === undefined) continue
      this.#of(lease).emit({ type: 'leaseNotTakenUp', shardId: lease.shardId, to, againInMs })
    }
  }

  async #assign(signal: AbortSignal): Promise<void> {
    const moves = checkedMoves(this.#options.assign, this.#view.assignable(), this.#view.workers())
    await inParallel(moves, (move) => this.#move(move, signal))
  }

  async #move({ leaseKey, to }: Move, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const { table, clock } = this.#options
    const lease = this.#view.lease(leaseKey)
    // A leader that was paused for long knows nothing of the workers any more.
    if (lease === undefined || !this.#lock.held) return
    const reason = this.#view.freeReason(lease) ?? 'balance'
    const item = await table.update(reason === 'balance' ? handOff(lease, to) : assignTo(lease, to))
    // Refused: the lease has changed since it was seen. The next look tells how.
    const stream = this.#of(lease)
    if (item === undefined) {
      stream.measures?.assignmentRefused()
      return
    }
    this.#view.update(item, clock.monotonicMs())
    stream.emit({ type: 'leaseAssigned', shardId: lease.shardId, from: holderOf(lease), to, reason })
  }

  #of({ streamIdentifier }: Lease): StreamTelemetry {
    const { telemetry, streams } = this.#options
    return telemetry.of(streams.find(streamIdentifier)?.stream ?? '')
  }
}

/** And nobody is to have it next. */
function isHeldBy({ owner, checkpointOwner }: Lease, workerId: string): boolean {
  return owner === workerId && checkpointOwner === undefined
}
