import { CodecError } from '@shardwise/core'
import { settle } from '@shardwise/core/testing'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { poolOf, shardOf } from '../../test/pool-stage.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import { type Handler, handlerOf } from './handler.ts'
import type { EachRecord } from './handlers.ts'

const BATCH = { maxRecords: 100, maxBytes: 2 ** 20, maxWaitMs: 0 }
const text = { decode: (data: Uint8Array) => Buffer.from(data).toString() }
const slowText = { decode: async (data: Uint8Array) => Buffer.from(data).toString() }

async function run(handler: Handler, batch = false): Promise<ReturnType<typeof shardOf>> {
  const { pool } = poolOf(handler, { failurePolicy: 'skip' })
  const shard = shardOf('s', ['a', 'b', 'c'], batch ? { batch: BATCH } : {})
  pool.add(shard)
  for (let round = 0; round < 5; round++) await settle()
  return shard
}

describe('the value of a record', () => {
  test.each([
    { how: 'at once', codec: text },
    { how: 'as a promise', codec: slowText },
    { how: 'by a schema, from JSON', codec: z.number().transform(String) },
    { how: 'by a schema that takes its time', codec: z.number().transform(async (value) => String(value)) },
  ])('is there before the handler is called, decoded $how', async ({ codec }) => {
    const [alone, batched]: [string[], string[][]] = [[], []]
    await run(handlerOf({ eachRecord: ({ value }) => alone.push(value) }, codec))
    await run(handlerOf({ eachBatch: (records) => batched.push(records.map(({ value }) => value)) }, codec), true)
    expect(alone.toSorted()).toEqual(['0', '1', '2'])
    expect(batched).toEqual([['0', '1', '2']])
  })

  test('is undefined without a codec', async () => {
    const values: unknown[] = []
    await run(handlerOf({ eachRecord: ({ value }) => values.push(value) }, undefined))
    expect(values).toEqual([undefined, undefined, undefined])
  })

  test('is decoded anew for each attempt, whatever the handler did to the last', async () => {
    const got: unknown[] = []
    const handler = handlerOf<{ n?: number }>(
      {
        eachRecord: ({ value }) => {
          got.push({ ...value })
          delete value.n
          if (got.length === 1) throw new Error('no')
        },
      },
      { decode: () => ({ n: 1 }) },
    )
    const { pool, clock } = poolOf(handler)
    pool.add(shardOf('s', ['a']))
    await clock.advance(1_000)
    expect(got).toEqual([{ n: 1 }, { n: 1 }])
  })

  test('that the codec refuses is not tried again, and its handler is never called', async () => {
    let calls = 0
    const refuse = z.object({ delay: z.number() })
    const shard = await run(handlerOf({ eachRecord: () => calls++ }, refuse))
    expect(calls).toBe(0)
    expect(shard.eventsOf('handlerFailed')).toHaveLength(3)
    expect(shard.eventsOf('recordSkipped')[0]?.error).toBeInstanceOf(CodecError)
    expect(shard.eventsOf('recordSkipped')[0]).toMatchObject({ attempts: 1, error: { issues: [expect.anything()] } })
  })

  test('that an asynchronous codec fails at for something else is tried again', async () => {
    let calls = 0
    const values: string[] = []
    const codec = {
      decode: async () => {
        if (++calls === 1) throw new Error('the key service is down')
        return 'decrypted'
      },
    }
    const { pool, clock } = poolOf(handlerOf({ eachRecord: ({ value }) => values.push(value) }, codec))
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await clock.advance(1_000)
    expect(values).toEqual(['decrypted'])
    expect(shard.eventsOf('handlerFailed')).toMatchObject([{ retryInMs: 100 }])
  })

  test('in a batch of which some are promises, one that throws leaves no rejection unhandled', async () => {
    const unhandled: unknown[] = []
    const onUnhandled = (reason: unknown): number => unhandled.push(reason)
    process.on('unhandledRejection', onUnhandled)
    try {
      const codec = {
        decode: (data: Uint8Array): Promise<string> => {
          if (Buffer.from(data).toString() === '1') throw new Error('unreadable')
          return Promise.reject(new CodecError('no'))
        },
      }
      const shard = await run(handlerOf({ eachBatch: () => {} }, codec), true)
      expect(shard.eventsOf('recordSkipped')).toHaveLength(3)
      await settle()
      expect(unhandled).toEqual([])
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
  })
})

test('a handler is not called if the lease was lost while its record was decoded, and the attempt does not count', async () => {
  const decoded: PromiseWithResolvers<string>[] = []
  const attempts: number[] = []
  const handler = handlerOf(
    { eachRecord: (_, { attempt }) => attempts.push(attempt) },
    {
      decode: () => {
        decoded.push(Promise.withResolvers<string>())
        return decoded.at(-1)!.promise
      },
    },
  )
  const { pool } = poolOf(handler)
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  shard.held = false
  decoded[0]!.resolve('late')
  await settle()
  expect([attempts, shard.events, shard.queue.runningHandlers]).toEqual([[], [], 0])
  shard.held = true
  pool.wake()
  await settle()
  decoded[1]!.resolve('in time')
  await settle()
  expect(attempts).toEqual([1])
  expect(shard.queue.empty).toBe(true)
})

test('a handler is not called for an attempt that was given up while its record was decoded, be it settled late or never', async () => {
  const decoded: PromiseWithResolvers<string>[] = []
  const got: string[] = []
  const handler = handlerOf<string>(
    { eachRecord: ({ value }) => got.push(value) },
    {
      decode: () => {
        decoded.push(Promise.withResolvers<string>())
        return decoded.at(-1)!.promise
      },
    },
  )
  const options = { handlerTimeoutMs: 500, closeTimeout: 1_000, failurePolicy: 'skip', maxAttempts: 1 } as const
  const { pool, clock } = poolOf(handler, options)
  const shard = shardOf('s', ['a', 'a', 'a'])
  pool.add(shard)
  await clock.advance(600)
  decoded[0]!.resolve('after its time')
  await settle()
  expect(shard.eventsOf('handlerFailed')).toMatchObject([{ error: { code: 'ERR_HANDLER_TIMEOUT' } }])
  await clock.advance(1_500)
  await settle()
  expect(shard.eventsOf('recordSkipped')).toHaveLength(2)
  decoded[1]!.resolve('after it was abandoned')
  decoded[2]!.resolve('in time')
  await settle()
  expect(got).toEqual(['in time'])
  expect(shard.queue.empty).toBe(true)
})

test('a handler is named by its kind and its own name', () => {
  const names = [
    handlerOf({ eachRecord: () => {} }, undefined),
    handlerOf({ eachRecord: function save() {} }, undefined),
    handlerOf({ eachBatch: Object.defineProperty(() => {}, 'name', { value: '' }) }, text),
  ].map(({ name }) => name)
  expect(names).toEqual(['eachRecord', 'eachRecord save', 'eachBatch'])
})

test('a handler that reads no value fits every consumer, and one with a value only its codec', () => {
  const any: EachRecord = (record: ConsumerRecord) => record.data
  expectTypeOf(any).toExtend<EachRecord<{ delay: number }>>()
  const typed: EachRecord<{ delay: number }> = (record) => record.value.delay
  expectTypeOf(typed).not.toExtend<EachRecord<undefined>>()
})
