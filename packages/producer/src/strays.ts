import { contains, type HashRange } from '@shardwise/records'
import type { InFlight } from './collector.ts'
import { type Distribution, type Lanes, UNKNOWN_SHARD } from './lanes.ts'
import type { Place } from './put-records.ts'
import { type SealedRecord, unseal } from './sealed-record.ts'
import type { StreamWatch } from './stream-watch.ts'
import { hashKeyOfRecord } from './user-record.ts'

export interface StraysOptions {
  readonly lanes: Lanes
  readonly watch: Pick<StreamWatch, 'rangeOf' | 'freshRangeOf' | 'refresh' | 'goWithoutMap' | 'describeSoon'>
  readonly onDistribution: (distribution: Distribution) => void
  readonly acknowledge: (each: InFlight, place: Place) => void
  /** All of it again; `alone`: each user record for itself. */
  readonly resend: (each: InFlight, place: Place, alone: boolean) => void
}

interface Waiting {
  /** When the youngest of its user records expires: until then all of it waits. */
  readonly expiresMs: number
  readonly end: AbortController
}

/** So many answers in a row as the map predicts are no accident on a stream that distributes by itself: 2^-64 with two shards. */
const PREDICTED_IN_A_ROW = 64

/**
 * Kinesis records that another shard took than the predicted one. Each counts as in flight until it is judged by a map that
 * knows that shard:
 *
 * - all of it belongs there: it is acknowledged;
 * - some of it does: a reshard came between. Nothing of it is acknowledged (a reader that is a KCL drops an aggregate as a
 *   whole of which one record is misplaced) and all of it is sent again;
 * - not even its own hash key does: the stream may distribute as it likes, so it is asked.
 *
 * On a stream that distributes as it likes, lone records are acknowledged wherever they are, and what is left of
 * aggregates is sent again alone, once; aggregates that are wanted there are acknowledged too. Where the shards may not be
 * listed, nobody can tell what an aggregate's records belong to: it is sent again, and all goes alone from then on.
 */
export class Strays {
  readonly #options: StraysOptions
  readonly #waiting = new Map<InFlight, Waiting>()
  #predictedInARow = 0

  constructor(options: StraysOptions) {
    this.#options = options
  }

  /** Takes an accepted Kinesis record, which may not be a stray at all. */
  judge(each: InFlight, place: Place): void {
    const { lanes, watch, acknowledge } = this.#options
    if (lanes.distribution === 'service') {
      this.#judgeWithoutKeys(each, place)
      return
    }
    // Without a map every record goes alone, and so is where it belongs.
    const isPredicted = place.shardId === each.lane.shardId && !each.lane.retired
    if (isPredicted || each.lane.shardId === UNKNOWN_SHARD) {
      acknowledge(each, place)
      return
    }
    const known = watch.rangeOf(place.shardId)
    if (known !== undefined && isWhollyIn(each, known)) {
      acknowledge(each, place)
      // The map that predicted wrong is out of date, unless another has replaced it meanwhile.
      if (!each.lane.retired) void watch.refresh()
      return
    }
    const end = new AbortController()
    this.#waiting.set(each, { expiresMs: youngestExpiryMs(each.sealed), end })
    void this.#judgeByListing(each, place, known, end.signal)
  }

  async #judgeByListing(
    each: InFlight,
    place: Place,
    known: HashRange | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    const { watch, acknowledge, resend } = this.#options
    const isCurrent = each.lane.retired && known !== undefined && contains(known, each.sealed.hashKey)
    let range: HashRange
    try {
      range = isCurrent ? known : await watch.freshRangeOf(place.shardId, signal)
    } catch (error) {
      if (!this.#waiting.delete(each)) return
      watch.goWithoutMap(error as Error)
      if (each.sealed.pending.length === 1) acknowledge(each, place)
      else resend(each, place, true)
      return
    }
    const distribution = contains(range, each.sealed.hashKey) ? 'key' : await this.#ask()
    if (this.#waiting.delete(each)) this.#decide(each, place, range, distribution)
  }

  /** When the first of those that wait for a map expires. */
  get nextExpiryMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { expiresMs } of this.#waiting.values()) next = Math.min(next, expiresMs)
    return next
  }

  /** Removes and returns those that expire by then. */
  takeExpired(nowMs: number): InFlight[] {
    const expired: InFlight[] = []
    for (const [each, { expiresMs, end }] of this.#waiting) {
      if (expiresMs > nowMs) continue
      this.#waiting.delete(each)
      expired.push(each)
      end.abort('expired')
    }
    return expired
  }

  #decide(each: InFlight, place: Place, range: HashRange, distribution: Distribution | undefined): void {
    const { lanes, acknowledge, resend } = this.#options
    const isLone = each.sealed.pending.length === 1
    if (lanes.distribution === 'service') {
      this.#judgeWithoutKeys(each, place)
    } else if (isWhollyIn(each, range)) {
      acknowledge(each, place)
    } else if (distribution === 'service' || (distribution === undefined && isLone)) {
      this.#go('service')
      this.#judgeWithoutKeys(each, place)
    } else {
      // Where it may not be asked, lone records will show it.
      resend(each, place, distribution === undefined)
    }
  }

  #judgeWithoutKeys(each: InFlight, place: Place): void {
    const { lanes, watch, acknowledge, resend } = this.#options
    const isPredicted = lanes.map?.predict(each.sealed.hashKey)?.shardId === place.shardId
    if (lanes.map !== undefined && watch.rangeOf(place.shardId) === undefined) void watch.refresh()
    if (each.sealed.pending.length > 1 && place.shardId !== each.lane.shardId && !lanes.aggregates) {
      resend(each, place, true)
      return
    }
    acknowledge(each, place)
    this.#predictedInARow = isPredicted && (lanes.map?.shards.length ?? 0) > 1 ? this.#predictedInARow + 1 : 0
    if (this.#predictedInARow >= PREDICTED_IN_A_ROW) {
      this.#predictedInARow = 0
      void this.#goBackToKeys()
    }
  }

  async #goBackToKeys(): Promise<void> {
    if ((await this.#ask()) === 'service') return
    await this.#options.watch.refresh()
    if (this.#options.lanes.distribution === 'service') this.#go('key')
  }

  #go(distribution: Distribution): void {
    this.#predictedInARow = 0
    this.#options.onDistribution(distribution)
  }

  /** Whether the stream distributes by key; undefined if it can't be asked, or doesn't answer soon: then records will show it. */
  async #ask(): Promise<Distribution | undefined> {
    const description = await this.#options.watch.describeSoon()
    if (description === undefined) return undefined
    return description.distributesByKey ? 'key' : 'service'
  }
}

function youngestExpiryMs({ pending, expiresMs }: SealedRecord): number {
  let [oldest, youngest] = [Number.POSITIVE_INFINITY, 0]
  for (const { arrivedMs } of pending) {
    oldest = Math.min(oldest, arrivedMs)
    youngest = Math.max(youngest, arrivedMs)
  }
  return expiresMs + (youngest - oldest)
}

function isWhollyIn({ sealed }: InFlight, range: HashRange): boolean {
  if (sealed.pending.length === 1) return contains(range, sealed.hashKey)
  return unseal(sealed).every(({ record }) => contains(range, hashKeyOfRecord(record)))
}
