import { describe, expect, test } from 'vitest'
import { F } from './consumer-stage.ts'
import { Life, never, status } from './life.ts'

describe('status', () => {
  test('live, ready and healthy: before, while and after it runs', async () => {
    const life = new Life()
    const worker = life.start()
    expect(worker.consumer.status()).toMatchObject({ live: true, ready: false, healthy: true })
    await life.stage.until('it is ready', () => worker.consumer.status().ready)
    expect(status(worker)).toMatchObject({ state: 'reading', millisBehindLatest: 0 })
    await life.stage.done(worker.consumer.close())
    expect(worker.consumer.status()).toMatchObject({ live: false, ready: false, healthy: false })
  })

  test('a worker that takes long to close is live', async () => {
    const life = new Life()
    life.stage.kinesis.put('slow')
    const worker = life.start({ closeTimeout: 60 * F })
    await life.stage.until('it is handled', () => life.handled.length > 0)
    const closed = worker.consumer.close()
    await life.stage.clock.advance(30 * F)
    expect(worker.consumer.status()).toMatchObject({ live: true, shards: [{ state: 'draining' }] })
    life.slow.resolve()
    await life.stage.done(closed)
  })

  test('a shard that is far behind makes it unready, and so does a hook that keeps it from starting', async () => {
    const life = new Life()
    life.stage.kinesis.hook = (operation) =>
      operation === 'GetRecords' ? { Records: [], NextShardIterator: 'x', MillisBehindLatest: 5_000 } : undefined
    const worker = life.start({ readyLagMs: 4_999 })
    await life.stage.clock.advance(5 * F)
    expect(worker.consumer.status()).toMatchObject({ live: true, ready: false, healthy: true })
    const starting = new Life(1, { start: never })
    const other = starting.start()
    await starting.stage.until('it starts', () => starting.hooks.length > 0)
    await starting.stage.clock.advance(5 * F)
    expect(other.consumer.status()).toMatchObject({ live: true, ready: false, shards: [{ state: 'starting' }] })
  })

  test('a worker that can not reach the table any more is live: to start it anew would not help', async () => {
    const life = new Life()
    const worker = life.start()
    await life.stage.until('it is ready', () => worker.consumer.status().ready)
    worker.sever()
    for (let passed = 0; passed < 60; passed++) {
      await life.stage.clock.advance(F)
      expect(worker.consumer.status().live).toBe(true)
    }
    expect(worker.told('leaseLost')).toHaveLength(1)
  })
})
