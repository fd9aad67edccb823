import type { Clock } from '@shardwise/core'
import { MIN_RETENTION_MS, type Retention } from '../streams/described-stream.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'

export interface ExpiryWatchOptions {
  readonly shardId: string
  readonly clock: Clock
  readonly retention: Retention
  readonly telemetry: StreamTelemetry
}

/** What an answer shows of the place in the shard that has been reached. */
export interface ReadAnswer {
  /** The sequence number of the first record in it; undefined if there is none. */
  readonly first: string | undefined
  readonly millisBehindLatest: number
  /** Nothing is left to be read: the tip, or the shard's end. */
  readonly isLast: boolean
}

interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

/** Records that may have expired unread, until it shows whether they have. */
interface Suspicion {
  /** How old the oldest of them may have become. */
  readonly ageMs: number
  /** The last record known to be before them. */
  readonly after: string | undefined
}

/** While a shard stays behind the horizon, one event speaks for so long. */
const TELL_AGAIN_MS = 60_000
/** A machine's clock may go slow, by less than this. */
const CLOCK_DRIFT = 0.002

/**
 * Notices when a shard is read so late that records of it may have expired unread. They can't be had any more, but they
 * must not be missed silently.
 *
 * An iterator that was taken at a known record proves by that record's coming that nothing behind it has expired. And what
 * hasn't been read is, as of an answer, at most MillisBehindLatest old: unless the retention has passed by the next answer,
 * nothing has expired in between.
 */
export class ExpiryWatch {
  readonly #options: ExpiryWatchOptions
  /** The record that the iterator was taken at, until it has come or is known not to. */
  #awaited: string | undefined
  #suspicion: Suspicion | undefined
  #sentAt: Moment | undefined
  /** The last answer: when it was asked for, and how far it was behind. */
  #last: (Moment & { readonly millisBehindLatest: number }) | undefined
  #toldAtMs = Number.NEGATIVE_INFINITY

  constructor(options: ExpiryWatchOptions) {
    this.#options = options
  }

  /** An iterator was taken at this record, or, if undefined, at a place of which nothing is known. */
  iteratorTaken(at: string | undefined): void {
    this.#awaited = at
    if (at !== undefined && this.#last === undefined) {
      // Since when it hasn't been read isn't known.
      this.#suspicion = { ageMs: Number.POSITIVE_INFINITY, after: at }
    }
  }

  /** A read is about to be sent. */
  sending(): void {
    this.#sentAt = this.#now()
  }

  /**
   * Takes the answer in, and tells if records before it may have expired. Waits only if they may have: for the retention, which
   * may have been raised.
   *
   * @param lastKnown the last record known to be before the answer
   */
  async answered(answer: ReadAnswer, lastKnown: string | undefined, signal: AbortSignal): Promise<void> {
    const suspicion = this.#suspected(lastKnown)
    const awaited = this.#awaited
    this.#last = { ...(this.#sentAt ?? this.#now()), millisBehindLatest: answer.millisBehindLatest }
    this.#suspicion = undefined
    if (awaited !== undefined && answer.first === undefined && !answer.isLast) {
      this.#suspicion = suspicion
      return
    }
    this.#awaited = undefined
    if (awaited === undefined || answer.first !== awaited) {
      await this.#judge(suspicion, { isMissing: awaited !== undefined, found: answer.first }, signal)
    }
  }

  #now(): Moment {
    const { clock } = this.#options
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
  }

  #suspected(lastKnown: string | undefined): Suspicion {
    let ageMs = 0
    if (this.#last !== undefined) {
      const { monotonicMs, wallMs } = this.#now()
      // The monotonic clock stands still while the machine is suspended; the other may be set.
      const passedMs = Math.max(monotonicMs - this.#last.monotonicMs, wallMs - this.#last.wallMs)
      ageMs = this.#last.millisBehindLatest + passedMs * (1 + CLOCK_DRIFT)
    }
    const open = this.#suspicion
    return open !== undefined && open.ageMs >= ageMs ? open : { ageMs, after: lastKnown }
  }

  /**
   * @param shown whether the record that the iterator was taken at has expired itself, and what came in its place
   */
  async #judge(
    suspicion: Suspicion,
    { isMissing, found }: { readonly isMissing: boolean; readonly found: string | undefined },
    signal: AbortSignal,
  ): Promise<void> {
    const { shardId, clock, retention, telemetry } = this.#options
    const { ageMs, after } = suspicion
    const knownMs = retention.known(signal)
    if (knownMs === undefined && ageMs <= MIN_RETENTION_MS) {
      this.#suspicion = suspicion
      return
    }
    const isTold = clock.monotonicMs() - this.#toldAtMs < TELL_AGAIN_MS
    if (ageMs <= (knownMs ?? MIN_RETENTION_MS) || isTold) return
    if (ageMs === Number.POSITIVE_INFINITY) {
      telemetry.emit({ type: 'checkpointExpired', shardId, checkpoint: after, found })
      return
    }
    const askedMs = await retention.ask(signal)
    // Where a record is missing, a retention raised since has come too late.
    if (ageMs <= (isMissing ? Math.min(askedMs, knownMs ?? askedMs) : askedMs)) return
    this.#toldAtMs = clock.monotonicMs()
    telemetry.emit({ type: 'recordsExpired', shardId, after })
  }
}
