import {
  backoffMs,
  type Clock,
  classifyError,
  describeStream,
  type Kinesis,
  orAborted,
  type Random,
} from '@shardwise/core'
import { within } from '../waiting.ts'

/** How long the stream keeps its records. */
export interface Retention {
  /** In milliseconds, as far as it is known; undefined while it isn't. Never waits: asks in the background, if it is time to. */
  known(signal: AbortSignal): number | undefined
  /** Asks now. Never rejects: without an answer in good time, what is known or the service's minimum. */
  ask(signal: AbortSignal): Promise<number>
}

/**
 * What decides which shard takes a record: its hash key, or the service as it likes. `unknown` where that can't be said just
 * now.
 */
export type Placement = 'byKey' | 'byService' | 'unknown'

/** What is known of a stream besides its shards. */
export interface StreamFacts extends Retention {
  /**
   * How records find their shard, to be asked for one that lies outside its shard's hash range. Never waits: asks in the
   * background, if what is known has become old.
   *
   * `byKey` only if an answer of the last minute says so, and none has ever said otherwise: a record that was placed by the service
   * may still be in the stream.
   */
  placement(signal: AbortSignal): Placement
}

export interface DescribedStreamOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly clock: Clock
  readonly random: Random
}

/** What the service keeps records for at least. Source: the API reference, DecreaseDescribedStreamPeriod. */
export const MIN_RETENTION_MS: number = 24 * 3_600_000
/** The retention may be lowered while the stream is read. */
const ASK_AGAIN_MS = 10 * 60_000
/** How the stream places records may be changed at any time, with effect at once. */
const PLACEMENT_FRESH_MS = 60_000
/** Soon enough that who asks all the time always has a fresh answer. */
const PLACEMENT_ASK_AGAIN_MS = 30_000
/** The operation is granted 20 times a second for a whole account. */
const RETRY_BACKOFF = { baseMs: 1_000, maxMs: 60_000 }
/** Records wait for this answer. */
const PATIENCE_MS = 5_000

/**
 * What DescribeStreamSummary says of the stream, asked once for all shards of a worker. Where it may not be asked, the retention
 * is the service's minimum, and the placement unknown.
 */
export class DescribedStream implements StreamFacts {
  readonly #options: DescribedStreamOptions
  #knownMs: number | undefined
  #askAtMs = Number.NEGATIVE_INFINITY
  #asking: Promise<void> | undefined
  #failures = 0
  #distributesByKey: boolean | undefined
  #describedAtMs = Number.NEGATIVE_INFINITY
  #everPlacedByService = false

  constructor(options: DescribedStreamOptions) {
    this.#options = options
  }

  known(signal: AbortSignal): number | undefined {
    if (this.#options.clock.monotonicMs() >= this.#askAtMs) void this.#ask(signal)
    return this.#knownMs
  }

  async ask(signal: AbortSignal): Promise<number> {
    // Only the signal makes it reject.
    await orAborted(this.#askAnew(signal), signal).catch(() => undefined)
    return this.#knownMs ?? MIN_RETENTION_MS
  }

  placement(signal: AbortSignal): Placement {
    const nowMs = this.#options.clock.monotonicMs()
    const ageMs = nowMs - this.#describedAtMs
    const isFresh = ageMs < PLACEMENT_FRESH_MS
    if (this.#failures === 0 ? ageMs >= PLACEMENT_ASK_AGAIN_MS : nowMs >= this.#askAtMs) void this.#ask(signal)
    if (this.#distributesByKey === false) return 'byService'
    return isFresh && !this.#everPlacedByService ? 'byKey' : 'unknown'
  }

  /** An answer that is under way already may be from before a change. */
  async #askAnew(signal: AbortSignal): Promise<void> {
    await this.#asking
    if (!signal.aborted) await this.#ask(signal)
  }

  #ask(signal: AbortSignal): Promise<void> {
    this.#asking ??= this.#describe(signal).finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #describe(signal: AbortSignal): Promise<void> {
    const { kinesis, stream, clock, random } = this.#options
    try {
      const { retentionMs, distributesByKey } = await within(clock, PATIENCE_MS, (over) => {
        const either = AbortSignal.any([signal, over])
        return orAborted(describeStream(kinesis, stream, either), either)
      })
      this.#knownMs = retentionMs
      this.#distributesByKey = distributesByKey
      this.#everPlacedByService ||= !distributesByKey
      this.#failures = 0
      this.#describedAtMs = clock.monotonicMs()
      this.#askAtMs = this.#describedAtMs + ASK_AGAIN_MS
    } catch (error) {
      const nowMs = clock.monotonicMs()
      if (signal.aborted) {
        // The shard that asked is over; the next asks anew.
        this.#askAtMs = nowMs
      } else if (classifyError(error) === 'fatal') {
        this.#knownMs ??= MIN_RETENTION_MS
        this.#failures++
        this.#askAtMs = Number.POSITIVE_INFINITY
      } else {
        this.#askAtMs = nowMs + backoffMs(++this.#failures, RETRY_BACKOFF, random)
      }
    }
  }
}
