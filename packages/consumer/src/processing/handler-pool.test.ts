import { systemClock } from '@shardwise/core'
import { settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import { ManualHandler, poolOf, type StageShard, shardOf } from '../../test/pool-stage.ts'
import type { StreamMeasures } from '../telemetry/stream-meter.ts'
import { type Handler, handlerOf } from './handler.ts'
import type { PoolShard } from './handler-pool.ts'
import type { EachBatch } from './handlers.ts'

const many = (count: number, key: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, index) => key(index))

test('a synchronous handler gets everything in order', async () => {
  const got: string[] = []
  const { pool } = poolOf((record) => {
    got.push(record.text())
  })
  const shard = shardOf(
    's',
    many(1_000, (index) => `key-${index % 7}`),
  )
  pool.add(shard)
  await settle()
  expect(got).toEqual(many(1_000, String))
  expect(shard.queue.empty).toBe(true)
})

test('a hot key holds back only itself', async () => {
  const manual = new ManualHandler()
  const { pool } = poolOf(manual.eachRecord)
  pool.add(shardOf('s', ['hot', 'hot', 'hot', 'cold', 'hot', 'mild']))
  await settle()
  expect(manual.begun).toEqual(['s/hot0', 's/cold3', 's/mild5'])
  await manual.end('s/hot0')
  expect(manual.begun.at(-1)).toBe('s/hot1')
})

describe('places', () => {
  test('no more than concurrency handlers run at once, over all shards', async () => {
    const manual = new ManualHandler()
    const { pool } = poolOf(manual.eachRecord, { concurrency: 3 })
    pool.add(shardOf('s', ['a', 'b', 'c', 'd', 'e']))
    pool.add(shardOf('t', ['a', 'b']))
    await settle()
    expect(manual.begun).toHaveLength(3)
    await manual.end(manual.begun[0]!)
    expect(manual.begun).toHaveLength(4)
  })

  test('with a concurrency of 1 the shards take turns', async () => {
    const manual = new ManualHandler()
    const { pool } = poolOf(manual.eachRecord, { concurrency: 1 })
    pool.add(shardOf('s', ['a', 'b', 'c']))
    pool.add(shardOf('t', ['a', 'b', 'c']))
    await settle()
    for (let round = 0; round < 5; round++) await manual.end(manual.begun.at(-1)!)
    expect(manual.begun.map((name) => name[0]).join('')).toBe('ststst')
  })

  test('a free place goes to the shard that has the fewest', async () => {
    const manual = new ManualHandler()
    const { pool } = poolOf(manual.eachRecord, { concurrency: 3 })
    const [slow, quick] = [shardOf('slow', many(10, String)), shardOf('quick', [])]
    pool.add(slow)
    pool.add(quick)
    await settle()
    expect(manual.begun).toEqual(['slow/00', 'slow/11', 'slow/22'])
    quick.push('a', 'b', 'c')
    pool.wake(quick)
    await settle()
    await manual.end('slow/00', 'slow/11')
    expect(manual.begun.slice(3)).toEqual(['quick/a0', 'slow/33'])
    await manual.end('slow/22', 'slow/33')
    expect(manual.begun.slice(5)).toEqual(['slow/44', 'quick/b1'])
  })

  test('a shard whose handlers hang leaves places to the others, but none free if it is alone', async () => {
    const manual = new ManualHandler()
    const { pool } = poolOf(manual.eachRecord, { concurrency: 8 })
    const [hanging, other] = [shardOf('h', many(20, String)), shardOf('o', [])]
    pool.add(hanging)
    await settle()
    expect(manual.begun).toHaveLength(8)
    await manual.end('h/00', 'h/11')
    pool.add(other)
    await settle()
    await manual.end('h/22', 'h/33')
    expect(manual.begun.at(-1)).toBe('h/1010')
    other.push('a', 'b', 'c', 'a')
    pool.wake(other)
    await settle()
    // Whatever the other one does, what hangs keeps its places and takes no more.
    for (const name of ['o/a0', 'o/b1', 'o/c2', 'o/a3']) {
      expect(manual.begun).toContain(name)
      await manual.end(name)
    }
    expect(other.queue.empty).toBe(true)
  })

  test('a shard that is handled synchronously leaves the others all places they can fill', async () => {
    let ms = 0
    const manual = new ManualHandler()
    const { pool } = poolOf(
      (record, context) => (record.shardId === 'sync' ? void ms++ : manual.eachRecord(record, context)),
      {
        concurrency: 8,
        clock: { ...systemClock, monotonicMs: () => ms },
      },
    )
    const sync = shardOf(
      'sync',
      many(1_000, () => 'a'),
    )
    const other = shardOf('other', many(20, String))
    pool.add(sync)
    pool.add(other)
    for (let turn = 0; turn < 10; turn++) await settle()
    expect(sync.queue.empty).toBe(false)
    expect(manual.begun).toHaveLength(7)
    await manual.end(...manual.begun)
    for (let turn = 0; turn < 10; turn++) await settle()
    expect(sync.queue.empty).toBe(false)
    expect(manual.begun).toHaveLength(14)
  })

  test('of very many shards those that wait longest come first, and none is left out', async () => {
    const manual = new ManualHandler()
    const { pool } = poolOf(manual.eachRecord, { concurrency: 250 })
    const shards = many(100, (index) => `s${index}`).map((shardId) => shardOf(shardId, many(3, String)))
    for (const shard of shards) pool.add(shard)
    await settle()
    expect(manual.begun).toHaveLength(250)
    const counts = shards.map((_, index) => manual.begun.filter((name) => name.startsWith(`s${index}/`)).length)
    expect([Math.min(...counts), Math.max(...counts)]).toEqual([2, 3])
  })

  test('a thousand idle shards are not asked again while one is busy', async () => {
    const { pool } = poolOf(async () => {})
    let asked = 0
    const idle = Array.from({ length: 1_000 }, (_, index) => {
      const shard = shardOf(`idle-${index}`, [])
      const take = shard.queue.take.bind(shard.queue)
      shard.queue.take = () => {
        asked++
        return take()
      }
      return shard
    })
    for (const shard of idle) pool.add(shard)
    await settle()
    expect(asked).toBe(1_000)
    const busy = shardOf(
      'busy',
      many(500, () => 'a'),
    )
    pool.add(busy)
    while (!busy.queue.empty) await settle()
    expect(asked).toBe(1_000)
    pool.wake(idle[7])
    await settle()
    expect(asked).toBe(1_001)
  })
})

test('once its signal is aborted, a failure is not told and not tried again', async () => {
  const manual = new ManualHandler()
  const { pool, clock } = poolOf(manual.eachRecord)
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  shard.abort.abort()
  await manual.fail('s/a0')
  await clock.advance(60_000)
  expect(shard.events).toEqual([])
  expect(manual.begun).toEqual(['s/a0'])
  expect(shard.queue.runningHandlers).toBe(0)
  expect(shard.queue.checkpoint).toBeUndefined()
})

test('what resolves after its signal was aborted does not count as finished: it may have given up quietly', async () => {
  const manual = new ManualHandler()
  const { pool } = poolOf(manual.eachRecord)
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  shard.abort.abort()
  await manual.end('s/a0')
  expect(shard.queue.checkpoint).toBeUndefined()
  expect(shard.queue.runningHandlers).toBe(0)
})

test('nothing begins for a lease that no longer holds, and it goes on when it is woken, or a while after it may again', async () => {
  const manual = new ManualHandler()
  const { pool, clock } = poolOf(manual.eachRecord)
  const [barred, other] = [shardOf('s', ['a', 'b']), shardOf('t', [])]
  const mayRun: boolean[] = []
  pool.add({ ...barred, mayRun: () => mayRun.push(barred.held) > 0 && barred.held })
  pool.add(other)
  barred.held = false
  await settle()
  expect(manual.begun).toEqual([])
  for (let turn = 0; turn < 5; turn++) {
    pool.wake(other)
    await settle()
  }
  // Not at every turn: there may be many.
  expect(mayRun.length).toBeLessThanOrEqual(2)
  barred.held = true
  await clock.advance(100)
  pool.wake(other)
  await settle()
  expect(manual.begun).toEqual(['s/a0', 's/b1'])
})

test('a shard that is woken goes on, whatever it was barred for', async () => {
  const manual = new ManualHandler()
  const { pool } = poolOf(manual.eachRecord)
  const barred = shardOf('s', ['a'])
  barred.held = false
  pool.add(barred)
  await settle()
  barred.held = true
  pool.wake(barred)
  await settle()
  expect(manual.begun).toEqual(['s/a0'])
})

test('a shard that is barred by its own handler begins nothing more until it may run again', async () => {
  const got: string[] = []
  const { pool } = poolOf((record) => {
    got.push(record.text())
    if (record.text() !== '2') return
    shard.held = false
    pool.bar(shard)
  })
  const shard = shardOf(
    's',
    many(10, () => 'a'),
  )
  pool.add(shard)
  await settle()
  expect(got).toEqual(['0', '1', '2'])
  shard.held = true
  pool.wake(shard)
  await settle()
  expect(got).toHaveLength(10)
})

test('a record after which the lease is lost is the last: the clock is asked after each', async () => {
  let ms = 0
  const clock = { ...systemClock, monotonicMs: () => ms }
  const got: string[] = []
  const { pool } = poolOf(
    (record) => {
      got.push(record.text())
      if (record.text() === '2') ms = 20_000
    },
    { clock },
  )
  const shard = shardOf(
    's',
    many(100, () => 'a'),
  )
  pool.add({ ...shard, mayRun: () => ms < 10_000 })
  await settle()
  await settle()
  expect(got).toEqual(['0', '1', '2'])
})

test('nothing begins after a shard was removed, and what runs of it counts', async () => {
  const manual = new ManualHandler()
  const { pool } = poolOf(manual.eachRecord, { concurrency: 1 })
  const removed = shardOf('t', ['a', 'b'])
  pool.add(removed)
  await settle()
  pool.remove(removed)
  const before = removed.told
  await manual.end('t/a0')
  expect(manual.begun).toEqual(['t/a0'])
  expect(removed.queue.finishedRecords).toBe(1)
  expect(removed.told).toBe(before + 1)
})

describe('a shard that is abandoned', () => {
  test('frees the places of what hangs, and its settling changes nothing any more', async () => {
    const manual = new ManualHandler()
    const { pool } = poolOf(manual.eachRecord, { concurrency: 1 })
    const [old, next] = [shardOf('old', ['a', 'b']), shardOf('next', ['a', 'b'])]
    pool.add(old)
    pool.add(next)
    await settle()
    pool.abandon(old)
    await settle()
    expect(manual.begun).toEqual(['old/a0', 'next/a0'])
    await manual.end('old/a0')
    await manual.end('next/a0')
    expect(manual.begun).toEqual(['old/a0', 'next/a0', 'next/b1'])
    expect(old.queue.finishedRecords).toBe(0)
    expect(old.events).toEqual([])
  })

  test('takes no place of a later session of the same shard when it fails late', async () => {
    const manual = new ManualHandler()
    const { pool, clock } = poolOf(manual.eachRecord, { concurrency: 2 })
    const [first, second] = [shardOf('s', ['a']), shardOf('s', ['a', 'b', 'c'])]
    pool.add(first)
    await settle()
    first.abort.abort()
    pool.abandon(first)
    pool.add(second)
    const late = manual.fail('s/a0')
    await late
    await clock.advance(60_000)
    expect(second.events).toEqual([])
    expect(manual.begun).toEqual(['s/a0', 's/a0', 's/b1'])
  })
})

test('the event loop gets a turn at least every ten milliseconds of work', async () => {
  let ms = 0
  const clock = { ...systemClock, monotonicMs: () => ms, wallMs: () => ms }
  let inTurn = 0
  const turns: number[] = []
  const { pool } = poolOf(
    () => {
      ms++
      inTurn++
    },
    { concurrency: 1, clock },
  )
  const shard = shardOf(
    's',
    many(100, () => 'a'),
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

describe('a batch that is not full', () => {
  const batchesOf = (): { readonly got: string[]; readonly handler: Handler } => {
    const got: string[] = []
    const eachBatch: EachBatch = (records) => got.push(records.map((record) => record.text()).join(','))
    return { got, handler: handlerOf({ eachBatch }, undefined) }
  }
  const batch = { maxRecords: 3, maxBytes: 2 ** 20, maxWaitMs: 100 }

  test('goes when its time has come, and a full one at once', async () => {
    const { got, handler } = batchesOf()
    const { pool, clock } = poolOf(handler)
    const shard = shardOf('s', ['a', 'b', 'c', 'd'], { batch, now: () => clock.monotonicMs() })
    pool.add(shard)
    await settle()
    expect(got).toEqual(['0,1,2'])
    await clock.advance(60)
    shard.push('e')
    pool.wake(shard)
    await clock.advance(39)
    expect(got).toEqual(['0,1,2'])
    await clock.advance(1)
    await settle()
    expect(got).toEqual(['0,1,2', '3,4'])
    expect(clock.sleeping).toBe(0)
    shard.push('f')
    pool.wake(shard)
    await clock.advance(100)
    await settle()
    expect(got).toEqual(['0,1,2', '3,4', '5'])
  })

  test('does not keep the process once its shard is removed', async () => {
    const { got, handler } = batchesOf()
    const { pool, clock } = poolOf(handler)
    const shard = shardOf('s', ['a'], { batch, now: () => clock.monotonicMs() })
    pool.add(shard)
    await settle()
    expect(clock.sleeping).toBe(1)
    pool.remove(shard)
    expect(clock.sleeping).toBe(0)
    await clock.advance(1_000)
    expect(got).toEqual([])
  })
})

describe('the time of the handler', () => {
  const measured = (shard: StageShard): { readonly shard: PoolShard; readonly times: number[] } => {
    const times: number[] = []
    const measures = { handlerCalled: (_: string, ms: number) => times.push(ms) } as Partial<StreamMeasures>
    return { shard: { ...shard, telemetry: { ...shard.telemetry, measures: measures as StreamMeasures } }, times }
  }

  test('is measured for one in a run of records, until it has settled', async () => {
    const { pool, clock } = poolOf(() => clock.sleep(30))
    const { shard, times } = measured(shardOf('s', ['a', 'b', 'c']))
    pool.add(shard)
    await clock.advance(100)
    expect(times).toEqual([30])
  })

  test('is measured for every batch', async () => {
    const handler = handlerOf({ eachBatch: () => {} }, undefined)
    const { pool } = poolOf(handler)
    const batch = { maxRecords: 1, maxBytes: 2 ** 20, maxWaitMs: 0 }
    const { shard, times } = measured(shardOf('s', ['a', 'b', 'c'], { batch }))
    pool.add(shard)
    await settle()
    expect(times).toEqual([0, 0, 0])
  })
})

test('the record of the last call, and the name of the handler, can be asked for', async () => {
  const { pool } = poolOf(function index() {})
  expect(pool.lastRecord).toBeUndefined()
  pool.add(shardOf('s', ['a', 'b']))
  await settle()
  expect(pool.lastRecord?.text()).toBe('1')
  expect(pool.handlerName).toBe('eachRecord index')
})
