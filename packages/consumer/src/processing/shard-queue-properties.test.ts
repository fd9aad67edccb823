import { hash } from 'node:crypto'
import {
  AGGREGATE_MAGIC,
  AggregateBuilder,
  comparePositions,
  FULL_HASH_RANGE,
  type HashRange,
  isMisplaced,
  type Position,
  TRIM_HORIZON,
} from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { KinesisRecord } from './record-buffer.ts'
import { ShardQueue } from './shard-queue.ts'
import type { BatchLimits, Ordering, QueueMemory, Work } from './work.ts'

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', '']
const LOW: HashRange = { start: 0n, end: FULL_HASH_RANGE.end / 2n }

/** What the shard has in one place: aggregates of keys, lone keys, an aggregate that is damaged, one of nothing. */
type Place = { readonly aggregate: readonly string[] } | { readonly lone: string } | 'damaged' | 'empty'

interface Entry extends Position {
  readonly key: string
  readonly isDamaged: boolean
}

interface Setting {
  readonly places: readonly Place[]
  readonly ordering: Ordering
  readonly batch: BatchLimits | undefined
  readonly maxAheadRecords: number
  readonly maxAheadBytes: number
  readonly concurrency: number
  readonly dropMisplaced: boolean
}

function envelope(protobuf: Uint8Array): Buffer {
  return Buffer.concat([AGGREGATE_MAGIC, protobuf, Buffer.from(hash('md5', protobuf, 'hex'), 'hex')])
}
const DAMAGED = envelope(Buffer.from([0x0a, 0x01, 0x61, 0x1a, 0x04, 0x08, 0x05, 0x1a, 0x00]))
const EMPTY = envelope(Buffer.from([0x0a, 0x01, 0x61]))

const dataOf = (key: string, index: number): Buffer => Buffer.alloc(1 + (index % 7), key || '-')

function kinesisRecordOf(place: Place, index: number): KinesisRecord {
  const base = { sequenceNumber: String(100 + index), partitionKey: 'a', arrivedAt: undefined }
  if (place === 'damaged') return { ...base, data: DAMAGED }
  if (place === 'empty') return { ...base, data: EMPTY }
  if ('lone' in place) return { ...base, partitionKey: place.lone, data: dataOf(place.lone, index) }
  const builder = new AggregateBuilder()
  for (const [sub, key] of place.aggregate.entries()) builder.add(key, undefined, dataOf(key, sub))
  return { ...base, data: Buffer.from(builder.build(0n).data) }
}

/** All that is to be handled, in order. */
function entriesOf({ places, dropMisplaced }: Setting): Entry[] {
  return places.flatMap((place, index): Entry[] => {
    const at = (key: string, sub = 0, isDamaged = false): Entry => ({
      sequenceNumber: String(100 + index),
      subSequenceNumber: sub,
      key,
      isDamaged,
    })
    if (place === 'damaged') return [at('a', 0, true)]
    if (place === 'empty') return []
    if ('lone' in place) return [at(place.lone)]
    const all = place.aggregate.map((key, sub) => at(key, sub))
    return dropMisplaced ? all.filter(({ key }) => !isMisplaced({ partitionKey: key }, LOW)) : all
  })
}

/** A worker that has the shard, what it knows, and what must hold. */
class Run {
  readonly setting: Setting
  readonly records: readonly KinesisRecord[]
  readonly entries: readonly Entry[]
  readonly running: Work[] = []
  readonly failed: Work[] = []
  /** Indexes of entries that are finished, as this process knows. */
  finished = new Set<number>()
  /** How often each has failed alone, in this process. */
  failures = new Map<number, number>()
  /** What was written last. */
  checkpoint: Position = TRIM_HORIZON
  queue!: ShardQueue
  #pushed = 0
  nowMs = 0

  constructor(setting: Setting) {
    this.setting = setting
    this.records = setting.places.map(kinesisRecordOf)
    this.entries = entriesOf(setting)
    this.open(undefined)
  }

  open(memory: QueueMemory | undefined): void {
    const { ordering, batch, maxAheadRecords, maxAheadBytes, dropMisplaced } = this.setting
    this.queue = new ShardQueue({
      stream: 'flights',
      shardId: 'shardId-000000000000',
      hashRange: LOW,
      checkpoint: this.checkpoint,
      memory,
      dropMisplaced,
      ordering,
      batch,
      maxAheadRecords,
      maxAheadBytes,
      now: () => this.nowMs,
      onProgress: () => undefined,
      onMisplaced: () => undefined,
    })
    const { sequenceNumber } = this.queue.position
    // Reading starts at the checkpoint itself.
    const from = this.records.findIndex((record) => record.sequenceNumber === sequenceNumber)
    this.#pushed = Math.max(from, 0)
  }

  push(count: number): void {
    this.queue.push(this.records.slice(this.#pushed, this.#pushed + count))
    this.#pushed = Math.min(this.#pushed + count, this.records.length)
    if (this.#pushed === this.records.length) this.queue.end()
  }

  indexOf(position: Position): number {
    return this.entries.findIndex((entry) => comparePositions(entry, position) === 0)
  }

  indexesOf(work: Work): number[] {
    return (work.batch ?? [work.record]).map((record) => this.indexOf(record))
  }

  laneOf(index: number): string | undefined {
    const { key, isDamaged } = this.entries[index]!
    const { ordering } = this.setting
    if (isDamaged || ordering === 'none') return undefined
    return ordering === 'shard' ? 'shard' : key || undefined
  }

  take(): Work | undefined {
    const work = this.queue.take()
    if (work !== undefined) this.checkTaken(work)
    this.checkSpan()
    return work
  }

  checkTaken(work: Work): void {
    const indexes = this.indexesOf(work)
    expect(indexes).toEqual([...indexes].sort((one, other) => one - other))
    expect(work.undecodable !== undefined).toBe(this.entries[indexes[0]!]!.isDamaged)
    const inHand = [...this.running, ...this.failed].flatMap((other) => this.indexesOf(other))
    for (const index of indexes) {
      expect(index).toBeGreaterThanOrEqual(0)
      expect(this.finished.has(index)).toBe(false)
      expect(inHand).not.toContain(index)
      const lane = this.laneOf(index)
      for (let before = 0; before < index; before++) {
        if (this.finished.has(before) || indexes.includes(before)) continue
        // One at a time, in order; and nothing passes what can't be read.
        expect(lane !== undefined && this.laneOf(before) === lane).toBe(false)
        expect(this.entries[before]!.isDamaged).toBe(false)
      }
      if (lane !== undefined) expect(inHand.map((other) => this.laneOf(other))).not.toContain(lane)
    }
    const { batch } = this.setting
    expect(work.batch !== undefined).toBe(batch !== undefined && work.undecodable === undefined)
    if (work.batch !== undefined && work.batch.length > 1) {
      expect(work.batch.length).toBeLessThanOrEqual(batch!.maxRecords)
      expect(work.batch.reduce((sum, { data }) => sum + data.byteLength, 0)).toBeLessThanOrEqual(batch!.maxBytes)
    } else if (batch === undefined || (work.attempt > 1 && work.batch?.length === 1)) {
      expect(work.attempt).toBe(1 + (this.failures.get(indexes[0]!) ?? 0))
      expect(work.failedAtMs !== undefined).toBe(work.attempt > 1)
    }
  }

  checkSpan(): void {
    const { maxAheadRecords, maxAheadBytes } = this.setting
    const { queue } = this
    const first = this.entries.findIndex((_, index) => !this.finished.has(index))
    const oldest = first === -1 ? undefined : this.entries[first]
    if (oldest !== undefined) expect(comparePositions(queue.position, oldest)).toBeLessThan(0)
    expect(queue.aheadRecords).toBeLessThanOrEqual(maxAheadRecords)
    if (queue.aheadRecords > 1) expect(queue.aheadBytes).toBeLessThanOrEqual(maxAheadBytes)
    const holding = queue.oldestUnfinished
    if (holding !== undefined) expect(comparePositions(holding, oldest!)).toBe(0)
  }

  start(work: Work): void {
    this.queue.running(work)
    this.running.push(work)
  }

  finish(work: Work): void {
    for (const index of this.indexesOf(work)) {
      this.finished.add(index)
      this.failures.delete(index)
    }
    this.queue.finished(work)
    this.checkSpan()
  }

  fail(work: Work): void {
    work.failedAtMs ??= this.nowMs
    this.queue.failed(work)
    const indexes = this.indexesOf(work)
    if (indexes.length === 1) this.failures.set(indexes[0]!, (this.failures.get(indexes[0]!) ?? 0) + 1)
    this.failed.push(work)
    this.checkSpan()
  }

  settle(work: Work, act: number, pick: number): void {
    if (act === 0) {
      this.queue.again(work)
    } else if (act === 1 && (work.batch?.length ?? 1) > 1) {
      const half = this.queue.bisect(work)
      if (pick % 2 === 0) this.queue.again(half)
      else this.failed.push(half)
    } else if (act === 2) this.finish(work)
    else this.queue.again(work)
  }

  /** The shard stops: what is known stays. */
  stop(): void {
    const memory = this.queue.memory()
    this.#forgetWorks()
    this.open(memory)
  }

  /** Only what was written stays. */
  crash(): void {
    this.#forgetWorks()
    this.failures = new Map()
    // All beyond the checkpoint comes again, finished or not.
    this.finished = new Set(
      [...this.finished].filter((index) => comparePositions(this.entries[index]!, this.checkpoint) <= 0),
    )
    this.open(undefined)
  }

  #forgetWorks(): void {
    this.running.length = 0
    this.failed.length = 0
  }

  step({ act, pick }: { readonly act: number; readonly pick: number }): void {
    const { running, failed } = this
    if (act <= 2) this.push(1 + (pick % 4))
    else if (act <= 9) {
      if (running.length >= this.setting.concurrency) return
      const work = this.take()
      if (work === undefined) return
      if (act === 3) this.finish(work)
      else if (act === 4) this.fail(work)
      else this.start(work)
    } else if (act <= 13) {
      const [work] = running.splice(pick % Math.max(running.length, 1), 1)
      if (work === undefined) return
      if (act === 10) this.fail(work)
      else this.finish(work)
    } else if (act <= 16) {
      const [work] = failed.splice(pick % Math.max(failed.length, 1), 1)
      if (work !== undefined) this.settle(work, act - 14, pick)
    } else if (act === 17) this.nowMs += pick % 200
    else if (act === 18) this.stop()
    else this.crash()
  }

  /** From now on everything is finished that is begun. */
  toTheEnd(): void {
    this.push(this.records.length)
    for (let step = 0; !this.queue.empty; step++) {
      expect(step).toBeLessThan(10_000)
      for (const work of this.failed.splice(0)) this.queue.again(work)
      for (const work of this.running.splice(0)) this.finish(work)
      const work = this.take()
      if (work !== undefined) this.finish(work)
      else if (this.queue.waitMs !== undefined) this.nowMs += this.queue.waitMs
    }
  }
}

const place: fc.Arbitrary<Place> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ lone: fc.constantFrom(...KEYS) }) },
  {
    weight: 4,
    arbitrary: fc.record({ aggregate: fc.array(fc.constantFrom(...KEYS), { minLength: 2, maxLength: 12 }) }),
  },
  { weight: 1, arbitrary: fc.constantFrom('damaged' as const, 'empty' as const) },
)
const limits: fc.Arbitrary<BatchLimits> = fc.record({
  maxRecords: fc.integer({ min: 1, max: 12 }),
  maxBytes: fc.integer({ min: 3, max: 60 }),
  maxWaitMs: fc.constantFrom(0, 100),
})
const setting: fc.Arbitrary<Setting> = fc.record({
  places: fc.array(place, { minLength: 1, maxLength: 15 }),
  ordering: fc.constantFrom('key' as const, 'shard' as const, 'none' as const),
  batch: fc.option(limits, { nil: undefined }),
  maxAheadRecords: fc.integer({ min: 1, max: 25 }),
  maxAheadBytes: fc.integer({ min: 1, max: 80 }),
  concurrency: fc.integer({ min: 1, max: 8 }),
  dropMisplaced: fc.boolean(),
})
const moves = fc.array(fc.record({ act: fc.integer({ min: 0, max: 19 }), pick: fc.nat({ max: 1_000 }) }), {
  size: 'max',
  maxLength: 150,
})

describe('whatever comes, runs, fails, is split, stops and crashes, in whatever order', () => {
  test('each lane goes in order and one at a time, the checkpoint is never over anything unfinished, the span has its bounds, and all is finished', () => {
    fc.assert(
      fc.property(setting, moves, (given, steps) => {
        const run = new Run(given)
        for (const step of steps) run.step(step)
        run.toTheEnd()
        expect(run.finished.size).toBe(run.entries.length)
        expect(run.queue.idle).toBe(true)
        expect(run.queue.bufferedBytes).toBe(0)
        expect(run.queue.bufferedRecords).toBe(0)
        expect(run.queue.runningHandlers).toBe(0)
        expect(run.queue.memory()).toMatchObject({ finishedAbove: [], tried: [] })
      }),
      { numRuns: 500 },
    )
  })

  test('once it drains, nothing new is begun, and the checkpoint comes to cover all that was', () => {
    fc.assert(
      fc.property(setting, moves, (given, steps) => {
        const run = new Run(given)
        for (const step of steps) run.step(step)
        const { newest } = run.queue
        run.queue.drain()
        for (let step = 0; !run.queue.idle; step++) {
          expect(step).toBeLessThan(10_000)
          for (const work of run.failed.splice(0)) run.queue.again(work)
          for (const work of run.running.splice(0)) run.finish(work)
          const work = run.take()
          if (work !== undefined) run.finish(work)
        }
        expect(run.queue.newest).toEqual(newest)
        expect(run.take()).toBeUndefined()
      }),
      { numRuns: 200 },
    )
  })
})
