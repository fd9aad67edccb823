import { FULL_HASH_RANGE, type HashRange, ShardMap } from '@shardwise/records'
import { Lane, type LaneMode, type LaneSettings } from './lane.ts'
import { BuilderPool, OpenAggregate } from './open-aggregate.ts'
import type { Pending } from './pending.ts'
import { RateBucket } from './rate-bucket.ts'
import { type SealedRecord, sealLone, splitExpired, type Unsealed, unseal } from './sealed-record.ts'
import { type CheckedRecord, isKeyed } from './user-record.ts'

export interface LanesSettings extends LaneSettings {
  readonly aggregation: boolean | 'always'
  readonly ordering: 'key' | 'none'
  /** In percent of a shard's limits; Infinity for none. */
  readonly rateLimit: number
}

/** Who decides which shard takes a record: its hash key, or the service as it likes. */
export type Distribution = 'key' | 'service'

export interface ResendOptions {
  /** Default: all of it. */
  readonly parts?: readonly Unsealed[]
  /** Each user record in a Kinesis record of its own, even where lanes aggregate. Default false. */
  readonly alone?: boolean
  /** What is sent again isn't looked at for being expired before, on the monotonic clock. Default 0. */
  readonly notBeforeMs?: number
}

/** The shard of the one lane that there is without a map. */
export const UNKNOWN_SHARD = 'unknown'

const NO_MAP: ShardMap = ShardMap.of([{ shardId: UNKNOWN_SHARD, hashRange: FULL_HASH_RANGE }])

/**
 * The lanes of one stream: one for each open shard of the newest map, and the retired ones that still have something in
 * flight. Without a map it is one for all, whose records go plain: alone a record lands where it belongs, whatever the map.
 *
 * A change of the map is a barrier: a new lane sends nothing before every retired lane that overlaps it has settled, and
 * what has to be sent again goes to the heads of the new lanes. So nothing overtakes what was put before it. A change of
 * the distribution is one too: every lane is replaced.
 */
export class Lanes {
  readonly #settings: LanesSettings
  readonly #builders = new BuilderPool()
  #distribution: Distribution = 'key'
  #map: ShardMap = NO_MAP
  #rateLimit: number
  #lanes = new Map<string, Lane>()
  /** The lanes in turn, where records may go to any. */
  #turns: readonly Lane[] = []
  #turn = 0
  readonly #retired = new Set<Lane>()
  /** Lanes that may have something waiting. */
  readonly #active = new Set<Lane>()

  constructor(settings: LanesSettings) {
    this.#settings = settings
    this.#rateLimit = settings.rateLimit
  }

  /** Undefined as long as it isn't known. */
  get map(): ShardMap | undefined {
    return this.#map === NO_MAP ? undefined : this.#map
  }

  get distribution(): Distribution {
    return this.#distribution
  }

  /** Whether user records share Kinesis records, as things are. */
  get aggregates(): boolean {
    return this.#mode.aggregates
  }

  get active(): ReadonlySet<Lane> {
    return this.#active
  }

  /** When the oldest of what waits arrived; Infinity if nothing does. */
  get oldestMs(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const lane of this.#active) oldest = Math.min(oldest, lane.oldestMs)
    return oldest
  }

  /** Takes a user record into its lane. Returns whether there may be something to send at once. */
  add(record: CheckedRecord, pending: Pending, nowMs: number, hasRoom: boolean): boolean {
    const lane = this.#laneFor(record)
    this.#active.add(lane)
    return lane.add(record, pending, nowMs, hasRoom)
  }

  /** Gives the lanes that are behind it their turn first. */
  moveBack(lane: Lane): void {
    if (this.#active.delete(lane)) this.#active.add(lane)
  }

  /** Leaves out a lane that has nothing waiting until something comes. */
  deactivate(lane: Lane): void {
    this.#active.delete(lane)
  }

  /**
   * Goes over to a new map, one without holes, or to none: what waits for a shard that is gone moves to the new lanes, in its
   * order.
   *
   * @returns what has no place any more: records without a partition key, where keys decide again
   */
  replaceMap(map: ShardMap | undefined, nowMs: number): SealedRecord[] {
    return this.#replace(map ?? NO_MAP, nowMs, (lane) => {
      const range = map?.get(lane.shardId)?.hashRange
      // A shard of the same name but another range belongs to a stream that was deleted and made anew.
      const isSameRange = range?.start === lane.range.start && range.end === lane.range.end
      return isSameRange && isSame(lane.mode, this.#mode)
    })
  }

  /** Goes over to another distribution, with the map as it is. Returns what has no place any more, as `replaceMap` does. */
  distribute(distribution: Distribution, nowMs: number): SealedRecord[] {
    this.#distribution = distribution
    // What the service may put anywhere waits in any lane.
    return this.#lanes.size === 0 ? [] : this.#replace(this.#map, nowMs, () => false)
  }

  /** Changes how fast each shard is written to at most, in percent of its limits. */
  limitTo(rateLimit: number, nowMs: number): void {
    this.#rateLimit = rateLimit
    for (const { bucket } of this.#lanes.values()) bucket.limitTo(this.#currentLimit, nowMs)
  }

  /** What was in flight in `lane` is finished. */
  settle(lane: Lane, sealed: SealedRecord): void {
    this.#builders.release(sealed.builder)
    lane.settle(sealed)
    if (!lane.retired || lane.inFlight > 0 || !this.#retired.delete(lane)) return
    for (const other of lane.barred) other.barriers.delete(lane)
  }

  /** Whether a record can be sent, as things are: without a partition key only where the service distributes by itself. */
  hasPlaceFor({ partitionKey }: Pick<CheckedRecord, 'partitionKey'>): boolean {
    return partitionKey !== undefined || this.#distribution === 'service'
  }

  /** What was in flight in `lane` goes again: the same bytes from the same lane, or anew from those that took its place. */
  retry(lane: Lane, sealed: SealedRecord, pausedUntilMs: number): void {
    if (lane.retired) {
      this.resend(lane, sealed, pausedUntilMs)
    } else {
      lane.retry(sealed, pausedUntilMs)
      this.#active.add(lane)
    }
  }

  /** What was in flight in `lane` is split by today's map, and the parts go first of all in their lanes. */
  resend(
    lane: Lane,
    sealed: SealedRecord,
    pausedUntilMs: number,
    { parts = unseal(sealed), alone = false, notBeforeMs = 0 }: ResendOptions = {},
  ): void {
    for (const [target, group] of Map.groupBy(parts, ({ record }) => this.#laneFor(record))) {
      target.prepend(this.#pack(group, alone || !target.mode.aggregates, notBeforeMs))
      target.pauseUntil(pausedUntilMs)
      this.#active.add(target)
    }
    this.settle(lane, sealed)
  }

  /**
   * Takes what is too old out of a lane. Of an aggregate that has younger user records too only these stay, where it was.
   *
   * @param notBeforeMs what stays of an aggregate isn't looked at for being expired before
   */
  takeExpired(lane: Lane, nowMs: number, notBeforeMs: number): SealedRecord[] {
    const { recordTtl } = this.#settings
    const expired: SealedRecord[] = []
    lane.replaceExpired(nowMs, (sealed) => {
      const { old, alive } = splitExpired(sealed, nowMs, recordTtl)
      if (alive.length === 0) expired.push(sealed)
      else expired.push(...old.map(({ record, pending }) => sealLone(record, pending, recordTtl)))
      return this.#pack(alive, !lane.mode.aggregates, notBeforeMs)
    })
    return expired
  }

  /** Removes and returns everything that waits. */
  drain(): SealedRecord[] {
    this.#active.clear()
    return [...this.#lanes.values()].flatMap((lane) => lane.drain())
  }

  /** The bytes of a record that left its lane without being sent are not needed any more. */
  discard(sealed: SealedRecord): void {
    this.#builders.release(sealed.builder)
  }

  get #mode(): LaneMode {
    const { aggregation, ordering } = this.#settings
    const isByKey = this.#distribution === 'key'
    return {
      aggregates: isByKey ? aggregation !== false && this.#map !== NO_MAP : aggregation === 'always',
      ordered: isByKey && ordering === 'key',
      keyed: isByKey,
    }
  }

  /** How many shards share the lane that there is without a map is unknown. */
  get #currentLimit(): number {
    return this.#map === NO_MAP ? Number.POSITIVE_INFINITY : this.#rateLimit
  }

  #replace(map: ShardMap, nowMs: number, stays: (lane: Lane) => boolean): SealedRecord[] {
    this.#map = map
    const mode = this.#mode
    const gone: Lane[] = []
    const lanes = new Map<string, Lane>()
    for (const lane of this.#lanes.values()) {
      if (stays(lane)) lanes.set(lane.shardId, lane)
      else gone.push(lane)
    }
    for (const lane of gone) this.#retire(lane)
    const made = new Set<Lane>()
    for (const { shardId, hashRange } of this.#map.shards) {
      if (lanes.has(shardId)) continue
      const lane = this.#newLane(shardId, hashRange, mode, nowMs)
      lanes.set(shardId, lane)
      made.add(lane)
    }
    this.#lanes = lanes
    this.#turns = [...lanes.values()]
    if (mode.ordered) for (const retired of this.#retired) this.#bar(retired, made)
    // A shard's backoff goes over to those that take its records.
    for (const { range, pausedUntilMs } of gone) {
      if (pausedUntilMs > nowMs) for (const lane of this.#lanesOver(range)) lane.pauseUntil(pausedUntilMs)
    }
    return this.#moveFrom(gone, nowMs)
  }

  #newLane(shardId: string, range: HashRange, mode: LaneMode, nowMs: number): Lane {
    const bucket = new RateBucket(this.#currentLimit, nowMs)
    return new Lane(shardId, range, mode, bucket, this.#settings, this.#builders)
  }

  #retire(lane: Lane): void {
    lane.retired = true
    this.#active.delete(lane)
    if (lane.inFlight > 0) this.#retired.add(lane)
  }

  #bar(retired: Lane, made: ReadonlySet<Lane>): void {
    // Where the service distributed, a lane had records of any range.
    for (const lane of retired.mode.keyed ? this.#lanesOver(retired.range) : made) {
      if (!made.has(lane)) continue
      lane.barriers.add(retired)
      retired.barred.add(lane)
    }
  }

  /** The lanes that share hash keys with a range. */
  #lanesOver(range: HashRange): Lane[] {
    return this.#map.overlapping(range).flatMap(({ shardId }) => this.#lanes.get(shardId) ?? [])
  }

  #moveFrom(gone: readonly Lane[], nowMs: number): SealedRecord[] {
    const homeless: SealedRecord[] = []
    for (const sealed of gone.flatMap((lane) => lane.drain())) {
      if (this.hasPlaceFor(sealed)) {
        for (const { record, pending } of unseal(sealed)) this.add(ownBytes(record), pending, nowMs, false)
        this.#builders.release(sealed.builder)
      } else {
        homeless.push(sealed)
      }
    }
    return homeless
  }

  #laneFor({ partitionKey = '', hashKey }: CheckedRecord): Lane {
    if (this.#distribution === 'service') {
      this.#turn = (this.#turn + 1) % this.#turns.length
      const lane = this.#turns[this.#turn]
      if (lane !== undefined) return lane
    }
    const shard = hashKey === undefined ? this.#map.predictKey(partitionKey) : this.#map.predict(hashKey)
    const lane = shard && this.#lanes.get(shard.shardId)
    if (lane === undefined)
      throw new Error(`expected a map without holes, found no shard for ${hashKey ?? partitionKey}`)
    return lane
  }

  #pack(parts: readonly Unsealed[], alone: boolean, notBeforeMs: number): SealedRecord[] {
    const { aggregationMaxSize, recordTtl } = this.#settings
    const sealed: SealedRecord[] = []
    let open: OpenAggregate | undefined
    const seal = (): void => {
      if (open !== undefined) sealed.push(open.seal(recordTtl, notBeforeMs))
      open = undefined
    }
    for (const { record, pending } of parts) {
      if (alone || !isKeyed(record)) {
        seal()
        sealed.push(sealLone(ownBytes(record), pending, recordTtl))
        continue
      }
      if (open !== undefined && open.sizeWith(record) > aggregationMaxSize) seal()
      if (open === undefined)
        open = new OpenAggregate(this.#builders, { ...record, data: new Uint8Array(record.data) }, pending)
      else open.add(record, pending)
    }
    seal()
    return sealed
  }
}

function isSame(a: LaneMode, b: LaneMode): boolean {
  return a.aggregates === b.aggregates && a.ordered === b.ordered && a.keyed === b.keyed
}

/** A lone record is sent as it is, and these bytes are a view into a buffer that will be used again. */
function ownBytes(record: CheckedRecord): CheckedRecord {
  return { ...record, data: new Uint8Array(record.data) }
}
