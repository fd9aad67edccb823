import type { ConsumerRecord } from './consumer-record.ts'
import { Fifo } from './fifo.ts'
import type { Intake } from './intake.ts'
import { KeyLanes } from './key-lanes.ts'
import { GONE, isGone } from './record-buffer.ts'
import { AT_ONCE, type GivenWork, laneOf, type SingleWork, singleWorkOf } from './single-works.ts'
import type { BatchLimits, Ordering, Undecodable } from './work.ts'

/** A batch on its way through the handler, or a part of one that has failed. */
export interface BatchWork extends GivenWork {
  record: ConsumerRecord
  batch: readonly ConsumerRecord[] | undefined
  undecodable: Undecodable | undefined
  readonly records: readonly SingleWork[]
  /** What it keeps others from, until it and what follows it are finished. */
  readonly lanes: ReadonlySet<string>
  /** The part that has to wait for this one, and goes on in its lanes. */
  next: BatchWork | undefined
}

export interface BatchWorksOptions extends BatchLimits {
  readonly ordering: Ordering
  readonly now: () => number
}

/**
 * User records in batches, each in the shard's order. Two batches that share a lane don't run at once: what comes for a lane that is busy
 * waits, and joins a later batch.
 */
export class BatchWorks {
  readonly #intake: Intake
  readonly #options: BatchWorksOptions
  readonly #lanes = new KeyLanes<SingleWork>()
  /** Failed ones that may run again, and parts whose turn has come. */
  readonly #ready = new Fifo<BatchWork>()
  /** The batch that is being gathered. */
  #gathered: SingleWork[] = []
  #gatheredBytes = 0
  #hasMore = false

  constructor(intake: Intake, options: BatchWorksOptions) {
    this.#intake = intake
    this.#options = options
  }

  /** 0, too, if what was there has only been looked through in part. */
  get waitMs(): number | undefined {
    return this.#hasMore ? 0 : this.#dueInMs
  }

  get #dueInMs(): number | undefined {
    const [first] = this.#gathered
    if (first === undefined) return undefined
    if (this.#intake.givesNoMore) return 0
    return Math.max(0, first.source.batch.cameAtMs + this.#options.maxWaitMs - this.#options.now())
  }

  take(): BatchWork | undefined {
    const ready = this.#ready.shift()
    if (ready !== undefined) return checked(ready)
    this.#hasMore = false
    // There is one lane: what comes next would only wait in it.
    if (this.#options.ordering === 'shard' && this.#lanes.busyKeys > 0) return undefined
    const isFull = this.#joinReady() || this.#joinNew()
    if (this.#gathered.length === 0) return undefined
    return isFull || this.#dueInMs === 0 ? this.#give() : undefined
  }

  /** What is in a batch has been begun already. */
  begin(): void {}

  finish(work: BatchWork): void {
    if (work.undecodable !== undefined) this.#intake.passUndecodable()
    for (const { number, record, source } of work.records) this.#intake.finish(number, record, source)
    if (work.next !== undefined) this.#ready.push(work.next)
    else for (const lane of work.lanes) this.#lanes.finish(lane)
  }

  fail(work: BatchWork): void {
    // Of several it isn't known which one has failed.
    if (work.records.length === 1) this.#intake.failed(work.records[0]!.number, work)
  }

  again(work: BatchWork): void {
    this.#ready.push(work)
  }

  /** Where it has several lanes, each goes to one half, and neither half waits for the other. */
  bisect(work: BatchWork): BatchWork {
    const { records, lanes, failedAtMs } = work
    const units = [...new Set(records.map((each) => this.#unitOf(each)))]
    if (units.length > 1) {
      const isFirst = new Set(units.slice(0, Math.ceil(units.length / 2)))
      const [ones, others] = [true, false].map((is) => records.filter((each) => isFirst.has(this.#unitOf(each)) === is))
      this.#ready.push(workOf(others!, this.#lanesOf(others!), failedAtMs))
      return workOf(ones!, this.#lanesOf(ones!), failedAtMs)
    }
    const half = Math.ceil(records.length / 2)
    const first = workOf(records.slice(0, half), lanes, failedAtMs)
    first.next = workOf(records.slice(half), lanes, failedAtMs)
    first.next.next = work.next
    return first
  }

  /** Takes in what has waited for its lane. Answers whether the batch may take no more. */
  #joinReady(): boolean {
    for (let next = this.#lanes.firstReady; next !== undefined; next = this.#lanes.firstReady) {
      if (!this.#fits(next)) return true
      this.#lanes.joinReady()
      this.#join(next)
    }
    return false
  }

  /** Takes in what comes next in the shard. Answers whether the batch may take no more. */
  #joinNew(): boolean {
    for (let count = 0; !this.#isComplete(); count++) {
      if (count === AT_ONCE) {
        this.#hasMore = true
        return false
      }
      const record = this.#intake.next()
      if (record === undefined) return false
      const next = singleWorkOf(record, this.#intake)
      const lane = laneOf(next, this.#options.ordering)
      if (lane !== undefined && this.#lanes.isBusy(lane)) {
        next.number = this.#intake.begin(record, next)
        this.#lanes.park(lane, next)
      } else if (this.#fits(next)) {
        next.number = this.#intake.begin(record, next)
        this.#join(next)
      } else {
        this.#intake.giveBack(record)
        return true
      }
    }
    return true
  }

  #isComplete(): boolean {
    const [first] = this.#gathered
    const { maxRecords, maxBytes } = this.#options
    return (
      first !== undefined && (this.#gathered.length >= maxRecords || this.#gatheredBytes >= maxBytes || isAlone(first))
    )
  }

  #fits(next: SingleWork): boolean {
    if (this.#gathered.length === 0) return true
    if (this.#isComplete() || isAlone(next)) return false
    return this.#gatheredBytes + next.record.data.byteLength <= this.#options.maxBytes
  }

  #join(next: SingleWork): void {
    this.#gathered.push(next)
    this.#gatheredBytes += next.record.data.byteLength
  }

  #give(): BatchWork {
    // What has waited for its lane came lane by lane.
    const records = this.#gathered.sort((one, other) => one.number - other.number)
    this.#gathered = []
    this.#gatheredBytes = 0
    const work = workOf(records, this.#lanesOf(records), records[0]!.failedAtMs)
    for (const lane of work.lanes) this.#lanes.hold(lane)
    return checked(work)
  }

  #lanesOf(records: readonly SingleWork[]): Set<string> {
    const lanes = new Set<string>()
    for (const record of records) {
      const lane = laneOf(record, this.#options.ordering)
      if (lane !== undefined) lanes.add(lane)
    }
    return lanes
  }

  /** What can't be torn apart: a lane, or a record without one. */
  #unitOf(record: SingleWork): string | number {
    return laneOf(record, this.#options.ordering) ?? record.number
  }
}

/** What has failed before must not make others wait, nor have them fail with it. */
function isAlone({ attempt, undecodable }: SingleWork): boolean {
  return attempt > 1 || undecodable !== undefined
}

function workOf(records: readonly SingleWork[], lanes: ReadonlySet<string>, failedAtMs: number | undefined): BatchWork {
  const { record, undecodable, attempt } = records[0]!
  const all: readonly ConsumerRecord[] = records.map((each) => each.record)
  return {
    record,
    batch: undecodable === undefined ? all : undefined,
    undecodable,
    attempt: records.length === 1 ? attempt : 1,
    failedAtMs,
    isRunning: false,
    records,
    lanes,
    next: undefined,
  }
}

/** With nothing to handle if any of it has lost its data. */
function checked(work: BatchWork): BatchWork {
  const gone = work.records.find(({ record }) => isGone(record))
  if (gone !== undefined) {
    work.record = gone.record
    work.batch = undefined
    work.undecodable = GONE
  }
  return work
}
