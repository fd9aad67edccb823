import { systemClock } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { FULL_HASH_RANGE, TRIM_HORIZON } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import type { ConsumerRecord } from './consumer-record.ts'
import { type EachRecord, HandlerPool, type PoolShard } from './handler-pool.ts'
import { ShardQueue } from './shard-queue.ts'

interface Shard extends PoolShard {
  readonly failures: [string, number, number][]
  readonly abort: AbortController
  held: boolean
  /** How often progress was told. */
  told: number
}

function shardOf(shardId: string, keys: readonly string[]): Shard {
  const abort = new AbortController()
  const failures: [string, number, number][] = []
  const queue: ShardQueue = new ShardQueue({
    stream: 'flights',
    shardId,
    hashRange: FULL_HASH_RANGE,
    checkpoint: TRIM_HORIZON,
    dropMisplaced: false,
    maxAheadRecords: 100_000,
    now: () => 0,
    onProgress: () => shard.told++,
    onMisplaced: () => {},
    onPoison: () => {},
  })
  queue.push(
    keys.map((partitionKey, index) => ({
      sequenceNumber: String(100 + index),
      partitionKey,
      data: Buffer.from(String(index)),
      arrivedAt: undefined,
    })),
  )
  const shard: Shard = {
    queue,
    signal: abort.signal,
    abort,
    held: true,
    told: 0,
    failures,
    mayRun: () => shard.held,
    onFailure: ({ record, attempt }, _, retryInMs) => failures.push([record.partitionKey, attempt, retryInMs]),
  }
  return shard
}

function poolOf(eachRecord: EachRecord, concurrency = 10): { pool: HandlerPool; clock: ManualClock } {
  const clock = new ManualClock()
  return { pool: new HandlerPool(eachRecord, { concurrency, clock, random: () => 0.5 }), clock }
}

/** A handler whose calls the test ends by hand. */
class Manual {
  readonly begun: string[] = []
  readonly #ends = new Map<string, PromiseWithResolvers<void>>()

  readonly eachRecord: EachRecord = (record) => {
    const name = `${record.shardId}/${record.partitionKey}${record.text()}`
    this.begun.push(name)
    const end = Promise.withResolvers<void>()
    this.#ends.set(name, end)
    return end.promise
  }

  async end(name: string): Promise<void> {
    this.#ends.get(name)!.resolve()
    await settle()
  }

  async fail(name: string): Promise<void> {
    this.#ends.get(name)!.reject(new Error('no'))
    await settle()
  }
}

test('a synchronous handler gets everything in order', async () => {
  const got: string[] = []
  const { pool } = poolOf((record) => {
    got.push(record.text())
  })
  const shard = shardOf(
    's',
    Array.from({ length: 1_000 }, (_, index) => `key-${index % 7}`),
  )
  pool.add(shard)
  await settle()
  expect(got).toEqual(Array.from({ length: 1_000 }, (_, index) => String(index)))
  expect(shard.queue.empty).toBe(true)
})

test('no more than concurrency handlers run at once, over all shards, and each shard gets its turn', async () => {
  const manual = new Manual()
  const { pool } = poolOf(manual.eachRecord, 3)
  pool.add(shardOf('s', ['a', 'b', 'c', 'd', 'e']))
  pool.add(shardOf('t', ['a', 'b']))
  await settle()
  expect(manual.begun).toEqual(['s/a0', 's/b1', 's/c2'])
  await manual.end('s/b1')
  await manual.end('s/a0')
  expect(
    manual.begun
      .slice(3)
      .map((name) => name[0])
      .sort(),
  ).toEqual(['s', 't'])
})

test('a hot key holds back only itself', async () => {
  const manual = new Manual()
  const { pool } = poolOf(manual.eachRecord)
  pool.add(shardOf('s', ['hot', 'hot', 'hot', 'cold', 'hot', 'mild']))
  await settle()
  expect(manual.begun).toEqual(['s/hot0', 's/cold3', 's/mild5'])
  await manual.end('s/hot0')
  expect(manual.begun.at(-1)).toBe('s/hot1')
})

describe('a handler that fails', () => {
  test.each([
    {
      how: 'by throwing',
      handler: () => {
        throw new Error('no')
      },
    },
    { how: 'by rejecting', handler: () => Promise.reject(new Error('no')) },
  ])('$how gets the same record again, after a growing pause, without end', async ({ handler }) => {
    const { pool, clock } = poolOf(handler)
    const shard = shardOf('s', ['a', 'a'])
    pool.add(shard)
    await settle()
    await clock.advance(100)
    await settle()
    await clock.advance(200)
    await settle()
    await clock.advance(400)
    await settle()
    expect(shard.failures).toEqual([
      ['a', 1, 100],
      ['a', 2, 200],
      ['a', 3, 400],
      ['a', 4, 800],
    ])
    for (let round = 0; round < 12; round++) {
      await clock.advance(30_000)
      await settle()
    }
    expect(shard.failures.at(-1)?.[2]).toBe(15_000)
    expect(shard.queue.checkpoint).toBeUndefined()
  })

  test('is told the attempt, and lets other keys go on meanwhile, without a place of its own', async () => {
    const attempts: number[] = []
    const done: string[] = []
    const { pool, clock } = poolOf((record: ConsumerRecord, { attempt }) => {
      if (record.partitionKey === 'bad') attempts.push(attempt)
      if (record.partitionKey === 'bad' && attempt < 3) return Promise.reject(new Error('not yet'))
      done.push(`${record.partitionKey}${record.text()}`)
      return Promise.resolve()
    }, 1)
    pool.add(shardOf('s', ['bad', 'good', 'bad', 'good']))
    await settle()
    await settle()
    expect(done).toEqual(['good1', 'good3'])
    await clock.advance(300)
    await settle()
    await settle()
    expect(attempts).toEqual([1, 2, 3, 1])
    expect(done).toEqual(['good1', 'good3', 'bad0'])
  })
})

test('once its signal is aborted, a failure is not told and not tried again', async () => {
  const manual = new Manual()
  const { pool, clock } = poolOf(manual.eachRecord)
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  shard.held = false
  shard.abort.abort()
  await manual.fail('s/a0')
  await clock.advance(60_000)
  expect(shard.failures).toEqual([])
  expect(manual.begun).toEqual(['s/a0'])
  expect(shard.queue.runningHandlers).toBe(0)
  expect(shard.queue.checkpoint).toBeUndefined()
})

test('nothing begins for a lease that no longer holds, and nothing after the shard was removed', async () => {
  const manual = new Manual()
  const { pool } = poolOf(manual.eachRecord, 1)
  const [lost, removed] = [shardOf('s', ['a']), shardOf('t', ['a', 'b'])]
  lost.held = false
  pool.add(lost)
  pool.add(removed)
  await settle()
  expect(manual.begun).toEqual(['t/a0'])
  pool.remove(removed)
  await manual.end('t/a0')
  expect(manual.begun).toEqual(['t/a0'])
})

test('the event loop gets a turn at least every ten milliseconds of work', async () => {
  let ms = 0
  const clock = { ...systemClock, monotonicMs: () => ms, wallMs: () => ms }
  let inTurn = 0
  const turns: number[] = []
  const pool = new HandlerPool(
    () => {
      ms++
      inTurn++
    },
    { concurrency: 1, clock, random: () => 0 },
  )
  const shard = shardOf(
    's',
    Array.from({ length: 100 }, () => 'a'),
  )
  pool.add(shard)
  while (!shard.queue.empty) {
    await new Promise((resolve) => setImmediate(resolve))
    turns.push(inTurn)
    inTurn = 0
  }
  expect(Math.max(...turns)).toBeLessThanOrEqual(10)
  expect(turns.reduce((sum, count) => sum + count)).toBe(100)
})

test('progress is told of a shard that gets no turn any more', async () => {
  const manual = new Manual()
  const { pool } = poolOf(manual.eachRecord, 3)
  const shard = shardOf('s', ['a', 'b', 'c'])
  pool.add(shard)
  await settle()
  pool.remove(shard)
  const before = shard.told
  await manual.end('s/b1')
  expect(shard.queue.finishedRecords).toBe(1)
  expect(shard.told).toBe(before + 1)
})
