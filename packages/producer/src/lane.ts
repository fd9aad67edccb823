import type { HashRange } from '@shardwise/records'
import { Fifo } from './fifo.ts'
import { type BuilderPool, OpenAggregate } from './open-aggregate.ts'
import type { Pending } from './pending.ts'
import type { RateBucket } from './rate-bucket.ts'
import { type SealedRecord, sealLone } from './sealed-record.ts'
import { type CheckedRecord, isKeyed } from './user-record.ts'

/** How a lane packs and orders. */
export interface LaneMode {
  /** Whether many user records share a Kinesis record. */
  readonly aggregates: boolean
  /**
   * Whether at most one Kinesis record is in flight for each hash key: one in all where many keys share a record. Otherwise
   * any number is.
   */
  readonly ordered: boolean
  /** Whether all of its records are of its range: otherwise the service puts them anywhere. */
  readonly keyed: boolean
}

/** Kinesis records of the same domain are never in flight together, and stay in order. */
type Domain = 'lane' | bigint | SealedRecord

/** What holds for every lane of a stream. */
export interface LaneSettings {
  readonly aggregationMaxSize: number
  readonly aggregationMaxCount: number
  readonly recordMaxBufferedTime: number
  readonly recordTtl: number
}

/** When what may have expired is looked at again: a record may be given up by a hundredth of its time late. */
export function nextLookMs(nowMs: number, recordTtl: number): number {
  return nowMs + recordTtl / 100
}

/** The largest that an aggregate grows by itself, even where the stream takes larger ones: readers get it as a whole. */
const GROWTH_BYTES = 2 ** 20 - 1
/** How much of a second's quota an aggregate may grow to while its lane can't send. */
const GROWTH_SECONDS = 0.25

/**
 * The queue of one predicted shard: what is sealed, in order, and behind it the open aggregate.
 *
 * - Of each domain at most one Kinesis record is in flight: with aggregation the whole lane is one domain, without it
 *   every hash key is one, or every record where there is no order. That is what keeps the order.
 * - A barred lane sends nothing: a retired lane whose range overlaps its own still has something in flight.
 * - Retired (its shard is gone) it takes and sends nothing more; it waits for what is in flight.
 */
export class Lane {
  readonly shardId: string
  readonly range: HashRange
  readonly mode: LaneMode
  readonly bucket: RateBucket
  /** Retired lanes that have to settle before this one sends. */
  readonly barriers: Set<Lane> = new Set()
  /** If this one is retired: the lanes that wait for it to settle. */
  readonly barred: Set<Lane> = new Set()
  retired = false
  /** Nothing goes before; after a refusal, on the monotonic clock. */
  pausedUntilMs = 0
  readonly #settings: LaneSettings
  readonly #builders: BuilderPool
  readonly #queues = new Map<Domain, Fifo<SealedRecord>>()
  /** Domains that have something queued and nothing in flight. */
  readonly #ready = new Fifo<Domain>()
  readonly #inFlight = new Set<Domain>()
  #open: OpenAggregate | undefined
  /** Nothing queued or open expires before. */
  #nextExpiryMs = Number.POSITIVE_INFINITY

  constructor(
    shardId: string,
    range: HashRange,
    mode: LaneMode,
    bucket: RateBucket,
    settings: LaneSettings,
    builders: BuilderPool,
  ) {
    this.shardId = shardId
    this.range = range
    this.mode = mode
    this.bucket = bucket
    this.#settings = settings
    this.#builders = builders
  }

  get isIdle(): boolean {
    return this.#open === undefined && this.#queues.size === 0
  }

  get inFlight(): number {
    return this.#inFlight.size
  }

  /**
   * Takes a user record at the tail.
   *
   * @param hasRoom whether another request might be sent now
   * @returns whether there may be something to send at once
   */
  add(record: CheckedRecord, pending: Pending, nowMs: number, hasRoom: boolean): boolean {
    const { aggregationMaxSize, aggregationMaxCount, recordTtl } = this.#settings
    if (!this.mode.aggregates || !isKeyed(record)) {
      this.#push(sealLone(record, pending, recordTtl))
      return this.barriers.size === 0 && this.#ready.length > 0
    }
    const size = this.#open?.sizeWith(record) ?? 0
    if (size > aggregationMaxSize && size > this.#growthLimit(nowMs, hasRoom)) this.#seal()
    if (this.#open === undefined) this.#open = new OpenAggregate(this.#builders, record, pending)
    else this.#open.add(record, pending)
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, this.#open.oldestMs + recordTtl)
    if (this.#open.count >= aggregationMaxCount) this.#seal()
    return this.barriers.size === 0 && this.#isFree && (this.#ready.length > 0 || this.#openWaitMs(nowMs) <= 0)
  }

  /** Puts sealed records in front of everything that waits, in their order. */
  prepend(sealed: readonly SealedRecord[]): void {
    for (const record of sealed.toReversed()) this.#unshift(record)
  }

  /** The Kinesis record that may go now, if there is one. It stays until `take`. */
  next(nowMs: number, flushing: boolean): SealedRecord | undefined {
    if (this.retired || this.barriers.size > 0 || this.pausedUntilMs > nowMs) return undefined
    const isOpenDue = this.#open !== undefined && (flushing || this.#openWaitMs(nowMs) <= 0)
    if (this.#ready.length === 0 && this.#queues.size === 0 && this.#isFree && isOpenDue) this.#seal()
    const domain = this.#ready.first
    if (domain === undefined || this.bucket.waitMs(nowMs) > 0) return undefined
    return this.#queues.get(domain)?.first
  }

  /** Removes what `next` gave: it is in flight now. */
  take(nowMs: number): void {
    const domain = this.#ready.shift()
    if (domain === undefined) throw new Error(`lane ${this.shardId}: expected something that is ready to be sent`)
    const sealed = this.#shift(domain)
    this.#inFlight.add(domain)
    this.bucket.take(sealed.bytes, nowMs)
  }

  /** What was in flight has its outcome, or goes elsewhere. */
  settle(sealed: SealedRecord): void {
    const domain = this.#domainOf(sealed)
    this.#inFlight.delete(domain)
    if (this.#queues.has(domain)) this.#ready.push(domain)
  }

  /** What was in flight goes again, first of all. */
  retry(sealed: SealedRecord, pausedUntilMs: number): void {
    this.settle(sealed)
    this.#unshift(sealed)
    this.pauseUntil(pausedUntilMs)
  }

  pauseUntil(ms: number): void {
    this.pausedUntilMs = Math.max(this.pausedUntilMs, ms)
  }

  /** When the oldest of what waits here arrived, on the monotonic clock; Infinity if nothing does. */
  get oldestMs(): number {
    let oldest = this.#open?.oldestMs ?? Number.POSITIVE_INFINITY
    for (const { first } of this.#queues.values()) {
      if (first !== undefined) oldest = Math.min(oldest, first.expiresMs - this.#settings.recordTtl)
    }
    return oldest
  }

  /**
   * Milliseconds until `replaceExpired` has something to do or, if there is room for a request, `next` may give something
   * without anything else happening; Infinity if never.
   */
  waitMs(nowMs: number, hasRoom: boolean, flushing: boolean): number {
    const expiry = this.#nextExpiryMs - nowMs
    if (!hasRoom || this.barriers.size > 0) return expiry
    const gate = Math.max(this.pausedUntilMs - nowMs, this.bucket.waitMs(nowMs))
    if (this.#ready.length > 0) return Math.min(gate, expiry)
    if (this.#open === undefined || !this.#isFree) return expiry
    return Math.min(Math.max(gate, flushing ? 0 : this.#openWaitMs(nowMs)), expiry)
  }

  /**
   * Puts what `alive` gives in the place of every sealed record that counts as expired, wherever it waits: after a reshard an
   * older one may be behind a younger one.
   *
   * @param alive must not reach back to this lane
   */
  replaceExpired(nowMs: number, alive: (expired: SealedRecord) => readonly SealedRecord[]): void {
    if (nowMs < this.#nextExpiryMs) return
    if (this.#open !== undefined && this.#open.oldestMs + this.#settings.recordTtl <= nowMs) this.#seal()
    this.#nextExpiryMs =
      this.#open === undefined ? Number.POSITIVE_INFINITY : this.#open.oldestMs + this.#settings.recordTtl
    const elsewhere: SealedRecord[] = []
    for (const [domain, queue] of this.#queues) {
      queue.replaceEach((sealed) => {
        const rest = sealed.expiresMs > nowMs ? [sealed] : alive(sealed)
        for (const { expiresMs } of rest) this.#nextExpiryMs = Math.min(this.#nextExpiryMs, expiresMs)
        if (this.mode.ordered || rest[0] === sealed) return rest
        // Where every Kinesis record is a domain of its own, another one has another.
        elsewhere.push(...rest)
        return []
      })
      if (queue.length === 0) this.#queues.delete(domain)
    }
    for (const sealed of elsewhere) this.#push(sealed)
    // To go through everything for each record that expires would cost too much.
    this.#nextExpiryMs = Math.max(this.#nextExpiryMs, nextLookMs(nowMs, this.#settings.recordTtl))
    this.#rebuildReady()
  }

  /** Removes and returns all that waits, in order: what a reshard, or an end without sending, leaves of it. */
  drain(): SealedRecord[] {
    if (this.#open !== undefined) this.#seal()
    const sealed: SealedRecord[] = []
    for (const queue of this.#queues.values()) {
      for (let record = queue.shift(); record !== undefined; record = queue.shift()) sealed.push(record)
    }
    this.#queues.clear()
    this.#rebuildReady()
    this.#nextExpiryMs = Number.POSITIVE_INFINITY
    return sealed
  }

  /** Whether an aggregate might go now, as far as what is in flight is concerned. */
  get #isFree(): boolean {
    return !this.mode.ordered || this.#inFlight.size === 0
  }

  #growthLimit(nowMs: number, hasRoom: boolean): number {
    const canSend =
      hasRoom &&
      this.#queues.size === 0 &&
      this.#isFree &&
      this.barriers.size === 0 &&
      this.pausedUntilMs <= nowMs &&
      this.bucket.waitMs(nowMs) === 0
    if (canSend) return this.#settings.aggregationMaxSize
    return Math.min(GROWTH_BYTES, this.bucket.bytesPerSecond * GROWTH_SECONDS)
  }

  #openWaitMs(nowMs: number): number {
    if (this.#open === undefined) return Number.POSITIVE_INFINITY
    if (this.#open.size >= this.#settings.aggregationMaxSize) return 0
    return this.#open.oldestMs + this.#settings.recordMaxBufferedTime - nowMs
  }

  #seal(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#push(open.seal(this.#settings.recordTtl))
  }

  #domainOf(sealed: SealedRecord): Domain {
    if (!this.mode.ordered) return sealed
    return this.mode.aggregates ? 'lane' : sealed.hashKey
  }

  #push(sealed: SealedRecord): void {
    const domain = this.#domainOf(sealed)
    const queue = this.#queueOf(domain, sealed.expiresMs)
    queue.push(sealed)
    if (queue.length === 1 && !this.#inFlight.has(domain)) this.#ready.push(domain)
  }

  #unshift(sealed: SealedRecord): void {
    const domain = this.#domainOf(sealed)
    const queue = this.#queueOf(domain, sealed.expiresMs)
    queue.unshift(sealed)
    if (queue.length === 1 && !this.#inFlight.has(domain)) this.#ready.unshift(domain)
  }

  #queueOf(domain: Domain, expiresMs: number): Fifo<SealedRecord> {
    this.#nextExpiryMs = Math.min(this.#nextExpiryMs, expiresMs)
    let queue = this.#queues.get(domain)
    if (queue === undefined) {
      queue = new Fifo()
      this.#queues.set(domain, queue)
    }
    return queue
  }

  #shift(domain: Domain): SealedRecord {
    const queue = this.#queues.get(domain)
    const sealed = queue?.shift()
    if (queue === undefined || sealed === undefined)
      throw new Error(`lane ${this.shardId}: expected something queued in a domain that is ready`)
    if (queue.length === 0) this.#queues.delete(domain)
    return sealed
  }

  #rebuildReady(): void {
    while (this.#ready.shift() !== undefined);
    for (const domain of this.#queues.keys()) if (!this.#inFlight.has(domain)) this.#ready.push(domain)
  }
}
