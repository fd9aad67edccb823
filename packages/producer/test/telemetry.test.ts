import { context, metrics, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { HALF, ONE_SHARD, Scene, SPLIT, taken, takenByChildren } from './scripted-kinesis.ts'

const spans = new InMemorySpanExporter()
let exporter: InMemoryMetricExporter
let provider: MeterProvider

beforeEach(() => {
  exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  // It exports when it is told to.
  provider = new MeterProvider({
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
  })
  metrics.setGlobalMeterProvider(provider)
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter: spans })] }))
  context.setGlobalContextManager(new AsyncLocalStorageContextManager())
})

afterEach(async () => {
  await provider.shutdown()
  spans.reset()
  for (const api of [metrics, trace, context]) api.disable()
})

/** The last export: for each metric, the sum over its points, or `count/sum` of a histogram; with error codes apart. */
async function exported(): Promise<Record<string, unknown>> {
  exporter.reset()
  await provider.forceFlush()
  const found: Record<string, unknown> = {}
  for (const { descriptor, dataPoints } of exporter.getMetrics()[0]?.scopeMetrics[0]?.metrics ?? []) {
    const name = descriptor.name.replace('shardwise.producer.', '')
    for (const { attributes, value } of dataPoints) {
      const code = attributes['error.type'] ?? attributes['shardwise.earlier_copy']
      const text = typeof value === 'object' && 'sum' in value ? `${value.count}/${value.sum}` : value
      found[code === undefined ? name : `${name} ${code}`] = text
    }
  }
  return found
}

test('an aggregate that is sent twice shows in every metric', async () => {
  const internal = { ErrorCode: 'InternalFailure', ErrorMessage: 'Internal service failure.' }
  const scene = new Scene({ put: (sent, call) => (call === 0 ? [internal] : taken(sent)) })
  for (const data of ['aaaa', 'bbbb', 'cccc']) scene.put(data)
  expect(await exported()).toMatchObject({
    user_records_received: 3,
    user_records_pending: 3,
    user_records_data_pending: 1_815,
  })
  await scene.pass(99)
  await scene.pass(1)
  await scene.pass(200)
  const bytes = scene.sent.map((sent) => (sent[0]?.Data?.length ?? 0) + 1)
  expect(await exported()).toEqual({
    user_records_received: 3,
    user_records_pending: 0,
    user_records_data_pending: 0,
    user_records_put: 3,
    user_records_data_put: 15,
    kinesis_records_put: 1,
    kinesis_records_data_put: bytes[1],
    'kinesis_records_failed InternalFailure': 1,
    'errors_by_code InternalFailure': 3,
    retries_per_record: '1/1',
    // The second attempt went half of the first backoff of 50 ms later.
    buffering_time: '1/0.125',
    user_records_per_kinesis_record: '1/3',
    request_time: '2/0',
    kinesis_records_per_put_records_request: '2/2',
    user_records_per_put_records_request: '2/6',
  })
})

test('what is given up, and what may be in the stream twice, is counted', async () => {
  const never = (): Promise<never> => new Promise(() => {})
  const scene = new Scene({ put: never }, { recordTtl: 1_000, requestTimeout: 400 })
  scene.put('a')
  await scene.pass(3_000)
  expect(await exported()).toMatchObject({
    'user_records_failed ERR_EXPIRED': 1,
    user_record_expired: 1,
    'possible_duplicates unknown': 3,
    'errors_by_code TimeoutError': 3,
    'request_time TimeoutError': expect.stringMatching(/^3\/1\.2/),
    user_records_pending: 0,
  })
})

test('an aggregate that a split leads astray counts as a possible duplicate', async () => {
  const scene = new Scene({
    put: (sent, call) => (call === 0 ? taken(sent, 'c1') : takenByChildren(sent)),
    list: (call) => (call === 0 ? ONE_SHARD : SPLIT),
  })
  scene.put('low', 'k', '1')
  scene.put('high', 'k', `${HALF}`)
  await scene.pass(100)
  await scene.pass(1_000)
  expect(await exported()).toMatchObject({
    'possible_duplicates misplaced': 2,
    'errors_by_code WrongShard': 2,
    'kinesis_records_failed WrongShard': 1,
    user_records_pending: 0,
  })
})

test('what was received and pending at the end is exported after the close', async () => {
  const scene = new Scene()
  scene.put('a')
  await scene.pass(0)
  const closed = scene.producer.close()
  await scene.pass(0)
  await closed
  expect(await exported()).toMatchObject({ user_records_received: 1, user_records_pending: 0, user_records_put: 1 })
})

test('the request is linked with the spans of its puts, and belongs to none of them', async () => {
  const scene = new Scene()
  const tracer = trace.getTracer('test')
  for (const name of ['first', 'second']) {
    tracer.startActiveSpan(name, (span) => {
      scene.put(name)
      scene.put(name)
      span.end()
    })
  }
  await scene.pass(100)
  const idOf = (name: string): string | undefined =>
    spans
      .getFinishedSpans()
      .find((span) => span.name === name)
      ?.spanContext().spanId
  const request = spans.getFinishedSpans().find(({ name }) => name === 'PutRecords flights')
  expect(request?.links.map((link) => link.context.spanId)).toEqual([idOf('first'), idOf('second')])
  expect(request?.parentSpanContext).toBeUndefined()
  expect(request?.attributes['messaging.batch.message_count']).toBe(4)
})
