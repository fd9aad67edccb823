import type { Clock, Kinesis, ListShardsOptions, Shard } from '@shardwise/core'
import { findHoles } from '@shardwise/records'
import { assign, type Move } from './assignment.ts'
import type { FleetView } from './fleet-view.ts'
import { inParallel } from './in-parallel.ts'
import { holderOf, type Lease } from './lease.ts'
import { assignTo, create, handOff, unchanged } from './lease-changes.ts'
import { shardsOf } from './shard-list.ts'
import { deletableLeases, firstLeases, type InitialPosition, missingLeases, uncovered } from './shard-sync.ts'
import type { Table } from './table.ts'
import type { Telemetry } from './telemetry.ts'

export interface LeaderOptions {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly stream: string
  readonly initialPosition: InitialPosition
  readonly clock: Clock
  readonly telemetry: Telemetry
}

const SYNC_INTERVAL_MS = 60_000
/** A child's lease may show in a scan later than its parent's end: a hole counts when it is seen again and again. */
const HOLE_CONFIRMATIONS = 3

/** What the worker that holds the leader lock does for all: creates, assigns and deletes leases. All its writes are conditional. */
export class Leader {
  readonly #view: FleetView
  readonly #options: LeaderOptions
  #holesSeen = 0
  /** When it last looked for missing leases; undefined until it has since it leads. */
  #syncedAtMs: number | undefined

  constructor(view: FleetView, options: LeaderOptions) {
    this.#view = view
    this.#options = options
  }

  /** One round, after the view has been brought up to date. */
  async lead(signal: AbortSignal): Promise<void> {
    await this.#sync(signal)
    await this.#assign(signal)
  }

  /** Another worker leads. */
  rest(): void {
    this.#syncedAtMs = undefined
  }

  async #lookAgain(): Promise<void> {
    const { table, clock } = this.#options
    this.#view.observe(await table.scan({ consistent: true }), clock.monotonicMs(), clock.wallMs())
  }

  /** Creates the leases that are missing and deletes those that are done with. */
  async #sync(signal: AbortSignal): Promise<void> {
    const { table, kinesis, stream, initialPosition, clock, telemetry } = this.#options
    this.#holesSeen = uncovered(this.#view.leases).length > 0 ? this.#holesSeen + 1 : 0
    const isDue = this.#syncedAtMs === undefined || clock.monotonicMs() - this.#syncedAtMs >= SYNC_INTERVAL_MS
    if (!isDue && this.#view.leases.length > 0 && this.#holesSeen < HOLE_CONFIRMATIONS) return
    await this.#lookAgain()
    // Where LATEST is: by the service's clock, since records are found again by its time of their arrival.
    let listedAtMs = clock.wallMs()
    const options: ListShardsOptions = {
      signal,
      onServiceTime: (ms) => {
        listedAtMs = ms
      },
    }
    const { leases } = this.#view
    const isNew = leases.length === 0
    const shards = isNew ? await this.#openAtStart(options) : await shardsOf(kinesis, stream, options)
    const missing = isNew
      ? firstLeases(shards, initialPosition, listedAtMs)
      : missingLeases(shards, leases, initialPosition, listedAtMs)
    for (const lease of missing) {
      signal.throwIfAborted()
      await table.update(create(lease))
    }
    if (missing.length > 0) {
      telemetry.emit({ type: 'leasesCreated', shardIds: missing.map(({ shardId }) => shardId) })
      await this.#lookAgain()
    }
    await this.#cleanUp()
    this.#holesSeen = 0
    this.#syncedAtMs = clock.monotonicMs()
  }

  /** The shards that were open at the initial position. */
  async #openAtStart(options: ListShardsOptions): Promise<Shard[]> {
    const { kinesis, stream, initialPosition } = this.#options
    const shards = await shardsOf(kinesis, stream, {
      ...options,
      filter:
        initialPosition === 'TRIM_HORIZON'
          ? { Type: 'AT_TRIM_HORIZON' }
          : initialPosition === 'LATEST'
            ? { Type: 'AT_LATEST' }
            : { Type: 'AT_TIMESTAMP', Timestamp: new Date(initialPosition.timestamp) },
    })
    const holes = findHoles(shards.map(({ hashRange }) => hashRange))
    if (holes.length > 0) {
      throw new Error(
        `ListShards gave ${shards.length} shards that don't cover all hash keys; a reshard may be under way`,
      )
    }
    return shards
  }

  async #cleanUp(): Promise<void> {
    const { table, telemetry } = this.#options
    for (const lease of deletableLeases(this.#view.leases)) {
      const deleted = await table.delete(lease.leaseKey, [unchanged(lease)])
      if (deleted) telemetry.emit({ type: 'leaseDeleted', shardId: lease.leaseKey })
    }
    for (const { workerId, asSeen } of this.#view.staleEntries()) await table.delete(workerId, [asSeen])
  }

  async #assign(signal: AbortSignal): Promise<void> {
    const moves = assign(this.#view.assignable(), this.#view.workers())
    const leases = new Map(this.#view.leases.map((lease) => [lease.leaseKey, lease]))
    await inParallel(moves, (move) => this.#move(move, leases.get(move.leaseKey)!, signal))
  }

  async #move({ leaseKey, to, handoff }: Move, lease: Lease, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const { table, telemetry } = this.#options
    const item = await table.update(handoff ? handOff(lease, to) : assignTo(lease, to))
    // Refused: the lease has changed since it was seen. The next look tells how.
    if (item === undefined) return
    this.#view.update(item)
    telemetry.emit({
      type: 'leaseAssigned',
      shardId: leaseKey,
      from: holderOf(lease),
      to,
      graceful: handoff,
    })
  }
}
