import { context, type Link, metrics, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { createDenyListAttributesProcessor, MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { METRICS, SHARD_ID } from './metrics.ts'
import { StreamTelemetry } from './stream-telemetry.ts'

/** Gives what was recorded when asked. */
class Reader extends MetricReader {
  protected override async onShutdown(): Promise<void> {}
  protected override async onForceFlush(): Promise<void> {}

  /** Each metric's data points, as `attributes value` lines; histograms as `count/sum`. */
  async points(metric: { readonly name: string }): Promise<[attributes: object, value: unknown][]> {
    const { resourceMetrics } = await this.collect()
    const found = resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics)
    const points = found.find(({ descriptor }) => descriptor.name === metric.name)?.dataPoints ?? []
    return points.map(({ attributes, value }) => [
      attributes,
      typeof value === 'object' && 'sum' in value ? `${value.count}/${value.sum}` : value,
    ])
  }
}

const ofStream = { 'aws.kinesis.stream_name': 'flights' }
const ofShard = { ...ofStream, 'shardwise.shard_id': 'shardId-1' }
const request = { kinesisRecords: 2, userRecords: 30, bytes: 4_000, links: [] }
const record = { shardId: 'shardId-1', userRecords: 3, userBytes: 300, bytes: 360, attempts: 2, bufferingMs: 120 }
const nothing = { received: 0, pending: 0, pendingBytes: 0 }

describe('metrics', () => {
  let reader: Reader

  function provide(views: ConstructorParameters<typeof MeterProvider>[0] = {}): void {
    reader = new Reader()
    metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader], ...views }))
  }

  beforeEach(() => provide())
  afterEach(() => metrics.disable())

  test('each of the table is made, with its unit and description', async () => {
    const telemetry = new StreamTelemetry('flights', () => ({ received: 1, pending: 1, pendingBytes: 1 }))
    telemetry.accepted(record)
    telemetry.attemptFailed('shardId-1', 'InternalFailure', 3)
    telemetry.rejected('ERR_EXPIRED', 3)
    telemetry.possibleDuplicates(3, 'unknown')
    telemetry.requestSent(request).answered({ durationMs: 1, failed: 0 })
    const { resourceMetrics } = await reader.collect()
    const made = resourceMetrics.scopeMetrics.flatMap((scope) =>
      scope.metrics.map(({ descriptor: { name, unit, description } }) => ({ name, unit, description })),
    )
    const table = Object.values(METRICS).map(({ name, unit, description }) => ({ name, unit, description }))
    expect(made).toHaveLength(table.length)
    expect(made).toEqual(expect.arrayContaining(table))
  })

  test('an acknowledged Kinesis record counts its user records and bytes, by shard', async () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    telemetry.accepted(record)
    telemetry.accepted({ ...record, userRecords: 5, userBytes: 500, bytes: 580, attempts: 1, bufferingMs: 80 })
    expect(await reader.points(METRICS.userRecordsPut)).toEqual([[ofShard, 8]])
    expect(await reader.points(METRICS.userRecordsDataPut)).toEqual([[ofShard, 800]])
    expect(await reader.points(METRICS.kinesisRecordsPut)).toEqual([[ofShard, 2]])
    expect(await reader.points(METRICS.kinesisRecordsDataPut)).toEqual([[ofShard, 940]])
    expect(await reader.points(METRICS.userRecordsPerKinesisRecord)).toEqual([[ofShard, '2/8']])
    expect(await reader.points(METRICS.retriesPerRecord)).toEqual([[ofShard, '2/1']])
    expect(await reader.points(METRICS.bufferingTime)).toEqual([[ofShard, '2/0.2']])
  })

  test('failures count by code: attempts of Kinesis records, their user records, and what was given up', async () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    telemetry.attemptFailed('shardId-1', 'InternalFailure', 3)
    telemetry.attemptFailed('shardId-1', 'InternalFailure', 4)
    telemetry.attemptFailed('shardId-1', 'WrongShard', 5)
    telemetry.rejected('ERR_REFUSED', 2)
    telemetry.rejected('ERR_EXPIRED', 7)
    const failed = (code: string): object => ({ ...ofShard, 'error.type': code })
    expect(await reader.points(METRICS.kinesisRecordsFailed)).toEqual([
      [failed('InternalFailure'), 2],
      [failed('WrongShard'), 1],
    ])
    expect(await reader.points(METRICS.errorsByCode)).toEqual([
      [failed('InternalFailure'), 7],
      [failed('WrongShard'), 5],
    ])
    expect(await reader.points(METRICS.userRecordsFailed)).toEqual([
      [{ ...ofStream, 'error.type': 'ERR_REFUSED' }, 2],
      [{ ...ofStream, 'error.type': 'ERR_EXPIRED' }, 7],
    ])
    expect(await reader.points(METRICS.userRecordExpired)).toEqual([[ofStream, 7]])
  })

  test('possible duplicates count by their reason', async () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    telemetry.possibleDuplicates(3, 'misplaced')
    telemetry.possibleDuplicates(4, 'unknown')
    expect(await reader.points(METRICS.possibleDuplicates)).toEqual([
      [{ ...ofStream, 'shardwise.earlier_copy': 'misplaced' }, 3],
      [{ ...ofStream, 'shardwise.earlier_copy': 'unknown' }, 4],
    ])
  })

  test('a request counts what it carries and how long it took, with its error apart', async () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    telemetry.requestSent(request).answered({ durationMs: 250, failed: 0 })
    const reset = Object.assign(new Error('reset'), { code: 'ECONNRESET' })
    telemetry.requestSent(request).answered({ durationMs: 500, failed: 2, error: reset })
    expect(await reader.points(METRICS.kinesisRecordsPerRequest)).toEqual([[ofStream, '2/4']])
    expect(await reader.points(METRICS.userRecordsPerRequest)).toEqual([[ofStream, '2/60']])
    expect(await reader.points(METRICS.requestTime)).toEqual([
      [ofStream, '1/0.25'],
      [{ ...ofStream, 'error.type': 'ECONNRESET' }, '1/0.5'],
    ])
  })

  test('what is received and pending is asked for only when metrics are collected', async () => {
    let asked = 0
    let observed = { received: 10, pending: 4, pendingBytes: 400 }
    const telemetry = new StreamTelemetry('flights', () => {
      asked++
      return observed
    })
    telemetry.accepted(record)
    expect(asked).toBe(0)
    expect(await reader.points(METRICS.userRecordsReceived)).toEqual([[ofStream, 10]])
    expect(asked).toBe(1)
    observed = { received: 25, pending: 5, pendingBytes: 500 }
    expect(await reader.points(METRICS.userRecordsReceived)).toEqual([[ofStream, 25]])
    expect(await reader.points(METRICS.userRecordsPending)).toEqual([[ofStream, 5]])
    expect(await reader.points(METRICS.userRecordsDataPending)).toEqual([[ofStream, 500]])
  })

  test('a stream is observed once more after its close, so that nothing stays pending for ever', async () => {
    let observed = { received: 10, pending: 3, pendingBytes: 300 }
    let asked = 0
    const telemetry = new StreamTelemetry('flights', () => {
      asked++
      return observed
    })
    await reader.collect()
    observed = { received: 12, pending: 0, pendingBytes: 0 }
    telemetry.close()
    expect(await reader.points(METRICS.userRecordsReceived)).toEqual([[ofStream, 12]])
    expect(await reader.points(METRICS.userRecordsPending)).toEqual([[ofStream, 0]])
    expect(asked).toBe(3)
  })

  test('several streams have their own points, and the end of one leaves the other alone', async () => {
    const flights = new StreamTelemetry('flights', () => ({ ...nothing, received: 1 }))
    let orders = 2
    new StreamTelemetry('arn:aws:kinesis:eu-west-1:123456789012:stream/orders', () => ({
      ...nothing,
      received: orders,
    }))
    const ofOrders = { 'aws.kinesis.stream_name': 'orders' }
    flights.close()
    expect(await reader.points(METRICS.userRecordsReceived)).toEqual([
      [ofStream, 1],
      [ofOrders, 2],
    ])
    orders = 3
    expect(await reader.points(METRICS.userRecordsReceived)).toEqual([
      [ofStream, 1],
      [ofOrders, 3],
    ])
  })

  test('a view takes the shards off', async () => {
    metrics.disable()
    provide({
      views: [
        { meterName: '@shardwise/producer', attributesProcessors: [createDenyListAttributesProcessor([SHARD_ID])] },
      ],
    })
    const telemetry = new StreamTelemetry('flights', () => nothing)
    telemetry.accepted(record)
    telemetry.accepted({ ...record, shardId: 'shardId-2' })
    expect(await reader.points(METRICS.userRecordsPut)).toEqual([[ofStream, 6]])
  })
})

describe('traces', () => {
  const exporter = new InMemorySpanExporter()

  beforeEach(() => {
    trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
    context.setGlobalContextManager(new AsyncLocalStorageContextManager())
  })
  afterEach(() => {
    exporter.reset()
    trace.disable()
    context.disable()
  })

  const inSpan = <T>(name: string, run: () => T): T =>
    trace.getTracer('test').startActiveSpan(name, (span) => {
      try {
        return run()
      } finally {
        span.end()
      }
    })
  const spanNamed = (name: string) => exporter.getFinishedSpans().find((span) => span.name === name)!

  test('a request is a span of its own, linked with the spans of its puts', () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    const links: Link[] = []
    inSpan('first', () => links.push(telemetry.linkOf()!, telemetry.linkOf()!))
    inSpan('second', () => {
      links.push(telemetry.linkOf()!)
      telemetry.requestSent({ ...request, links }).answered({ durationMs: 250, failed: 0 })
    })
    const span = spanNamed('PutRecords flights')
    expect(span.kind).toBe(SpanKind.CLIENT)
    expect(span.parentSpanContext).toBeUndefined()
    expect(span.links.map((link) => link.context.spanId)).toEqual(
      ['first', 'second'].map((name) => spanNamed(name).spanContext().spanId),
    )
    expect(span.attributes).toEqual({
      'aws.kinesis.stream_name': 'flights',
      'rpc.system.name': 'aws-api',
      'rpc.method': 'Kinesis/PutRecords',
      'messaging.system': 'aws_kinesis',
      'messaging.operation.type': 'send',
      'messaging.operation.name': 'PutRecords',
      'messaging.destination.name': 'flights',
      'messaging.batch.message_count': 30,
      'shardwise.kinesis_records': 2,
      'shardwise.request_bytes': 4_000,
    })
    expect(span.status.code).toBe(SpanStatusCode.UNSET)
  })

  test('puts of one context share their link, and of another have another', () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    const [first, again, other] = [
      ...inSpan('first', () => [telemetry.linkOf(), telemetry.linkOf()]),
      inSpan('second', () => telemetry.linkOf()),
    ]
    expect(first).toBe(again)
    expect(other?.context.spanId).toBe(spanNamed('second').spanContext().spanId)
    expect(telemetry.linkOf()).toBeUndefined()
  })

  test('where no span is active there is no link', () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    expect(telemetry.linkOf()).toBeUndefined()
    expect(context.with(ROOT_CONTEXT.setValue(Symbol('other'), 1), () => telemetry.linkOf())).toBeUndefined()
  })

  test('a request has 128 links at most, whatever the SDK would keep', () => {
    trace.disable()
    const spanLimits = { linkCountLimit: 1_000 }
    const spanProcessors = [new SimpleSpanProcessor({ exporter })]
    trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors, spanLimits }))
    const telemetry = new StreamTelemetry('flights', () => nothing)
    const links = Array.from({ length: 300 }, (_, index) => inSpan(`put ${index}`, () => telemetry.linkOf()!))
    telemetry.requestSent({ ...request, links }).answered({ durationMs: 1, failed: 0 })
    expect(spanNamed('PutRecords flights').links).toHaveLength(128)
  })

  test('a request that failed as a whole says why, and one that failed in part how many', () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    const error = Object.assign(new Error('no'), { name: 'AccessDeniedException' })
    telemetry.requestSent(request).answered({ durationMs: 1, failed: 2, error })
    telemetry.requestSent(request).answered({ durationMs: 1, failed: 1 })
    const [whole, part] = exporter.getFinishedSpans()
    expect(whole?.status).toEqual({ code: SpanStatusCode.ERROR, message: 'no' })
    expect(whole?.attributes).toMatchObject({ 'error.type': 'AccessDeniedException', 'shardwise.failed_records': 2 })
    expect(part?.status.code).toBe(SpanStatusCode.UNSET)
    expect(part?.attributes).toMatchObject({ 'shardwise.failed_records': 1 })
  })

  test("what is traced while sending is the request's child, not a put's", async () => {
    const telemetry = new StreamTelemetry('flights', () => nothing)
    await inSpan('put', async () => {
      const sent = telemetry.requestSent(request)
      await sent.within(async () => {
        await Promise.resolve()
        inSpan('HTTP', () => {})
      })
      sent.answered({ durationMs: 1, failed: 0 })
    })
    expect(spanNamed('HTTP').parentSpanContext?.spanId).toBe(spanNamed('PutRecords flights').spanContext().spanId)
  })

  test('a tracer provider may come after the producer', () => {
    trace.disable()
    const telemetry = new StreamTelemetry('flights', () => nothing)
    trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }))
    telemetry.requestSent(request).answered({ durationMs: 1, failed: 0 })
    expect(exporter.getFinishedSpans().map(({ name }) => name)).toEqual(['PutRecords flights'])
  })
})

test('without an SDK everything can be called, and nothing is asked', () => {
  let asked = 0
  const telemetry = new StreamTelemetry('flights', () => {
    asked++
    return nothing
  })
  expect(telemetry.linkOf()).toBeUndefined()
  telemetry.accepted(record)
  const sent = telemetry.requestSent(request)
  expect(sent.within(() => 3)).toBe(3)
  sent.answered({ durationMs: 1, failed: 0 })
  expect(asked).toBe(0)
  telemetry.close()
})
