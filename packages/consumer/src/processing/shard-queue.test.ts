import { hash } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  AGGREGATE_MAGIC,
  AggregateBuilder,
  comparePositions,
  FULL_HASH_RANGE,
  type Position,
  TRIM_HORIZON,
} from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { KinesisRecord } from './record-buffer.ts'
import { ShardQueue, type ShardQueueOptions } from './shard-queue.ts'
import type { Work } from './work.ts'

function queueOf(
  keys: readonly string[],
  maxAheadRecords = 1_000,
  options: Partial<ShardQueueOptions> = {},
): { queue: ShardQueue; progress: () => number } {
  let progress = 0
  const queue = new ShardQueue({
    stream: 'flights',
    shardId: 'shardId-000000000000',
    hashRange: FULL_HASH_RANGE,
    checkpoint: TRIM_HORIZON,
    dropMisplaced: false,
    maxAheadRecords,
    now: () => 0,
    onProgress: () => progress++,
    onMisplaced: () => {},
    ...options,
  })
  queue.push(keys.map((key, index) => record(index, key)))
  return { queue, progress: () => progress }
}

const record = (index: number, partitionKey: string): KinesisRecord => ({
  sequenceNumber: String(100 + index),
  partitionKey,
  data: Buffer.alloc(10),
  arrivedAt: undefined,
})

const at = (index: number): Position => ({ sequenceNumber: String(100 + index), subSequenceNumber: 0 })
const indexOf = (work: Work): number => Number(work.record.sequenceNumber) - 100

test('records of one key wait for each other, other keys pass them', () => {
  const { queue } = queueOf(['a', 'a', 'b', 'a'])
  const first = queue.take()!
  queue.running(first)
  const second = queue.take()!
  expect([indexOf(first), indexOf(second)]).toEqual([0, 2])
  queue.running(second)
  expect(queue.take()).toBeUndefined()
  queue.finished(second)
  expect(queue.take()).toBeUndefined()
  expect(queue.checkpoint).toBeUndefined()
  queue.finished(first)
  expect(queue.checkpoint).toEqual(at(0))
  expect(indexOf(queue.take()!)).toBe(1)
})

test('a failed record holds its key and the checkpoint, and comes again', () => {
  const { queue } = queueOf(['a', 'b', 'a'])
  const failing = queue.take()!
  queue.failed(failing)
  const passing = queue.take()!
  queue.finished(passing)
  expect(indexOf(passing)).toBe(1)
  expect(queue.take()).toBeUndefined()
  expect(queue.checkpoint).toBeUndefined()
  queue.again(failing)
  expect(queue.take()).toBe(failing)
  expect(failing.attempt).toBe(2)
  queue.finished(failing)
  expect(queue.checkpoint).toEqual(at(1))
  expect(indexOf(queue.take()!)).toBe(2)
})

test('what is begun beyond the checkpoint has a bound', () => {
  const { queue } = queueOf(['a', 'b', 'c', 'd'], 2)
  const first = queue.take()!
  queue.running(first)
  const second = queue.take()!
  queue.running(second)
  queue.finished(second)
  expect(queue.take()).toBeUndefined()
  queue.finished(first)
  expect(indexOf(queue.take()!)).toBe(2)
})

test('data that is begun beyond the checkpoint has a bound in bytes, and a larger record goes when nothing else is begun', () => {
  const { queue } = queueOf(['a', 'b', 'c'], 1_000, { maxAheadBytes: 25 })
  const works = [queue.take()!, queue.take()!]
  for (const work of works) queue.running(work)
  expect(queue.isAheadFull).toBe(false)
  expect(queue.take()).toBeUndefined()
  expect(queue.isAheadFull).toBe(true)
  expect([queue.aheadRecords, queue.aheadBytes]).toEqual([2, 20])
  queue.finished(works[1]!)
  expect(queue.take()).toBeUndefined()
  queue.finished(works[0]!)
  expect(indexOf(queue.take()!)).toBe(2)
  const { queue: small } = queueOf(['a', 'b'], 1_000, { maxAheadBytes: 5 })
  const first = small.take()!
  small.running(first)
  expect(small.take()).toBeUndefined()
  small.finished(first)
  expect(indexOf(small.take()!)).toBe(1)
})

test('with order per shard the next record comes when the one before is finished, whatever the keys', () => {
  const { queue } = queueOf(['a', 'b', ''], 1_000, { ordering: 'shard' })
  for (const index of [0, 1, 2]) {
    const work = queue.take()!
    expect(indexOf(work)).toBe(index)
    queue.running(work)
    expect(queue.take()).toBeUndefined()
    expect(queue.aheadRecords).toBe(1)
    queue.finished(work)
  }
})

test('without an order records of one key run side by side', () => {
  const { queue } = queueOf(['a', 'a'], 1_000, { ordering: 'none' })
  const works = [queue.take()!, queue.take()!]
  for (const work of works) queue.running(work)
  queue.finished(works[1]!)
  expect(queue.checkpoint).toBeUndefined()
  queue.finished(works[0]!)
  expect(queue.checkpoint).toEqual(at(1))
})

test('it names the record that holds the checkpoint back, and since when', () => {
  let nowMs = 50
  const { queue } = queueOf(['a', 'b'], 1_000, { now: () => nowMs })
  expect(queue.oldestUnfinished).toBeUndefined()
  const works = [queue.take()!, queue.take()!]
  for (const work of works) queue.running(work)
  queue.report()
  nowMs = 80
  expect(queue.oldestUnfinished).toEqual({ ...at(0), partitionKey: 'a', ageMs: 30 })
  queue.finished(works[0]!)
  expect(queue.oldestUnfinished).toEqual({ ...at(1), partitionKey: 'b', ageMs: 30 })
  expect(queue.newest).toEqual(at(1))
})

test('the next queue of the shard goes on where the former stopped: nothing finished comes again, and attempts count on', () => {
  const { queue: former } = queueOf(['a', 'b', 'c', 'a'])
  former.finished(former.take()!)
  const failing = former.take()!
  failing.failedAtMs = 5
  former.failed(failing)
  former.finished(former.take()!)
  const memory = former.memory()
  expect(memory).toEqual({
    checkpoint: at(0),
    finishedAbove: [at(2)],
    tried: [{ position: at(1), attempts: 1, failedAtMs: 5 }],
  })
  const { queue } = queueOf(['a', 'b', 'c', 'a'], 1_000, { memory })
  // It may not have been written yet.
  expect(queue.checkpoint).toEqual(at(0))
  const again = queue.take()!
  expect(again).toMatchObject({ attempt: 2, failedAtMs: 5 })
  expect(indexOf(again)).toBe(1)
  queue.failed(again)
  const last = queue.take()!
  expect([indexOf(last), last.attempt]).toEqual([3, 1])
  expect(queue.memory()).toEqual({ ...memory, tried: [{ position: at(1), attempts: 2, failedAtMs: 5 }] })
  queue.finished(last)
  queue.finished(again)
  expect(queue.checkpoint).toEqual(at(3))
})

test('what a queue was told and has not read again yet, it tells the next', () => {
  const memory = {
    checkpoint: at(0),
    finishedAbove: [at(2), at(3)],
    tried: [{ position: at(1), attempts: 4, failedAtMs: 9 }],
  }
  const { queue } = queueOf([], 1_000, { memory })
  expect(queue.memory()).toEqual(memory)
})

describe('a Kinesis record that cannot be taken apart', () => {
  const message = Buffer.from([0x0a, 0x01, 0x61, 0x1a, 0x04, 0x08, 0x05, 0x1a, 0x00])
  const damaged: KinesisRecord = {
    ...record(1, 'whole'),
    data: Buffer.concat([AGGREGATE_MAGIC, message, Buffer.from(hash('md5', message, 'hex'), 'hex')]),
  }

  test('comes out as it is, and nothing behind it until it is finished', () => {
    const { queue } = queueOf(['a'])
    queue.push([damaged, record(2, 'b')])
    const before = queue.take()!
    queue.running(before)
    const work = queue.take()!
    expect(work.undecodable?.reason).toContain('user record 0')
    expect(work.record).toMatchObject({ sequenceNumber: '101', partitionKey: 'whole', data: damaged.data })
    queue.running(work)
    expect(queue.take()).toBeUndefined()
    queue.failed(work)
    expect(queue.take()).toBeUndefined()
    queue.again(work)
    expect(queue.take()).toBe(work)
    queue.finished(work)
    expect(queue.checkpoint).toBeUndefined()
    const behind = queue.take()!
    expect(indexOf(behind)).toBe(2)
    queue.finished(behind)
    queue.finished(before)
    expect(queue.checkpoint).toEqual(at(2))
    expect(queue.take()).toBeUndefined()
    expect(queue.bufferedBytes).toBe(0)
  })

  test('that was passed over above the checkpoint does not come again in the next queue', () => {
    const { queue: former } = queueOf(['a'])
    former.push([damaged, record(2, 'b')])
    former.running(former.take()!)
    former.finished(former.take()!)
    const { queue } = queueOf(['a'], 1_000, { memory: former.memory() })
    queue.push([damaged, record(2, 'b')])
    expect([queue.take()!, queue.take()!].map(indexOf)).toEqual([0, 2])
  })
})

describe('a record whose memory a handler has transferred away', () => {
  const shared = (count: number): KinesisRecord[] => {
    const bytes = new Uint8Array(10 * count)
    return Array.from({ length: count }, (_, index) => ({
      ...record(index, 'a'),
      data: bytes.subarray(10 * index, 10 * index + 10),
    }))
  }
  const transfer = ({ record: { data } }: Work): unknown =>
    structuredClone(data, { transfer: [data.buffer as ArrayBuffer] })

  function expectGone(queue: ShardQueue, work: Work | undefined): void {
    expect(work?.undecodable?.isGone).toBe(true)
    queue.running(work!)
    expect(() => queue.finished(work!)).toThrow('has to be read again')
    queue.failed(work!)
    expect(queue.take()).toBeUndefined()
    expect(queue.checkpoint).toEqual(at(0))
  }

  test('is not passed over: the rest of an aggregate', () => {
    const { queue } = queueOf([])
    const builder = new AggregateBuilder()
    for (const key of ['a', 'b']) builder.add(key, undefined, Buffer.alloc(5))
    queue.push([{ ...record(0, 'a'), data: Uint8Array.from(builder.build(0n).data) }])
    const first = queue.take()!
    transfer(first)
    queue.finished(first)
    expectGone(queue, queue.take())
  })

  test('is not passed over: the next Kinesis record', () => {
    const { queue } = queueOf([])
    queue.push(shared(3))
    const first = queue.take()!
    transfer(first)
    queue.finished(first)
    expectGone(queue, queue.take())
  })

  test('is not passed over: the next of its key, which waits', () => {
    const { queue } = queueOf([])
    queue.push(shared(2))
    const first = queue.take()!
    queue.running(first)
    expect(queue.take()).toBeUndefined()
    transfer(first)
    queue.finished(first)
    expectGone(queue, queue.take())
  })

  test('is not passed over: the record itself, when it comes again', () => {
    const { queue } = queueOf(['b'])
    queue.finished(queue.take()!)
    queue.push(shared(2).slice(1))
    const failing = queue.take()!
    transfer(failing)
    queue.failed(failing)
    queue.again(failing)
    expectGone(queue, queue.take())
  })

  test.each([{ maxRecords: 1 }, { maxRecords: 2 }])(
    'is not passed over: in batches of $maxRecords',
    ({ maxRecords }) => {
      const { queue } = queueOf([], 1_000, { batch: { maxRecords, maxBytes: 15, maxWaitMs: 0 } })
      queue.push(shared(3))
      const first = queue.take()!
      transfer(first)
      queue.finished(first)
      expectGone(queue, queue.take())
    },
  )
})

test('a long lane is looked through in parts, with the event loop between them', () => {
  for (const batch of [undefined, { maxRecords: 1, maxBytes: 1_000, maxWaitMs: 1_000 }]) {
    const { queue } = queueOf(['hot', ...Array.from({ length: 2_500 }, () => 'hot'), 'cold'], 10_000, { batch })
    queue.running(queue.take()!)
    let parts = 0
    let next = queue.take()
    for (; next === undefined && queue.waitMs === 0; next = queue.take()) parts++
    expect(parts).toBe(2)
    expect(next?.record.partitionKey).toBe('cold')
  }
})

test('draining gives out what was begun and nothing new', () => {
  const { queue } = queueOf(['a', 'a', 'b'])
  const first = queue.take()!
  queue.running(first)
  const second = queue.take()!
  queue.running(second)
  queue.drain()
  expect(indexOf(second)).toBe(2)
  queue.finished(first)
  queue.finished(second)
  expect(queue.idle).toBe(false)
  const parked = queue.take()!
  expect(indexOf(parked)).toBe(1)
  queue.finished(parked)
  expect(queue.idle).toBe(true)
  expect(queue.checkpoint).toEqual(at(2))
})

test('records without a key have no order to keep', () => {
  const { queue } = queueOf(['', '', ''])
  const works = [queue.take()!, queue.take()!]
  for (const work of works) queue.running(work)
  expect(works.map(indexOf)).toEqual([0, 1])
  queue.failed(works[0]!)
  queue.again(works[0]!)
  expect(queue.take()).toBe(works[0])
})

test('memory is free once the Kinesis record is finished, and that is told once for many records', () => {
  const { queue, progress } = queueOf(['a', 'b'])
  const bytes = queue.bufferedBytes
  const first = queue.take()!
  queue.running(first)
  queue.finished(queue.take()!)
  queue.take()
  expect(queue.bufferedBytes).toBe(bytes / 2)
  expect(queue.bufferedRecords).toBe(1)
  expect(queue.empty).toBe(false)
  queue.finished(first)
  expect(queue.bufferedBytes).toBe(0)
  expect(queue.empty).toBe(true)
  expect(progress()).toBe(0)
  queue.report()
  queue.report()
  expect(progress()).toBe(1)
})

test('whatever runs, fails and finishes in whatever order: each key in order and one at a time, the checkpoint never over anything unfinished', () => {
  const runs = fc.record({
    keys: fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { minLength: 1, maxLength: 80 }),
    moves: fc.infiniteStream(fc.record({ act: fc.integer({ min: 0, max: 5 }), pick: fc.nat() })),
    maxAhead: fc.integer({ min: 1, max: 20 }),
    concurrency: fc.integer({ min: 1, max: 8 }),
  })
  fc.assert(
    fc.property(runs, ({ keys, moves, maxAhead, concurrency }) => {
      const { queue } = queueOf(keys, maxAhead)
      const running: Work[] = []
      const failed: Work[] = []
      const finished = new Set<number>()
      const order = new Map<string, number[]>()
      const finish = (work: Work): void => {
        finished.add(indexOf(work))
        order.set(work.record.partitionKey, [...(order.get(work.record.partitionKey) ?? []), indexOf(work)])
        queue.finished(work)
      }
      for (let step = 0; !queue.empty; step++) {
        expect(step).toBeLessThan(10_000)
        const { act, pick } = moves.next().value
        if (act <= 2 && running.length < concurrency) {
          const work = queue.take()
          if (work !== undefined) {
            const key = work.record.partitionKey
            expect([...running, ...failed].map((other) => other.record.partitionKey)).not.toContain(key)
            if (act === 0) finish(work)
            else {
              queue.running(work)
              running.push(work)
            }
          }
        } else if (running.length > 0) {
          const [work] = running.splice(pick % running.length, 1)
          if (act === 3) {
            queue.failed(work!)
            failed.push(work!)
          } else finish(work!)
        } else if (failed.length > 0) queue.again(failed.splice(pick % failed.length, 1)[0]!)
        if (act === 5 && failed.length > 0) queue.again(failed.splice(pick % failed.length, 1)[0]!)
        const first = keys.findIndex((_, index) => !finished.has(index))
        const limit = first === -1 ? keys.length : first
        expect(comparePositions(queue.checkpoint ?? TRIM_HORIZON, at(limit))).toBeLessThan(0)
      }
      for (const [key, indexes] of order) {
        expect(indexes).toEqual(keys.flatMap((other, index) => (other === key ? [index] : [])))
      }
      expect(finished.size).toBe(keys.length)
      expect(queue.checkpoint).toEqual(at(keys.length - 1))
      expect(queue.bufferedBytes).toBe(0)
    }),
    { numRuns: 300 },
  )
})

test('what came at once is finished with the last of it, whatever comes after', () => {
  let nowMs = 0
  const finished: number[] = []
  const queue = new ShardQueue({
    stream: 'flights',
    shardId: 'shardId-000000000000',
    hashRange: FULL_HASH_RANGE,
    checkpoint: TRIM_HORIZON,
    dropMisplaced: false,
    maxAheadRecords: 1_000,
    now: () => nowMs,
    onBatchFinished: (durationMs) => finished.push(durationMs),
    onProgress: () => {},
    onMisplaced: () => {},
  })
  queue.push([record(0, 'a'), record(1, 'b')])
  nowMs = 100
  queue.push([record(2, 'c')])
  const running = [0, 1, 2].map(() => {
    const work = queue.take()!
    queue.running(work)
    return work
  })
  // A Kinesis record is finished when the one behind it is asked for.
  expect(queue.take()).toBeUndefined()
  nowMs = 150
  queue.finished(running[0]!)
  expect(finished).toEqual([])
  queue.finished(running[2]!)
  expect(finished).toEqual([50])
  nowMs = 400
  queue.finished(running[1]!)
  expect(finished).toEqual([50, 400])
  expect(queue.finishedRecords).toBe(3)
  expect(queue.finishedBytes).toBe(running.reduce((sum, { record: { data } }) => sum + data.byteLength, 0))
})

test('a finished record keeps nothing of its data, be one before it unfinished for long', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { queue } = queueOf(['stuck'])
  queue.running(queue.take()!)
  const data = ((): WeakRef<Uint8Array>[] => {
    const others = Array.from({ length: 10 }, (_, index) => record(index + 1, `key-${index}`))
    queue.push(others)
    for (let work = queue.take(); work !== undefined; work = queue.take()) {
      queue.running(work)
      queue.finished(work)
    }
    return others.map((other) => new WeakRef(other.data))
  })()
  expect(queue.bufferedRecords).toBe(1)
  // What a WeakRef was made of lives until the end of the turn.
  await new Promise((resolve) => setImmediate(resolve))
  collect()
  expect(data.filter((each) => each.deref() !== undefined)).toEqual([])
  expect(queue.checkpoint).toBeUndefined()
})
