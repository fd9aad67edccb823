import { type HashRange, overlaps, type ShardMap } from '@shardwise/records'
import { Lane, type LaneMode, type LaneSettings } from './lane.ts'
import { BuilderPool, OpenAggregate } from './open-aggregate.ts'
import type { Pending } from './pending.ts'
import { RateBucket } from './rate-bucket.ts'
import { type SealedRecord, sealLone, type Unsealed, unseal } from './sealed-record.ts'
import type { CheckedRecord } from './user-record.ts'

export interface LanesSettings extends LaneSettings {
  readonly aggregation: boolean
  /** In percent of a shard's limits; Infinity for none. */
  readonly rateLimit: number
}

/** Who decides which shard takes a record: its hash key, or the service as it likes. */
export type Distribution = 'key' | 'service'

/**
 * The lanes of one stream: one for each open shard of the newest map, and the retired ones that still have something in
 * flight.
 *
 * A change of the map is a barrier: a new lane sends nothing before every retired lane that overlaps it has settled, and
 * what has to be sent again goes to the heads of the new lanes. So nothing overtakes what was put before it. A change of
 * the distribution is one too: every lane is replaced.
 */
export class Lanes {
  readonly #settings: LanesSettings
  readonly #builders = new BuilderPool()
  #distribution: Distribution = 'key'
  #map: ShardMap | undefined
  #lanes = new Map<string, Lane>()
  /** The lanes in turn, where records may go to any. */
  #turns: readonly Lane[] = []
  #turn = 0
  readonly #retired = new Set<Lane>()
  /** Lanes that may have something waiting. */
  readonly #active = new Set<Lane>()

  constructor(settings: LanesSettings) {
    this.#settings = settings
  }

  get map(): ShardMap | undefined {
    return this.#map
  }

  get distribution(): Distribution {
    return this.#distribution
  }

  get active(): ReadonlySet<Lane> {
    return this.#active
  }

  /** Takes a user record into its lane. Returns whether there may be something to send at once. */
  add(record: CheckedRecord, pending: Pending, nowMs: number, hasRoom: boolean): boolean {
    const lane = this.#laneFor(record)
    this.#active.add(lane)
    return lane.add(record, pending, nowMs, hasRoom)
  }

  /** Leaves out a lane that has nothing waiting until something comes. */
  deactivate(lane: Lane): void {
    this.#active.delete(lane)
  }

  /** Goes over to a new map, one without holes: what waits for a shard that is gone moves to the new lanes, in its order. */
  replaceMap(map: ShardMap, nowMs: number): void {
    this.#map = map
    const mode = this.#mode
    const gone: Lane[] = []
    const kept = new Map<string, Lane>()
    for (const lane of this.#lanes.values()) {
      const range = map.get(lane.shardId)?.hashRange
      // A shard of the same name but another range belongs to a stream that was deleted and made anew.
      const stays = range?.start === lane.range.start && range.end === lane.range.end && lane.mode === mode
      if (stays) kept.set(lane.shardId, lane)
      else gone.push(lane)
    }
    for (const lane of gone) {
      lane.retired = true
      this.#active.delete(lane)
      if (lane.inFlight > 0) this.#retired.add(lane)
    }
    this.#lanes = new Map(
      map.shards.map(({ shardId, hashRange }) => [
        shardId,
        kept.get(shardId) ?? this.#newLane(shardId, hashRange, mode, gone, nowMs),
      ]),
    )
    this.#turns = [...this.#lanes.values()]
    for (const sealed of gone.flatMap((lane) => lane.drain())) {
      for (const { record, pending } of unseal(sealed)) this.add(ownBytes(record), pending, nowMs, false)
      this.#builders.release(sealed.builder)
    }
  }

  /** Goes over to another distribution, with the map as it is. */
  distribute(distribution: Distribution, nowMs: number): void {
    this.#distribution = distribution
    if (this.#map !== undefined) this.replaceMap(this.#map, nowMs)
  }

  /** What was in flight in `lane` is finished. */
  settle(lane: Lane, sealed: SealedRecord): void {
    this.#builders.release(sealed.builder)
    lane.settle(sealed)
    if (!lane.retired || lane.inFlight > 0 || !this.#retired.delete(lane)) return
    for (const other of this.#lanes.values()) other.barriers.delete(lane)
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

  /**
   * What was in flight in `lane` is split by today's map, and the parts go first of all in their lanes.
   *
   * @param alone each user record in a Kinesis record of its own, even where lanes aggregate
   */
  resend(lane: Lane, sealed: SealedRecord, pausedUntilMs: number, alone = false): void {
    for (const [target, parts] of Map.groupBy(unseal(sealed), ({ record }) => this.#laneFor(record))) {
      target.prepend(this.#pack(parts, alone || target.mode !== 'aggregate'))
      target.pauseUntil(pausedUntilMs)
      this.#active.add(target)
    }
    this.settle(lane, sealed)
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
    if (this.#distribution === 'service') return 'unordered'
    return this.#settings.aggregation ? 'aggregate' : 'plain'
  }

  #newLane(shardId: string, range: HashRange, mode: LaneMode, gone: readonly Lane[], nowMs: number): Lane {
    const bucket = new RateBucket(this.#settings.rateLimit, nowMs)
    const lane = new Lane(shardId, range, mode, bucket, this.#settings, this.#builders)
    for (const retired of this.#retired) if (overlaps(retired.range, range)) lane.barriers.add(retired)
    // A shard's backoff goes over to those that take its records.
    for (const { range: before, pausedUntilMs } of gone) if (overlaps(before, range)) lane.pauseUntil(pausedUntilMs)
    return lane
  }

  #laneFor({ hashKey }: CheckedRecord): Lane {
    if (this.#distribution === 'service') {
      this.#turn = (this.#turn + 1) % this.#turns.length
      const lane = this.#turns[this.#turn]
      if (lane !== undefined) return lane
    }
    const shard = this.#map?.predict(hashKey)
    const lane = shard && this.#lanes.get(shard.shardId)
    if (lane === undefined) throw new Error(`expected a map without holes, found no shard for the hash key ${hashKey}`)
    return lane
  }

  #pack(parts: readonly Unsealed[], alone: boolean): SealedRecord[] {
    const { aggregationMaxSize, recordTtl } = this.#settings
    if (alone) return parts.map(({ record, pending }) => sealLone(ownBytes(record), pending, recordTtl))
    const sealed: SealedRecord[] = []
    let open: OpenAggregate | undefined
    for (const { record, pending } of parts) {
      if (open !== undefined && open.sizeWith(record) > aggregationMaxSize) {
        sealed.push(open.seal(recordTtl))
        open = undefined
      }
      if (open === undefined) open = new OpenAggregate(this.#builders, record, pending)
      else open.add(record, pending)
    }
    if (open !== undefined) sealed.push(open.seal(recordTtl))
    return sealed
  }
}

/** A lone record is sent as it is, and these bytes are a view into a buffer that will be used again. */
function ownBytes(record: CheckedRecord): CheckedRecord {
  return { ...record, data: new Uint8Array(record.data) }
}
