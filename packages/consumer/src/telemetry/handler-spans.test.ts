import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import type { Decoder, TraceContext } from '@shardwise/core'
import { settle } from '@shardwise/core/testing'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { poolOf, shardOf } from '../../test/pool-stage.ts'
import { handlerOf } from '../processing/handler.ts'
import { isTracing } from './handler-spans.ts'

const BATCH = { maxRecords: 100, maxBytes: 2 ** 20, maxWaitMs: 0 }
let exporter: InMemorySpanExporter

beforeEach(() => {
  exporter = new InMemorySpanExporter()
  context.setGlobalContextManager(new AsyncLocalStorageContextManager())
})

afterEach(() => {
  trace.disable()
  context.disable()
})

function startTracing(): void {
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
}

const spans = (): ReadableSpan[] => exporter.getFinishedSpans()

test('while no tracer provider is registered, no span is made; from then on one for each call', async () => {
  expect(isTracing()).toBe(false)
  const active: unknown[] = []
  const { pool } = poolOf(() => {
    active.push(trace.getActiveSpan())
  })
  const shard = shardOf('s', ['a'])
  pool.add(shard)
  await settle()
  expect(active).toEqual([undefined])
  startTracing()
  expect(isTracing()).toBe(true)
  shard.push('b', 'b')
  pool.wake(shard)
  await settle()
  expect(spans().map(({ attributes }) => attributes['messaging.message.id'])).toEqual(['101:0', '102:0'])
  expect(active.slice(1)).toEqual(spans().map(({ spanContext }) => expect.objectContaining({ spanContext })))
})

describe('a span', () => {
  beforeEach(startTracing)

  test('tells what is handled, and lasts until the handler has settled', async () => {
    const end = Promise.withResolvers<void>()
    const { pool } = poolOf(function save() {
      return end.promise
    })
    pool.add(shardOf('shardId-7', ['a']))
    await settle()
    expect(spans()).toEqual([])
    end.resolve()
    await settle()
    expect(spans()).toMatchObject([
      {
        name: 'process flights',
        kind: SpanKind.CONSUMER,
        parentSpanContext: undefined,
        links: [],
        status: { code: SpanStatusCode.UNSET },
        attributes: {
          'messaging.system': 'aws_kinesis',
          'messaging.operation.type': 'process',
          'messaging.operation.name': 'eachRecord save',
          'messaging.destination.name': 'flights',
          'messaging.destination.partition.id': 'shardId-7',
          'messaging.consumer.group.name': 'delays',
          'messaging.message.id': '100:0',
          'shardwise.application': 'delays',
          'shardwise.shard_id': 'shardId-7',
          'aws.kinesis.stream_name': 'flights',
          'shardwise.attempt': 1,
        },
      },
    ])
  })

  test.each([
    {
      how: 'throws',
      handler: (error: Error) => () => {
        throw error
      },
    },
    { how: 'rejects', handler: (error: Error) => () => Promise.reject(error) },
  ])('of a handler that $how is an error, for each attempt', async ({ handler }) => {
    const { pool, clock } = poolOf(handler(new TypeError('no')), { maxAttempts: 2 })
    const shard = shardOf('s', ['a'])
    pool.add(shard)
    await clock.advance(1_000)
    expect(
      spans().map(({ status, attributes }) => [status, attributes['error.type'], attributes['shardwise.attempt']]),
    ).toEqual([
      [{ code: SpanStatusCode.ERROR, message: 'no' }, 'TypeError', 1],
      [{ code: SpanStatusCode.ERROR, message: 'no' }, 'TypeError', 2],
    ])
    expect(shard.stops).toMatchObject([{ error: { message: 'no' } }])
  })

  test('is linked to the spans that the records were put in, each once, as far as the codec tells', async () => {
    const spanId = (digit: string): TraceContext => ({
      traceId: 'a'.repeat(32),
      spanId: digit.repeat(16),
      traceFlags: 1,
    })
    const codec: Decoder<undefined> = {
      decode: () => undefined,
      contextOf: (data) => {
        const [digit] = Buffer.from(data).toString()
        if (digit === '4') throw new Error('unreadable')
        if (digit === '3') return { ...spanId('5'), traceId: 'none' }
        return digit === '2' ? undefined : spanId('7')
      },
    }
    const { pool } = poolOf(handlerOf({ eachBatch: () => {} }, codec))
    pool.add(shardOf('s', ['a', 'b', 'c', 'd', 'e'], { batch: BATCH }))
    await settle()
    const [span] = spans()
    expect(span?.attributes['messaging.batch.message_count']).toBe(5)
    expect(span?.links.map((link) => link.context)).toEqual([{ ...spanId('7'), isRemote: true }])
  })
})
