import type { Random } from '@shardwise/core'

/** What the service lets all who poll a shard read together, in a second. Source: the API reference, GetRecords. */
const CALLS_PER_SECOND = 5
const BYTES_PER_SECOND = 2 * 2 ** 20
/**
 * The rest is left for others: who comes after a reader that takes everything would hardly ever find the shard open. And for
 * clocks that go fast.
 */
const SLACK = 0.98
/**
 * An answer of 10 MiB, the most there is, makes the service refuse further calls for 5 s; it may have less, if the next record is
 * large. A little longer, so that others find the shard open.
 */
const FULL_BYTES = 9 * 2 ** 20
const AFTER_FULL_MS = 5_250

/** The smallest pause that `idleTimeBetweenReads` can ask for. */
const MIN_IDLE_MS = 20
/** How long a pause can become while nothing comes. */
const MAX_IDLE_MS = 1_000
/** Part of the time since a record has come that the next pause may take. */
const IDLE_SHARE = 0.1

/** What becomes of the share when the shard is throttled. */
const DECREASE = 0.7
/** What is added to the share in a second, soon after it was throttled. */
const INCREASE_PER_SECOND = 0.004
/** After so long without throttling it is twice that, then three times, and so on: whoever was there has left. */
const INCREASE_FASTER_MS = 15_000
/** While it shares with others, small answers find the shard open more often. Five a second still make 2 MiB. */
const SHARED_ANSWER_BYTES = 2 ** 19
/** A success says so much of the time before it, at most. */
const MAX_INCREASE_MS = 5_000
const MIN_SHARE = 0.05
/** What a throttled call waits at the most, in spacings of calls and at all. */
const MAX_RETRY_MS = 2_000

/** The outcome of a call, as far as the next depends on it. */
export interface PacedAnswer {
  readonly records: number
  /** Data and partition keys together: what the service counts. */
  readonly bytes: number
  /** More is there to be read at once. */
  readonly isBehind: boolean
}

/**
 * When the next GetRecords may be sent. Pure: it is told what happens and when.
 *
 * A reader that is behind reads as fast as the service allows for a shard. All applications that poll the shard share that without
 * knowing of each other, so each finds its share as TCP does: being throttled takes some of it at once, and time without gives
 * some back. At the tip it reads every `idleTimeBetweenReads`, and more rarely when nothing has come for a while.
 */
export class ReadPace {
  readonly #idleMs: number
  readonly #random: Random
  /** What the share can become. */
  readonly #maxShare: number
  #share: number
  /** Bytes that may be read, on top of the one answer that may go into debt. */
  #credit = 0
  #creditAtMs: number
  #sentAtMs = Number.NEGATIVE_INFINITY
  #nextMs = Number.NEGATIVE_INFINITY
  #recordAtMs: number
  #settledAtMs: number
  #throttled = 0
  /** Time without throttling, as far as calls have shown it. */
  #untroubledMs = 0

  /**
   * @param idleTimeBetweenReads in milliseconds; less than 200, what the service's 5 calls a second make, says that this shard
   *   gives more than the service does, bytes in the same measure
   */
  constructor(idleTimeBetweenReads: number, nowMs: number, random: Random) {
    this.#idleMs = Math.max(MIN_IDLE_MS, idleTimeBetweenReads)
    this.#random = random
    this.#maxShare = Math.max(1, 1_000 / CALLS_PER_SECOND / this.#idleMs)
    this.#share = this.#maxShare
    this.#creditAtMs = nowMs
    this.#recordAtMs = nowMs
    this.#settledAtMs = nowMs
  }

  /** From when on the next call may be sent, by the monotonic clock; it may be long past. */
  get nextMs(): number {
    return this.#nextMs
  }

  /** The part that this reader takes of what the shard gives: 1 is all. */
  get share(): number {
    return this.#share
  }

  /** How much an answer should have at most. */
  get answerBytes(): number {
    return this.#share < this.#maxShare ? SHARED_ANSWER_BYTES : Number.POSITIVE_INFINITY
  }

  /** Calls in a row that were throttled. */
  get throttledCalls(): number {
    return this.#throttled
  }

  sent(nowMs: number): void {
    this.#sentAtMs = nowMs
  }

  answered({ records, bytes, isBehind }: PacedAnswer, nowMs: number): void {
    this.#recover(nowMs)
    this.#throttled = 0
    if (records > 0) this.#recordAtMs = nowMs
    this.#spend(bytes, nowMs)
    this.#nextMs = Math.max(
      this.#sentAtMs + this.#spacingMs,
      nowMs - this.#credit / this.#bytesPerMs,
      bytes >= FULL_BYTES ? nowMs + AFTER_FULL_MS / this.#maxShare : Number.NEGATIVE_INFINITY,
      isBehind ? Number.NEGATIVE_INFINITY : this.#sentAtMs + this.#idleAtMs(nowMs),
    )
  }

  /** The service refused a call since the shard is read too fast, be it by others. */
  throttled(nowMs: number): void {
    this.#settledAtMs = nowMs
    this.#untroubledMs = 0
    // Those that follow say no more: the shard hasn't opened since.
    if (this.#throttled++ === 0) this.#share = Math.max(MIN_SHARE, this.#share * DECREASE)
    const retryMs = this.#spacingMs * 1.5 ** Math.min(this.#throttled - 1, 10) * (0.5 + this.#random())
    this.#nextMs = nowMs + Math.min(MAX_RETRY_MS, retryMs)
  }

  #recover(nowMs: number): void {
    const passedMs = Math.min(MAX_INCREASE_MS, nowMs - this.#settledAtMs)
    this.#settledAtMs = nowMs
    this.#untroubledMs += passedMs
    const perSecond = INCREASE_PER_SECOND * (1 + this.#untroubledMs / INCREASE_FASTER_MS)
    this.#share = Math.min(this.#maxShare, this.#share + (perSecond * passedMs) / 1_000)
  }

  get #spacingMs(): number {
    return 1_000 / (CALLS_PER_SECOND * SLACK * this.#share)
  }

  get #bytesPerMs(): number {
    return (BYTES_PER_SECOND * SLACK * this.#share) / 1_000
  }

  #spend(bytes: number, nowMs: number): void {
    const earned = (nowMs - this.#creditAtMs) * this.#bytesPerMs
    this.#credit = Math.min(BYTES_PER_SECOND, this.#credit + earned) - bytes
    this.#creditAtMs = nowMs
  }

  #idleAtMs(nowMs: number): number {
    const grown = Math.min(MAX_IDLE_MS, (nowMs - this.#recordAtMs) * IDLE_SHARE)
    return Math.max(this.#idleMs, grown)
  }
}
