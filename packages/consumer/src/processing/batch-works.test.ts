import { FULL_HASH_RANGE, type Position, TRIM_HORIZON } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { ShardQueue, type ShardQueueOptions } from './shard-queue.ts'
import type { BatchLimits, Work } from './work.ts'

interface Stage {
  readonly queue: ShardQueue
  nowMs: number
  isStarved: boolean
  push(...keys: string[]): void
}

const LIMITS: BatchLimits = { maxRecords: 4, maxBytes: 1_000, maxWaitMs: 100 }

function stageOf(limits: Partial<BatchLimits> = {}, options: Partial<ShardQueueOptions> = {}): Stage {
  let pushed = 0
  const stage: Stage = {
    queue: new ShardQueue({
      stream: 'flights',
      shardId: 'shardId-000000000000',
      hashRange: FULL_HASH_RANGE,
      checkpoint: TRIM_HORIZON,
      dropMisplaced: false,
      maxAheadRecords: 1_000,
      batch: { ...LIMITS, ...limits },
      isStarved: () => stage.isStarved,
      now: () => stage.nowMs,
      onProgress: () => undefined,
      onMisplaced: () => undefined,
      ...options,
    }),
    nowMs: 0,
    isStarved: false,
    push: (...keys) =>
      stage.queue.push(
        keys.map((partitionKey) => ({
          sequenceNumber: String(100 + pushed++),
          partitionKey,
          data: Buffer.alloc(10),
          arrivedAt: undefined,
        })),
      ),
  }
  return stage
}

const at = (index: number): Position => ({ sequenceNumber: String(100 + index), subSequenceNumber: 0 })
const indexesOf = (work: Work | undefined): number[] | undefined =>
  work?.batch?.map(({ sequenceNumber }) => Number(sequenceNumber) - 100)

describe('a batch goes', () => {
  test('when it has maxRecords, in the order of the shard', () => {
    const { queue, push } = stageOf()
    push('a', 'b', 'a', 'c', 'd')
    expect(indexesOf(queue.take())).toEqual([0, 1, 2, 3])
    expect(queue.take()).toBeUndefined()
  })

  test('when the next record would take it over maxBytes; a larger one goes alone', () => {
    const { queue, push } = stageOf({ maxBytes: 25 })
    push('a', 'b', 'c')
    expect(indexesOf(queue.take())).toEqual([0, 1])
    const small = stageOf({ maxBytes: 5 })
    small.push('a', 'b')
    expect(indexesOf(small.queue.take())).toEqual([0])
    expect(indexesOf(small.queue.take())).toEqual([1])
  })

  test('when maxWaitMs have passed since its first record came', () => {
    const stage = stageOf()
    const { queue, push } = stage
    expect(queue.waitMs).toBeUndefined()
    push('a')
    stage.nowMs = 30
    expect(queue.take()).toBeUndefined()
    expect(queue.waitMs).toBe(70)
    push('b')
    expect(queue.take()).toBeUndefined()
    expect(queue.waitMs).toBe(70)
    stage.nowMs = 100
    expect(queue.waitMs).toBe(0)
    expect(indexesOf(queue.take())).toEqual([0, 1])
    expect(queue.waitMs).toBeUndefined()
  })

  test('at once with what is there where maxWaitMs is 0', () => {
    const { queue, push } = stageOf({ maxWaitMs: 0 })
    push('a', 'b')
    expect(indexesOf(queue.take())).toEqual([0, 1])
  })

  test.each<{ because: string; when: (stage: Stage) => void; options?: Partial<ShardQueueOptions> }>([
    { because: 'the shard has ended', when: ({ queue }) => queue.end() },
    { because: 'what has been begun is being finished', when: ({ queue }) => queue.drain() },
    {
      because: 'reading waits for room',
      when: (stage) => {
        stage.isStarved = true
      },
    },
  ])('when no more will come, because $because', ({ when }) => {
    const stage = stageOf()
    stage.push('a', 'b')
    expect(stage.queue.take()).toBeUndefined()
    when(stage)
    expect(stage.queue.waitMs).toBe(0)
    expect(indexesOf(stage.queue.take())).toEqual([0, 1])
  })

  test.each([
    { what: 'records', options: { maxAheadRecords: 2 } },
    { what: 'bytes', options: { maxAheadBytes: 20 } },
    { what: 'bytes, with a record waiting that is too large', options: { maxAheadBytes: 25 } },
  ])('when nothing more may be begun for the bound in $what', ({ options }) => {
    const { queue, push } = stageOf({}, options)
    push('a', 'b', 'c')
    expect(indexesOf(queue.take())).toEqual([0, 1])
    expect(queue.isAheadFull).toBe(true)
    expect(queue.take()).toBeUndefined()
  })
})

describe('with order per key', () => {
  test('what comes for a key that is in a running batch waits, joins the next in the shard’s order, and others pass it', () => {
    const { queue, push } = stageOf({ maxRecords: 2 })
    push('a', 'b', 'a', 'c', 'a', 'd', 'e')
    const first = queue.take()!
    queue.running(first)
    expect(indexesOf(first)).toEqual([0, 1])
    const second = queue.take()!
    queue.running(second)
    expect(indexesOf(second)).toEqual([3, 5])
    queue.finished(first)
    const third = queue.take()!
    queue.running(third)
    expect(indexesOf(third)).toEqual([2, 4])
    queue.finished(second)
    expect(queue.checkpoint).toEqual(at(1))
    queue.finished(third)
    expect(queue.checkpoint).toEqual(at(5))
  })

  test('a batch is in the shard’s order, though some of it has waited and some has not', () => {
    const { queue, push } = stageOf({ maxRecords: 3, maxWaitMs: 0 })
    push('a', 'b', 'c')
    const first = queue.take()!
    queue.running(first)
    push('b', 'a', 'b')
    expect(queue.take()).toBeUndefined()
    queue.finished(first)
    expect(indexesOf(queue.take())).toEqual([3, 4, 5])
  })

  test('one that fails is split by key, and neither half waits for the other', () => {
    const { queue, push } = stageOf()
    push('a', 'b', 'a', 'c')
    const whole = queue.take()!
    queue.running(whole)
    whole.failedAtMs = 7
    queue.failed(whole)
    const half = queue.bisect(whole)
    expect(indexesOf(half)).toEqual([0, 1, 2])
    const other = queue.take()!
    expect(indexesOf(other)).toEqual([3])
    expect(other).toMatchObject({ attempt: 1, failedAtMs: 7 })
    queue.running(other)
    queue.finished(other)
    queue.failed(half)
    const quarter = queue.bisect(half)
    expect(indexesOf(quarter)).toEqual([0, 2])
    expect(indexesOf(queue.take())).toEqual([1])
  })

  test('one of a single key is split in the midst, and the second half follows the first', () => {
    const { queue, push } = stageOf()
    push('a', 'a', 'a', 'a')
    const whole = queue.take()!
    queue.failed(whole)
    const half = queue.bisect(whole)
    queue.again(half)
    expect(queue.take()).toBe(half)
    queue.failed(half)
    const quarter = queue.bisect(half)
    expect(indexesOf(quarter)).toEqual([0])
    push('a')
    expect(queue.take()).toBeUndefined()
    queue.finished(quarter)
    const rest: (number[] | undefined)[] = []
    for (let next = queue.take(); next !== undefined; next = queue.take()) {
      rest.push(indexesOf(next))
      queue.finished(next)
    }
    expect(rest).toEqual([[1], [2, 3]])
    queue.end()
    expect(indexesOf(queue.take())).toEqual([4])
  })
})

test('with order per shard there is one batch at a time, and its halves follow each other', () => {
  const { queue, push } = stageOf({ maxRecords: 2 }, { ordering: 'shard' })
  push('a', 'b', 'c', 'd')
  const first = queue.take()!
  queue.running(first)
  expect(queue.take()).toBeUndefined()
  queue.failed(first)
  const half = queue.bisect(first)
  expect(indexesOf(half)).toEqual([0])
  expect(queue.take()).toBeUndefined()
  queue.finished(half)
  const other = queue.take()!
  expect(indexesOf(other)).toEqual([1])
  expect(queue.take()).toBeUndefined()
  queue.finished(other)
  expect(indexesOf(queue.take())).toEqual([2, 3])
})

test('without an order batches of the same key run side by side', () => {
  const { queue, push } = stageOf({ maxRecords: 2 }, { ordering: 'none' })
  push('a', 'a', 'a', 'a')
  const first = queue.take()!
  queue.running(first)
  const second = queue.take()!
  queue.running(second)
  expect([first, second].map(indexesOf)).toEqual([
    [0, 1],
    [2, 3],
  ])
  queue.finished(second)
  expect(queue.checkpoint).toBeUndefined()
})

test('what has failed alone comes alone in the next queue, with its attempts, and holds up its key only', () => {
  const former = stageOf({ maxRecords: 1 })
  former.push('a', 'b')
  const failing = former.queue.take()!
  former.queue.running(failing)
  failing.failedAtMs = 3
  former.queue.failed(failing)
  former.queue.finished(former.queue.take()!)
  const memory = former.queue.memory()
  expect(memory).toEqual({
    checkpoint: TRIM_HORIZON,
    finishedAbove: [at(1)],
    tried: [{ position: at(0), attempts: 1, failedAtMs: 3 }],
  })
  const { queue, push } = stageOf({}, { memory })
  push('a', 'b', 'c', 'a', 'd')
  queue.end()
  const alone = queue.take()!
  expect(alone).toMatchObject({ attempt: 2, failedAtMs: 3 })
  expect(indexesOf(alone)).toEqual([0])
  queue.running(alone)
  const others = queue.take()!
  expect(indexesOf(others)).toEqual([2, 4])
  queue.finished(others)
  queue.finished(alone)
  expect(queue.checkpoint).toEqual(at(2))
})
