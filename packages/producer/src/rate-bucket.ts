/** What the service grants a shard in a second: its quota. Rates and tokens are counted in it. */
const RECORDS_PER_SECOND = 1_000
const BYTES_PER_SECOND = 2 ** 20

/** A throttle lowers the rate to so much of what it was. */
const DECREASE = 0.8
/** But not below so much of what the shard went on accepting in the last second, however many throttles there were in it. */
const STILL_ACCEPTED = 0.9
/** Nor below this, so that no record waits for minutes. */
const LEAST = 0.01
/** For so many moments it is remembered how much went then. */
const REMEMBERED = 500
/**
 * How many records it takes to get back to a rate of 1 after a throttle; to a lower rate proportionally fewer. So on the
 * way back every record adds as much to a low rate as to a high one, and that is what makes rates equal in the end. With
 * half as many, 50 producers at one shard have over 2 % of their records throttled (`rate-bucket-sharing.test.ts`).
 */
const CYCLE = 4_000
const LEAST_CYCLE = 20
/**
 * Records beyond so many a second don't count, so that a burst of small ones doesn't outrun large ones. While the bucket
 * doesn't hold its lane back, each second counts as much: a rate that isn't used up does others no harm.
 */
const FASTEST_STEPS = 30
/** With so many seconds of its rate to spare, the bucket doesn't hold its lane back. */
const AMPLE = 0.9

/** Seconds of the quota that a fresh bucket has saved, at most. */
const INITIAL = 1
/** Where less than this is used, that isn't taken for the reason of a throttle. */
const MODEST = 0.25

/** How far a wait is lengthened at most: by so many times what the record cost, and by so many seconds. */
const LONGEST_STRETCH = 4
const LONGEST_STRETCH_SECONDS = 2
const GOLDEN_RATIO = (Math.sqrt(5) - 1) / 2

/** What a throttle does to the rate, and how far it has recovered. */
interface Cut {
  /** The rate that was too high. */
  readonly from: number
  readonly depth: number
  /** Steps that it takes to get back there. */
  readonly cycle: number
  readonly atMs: number
  steps: number
}

/**
 * How fast one shard is written to: tokens for Kinesis records and for bytes, which grow at a rate. A record goes when
 * there are enough of both and may put them into debt: so a record larger than a second's quota passes, and its lane then
 * waits. At most a second of the rate is saved.
 *
 * The rate adapts by the CUBIC function of RFC 9438: a throttle lowers it, then it rises, quickly at first, slowly near
 * where it was throttled, and ever faster beyond. Two things are different here:
 *
 * - It rises by the records that were sent, not by time. A throttle is all that is ever told about other producers, so the
 *   share of records that are throttled stays low only if there are enough records between two throttles.
 * - Records don't go at regular intervals, but as if at random: otherwise producers fall into step, and one whose records
 *   always come right after somebody else's has all of the throttles.
 *
 * A time before the latest that it was told counts as the latest.
 */
export class RateBucket {
  #ceiling: number
  #rate: number
  #records: number
  #bytes: number
  #atMs: number
  #takenAtMs: number
  /** What was taken, of which a second later a third is left: about the rate that is really used. */
  #used = 0
  /** The same without what was in requests that were throttled. */
  #accepted = 0
  /** What was taken lately, by when. */
  readonly #sent: { readonly atMs: number; cost: number }[] = []
  #cut: Cut | undefined
  /** A record goes when more than this is saved, in seconds of the quota. Below 0 it goes the earlier. Around 0 on average. */
  #stretch = 0
  #sequence = 0

  /** @param rateLimit in percent of the quota, at most; Infinity: no limit before the first throttle */
  constructor(rateLimit: number, nowMs: number) {
    this.#ceiling = rateLimit / 100
    this.#rate = this.#ceiling
    this.#atMs = nowMs
    this.#takenAtMs = nowMs
    const saved = Math.min(INITIAL, this.#rate)
    this.#records = saved * RECORDS_PER_SECOND
    this.#bytes = saved * BYTES_PER_SECOND
  }

  /** Bytes a second at which it grows; Infinity while nothing limits it. */
  get bytesPerSecond(): number {
    return BYTES_PER_SECOND * this.#rate
  }

  /** Milliseconds until a record may go; 0 if now. */
  waitMs(nowMs: number): number {
    this.#advance(nowMs)
    if (this.#rate === Number.POSITIVE_INFINITY) return 0
    const missing = this.#stretch - this.#saved
    // A millisecond more than it takes, so that rounding never makes a wait of nothing.
    return missing < 0 ? 0 : (missing / this.#rate) * 1_000 + 1
  }

  /** A record goes. */
  take(bytes: number, nowMs: number): void {
    this.#advance(nowMs)
    const cost = Math.max(1 / RECORDS_PER_SECOND, bytes / BYTES_PER_SECOND)
    this.#used += cost
    this.#accepted += cost
    const latest = this.#sent.at(-1)
    if (latest?.atMs === this.#atMs) latest.cost += cost
    else if (this.#sent.push({ atMs: this.#atMs, cost }) === 2 * REMEMBERED) this.#sent.splice(0, REMEMBERED)
    if (this.#rate === Number.POSITIVE_INFINITY) return
    this.#records -= 1
    this.#bytes -= bytes
    const secondsSince = (this.#atMs - this.#takenAtMs) / 1_000
    this.#takenAtMs = this.#atMs
    this.#stretch = 0
    if (this.#cut === undefined) return
    const stretch = Math.min(cost, MODEST) * this.#nextStretch()
    this.#stretch = Math.min(stretch, this.#rate * LONGEST_STRETCH_SECONDS)
    this.#rise(Math.min(1, secondsSince * FASTEST_STEPS))
  }

  /** A request that was sent at `sentAtMs` was throttled. One that was under way at the last throttle tells nothing new. */
  throttled(sentAtMs: number, nowMs: number): void {
    this.#advance(nowMs)
    const refused = this.#sent.findLast(({ atMs }) => atMs <= sentAtMs)?.cost ?? 0
    this.#accepted -= refused * Math.exp((sentAtMs - this.#atMs) / 1_000)
    if (this.#cut !== undefined && sentAtMs < this.#cut.atMs) return
    const from = Math.min(this.#rate, Math.max(this.#used, MODEST))
    const rate = Math.max(from * DECREASE, (this.#accepted - refused) * STILL_ACCEPTED, Math.min(LEAST, this.#ceiling))
    if (rate >= this.#rate) return
    this.#cut = { from, depth: from - rate, cycle: Math.max(CYCLE * from, LEAST_CYCLE), atMs: this.#atMs, steps: 0 }
    this.#rate = rate
    this.#stretch = Math.min(this.#stretch, rate * LONGEST_STRETCH_SECONDS)
    // What was saved, the shard has granted to others.
    this.#records = Math.min(0, this.#records)
    this.#bytes = Math.min(0, this.#bytes)
  }

  /** Changes the limit; see the constructor. What throttles have told stays. */
  limitTo(rateLimit: number, nowMs: number): void {
    this.#advance(nowMs)
    this.#ceiling = rateLimit / 100
    if (this.#cut === undefined || this.#rate > this.#ceiling) this.#rate = this.#ceiling
  }

  /** Of the tokens of which there are fewer, in seconds of the quota. */
  get #saved(): number {
    return Math.min(this.#records / RECORDS_PER_SECOND, this.#bytes / BYTES_PER_SECOND)
  }

  #advance(nowMs: number): void {
    if (nowMs <= this.#atMs) return
    const seconds = (nowMs - this.#atMs) / 1_000
    this.#atMs = nowMs
    const faded = Math.exp(-seconds)
    this.#used *= faded
    this.#accepted *= faded
    if (this.#saved - this.#stretch > this.#rate * AMPLE) this.#rise(seconds * FASTEST_STEPS)
    if (Number.isFinite(this.#rate)) {
      const most = Math.max(this.#rate, 2 * this.#stretch)
      this.#records = Math.min(most, this.#records / RECORDS_PER_SECOND + seconds * this.#rate) * RECORDS_PER_SECOND
      this.#bytes = Math.min(most, this.#bytes / BYTES_PER_SECOND + seconds * this.#rate) * BYTES_PER_SECOND
    }
  }

  #rise(steps: number): void {
    const cut = this.#cut
    if (cut === undefined) return
    cut.steps += steps
    const rate = cut.from + cut.depth * (cut.steps / cut.cycle - 1) ** 3
    this.#rate = Math.min(this.#ceiling, Math.max(this.#rate, rate))
    if (this.#rate === this.#ceiling) this.#cut = undefined
  }

  /**
   * Makes the waits exponentially distributed, as they are between random events, without changing their mean. The sequence
   * of multiples of the golden ratio is as even as random numbers, and the same in every run.
   */
  #nextStretch(): number {
    this.#sequence = (this.#sequence + GOLDEN_RATIO) % 1
    return Math.min(LONGEST_STRETCH, -Math.log(1 - this.#sequence) - 1)
  }
}
