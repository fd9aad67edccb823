import { type HashRange, overlaps, type ShardMap } from '@shardwise/records'
import { Lane, type LaneSettings } from './lane.ts'
import { BuilderPool, MAX_AGGREGATE_BYTES, OpenAggregate } from './open-aggregate.ts'
import type { Pending } from './pending.ts'
import { RateBucket } from './rate-bucket.ts'
import { type SealedRecord, sealLone, type Unsealed, unseal } from './sealed-record.ts'
import type { CheckedRecord } from './user-record.ts'

export interface LanesSettings extends LaneSettings {
  /** In percent of a shard's limits; Infinity for none. */
  readonly rateLimit: number
}

/**
 * The lanes of one stream: one for each open shard of the newest map, and the retired ones that still have something in
 * flight.
 *
 * A change of the map is a barrier: a new lane sends nothing before every retired lane that overlaps it has settled, and
 * what has to be sent again goes to the heads of the new lanes. So nothing overtakes what was put before it.
 */
export class Lanes {
  readonly #settings: LanesSettings
  readonly #builders = new BuilderPool()
  #map: ShardMap | undefined
  #lanes = new Map<string, Lane>()
  readonly #retired = new Set<Lane>()
  /** Lanes that may have something waiting. */
  readonly #active = new Set<Lane>()

  constructor(settings: LanesSettings) {
    this.#settings = settings
  }

  get map(): ShardMap | undefined {
    return this.#map
  }

  get active(): Iterable<Lane> {
    return this.#active
  }

  /** Takes a user record into its lane. Returns whether there may be something to send at once. */
  add(record: CheckedRecord, pending: Pending, nowMs: number): boolean {
    const lane = this.#laneFor(record)
    this.#active.add(lane)
    return lane.add(record, pending, nowMs)
  }

  /** Leaves out a lane that has nothing waiting until something comes. */
  deactivate(lane: Lane): void {
    this.#active.delete(lane)
  }

  /** Goes over to a new map, one without holes: what waits for a shard that is gone moves to the new lanes, in its order. */
  replaceMap(map: ShardMap, nowMs: number): void {
    this.#map = map
    const gone = [...this.#lanes.values()].filter(({ shardId }) => map.get(shardId) === undefined)
    for (const lane of gone) {
      lane.retired = true
      this.#active.delete(lane)
      if (lane.inFlight > 0) this.#retired.add(lane)
    }
    const before = this.#lanes
    this.#lanes = new Map(
      map.shards.map(({ shardId, hashRange }) => [
        shardId,
        before.get(shardId) ?? this.#newLane(shardId, hashRange, nowMs),
      ]),
    )
    for (const sealed of gone.flatMap((lane) => lane.drain())) {
      for (const { record, pending } of unseal(sealed)) this.add(record, pending, nowMs)
      this.#builders.release(sealed)
    }
  }

  /** What was in flight in `lane` is finished. */
  settle(lane: Lane, sealed: SealedRecord): void {
    this.#builders.release(sealed)
    this.#leave(lane, sealed)
  }

  /** What was in flight in `lane` goes again: the same bytes from the same lane, or anew from those that took its place. */
  retry(lane: Lane, sealed: SealedRecord, pausedUntilMs: number): void {
    if (lane.retired) {
      this.resend(lane, sealed)
    } else {
      lane.retry(sealed, pausedUntilMs)
      this.#active.add(lane)
    }
  }

  /** What was in flight in `lane` is split by today's map, and the parts go first of all in their lanes. */
  resend(lane: Lane, sealed: SealedRecord): void {
    for (const [target, parts] of Map.groupBy(unseal(sealed), ({ record }) => this.#laneFor(record))) {
      target.prepend(this.#pack(parts))
      this.#active.add(target)
    }
    this.settle(lane, sealed)
  }

  /** Removes and returns everything that waits. */
  drain(): SealedRecord[] {
    this.#active.clear()
    return [...this.#lanes.values()].flatMap((lane) => lane.drain())
  }

  #leave(lane: Lane, sealed: SealedRecord): void {
    lane.settle(sealed)
    if (!lane.retired || lane.inFlight > 0 || !this.#retired.delete(lane)) return
    for (const other of this.#lanes.values()) other.barriers.delete(lane)
  }

  #newLane(shardId: string, range: HashRange, nowMs: number): Lane {
    const bucket = new RateBucket(this.#settings.rateLimit, nowMs)
    const lane = new Lane(shardId, range, bucket, this.#settings, this.#builders)
    for (const retired of this.#retired) if (overlaps(retired.range, range)) lane.barriers.add(retired)
    return lane
  }

  #laneFor({ hashKey }: CheckedRecord): Lane {
    const shard = this.#map?.predict(hashKey)
    const lane = shard && this.#lanes.get(shard.shardId)
    if (lane === undefined) throw new Error(`expected a map without holes, found no shard for the hash key ${hashKey}`)
    return lane
  }

  #pack(parts: readonly Unsealed[]): SealedRecord[] {
    const { aggregation, aggregationMaxSize, recordTtl } = this.#settings
    if (!aggregation) return parts.map(({ record, pending }) => sealLone(record, pending, recordTtl))
    const sealed: SealedRecord[] = []
    let open: OpenAggregate | undefined
    for (const { record, pending } of parts) {
      if (open !== undefined && open.sizeWith(record) > Math.min(aggregationMaxSize, MAX_AGGREGATE_BYTES)) {
        sealed.push(open.seal(recordTtl))
        open = undefined
      }
      if (open === undefined) open = new OpenAggregate(this.#builders.take(), record, pending)
      else open.add(record, pending)
    }
    if (open !== undefined) sealed.push(open.seal(recordTtl))
    return sealed
  }
}
