import type { ConsumerRecord } from './consumer-record.ts'
import { Fifo } from './fifo.ts'
import type { Intake } from './intake.ts'
import { KeyLanes, type Parked } from './key-lanes.ts'
import { GONE, isGone, type Source } from './record-buffer.ts'
import type { Ordering, Undecodable, Work } from './work.ts'

/** A work that has been given out. */
export interface GivenWork extends Work {
  /** Its handler has been called and hasn't settled. */
  isRunning: boolean
}

/** One user record on its way through the handler. */
export interface SingleWork extends GivenWork, Parked<SingleWork> {
  undecodable: Undecodable | undefined
  readonly source: Source
  /** Its number in the watermark; -1 while it has none, and always for a record that its handler finishes at once. */
  number: number
}

/** So many records are looked at in one go; then the event loop may have a turn. */
export const AT_ONCE = 1_000
/** The lane of a whole shard. */
const SHARD = 'shard'

/** User records one by one: of those that share a lane one at a time, in order. */
export class SingleWorks {
  readonly #intake: Intake
  readonly #ordering: Ordering
  readonly #lanes = new KeyLanes<SingleWork>()
  readonly #again = new Fifo<SingleWork>()
  #hasMore = false

  constructor(intake: Intake, ordering: Ordering) {
    this.#intake = intake
    this.#ordering = ordering
  }

  /** 0: what was there has only been looked through in part. */
  get waitMs(): number | undefined {
    return this.#hasMore ? 0 : undefined
  }

  take(): SingleWork | undefined {
    const ready = this.#again.shift() ?? this.#lanes.takeReady()
    if (ready !== undefined) {
      if (isGone(ready.record)) ready.undecodable = GONE
      return ready
    }
    this.#hasMore = false
    // There is one lane: what comes next would only wait in it.
    if (this.#ordering === 'shard' && this.#lanes.busyKeys > 0) return undefined
    for (let count = 0; count < AT_ONCE; count++) {
      const record = this.#intake.next()
      if (record === undefined) return undefined
      const work = singleWorkOf(record, this.#intake)
      if (this.#ordering !== 'key' || work.undecodable !== undefined) return work
      if (!this.#lanes.isBusy(record.partitionKey)) return work
      work.number = this.#intake.begin(record, work)
      this.#lanes.park(record.partitionKey, work)
    }
    this.#hasMore = true
    return undefined
  }

  begin(work: SingleWork): void {
    if (work.number >= 0) return
    work.number = this.#intake.begin(work.record, work)
    const lane = laneOf(work, this.#ordering)
    if (lane !== undefined) this.#lanes.start(lane)
  }

  finish(work: SingleWork): void {
    if (work.number < 0) {
      this.#intake.finishAtOnce(work.record)
      return
    }
    if (work.undecodable !== undefined) this.#intake.passUndecodable()
    const lane = laneOf(work, this.#ordering)
    if (lane !== undefined) this.#lanes.finish(lane)
    this.#intake.finish(work.number, work.record, work.source)
  }

  fail(work: SingleWork): void {
    this.#intake.failed(work.number, work)
  }

  again(work: SingleWork): void {
    this.#again.push(work)
  }

  bisect({ record }: SingleWork): never {
    throw new Error(`Expected a batch of several to split, got the one record ${record.sequenceNumber}.`)
  }
}

/** What a user record keeps busy: its key, or its shard. */
export function laneOf({ record, undecodable }: SingleWork, ordering: Ordering): string | undefined {
  // Nothing behind an undecodable Kinesis record is given out before it is finished.
  if (ordering === 'none' || undecodable !== undefined) return undefined
  if (ordering === 'shard') return SHARD
  // Without a key there is no order to keep.
  return record.partitionKey === '' ? undefined : record.partitionKey
}

/** Of what has just come. */
export function singleWorkOf(record: ConsumerRecord, intake: Intake): SingleWork {
  const tried = intake.triedBefore(record)
  return {
    record,
    batch: undefined,
    undecodable: intake.undecodable,
    attempt: tried === undefined ? 1 : tried.attempts + 1,
    failedAtMs: tried?.failedAtMs,
    isRunning: false,
    source: intake.source,
    number: -1,
    behind: undefined,
  }
}
