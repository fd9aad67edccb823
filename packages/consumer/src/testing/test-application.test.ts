import { OptionError } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { comparePositions } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { ConsumerRecord, EachRecord } from '../index.ts'
import { TestApplication } from './test-application.ts'
import type { Delivery } from './watched-handlers.ts'

const nothing: EachRecord<undefined> = () => {}
const textsOf = (deliveries: readonly Delivery[]): string[] =>
  deliveries.flatMap(({ records }) => records.map((record) => record.text()))
const statesOf = (deliveries: readonly Delivery[]): string[] =>
  deliveries.map(({ attempt, state }) => `${attempt} ${state}`)

describe('records', () => {
  test('are delivered to the handler and checkpointed, without real time', async () => {
    const startedAt = performance.now()
    const app = new TestApplication({ shards: 2 }, { eachRecord: nothing })
    const first = app.put({ partitionKey: 'ATL', data: 'one' })
    const [second, third] = app.put([
      { partitionKey: 'ATL', data: 'two' },
      { partitionKey: 'JFK', data: 'three' },
    ])
    expect(third).toEqual({ ...second, subSequenceNumber: 1 })
    await app.start()
    await app.checkpointed()
    expect(textsOf(app.deliveries)).toEqual(['one', 'two', 'three'])
    expect(statesOf(app.deliveries)).toEqual(['1 finished', '1 finished', '1 finished'])
    expect(app.checkpoint(first.shardId)).toMatchObject({
      sequenceNumber: second!.sequenceNumber,
      subSequenceNumber: 1,
    })
    expect(app.deliveries[0]!.records[0]).toMatchObject({
      stream: 'test-stream',
      shardId: first.shardId,
      misplaced: false,
    })
    await app.stop()
    expect(app.events.map(({ type }) => type)).toContain('leaseReleased')
    expect(performance.now() - startedAt).toBeLessThan(2_000)
  })

  test('put while it runs come, too', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    await app.start()
    for (const data of ['a', 'b', 'c']) await app.checkpointed(app.put({ partitionKey: 'ATL', data }))
    expect(textsOf(app.deliveries)).toEqual(['a', 'b', 'c'])
  })

  test('may have an explicit hash key, and may lie where they don’t belong', async () => {
    const app = new TestApplication({ shards: 2 }, { eachRecord: nothing })
    const [low, high] = app.openShards
    expect(app.put({ partitionKey: 'ATL', explicitHashKey: '0' }).shardId).toBe(low)
    app.put(
      ['ATL', 'ATL'].map((partitionKey) => ({ partitionKey, explicitHashKey: '0' })),
      { shardId: high },
    )
    await app.start()
    await app.checkpointed()
    expect(app.deliveries.map(({ records }) => records[0]!.misplaced).toSorted()).toEqual([false, true, true])
  })

  test('put before the place where the application starts do not come', async () => {
    for (const initialPosition of ['LATEST', { timestamp: Date.UTC(2026, 0, 1, 0, 0, 30) }] as const) {
      const app = new TestApplication({ initialPosition }, { eachRecord: nothing })
      app.put({ partitionKey: 'ATL', data: 'before' })
      await app.advance(60_000)
      await app.start()
      await app.checkpointed(app.put({ partitionKey: 'ATL', data: 'after' }))
      expect(textsOf(app.deliveries)).toEqual(['after'])
    }
  })

  test('of a shard that is split come before those of its children', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    for (const data of ['1', '2', '3']) {
      for (const partitionKey of ['ATL', 'JFK', 'LAX']) app.put({ partitionKey, data })
      if (data !== '3') app.split(app.put({ partitionKey: 'ATL', data: `${data}, the last` }).shardId)
    }
    await app.start()
    await app.checkpointed()
    await app.advance(300_000)
    expect(app.events.filter(({ type }) => type === 'leaseDeleted')).not.toEqual([])
    await app.checkpointed()
    const ofAtlanta = app.deliveries.filter(({ records }) => records[0]!.partitionKey === 'ATL')
    expect(textsOf(ofAtlanta)).toEqual(['1', '1, the last', '2', '2, the last', '3'])
    expect(new Set(ofAtlanta.map(({ records }) => records[0]!.shardId)).size).toBe(3)
  })

  test('have the values that the codec makes of them', async () => {
    const delays: number[] = []
    const app = new TestApplication(
      { codec: z.object({ delay: z.number() }), failurePolicy: 'skip' },
      {
        eachRecord: ({ value }) => {
          delays.push(value.delay)
        },
      },
    )
    app.put({ partitionKey: 'ATL', data: '{"delay":3}' })
    app.put({ partitionKey: 'ATL', data: '{"delay":"late"}' })
    await app.start()
    await app.checkpointed()
    expect(delays).toEqual([3])
    expect(app.events.filter(({ type }) => type === 'recordSkipped')).toHaveLength(1)
  })

  test('of several keys are handled side by side, of one key one after the other', async () => {
    const clock = new ManualClock()
    let running = 0
    let most = 0
    const eachRecord = async (): Promise<void> => {
      most = Math.max(most, ++running)
      await clock.sleep(100)
      running--
    }
    const app = new TestApplication({ clock }, { eachRecord })
    for (let number = 0; number < 20; number++) app.put({ partitionKey: `key-${number % 4}`, data: String(number) })
    await app.start()
    const startedAt = app.clock.monotonicMs()
    await app.checkpointed()
    expect(most).toBe(4)
    expect(app.clock.monotonicMs() - startedAt).toBeGreaterThan(400)
    for (const key of ['key-0', 'key-1', 'key-2', 'key-3']) {
      const numbers = textsOf(app.deliveries.filter(({ records }) => records[0]!.partitionKey === key)).map(Number)
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
    }
  })
})

describe('batches', () => {
  test('go when they are full, or have waited long enough', async () => {
    const app = new TestApplication({}, { eachBatch: () => {}, maxRecords: 3, maxWaitMs: 1_000 })
    for (let number = 0; number < 4; number++) app.put({ partitionKey: String(number), data: String(number) })
    await app.start()
    await app.checkpointed()
    expect(app.deliveries.map(({ records }) => records.length)).toEqual([3, 1])
    expect(app.deliveries[1]!.atMs - app.deliveries[0]!.atMs).toBeGreaterThanOrEqual(900)
  })

  test('that fail for one record come in parts until it is alone', async () => {
    const app = new TestApplication({ maxAttempts: 2, deadLetter: () => {} }, { eachBatch: () => {}, maxWaitMs: 100 })
    app.put(['a', 'b', 'c', 'd'].map((data) => ({ partitionKey: data, data })))
    app.fail('c', 100)
    await app.start()
    await app.checkpointed()
    expect(app.deadLetters.map(({ partitionKey }) => partitionKey)).toEqual(['c'])
    const finished = app.deliveries.filter(({ state }) => state === 'finished')
    expect(textsOf(finished).toSorted()).toEqual(['a', 'b', 'd'])
  })
})

describe('a handler that fails', () => {
  test('is called again with the same record, which then is checkpointed', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    app.put({ partitionKey: 'ATL', data: 'one' })
    app.put({ partitionKey: 'ATL', data: 'two' })
    app.fail((record) => record.text() === 'one', 2)
    await app.start()
    await app.checkpointed()
    expect(textsOf(app.deliveries)).toEqual(['one', 'one', 'one', 'two'])
    expect(statesOf(app.deliveries)).toEqual(['1 failed', '2 failed', '3 finished', '1 finished'])
    expect(app.deliveries[0]!.error).toMatchObject({ message: 'The test makes this attempt fail.' })
  })

  test('for good stops its shard, and goes on once it is mended', async () => {
    let isMended = false
    const eachRecord = (): void => {
      if (!isMended) throw new Error('broken')
    }
    const app = new TestApplication({ maxAttempts: 2, stoppedRetryMs: 60_000 }, { eachRecord })
    app.put({ partitionKey: 'ATL' })
    await app.start()
    await app.until(() => app.events.some(({ type }) => type === 'shardStopped'))
    expect(app.consumer.status()).toMatchObject({ healthy: false, shards: [{ state: 'stopped' }] })
    isMended = true
    app.consumer.resume()
    await app.checkpointed()
    expect(app.consumer.status().healthy).toBe(true)
  })

  test('for good ends the worker, if it is told to', async () => {
    const app = new TestApplication({ maxAttempts: 1, onStop: 'exit' }, { eachRecord: nothing })
    app.put({ partitionKey: 'ATL' })
    app.fail('ATL')
    await app.start()
    await expect(app.checkpointed()).rejects.toMatchObject({ code: 'ERR_STOPPED' })
    expect(app.failure).toMatchObject({
      code: 'ERR_STOPPED',
      cause: { message: expect.stringContaining('The test makes') },
    })
  })

  test('makes dead letters, of records and of what can’t be read', async () => {
    const kept: string[] = []
    const app = new TestApplication(
      { maxAttempts: 1, deadLetter: (letter) => void kept.push(letter.kind) },
      { eachRecord: nothing },
    )
    app.put({ partitionKey: 'ATL' })
    app.put([{ partitionKey: 'JFK', data: 'some bytes' }], { damaged: true })
    app.put({ partitionKey: 'LAX' })
    app.fail('ATL', 1, new Error('no'))
    await app.start()
    await app.checkpointed()
    expect(kept.toSorted()).toEqual(['record', 'undecodable'])
    expect(app.deadLetters.find(({ kind }) => kind === 'record')).toMatchObject({
      partitionKey: 'ATL',
      error: { message: 'no' },
    })
    expect(app.deliveries.map(({ records }) => records[0]!.partitionKey)).toEqual(['ATL', 'LAX'])
  })
})

describe('a handler that hangs', () => {
  test('holds the checkpoint back until it is let go', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    const [first] = [app.put({ partitionKey: 'ATL' }), app.put({ partitionKey: 'JFK' })]
    const letGo = app.hang('ATL')
    await app.start()
    await app.advance(60_000)
    expect(statesOf(app.deliveries)).toEqual(['1 running', '1 finished'])
    expect(comparePositions(app.checkpoint(), first)).toBeLessThan(0)
    letGo()
    await app.checkpointed()
    expect(statesOf(app.deliveries)).toEqual(['1 finished', '1 finished'])
  })

  test('longer than handlerTimeoutMs is given up', async () => {
    const app = new TestApplication(
      { handlerTimeoutMs: 1_000, maxAttempts: 2, deadLetter: () => {} },
      { eachRecord: nothing },
    )
    app.put({ partitionKey: 'ATL' })
    app.hang('ATL')
    await app.start()
    await app.checkpointed()
    expect(app.deliveries[0]!.signal.reason).toMatchObject({ code: 'ERR_HANDLER_TIMEOUT' })
    expect(app.deadLetters).toHaveLength(1)
  })

  test('does not keep the worker from closing', async () => {
    const app = new TestApplication({ closeTimeout: 5_000 }, { eachRecord: nothing })
    app.put({ partitionKey: 'ATL' })
    app.hang('ATL')
    await app.start()
    await app.until(() => app.deliveries.length === 1)
    const startedAt = app.clock.monotonicMs()
    await app.stop()
    expect(app.clock.monotonicMs() - startedAt).toBeLessThan(6_000)
    expect(app.deliveries[0]!.signal.reason).toMatchObject({ code: 'ERR_CLOSED' })
    await app.start()
    await app.checkpointed()
    expect(app.deliveries.map(({ worker, state }) => [worker, state])).toEqual([
      [1, 'running'],
      [2, 'finished'],
    ])
  })
})

describe('a worker', () => {
  test('that crashes does nothing more, and another one begins at its checkpoint', async () => {
    const clock = new ManualClock()
    const handled: string[] = []
    const eachRecord = async (record: ConsumerRecord): Promise<void> => {
      handled.push(record.text())
      await clock.sleep(10)
    }
    const app = new TestApplication({ clock }, { eachRecord })
    await app.start()
    await app.checkpointed(app.put({ partitionKey: 'ATL', data: 'before' }))
    app.put({ partitionKey: 'ATL', data: 'lost' })
    app.put({ partitionKey: 'JFK', data: 'in hand' })
    const letGo = app.hang('JFK')
    await app.until(() => app.deliveries.length === 3)
    const checkpoint = app.checkpoint()
    app.crash()
    letGo()
    await app.advance(60_000)
    expect(app.checkpoint()).toEqual(checkpoint)
    expect(statesOf(app.deliveries.slice(1)).toSorted()).toEqual(['1 crashed', '1 crashed'])
    await app.start()
    await app.checkpointed()
    expect(textsOf(app.deliveries.filter(({ worker }) => worker === 2))).toEqual(['lost', 'in hand'])
    expect(handled).toEqual(['before', 'lost', 'lost', 'in hand'])
  })

  test('that loses a lease has its handlers aborted, and handles no more until it has it again', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    app.put({ partitionKey: 'ATL' })
    app.hang('ATL')
    await app.start()
    await app.until(() => app.deliveries.length === 1)
    await app.loseLease()
    await expect(app.loseLease()).rejects.toThrow(/a lease that the worker holds, which is none/)
    expect(app.deliveries[0]!.signal.reason).toMatchObject({ code: 'ERR_LEASE_LOST' })
    app.put({ partitionKey: 'JFK' })
    await app.advance(100)
    expect(app.deliveries).toHaveLength(1)
    await app.checkpointed()
    expect(statesOf(app.deliveries)).toEqual(['1 running', '1 finished', '1 finished'])
  })

  test('calls its hooks', async () => {
    const calls: string[] = []
    const note =
      (name: string) =>
      ({ shardId }: { readonly shardId: string }) =>
        void calls.push(`${name} ${shardId.slice(-1)}`)
    const app = new TestApplication(
      {},
      {
        eachRecord: nothing,
        onShardStart: note('start'),
        onShardEnd: note('end'),
        onShardRelease: note('release'),
        onLeaseLost: note('lost'),
      },
    )
    await app.start()
    await app.checkpointed(app.put({ partitionKey: 'ATL' }))
    const children = app.split()
    expect(children).toEqual(app.openShards)
    await app.until(() => calls.length === 4)
    await app.stop()
    expect(calls.slice(0, 2)).toEqual(['start 0', 'end 0'])
    expect(calls.slice(2).toSorted()).toEqual(['release 1', 'release 2', 'start 1', 'start 2'])
    expect(app.checkpoint('shardId-000000000000').sequenceNumber).toBe('SHARD_END')
  })

  test('can be paused', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    await app.start()
    app.consumer.pause()
    app.put({ partitionKey: 'ATL' })
    await app.advance(10_000)
    expect(app.deliveries).toEqual([])
    app.consumer.resume()
    await app.checkpointed()
    expect(app.deliveries).toHaveLength(1)
  })

  test('that checkpoints by hand does so', async () => {
    const eachRecord: EachRecord<undefined> = (record: ConsumerRecord<undefined>, { checkpoint }) => {
      if (record.text() === 'now') checkpoint(record)
    }
    const app = new TestApplication({ checkpointing: 'manual' }, { eachRecord, onShardEnd: () => {} })
    const [, now, later] = ['', 'now', 'not yet'].map((data) => app.put({ partitionKey: 'ATL', data }))
    await app.start()
    await app.checkpointed(now)
    await app.advance(60_000)
    expect(comparePositions(app.checkpoint(), later!)).toBeLessThan(0)
  })
})

describe('what is wrong', () => {
  test('an option is refused at the door', () => {
    expect(() => new TestApplication({ maxAttempt: 3 } as object, { eachRecord: nothing })).toThrow(OptionError)
    expect(() => new TestApplication({ shards: 0 }, { eachRecord: nothing })).toThrow(/"shards" must be a whole number/)
    expect(() => new TestApplication({}, {} as never)).toThrow(/expects one handler/)
  })

  test('a worker can’t be started twice, or stopped before', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    await expect(app.stop()).rejects.toThrow(/expected start\(\) before/)
    await app.start()
    await expect(app.start()).rejects.toThrow(/expected stop\(\) or crash\(\)/)
  })

  test('waiting in vain ends with what keeps it', async () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    const { sequenceNumber } = app.put({ partitionKey: 'ATL' })
    app.hang('ATL')
    await app.start()
    await expect(app.checkpointed()).rejects.toThrow(
      `Not so after 5 minutes: the checkpoint is there. shardId-000000000000 is reading with ${sequenceNumber}:0 unfinished for`,
    )
  })

  test('records can’t be put into a shard that is closed or isn’t there', () => {
    const app = new TestApplication({}, { eachRecord: nothing })
    const [parent] = app.openShards
    app.split()
    expect(() => app.put({ partitionKey: 'ATL' }, { shardId: parent })).toThrow(
      /Expected an open shard, one of .*1, .*2, got .*0/,
    )
    expect(() => app.put({ partitionKey: 'ATL' }, { shardId: 'shardId-9' })).toThrow(/got shardId-9/)
    expect(() => app.put([])).toThrow(/at least one record/)
  })
})

test('the same test runs the same way each time', async () => {
  const run = async (): Promise<unknown> => {
    const clock = new ManualClock()
    const app = new TestApplication({ shards: 3, clock }, { eachRecord: () => clock.sleep(7) })
    for (let number = 0; number < 50; number++) app.put({ partitionKey: `key-${number % 7}`, data: String(number) })
    app.fail('key-3', 3)
    await app.start()
    await app.checkpointed()
    return [app.deliveries.map(({ atMs, records }) => [atMs, records[0]!.text()]), app.clock.monotonicMs()]
  }
  expect(await run()).toEqual(await run())
})
