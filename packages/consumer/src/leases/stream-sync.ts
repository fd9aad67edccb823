import { type Clock, classifyError, type Kinesis, type ListShardsOptions, type Shard } from '@shardwise/core'
import { findOverlaps } from '@shardwise/records'
import type { Chore } from '../chore.ts'
import { ConsumerError } from '../errors.ts'
import { inParallel } from '../in-parallel.ts'
import { shardsOf } from '../streams/shard-list.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import type { Lease } from './lease.ts'
import { create, repair, unchanged } from './lease-changes.ts'
import {
  deadEnds,
  deletableLeases,
  findMisfit,
  firstLeases,
  type MissingLease,
  missingLeases,
  repairs,
  startedAtMs,
  uncovered,
} from './shard-sync.ts'
import { shardsAt } from './shards-at.ts'
import type { Table } from './table.ts'

export interface StreamSyncOptions {
  readonly source: StreamSource
  readonly table: Table
  readonly kinesis: Kinesis
  readonly clock: Clock
  readonly telemetry: StreamTelemetry
  /** Deletes leases that are done with. */
  readonly deleting: Chore
}

const SYNC_INTERVAL_MS = 60_000
/** A child's lease may show in a scan later than its parent's end: a hole counts when the same is seen in so many looks in a row. */
const HOLE_CONFIRMATIONS = 3
/** A hole that a look at the stream has not closed is looked into again after this time. */
const SAME_HOLE_MS = 10_000
/** No listing is out of date for as many looks at the stream in a row. */
const DEAD_END_CONFIRMATIONS = 3
/** What was missing so long ago may have been made, finished and deleted since by another leader. */
const MAX_KNOWLEDGE_AGE_MS = 30_000

/** What the leader does for one stream: creates the leases that are missing, mends them, and deletes those that are done with. */
export class StreamSync {
  readonly #options: StreamSyncOptions
  /** In how many looks in a row each hole was seen. */
  #holes: ReadonlyMap<string, number> = new Map()
  /** The holes that were there at the last look at the stream. */
  #heeded: ReadonlySet<string> = new Set()
  /** In how many looks at the stream in a row each dead end was seen. */
  #deadEnds: ReadonlyMap<string, number> = new Map()
  /** When it last looked at the stream; undefined until it has since this worker leads. */
  #syncedAtMs: number | undefined
  /** There was no such stream at the last look. */
  #isMissing = false

  constructor(options: StreamSyncOptions) {
    this.#options = options
  }

  /** Whether the shards have to be listed now. To be asked at each look. @param leases the stream's, as of that look */
  isDue(leases: readonly Lease[]): boolean {
    this.#holes = countedOn(this.#holes, uncovered(leases).map(nameOf))
    if (this.#syncedAtMs === undefined) return true
    const passedMs = this.#options.clock.monotonicMs() - this.#syncedAtMs
    if (passedMs >= SYNC_INTERVAL_MS) return true
    if (this.#isMissing) return false
    return leases.length === 0 || [...this.#holes].some(([hole, times]) => this.#counts(hole, times, passedMs))
  }

  #counts(hole: string, times: number, passedMs: number): boolean {
    return times >= HOLE_CONFIRMATIONS && (!this.#heeded.has(hole) || passedMs >= SAME_HOLE_MS)
  }

  /** Another worker leads. */
  rest(): void {
    this.#syncedAtMs = undefined
    this.#deadEnds = new Map()
  }

  /**
   * Resolves to whether it has changed any lease.
   *
   * @param leases the stream's, as just read consistently
   * @throws {ConsumerError} `ERR_STREAM` if the application's one stream doesn't exist, or isn't the one that its leases are
   * of. Of several streams one that doesn't exist is told and looked for again.
   */
  async sync(leases: readonly Lease[], signal: AbortSignal): Promise<boolean> {
    const { source, clock, telemetry } = this.#options
    try {
      return await this.#sync(leases, signal)
    } catch (error) {
      if (source.identifier === undefined || !(error instanceof ConsumerError) || error.code !== 'ERR_STREAM')
        throw error
      telemetry.emit({ type: 'streamMissing', error })
      this.#isMissing = true
      this.#syncedAtMs = clock.monotonicMs()
      return false
    }
  }

  async #sync(leases: readonly Lease[], signal: AbortSignal): Promise<boolean> {
    const { source, kinesis, clock } = this.#options
    const startedAt = clock.monotonicMs()
    // Where LATEST is: by the service's clock, since records are found again by its time of their arrival.
    let listedAtMs = clock.wallMs()
    const options: ListShardsOptions = {
      signal,
      onServiceTime: (ms) => {
        listedAtMs = ms
      },
    }
    const isNew = leases.length === 0
    const shards = isNew
      ? await shardsAt({ kinesis, clock, stream: source.stream }, source.initialPosition, options)
      : await shardsOf(kinesis, source.stream, options)
    if (source.identifier === undefined) this.#checkIdentity(shards, leases)
    const missing = isNew
      ? firstLeases(shards, source.initialPosition, listedAtMs)
      : await this.#missing(shards, leases, listedAtMs, signal)
    const isUpToDate = (): boolean => clock.monotonicMs() - startedAt < MAX_KNOWLEDGE_AGE_MS
    await this.#create(missing, { isNew, isUpToDate }, signal)
    const repaired = isNew ? 0 : await this.#repair(shards, leases)
    const deleted = isNew ? 0 : await this.#delete(shards, leases)
    this.#isMissing = false
    this.#heeded = new Set(uncovered(leases).map(nameOf))
    this.#holes = new Map()
    if (isUpToDate()) this.#syncedAtMs = clock.monotonicMs()
    return missing.length + repaired + deleted > 0
  }

  async #missing(
    shards: readonly Shard[],
    leases: readonly Lease[],
    listedAtMs: number,
    signal: AbortSignal,
  ): Promise<MissingLease[]> {
    const { source, kinesis } = this.#options
    const { initialPosition, stream } = source
    const missing = missingLeases(shards, leases, initialPosition, listedAtMs)
    const sinceMs = startedAtMs(initialPosition, leases)
    if (sinceMs === undefined || sinceMs >= listedAtMs || missing.every(({ startMs }) => startMs === undefined)) {
      return missing
    }
    // What came since the start in shards that are closed by now counts, what came before in their ancestors doesn't.
    const filter: ListShardsOptions['filter'] = { Type: 'AT_TIMESTAMP', Timestamp: new Date(sinceMs) }
    const open = await shardsOf(kinesis, stream, { signal, filter }).catch((error: unknown) => {
      if (error instanceof ConsumerError || classifyError(error) !== 'fatal') throw error
      // Where the service takes so old a time for none: all that is still listed is younger.
      return []
    })
    const openAtStart = new Set(open.map(({ shardId }) => shardId))
    return missingLeases(shards, leases, initialPosition, listedAtMs, openAtStart)
  }

  async #create(
    missing: readonly MissingLease[],
    { isNew, isUpToDate }: { readonly isNew: boolean; readonly isUpToDate: () => boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const { table, source, telemetry } = this.#options
    const shardIds: string[] = []
    // Where none can be above another, it is all the same which of them are made if it stops half-way.
    const isOrderFree = findOverlaps(missing.map(({ hashRange }) => hashRange)).length === 0
    const isTop = isNew && isOrderFree
    const one = async (lease: MissingLease): Promise<void> => {
      signal.throwIfAborted()
      if (!isUpToDate()) return
      const item = await table.update(create({ ...lease, streamIdentifier: source.identifier, isTop }))
      if (item !== undefined) shardIds.push(lease.shardId)
    }
    try {
      if (isOrderFree) await inParallel(missing, one)
      else for (const lease of missing) await one(lease)
    } finally {
      if (shardIds.length > 0) telemetry.emit({ type: 'leasesCreated', shardIds })
    }
  }

  async #repair(shards: readonly Shard[], leases: readonly Lease[]): Promise<number> {
    const { table, telemetry } = this.#options
    let repaired = 0
    await inParallel(repairs(shards, leases), async ({ lease, lacks }) => {
      if ((await table.update(repair(lease, lacks))) === undefined) return
      repaired++
      telemetry.emit({ type: 'leaseRepaired', shardId: lease.shardId })
    })
    return repaired
  }

  async #delete(shards: readonly Shard[], leases: readonly Lease[]): Promise<number> {
    const { table, telemetry, deleting } = this.#options
    let deleted = 0
    await deleting.do(() =>
      inParallel(deletableLeases(leases, shards), async ({ lease, reason }) => {
        if (!(await table.delete('lease', lease.leaseKey, [unchanged(lease)]))) return
        deleted++
        telemetry.emit({ type: 'leaseDeleted', shardId: lease.shardId, reason })
      }),
    )
    return deleted
  }

  /** Where the application has several streams, the leases' keys tell a stream from an earlier one of the same name. */
  #checkIdentity(shards: readonly Shard[], leases: readonly Lease[]): void {
    const misfit = findMisfit(shards, leases)
    if (misfit !== undefined) {
      const { lease, shard } = misfit
      throw this.#madeAnew(
        `the lease of ${lease.shardId} is at ${lease.checkpoint.sequenceNumber}, but ${shard.shardId} begins only at ` +
          shard.startingSequenceNumber,
        shard.shardId,
      )
    }
    const ends = deadEnds(shards, leases).map(({ shardId }) => shardId)
    this.#deadEnds = countedOn(this.#deadEnds, ends)
    const sure = ends.find((shardId) => this.#deadEnds.get(shardId) === DEAD_END_CONFIRMATIONS)
    if (sure === undefined) return
    throw this.#madeAnew(`by the leases ${sure} has been read to its end, but the stream has it as open`, sure)
  }

  #madeAnew(seen: string, shardId: string): ConsumerError {
    return new ConsumerError(
      'ERR_STREAM',
      `Expected "${this.#options.source.stream}" to be the stream that the application's leases are of, but ${seen}: the ` +
        'stream was deleted and made anew. To read the new one, delete the application’s table, or give the application another name.',
      { shardId },
    )
  }
}

function nameOf({ start, end }: { readonly start: bigint; readonly end: bigint }): string {
  return `${start}-${end}`
}

/** How often each of `seen` has been seen in a row, this time included. */
function countedOn(before: ReadonlyMap<string, number>, seen: readonly string[]): Map<string, number> {
  return new Map(seen.map((name) => [name, (before.get(name) ?? 0) + 1]))
}
