import { ManualClock, settle } from '@shardwise/core/testing'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ManualHandler, poolOf, shardOf } from '../../test/pool-stage.ts'
import { Alarms } from './alarms.ts'
import { handlerOf } from './handler.ts'
import { Timeouts } from './timeouts.ts'

test('whoever is not done in time is told, at its time and in the order they came; nobody else, and nothing is left to wait for', async () => {
  const visits = fc.array(fc.record({ afterMs: fc.nat(50), staysMs: fc.nat(150) }), { maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(visits, async (plan) => {
      const clock = new ManualClock()
      const told: [number, number][] = []
      const timeouts = new Timeouts<number>(100, clock, new Alarms(clock), (item) =>
        told.push([item, clock.monotonicMs()]),
      )
      const expected: [number, number][] = []
      for (const [item, { afterMs, staysMs }] of plan.entries()) {
        await clock.advance(afterMs)
        timeouts.add(item)
        if (staysMs > 100) expected.push([item, clock.monotonicMs() + 100])
        // One who is done at the very moment may be told or not.
        else void clock.sleep(Math.min(staysMs, 99)).then(() => timeouts.delete(item))
      }
      await clock.advance(1_000)
      expect(told).toEqual(expected)
      timeouts.rest()
      expect(clock.sleeping).toBe(0)
    }),
    { numRuns: 50 },
  )
})

describe('an attempt that takes longer than handlerTimeoutMs', () => {
  const timed = { handlerTimeoutMs: 500, closeTimeout: 1_000 }

  test('is told by its signal, and has failed when it settles', async () => {
    const manual = new ManualHandler()
    const { pool, clock } = poolOf(manual.eachRecord, timed)
    const shard = shardOf('s', ['a', 'b', 'a'])
    pool.add(shard)
    await clock.advance(400)
    await manual.end('s/b1')
    await clock.advance(100)
    expect(manual.signals.get('s/a0')?.reason).toMatchObject({ code: 'ERR_HANDLER_TIMEOUT', shardId: 's' })
    expect(manual.signals.get('s/b1')?.aborted).toBe(false)
    expect(shard.events).toEqual([])
    await clock.advance(300)
    await manual.fail('s/a0', new Error('as I was told'))
    expect(shard.eventsOf('handlerFailed')).toMatchObject([
      { attempt: 1, retryInMs: 100, error: { code: 'ERR_HANDLER_TIMEOUT' } },
    ])
    expect(manual.begun).toEqual(['s/a0', 's/b1'])
    await clock.advance(100)
    await settle()
    expect(manual.begun).toEqual(['s/a0', 's/b1', 's/a0'])
    expect(manual.signals.get('s/a0')?.aborted).toBe(false)
  })

  test('has failed even if it resolves: it may have left its work undone', async () => {
    const { pool, clock } = poolOf(
      (_, { signal }) => new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve())),
      { ...timed, maxAttempts: 1 },
    )
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await clock.advance(600)
    expect(shard.stops).toMatchObject([{ error: { code: 'ERR_HANDLER_TIMEOUT' } }])
    expect(shard.queue.checkpoint).toBeUndefined()
  })

  test('and does not settle has failed for good after closeTimeout: its place is free, and what it does late changes nothing', async () => {
    const manual = new ManualHandler()
    const { pool, clock } = poolOf(manual.eachRecord, { ...timed, concurrency: 1, failurePolicy: 'skip' })
    const shard = shardOf('s', ['a', 'a', 'b'])
    pool.add(shard)
    await clock.advance(1_499)
    expect(manual.begun).toEqual(['s/a0'])
    await clock.advance(1)
    await settle()
    expect(shard.eventsOf('handlerAbandoned')).toMatchObject([{ sequenceNumber: '100', attempt: 1, afterMs: 1_000 }])
    expect(shard.eventsOf('recordSkipped')).toMatchObject([{ sequenceNumber: '100' }])
    expect(manual.begun).toEqual(['s/a0', 's/a1'])
    await manual.fail('s/a0')
    expect(manual.begun).toEqual(['s/a0', 's/a1'])
    await manual.end('s/a1')
    await manual.end('s/b2')
    expect(shard.eventsOf('handlerFailed')).toHaveLength(1)
    expect(shard.queue.empty).toBe(true)
  })

  test('of a batch that never settles leads to its halves, not to the policy for all of it', async () => {
    const calls: string[] = []
    const handler = handlerOf(
      {
        eachBatch: (records) => {
          calls.push(records.map((record) => record.text()).join(','))
          return records.some((record) => record.text() === '1') ? new Promise(() => {}) : undefined
        },
      },
      undefined,
    )
    const { pool, clock } = poolOf(handler, { ...timed, failurePolicy: 'skip' })
    const batch = { maxRecords: 100, maxBytes: 2 ** 20, maxWaitMs: 0 }
    const shard = shardOf('s', ['a', 'b', 'c', 'd'], { batch, ordering: 'shard' })
    pool.add(shard)
    await clock.advance(10_000)
    expect(calls).toEqual(['0,1,2,3', '0,1', '0', '1', '2,3'])
    expect(shard.eventsOf('recordSkipped')).toMatchObject([{ sequenceNumber: '101' }])
    expect(shard.queue.empty).toBe(true)
  })

  test('of a dead letter is tried again', async () => {
    let sent = 0
    const { pool, clock } = poolOf(
      () => {
        throw new Error('no')
      },
      {
        ...timed,
        maxAttempts: 1,
        failurePolicy: 'deadLetter',
        deadLetter: () => ++sent === 1 && new Promise(() => {}),
      },
    )
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await clock.advance(3_000)
    expect(sent).toBe(2)
    expect(shard.eventsOf('deadLetterFailed')).toMatchObject([{ error: { code: 'ERR_HANDLER_TIMEOUT' } }])
    expect(shard.queue.empty).toBe(true)
  })
})

test('the signal of a timed attempt is aborted with its shard, and why', async () => {
  const manual = new ManualHandler()
  const { pool, clock } = poolOf(manual.eachRecord, { handlerTimeoutMs: 500 })
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  shard.abort.abort(new Error('lease lost'))
  expect(manual.signals.get('s/a0')?.reason).toEqual(new Error('lease lost'))
  pool.abandon(shard)
  expect(clock.sleeping).toBe(0)
})

test('nothing is timed without the option, or where the handler is synchronous', async () => {
  for (const [handler, options] of [
    [() => new Promise(() => {}), {}],
    [() => {}, { handlerTimeoutMs: 500 }],
  ] as const) {
    const { pool, clock } = poolOf(handler, options)
    pool.add(shardOf('s', ['a', 'b']))
    await settle()
    expect(clock.sleeping).toBe(0)
  }
})

test('what is timed keeps the process no longer than its shards are there', async () => {
  const manual = new ManualHandler()
  const { pool, clock } = poolOf(manual.eachRecord, { handlerTimeoutMs: 60_000 })
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  await manual.end('s/a0')
  pool.remove(shard)
  expect(clock.sleeping).toBe(0)
})
