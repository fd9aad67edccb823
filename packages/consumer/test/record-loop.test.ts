import { describe, expect, test } from 'vitest'
import type { ConsumerOptions } from '../src/index.ts'
import { F, type StagedWorker } from './consumer-stage.ts'
import { CLOSE_MS, durationOf, keyIn, Life } from './life.ts'

describe('records()', () => {
  /** A consumer of its own, whose records a loop takes. */
  function looping(shards = 1, options: Partial<ConsumerOptions> = {}): { life: Life; worker: StagedWorker } {
    const life = new Life(shards)
    // Only for its options: it is never run.
    const worker = life.stage.create('loop', { closeTimeout: CLOSE_MS, ...options })
    return { life, worker }
  }

  test('a record is finished when the next is asked for, and shards take turns', async () => {
    const { life, worker } = looping(2)
    for (const text of ['1', '2', '3']) {
      life.stage.kinesis.put(`a${text}`, keyIn(0))
      life.stage.kinesis.put(`b${text}`, keyIn(1))
    }
    const records = worker.consumer.records()
    const texts: string[] = []
    for (let count = 0; count < 6; count++) {
      const { value } = await life.stage.done(records.next())
      texts.push(value!.text())
    }
    expect(texts.filter((text) => text.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
    expect(texts.filter((text) => text.startsWith('b'))).toEqual(['b1', 'b2', 'b3'])
    expect(new Set(texts.slice(0, 2).map((text) => text[0]))).toEqual(new Set(['a', 'b']))
    await life.stage.done(records.return!())
    // The last one was in hand.
    life.start({}, 'second')
    await life.stage.until('it comes again', () => life.handled.length > 0)
    expect(life.handled).toEqual([texts.at(-1)])
  })

  test('breaking out gives the leases back at once, and the record in hand comes again elsewhere', async () => {
    const { life, worker } = looping()
    for (const text of ['1', '2', '3']) life.stage.kinesis.put(text)
    const taken: string[] = []
    const loop = (async () => {
      for await (const record of worker.consumer.records()) {
        taken.push(record.text())
        if (record.text() === '2') break
      }
    })()
    expect(await durationOf(life, loop)).toBeLessThan(2 * F)
    expect(life.stage.lease(0).owner).toBeUndefined()
    life.start({}, 'second')
    await life.stage.until('the rest is handled', () => life.handled.length === 2)
    expect([taken, life.handled]).toEqual([
      ['1', '2'],
      ['2', '3'],
    ])
  })

  test('close() lets the loop finish the record in hand, and ends it', async () => {
    const { life, worker } = looping()
    for (const text of ['1', '2', '3']) life.stage.kinesis.put(text)
    const taken: string[] = []
    const loop = (async () => {
      for await (const record of worker.consumer.records()) {
        taken.push(record.text())
        if (record.text() === '2') void worker.consumer.close()
        await life.stage.clock.sleep(50)
      }
    })()
    expect(await durationOf(life, loop)).toBeLessThan(2 * F)
    life.start({}, 'second')
    await life.stage.until('the rest is handled', () => life.handled.length === 1)
    expect([taken, life.handled]).toEqual([['1', '2'], ['3']])
  })

  test('a consumer has one loop, or one run', async () => {
    const { life, worker } = looping()
    life.stage.kinesis.put('1')
    const records = worker.consumer.records()
    await life.stage.done(records.next())
    await expect(worker.consumer.records().next()).rejects.toMatchObject({ code: 'ERR_STATE' })
    await expect(worker.consumer.run({ eachRecord: () => {} })).rejects.toMatchObject({ code: 'ERR_STATE' })
    await worker.consumer.records().return!()
    // The first loop is none the worse.
    life.stage.kinesis.put('2')
    const { value } = await life.stage.done(records.next())
    expect(value!.text()).toBe('2')
    await life.stage.done(records.return!())
    expect(() => looping(1, { checkpointing: 'manual' }).worker.consumer.records()).toThrow("got 'manual'")
  })

  test('a loop may take its time: handlerTimeoutMs is not for it', async () => {
    const { life, worker } = looping(1, { handlerTimeoutMs: F, maxAttempts: 1, failurePolicy: 'skip' })
    for (const text of ['1', '2']) life.stage.kinesis.put(text)
    const taken: string[] = []
    const loop = (async () => {
      for await (const record of worker.consumer.records()) {
        await life.stage.clock.sleep(10 * F)
        if (taken.push(record.text()) === 2) break
      }
    })()
    await life.stage.done(loop)
    expect(taken).toEqual(['1', '2'])
    expect(worker.told('recordSkipped')).toEqual([])
  })

  test('a run that fails throws from next()', async () => {
    const { life, worker } = looping(1, { stream: 'nowhere' })
    const first = worker.consumer.records().next()
    await expect(life.stage.done(first)).rejects.toMatchObject({ code: 'ERR_STREAM' })
  })
})
