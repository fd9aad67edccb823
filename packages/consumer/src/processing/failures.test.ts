import { createHash } from 'node:crypto'
import { CodecError } from '@shardwise/core'
import { settle } from '@shardwise/core/testing'
import { AggregateBuilder } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { ManualHandler, poolOf, shardOf } from '../../test/pool-stage.ts'
import { ConsumerError } from '../errors.ts'
import type { DeadLetter } from './dead-letter.ts'
import { handlerOf } from './handler.ts'

const BATCH = { maxRecords: 100, maxBytes: 2 ** 20, maxWaitMs: 0 }
/** What is in it is cut off; its checksum fits. */
const BODY = Buffer.from([0x0a, 0x01, 0x61, 0x1a, 0x04, 0x08, 0x05, 0x1a, 0x00])
const DAMAGED = Buffer.concat([Buffer.from('f3899ac2', 'hex'), BODY, createHash('md5').update(BODY).digest()])

const failing = (): never => {
  throw new Error('no')
}

function thenable(then: (resolve: () => void, reject: (error: Error) => void) => void): object {
  return Object.defineProperty({}, 'then', { value: then })
}

/** Lets the pool and the clock go on until nothing more comes of it. */
async function later(clock: { advance(ms: number): Promise<void> }, ms: number): Promise<void> {
  await clock.advance(ms)
  await settle()
}

describe('a handler that fails', () => {
  test.each([
    { how: 'by throwing', handler: failing },
    { how: 'by rejecting', handler: () => Promise.reject(new Error('no')) },
    { how: 'by a thenable that rejects', handler: () => thenable((_, reject) => reject(new Error('no'))) },
    {
      how: 'by a thenable that throws',
      handler: () =>
        thenable(() => {
          throw new Error('no')
        }),
    },
    {
      how: 'by throwing undefined',
      handler: () => {
        throw undefined
      },
    },
    {
      how: 'by something whose then throws as it is asked for',
      handler: () =>
        Object.defineProperty({}, 'then', {
          get: () => {
            throw new Error('no')
          },
        }),
    },
  ])('$how gets the same record again, after a growing pause', async ({ handler }) => {
    const { pool, clock } = poolOf(handler)
    const shard = shardOf('s', ['a', 'a'])
    pool.add(shard)
    await settle()
    for (const ms of [100, 200, 400]) await later(clock, ms)
    expect(
      shard.eventsOf('handlerFailed').map(({ partitionKey, attempt, retryInMs }) => [partitionKey, attempt, retryInMs]),
    ).toEqual([
      ['a', 1, 100],
      ['a', 2, 200],
      ['a', 3, 400],
      ['a', 4, 800],
    ])
    expect(shard.queue.checkpoint).toBeUndefined()
  })

  test('is told the attempt, and lets other keys go on meanwhile, without a place of its own', async () => {
    const attempts: number[] = []
    const done: string[] = []
    const { pool, clock } = poolOf(
      (record, { attempt }) => {
        if (record.partitionKey === 'bad') attempts.push(attempt)
        if (record.partitionKey === 'bad' && attempt < 3) return Promise.reject(new Error('not yet'))
        done.push(`${record.partitionKey}${record.text()}`)
        return Promise.resolve()
      },
      { concurrency: 1 },
    )
    pool.add(shardOf('s', ['bad', 'good', 'bad', 'good']))
    await settle()
    await settle()
    expect(done).toEqual(['good1', 'good3'])
    await later(clock, 300)
    await settle()
    expect(attempts).toEqual([1, 2, 3, 1])
    expect(done).toEqual(['good1', 'good3', 'bad0', 'bad2'].filter((name) => done.includes(name)))
    expect(done).toContain('bad0')
  })

  test('is tried maxAttempts times', async () => {
    const { pool, clock } = poolOf(failing, { maxAttempts: 3 })
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await later(clock, 60_000)
    expect(shard.eventsOf('handlerFailed').map(({ retryInMs }) => retryInMs)).toEqual([100, 200, undefined])
    expect(shard.stops).toMatchObject([{ attempts: 3 }])
  })

  test('is tried no longer than maxAgeMs after its first failure', async () => {
    const { pool, clock } = poolOf(failing, { maxAgeMs: 250 })
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await later(clock, 60_000)
    // At 0, 100 and 300 ms.
    expect(shard.eventsOf('handlerFailed')).toHaveLength(3)
    expect(shard.stops).toMatchObject([{ attempts: 3 }])
  })

  test.each([
    { what: 'a record that is no JSON', error: () => new ConsumerError('ERR_JSON', 'no') },
    { what: 'a value that the codec refuses', error: () => new CodecError('no') },
  ])('is not tried again for $what', async ({ error }) => {
    const { pool, clock } = poolOf(() => {
      throw error()
    })
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await later(clock, 60_000)
    expect(shard.stops).toMatchObject([{ attempts: 1 }])
  })

  test('is not tried again once its shard is removed, aborted or abandoned, though it waits for it', async () => {
    for (const end of ['remove', 'abort', 'abandon'] as const) {
      let calls = 0
      const { pool, clock } = poolOf(() => {
        calls++
        failing()
      })
      const shard = shardOf('s', ['a'])
      pool.add(shard)
      await settle()
      if (end === 'abort') shard.abort.abort()
      else pool[end](shard)
      expect(clock.sleeping).toBe(0)
      await later(clock, 60_000)
      expect(calls).toBe(1)
    }
  })
})

test('a thenable that settles twice is finished once', async () => {
  const { pool } = poolOf(() =>
    thenable((resolve, reject) => {
      resolve()
      reject(new Error('no'))
      resolve()
    }),
  )
  const shard = shardOf('s', ['a', 'a'])
  pool.add(shard)
  await settle()
  await settle()
  expect(shard.queue.finishedRecords).toBe(2)
  expect(shard.events).toEqual([])
})

describe('the policy stop', () => {
  test('begins nothing more of the shard, lets what runs settle, and tells once', async () => {
    const manual = new ManualHandler()
    const { pool, clock } = poolOf(manual.eachRecord, { concurrency: 4 })
    const shard = shardOf('s', ['a', 'b', 'c', 'd', 'e'])
    pool.add(shard)
    await settle()
    await manual.fail('s/b1', new CodecError('the first'))
    await manual.fail('s/c2', new Error('the second'))
    await manual.fail('s/d3', new CodecError('the third'))
    await manual.end('s/a0')
    await later(clock, 60_000)
    expect(shard.stops).toMatchObject([{ work: { record: { partitionKey: 'b' } }, error: { message: 'the first' } }])
    expect(manual.begun).toEqual(['s/a0', 's/b1', 's/c2', 's/d3'])
    expect(shard.queue.checkpoint?.sequenceNumber).toBe('100')
    expect(shard.queue.runningHandlers).toBe(0)
    expect(shard.eventsOf('handlerFailed').map(({ retryInMs }) => retryInMs)).toEqual(Array(3).fill(undefined))
    expect(shard.queue.memory().tried.map(({ attempts }) => attempts)).toEqual([1, 1, 1])
  })

  test('of a synchronous handler begins nothing after the record that failed', async () => {
    const got: string[] = []
    const { pool } = poolOf(
      (record) => {
        got.push(record.text())
        if (record.text() === '1') failing()
      },
      { maxAttempts: 1 },
    )
    pool.add(shardOf('s', ['a', 'b', 'c']))
    await settle()
    expect(got).toEqual(['0', '1'])
  })

  test('leaves the other shards alone', async () => {
    const { pool } = poolOf(({ shardId }) => (shardId === 'bad' ? failing() : undefined), { maxAttempts: 1 })
    const [bad, good] = [shardOf('bad', ['a', 'b']), shardOf('good', ['a', 'b'])]
    pool.add(bad)
    pool.add(good)
    await settle()
    expect([bad.stops.length, good.queue.empty]).toEqual([1, true])
  })
})

describe('the policy skip', () => {
  test('counts the record as finished, goes on with its key, and says so', async () => {
    const got: string[] = []
    const { pool } = poolOf(
      (record) => {
        got.push(record.text())
        if (record.text() === '0') failing()
      },
      { failurePolicy: 'skip', maxAttempts: 1 },
    )
    const shard = shardOf('s', ['a', 'a'])
    pool.add(shard)
    await settle()
    expect(got).toEqual(['0', '1'])
    expect(shard.queue.empty).toBe(true)
    expect(shard.eventsOf('recordSkipped')).toMatchObject([
      { shardId: 's', partitionKey: 'a', sequenceNumber: '100', subSequenceNumber: 0, attempts: 1 },
    ])
  })
})

describe('the policy deadLetter', () => {
  const policy = { failurePolicy: 'deadLetter', maxAttempts: 2 } as const

  test('gives the record away with its error, its attempts and its origin; then it counts as finished', async () => {
    const letters: DeadLetter[] = []
    const error = new Error('no')
    const { pool, clock } = poolOf(() => Promise.reject(error), {
      ...policy,
      deadLetter: async (letter) => {
        letters.push(letter)
      },
    })
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await settle()
    const firstFailedAt = new Date(clock.wallMs())
    await later(clock, 100)
    await settle()
    expect(letters).toEqual([
      {
        kind: 'record',
        record: expect.objectContaining({ partitionKey: 'a' }),
        partitionKey: 'a',
        data: Buffer.from('0'),
        error,
        attempts: 2,
        firstFailedAt,
        origin: {
          application: 'delays',
          worker: 'worker-1',
          stream: 'flights',
          shardId: 's',
          sequenceNumber: '100',
          subSequenceNumber: 0,
          arrivedAt: undefined,
        },
      },
    ])
    expect(shard.queue.empty).toBe(true)
    expect(shard.eventsOf('recordDeadLettered')).toMatchObject([{ sequenceNumber: '100', attempts: 2, error }])
    expect(shard.stops).toEqual([])
  })

  test('that fails is tried again without end: the key waits, others go on, and nothing is lost', async () => {
    let failures = 0
    const got: string[] = []
    const { pool, clock } = poolOf(
      (record) => {
        if (record.partitionKey === 'bad' && record.text() === '0') failing()
        got.push(record.text())
      },
      {
        failurePolicy: 'deadLetter',
        maxAttempts: 1,
        deadLetter: () => {
          if (failures < 20) {
            failures++
            throw new Error('no room')
          }
        },
      },
    )
    const shard = shardOf('s', ['bad', 'good', 'bad'])
    pool.add(shard)
    await settle()
    await later(clock, 60_000)
    expect(got).toEqual(['1'])
    expect(shard.queue.checkpoint).toBeUndefined()
    await later(clock, 400_000)
    expect(got).toEqual(['1', '2'])
    expect(shard.queue.empty).toBe(true)
    const told = shard.eventsOf('deadLetterFailed')
    expect(told.map(({ attempt }) => attempt)).toEqual(Array.from({ length: 20 }, (_, index) => index + 1))
    expect(told.slice(0, 3).map(({ retryInMs }) => retryInMs)).toEqual([100, 200, 400])
  })

  test('takes a place as a handler does, and no record of its shard is begun beyond them', async () => {
    const sending: PromiseWithResolvers<void>[] = []
    const { pool } = poolOf(failing, {
      ...policy,
      maxAttempts: 1,
      concurrency: 2,
      deadLetter: () => {
        const sent = Promise.withResolvers<void>()
        sending.push(sent)
        return sent.promise
      },
    })
    const shard = shardOf('s', ['a', 'b', 'c'])
    pool.add(shard)
    await settle()
    expect(sending).toHaveLength(2)
    expect(shard.queue.runningHandlers).toBe(2)
    sending[0]!.resolve()
    await settle()
    expect(sending).toHaveLength(3)
  })

  test('that hangs is told by its signal when its shard gives up, and has not been sent then', async () => {
    let signal: AbortSignal | undefined
    const { pool } = poolOf(failing, {
      ...policy,
      maxAttempts: 1,
      deadLetter: (_, context) => {
        signal = context.signal
        return new Promise((resolve) => context.signal.addEventListener('abort', resolve))
      },
    })
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await settle()
    shard.abort.abort(new Error('closing'))
    await settle()
    expect(signal?.reason).toEqual(new Error('closing'))
    expect(shard.queue.checkpoint).toBeUndefined()
    expect(shard.queue.runningHandlers).toBe(0)
    expect(shard.eventsOf('recordDeadLettered')).toEqual([])
  })
})

describe('a Kinesis record that is damaged inside', () => {
  const pushDamaged = (shard: ReturnType<typeof shardOf>): void => {
    shard.queue.push([{ sequenceNumber: '90', partitionKey: 'outer', data: DAMAGED, arrivedAt: new Date(7) }])
    shard.push('after')
  }

  test('stops its shard, and no handler is called with it', async () => {
    const got: string[] = []
    const { pool } = poolOf((record) => {
      got.push(record.partitionKey)
    })
    const shard = shardOf('s', [])
    pushDamaged(shard)
    pool.add(shard)
    await settle()
    expect(got).toEqual([])
    expect(shard.eventsOf('undecodableRecord')).toMatchObject([{ sequenceNumber: '90', attempt: 1 }])
    expect(shard.stops).toMatchObject([{ error: { code: 'ERR_RECORD', shardId: 's' }, attempts: 1 }])
    expect(shard.eventsOf('handlerFailed')).toEqual([])
  })

  test('is skipped if that is the policy', async () => {
    const got: string[] = []
    const { pool } = poolOf(
      (record) => {
        got.push(record.partitionKey)
      },
      { failurePolicy: 'skip' },
    )
    const shard = shardOf('s', [])
    pushDamaged(shard)
    pool.add(shard)
    await settle()
    expect(got).toEqual(['after'])
    expect(shard.eventsOf('recordSkipped')).toMatchObject([{ sequenceNumber: '90', partitionKey: 'outer' }])
    expect(shard.queue.empty).toBe(true)
  })

  test('because its bytes have gone since it was read stops its shard whatever the policy: the stream still has it', async () => {
    const builder = new AggregateBuilder()
    for (const key of ['a', 'b']) builder.add(key, undefined, Buffer.from(key))
    const data = Uint8Array.from(builder.build(0n).data)
    const { pool } = poolOf(
      (record) => {
        if (record.partitionKey === 'a') structuredClone(null, { transfer: [record.data.buffer as ArrayBuffer] })
      },
      { failurePolicy: 'skip' },
    )
    const shard = shardOf('s', [])
    shard.queue.push([{ sequenceNumber: '90', partitionKey: 'outer', data, arrivedAt: undefined }])
    pool.add(shard)
    await settle()
    expect(shard.stops).toMatchObject([{ work: { undecodable: { isGone: true } }, error: { code: 'ERR_RECORD' } }])
    expect(shard.eventsOf('recordSkipped')).toEqual([])
    expect(shard.queue.memory().checkpoint).toEqual({ sequenceNumber: '90', subSequenceNumber: 0 })
  })

  test('goes to the dead letters as it is', async () => {
    const letters: DeadLetter[] = []
    const { pool } = poolOf(() => {}, { failurePolicy: 'deadLetter', deadLetter: (letter) => letters.push(letter) })
    const shard = shardOf('s', [])
    pushDamaged(shard)
    pool.add(shard)
    await settle()
    expect(letters).toMatchObject([
      {
        kind: 'undecodable',
        partitionKey: 'outer',
        data: DAMAGED,
        error: { code: 'ERR_RECORD' },
        origin: { sequenceNumber: '90', arrivedAt: new Date(7) },
      },
    ])
    expect(letters[0]).not.toHaveProperty('record')
    expect(shard.queue.empty).toBe(true)
  })
})

describe('a batch that fails', () => {
  const failsFor = (bad: string, calls: string[]): ReturnType<typeof handlerOf> =>
    handlerOf(
      {
        eachBatch: (records) => {
          calls.push(records.map((record) => record.text()).join(','))
          if (records.some((record) => record.text() === bad)) throw new Error('no')
        },
      },
      undefined,
    )

  test('comes once more as a whole, then in halves down to the bad record, which has attempts of its own', async () => {
    const calls: string[] = []
    const { pool, clock } = poolOf(failsFor('2', calls), { maxAttempts: 3 })
    const shard = shardOf('s', ['a', 'b', 'c', 'd'], { batch: BATCH, ordering: 'shard' })
    pool.add(shard)
    await settle()
    for (let round = 0; round < 20; round++) await later(clock, 100)
    expect(calls.slice(0, 2)).toEqual(['0,1,2,3', '0,1,2,3'])
    expect(calls.slice(2)).toEqual(['0,1', '2,3', '2', '2', '2'])
    expect(shard.stops).toMatchObject([{ work: { record: { partitionKey: 'c' } }, attempts: 3 }])
    expect(shard.queue.checkpoint?.sequenceNumber).toBe('101')
  })

  test('for a value that the codec refuses is split at once, and the handler never sees that record', async () => {
    const calls: string[] = []
    const handler = handlerOf<string>(
      { eachBatch: (records) => calls.push(records.map(({ value }) => value).join(',')) },
      {
        decode: (data) => {
          const text = Buffer.from(data).toString()
          if (text === '5') throw new TypeError('unreadable')
          return text
        },
      },
    )
    const { pool, clock } = poolOf(handler, { failurePolicy: 'skip' })
    const shard = shardOf('s', ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], { batch: BATCH, ordering: 'shard' })
    pool.add(shard)
    await later(clock, 1)
    for (let round = 0; round < 10; round++) await later(clock, 1)
    expect(calls.flatMap((call) => call.split(','))).toEqual(['0', '1', '2', '3', '4', '6', '7'])
    expect(shard.eventsOf('recordSkipped')).toMatchObject([{ sequenceNumber: '105', error: { code: 'ERR_CODEC' } }])
    expect(shard.queue.empty).toBe(true)
  })

  test('gets an array of its own each time, whatever the handler did to it', async () => {
    const sizes: number[] = []
    const handler = handlerOf(
      {
        eachBatch: (records) => {
          sizes.push(records.length)
          records.length = 0
          if (sizes.length === 1) throw new Error('no')
        },
      },
      undefined,
    )
    const { pool, clock } = poolOf(handler)
    const shard = shardOf('s', ['a', 'b', 'c'], { batch: BATCH })
    pool.add(shard)
    await settle()
    await later(clock, 200)
    expect(sizes).toEqual([3, 3])
    expect(shard.queue.empty).toBe(true)
    expect(shard.queue.finishedRecords).toBe(3)
  })
})
