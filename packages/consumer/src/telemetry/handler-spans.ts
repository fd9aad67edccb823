import {
  type Attributes,
  context,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'
import { errorCode } from '@shardwise/core'
import type { ConsumerRecord } from '../processing/consumer-record.ts'
import { type Handler, isPromiseLike, NOT_CALLED, recordsOf } from '../processing/handler.ts'
import type { Work } from '../processing/work.ts'
import { streamName } from '../streams/stream-source.ts'
import { APPLICATION, ERROR_TYPE, SHARD_ID, STREAM_NAME } from './metrics.ts'

/** Under this name the tracer is known. */
const SCOPE = '@shardwise/consumer'
/** What SDKs keep of a span's links by default. */
const MAX_LINKS = 128

/** Whether the program traces anything: has registered a tracer provider. It may do so at any time. */
export function isTracing(): boolean {
  // Until then the API's own stands in, which has no tracer of its own.
  const provider = trace.getTracerProvider() as TracerProvider & { getDelegateTracer?(name: string): unknown }
  return provider.getDelegateTracer === undefined || provider.getDelegateTracer(SCOPE) !== undefined
}

/**
 * The same handler, with a span around each call, in which the handler and what it calls run. Each is the root of a trace of its own,
 * linked to the spans in which its records were put, where the codec tells them.
 */
export function tracedHandler({ name, call, contextOf }: Handler, application: string): Handler {
  const tracer = trace.getTracer(SCOPE)
  return {
    name,
    contextOf,
    call: (work, handlerContext, mayCall) => {
      const span = tracer.startSpan(`process ${streamName(work.record.stream)}`, {
        kind: SpanKind.CONSUMER,
        root: true,
        links: linksOf(recordsOf(work), contextOf),
        attributes: attributesOf(work, name, application),
      })
      let result: unknown
      try {
        result = context.with(trace.setSpan(ROOT_CONTEXT, span), () => call(work, handlerContext, mayCall))
        if (!isPromiseLike(result)) {
          span.end()
          return result
        }
      } catch (error) {
        failed(span, error)
        throw error
      }
      return Promise.resolve(result).then(
        () => span.end(),
        (error: unknown) => {
          if (error === NOT_CALLED) span.end()
          else failed(span, error)
          throw error
        },
      )
    },
  }
}

function attributesOf(work: Work, name: string, application: string): Attributes {
  const { stream, shardId, sequenceNumber, subSequenceNumber } = work.record
  const { batch, attempt } = work
  return {
    'messaging.system': 'aws_kinesis',
    'messaging.operation.type': 'process',
    'messaging.operation.name': name,
    'messaging.destination.name': streamName(stream),
    'messaging.destination.partition.id': shardId,
    'messaging.consumer.group.name': application,
    // Of a batch the first.
    'messaging.message.id': `${sequenceNumber}:${subSequenceNumber}`,
    ...(batch !== undefined && { 'messaging.batch.message_count': batch.length }),
    [APPLICATION]: application,
    [STREAM_NAME]: streamName(stream),
    [SHARD_ID]: shardId,
    'shardwise.attempt': attempt,
  }
}

function linksOf(records: readonly ConsumerRecord[], contextOf: Handler['contextOf']): Link[] {
  if (contextOf === undefined) return []
  const found = new Map<string, Link>()
  for (const { data } of records) {
    const link = linkOf(data, contextOf)
    if (link === undefined) continue
    found.set(`${link.context.traceId} ${link.context.spanId}`, link)
    if (found.size === MAX_LINKS) break
  }
  return [...found.values()]
}

function linkOf(data: Uint8Array, contextOf: NonNullable<Handler['contextOf']>): Link | undefined {
  try {
    const found = contextOf(data)
    if (found === undefined) return undefined
    const spanContext = { ...found, isRemote: true }
    return isSpanContextValid(spanContext) ? { context: spanContext } : undefined
  } catch {
    // What is wrong with the data, decoding it tells.
    return undefined
  }
}

function failed(span: Span, error: unknown): void {
  const message = String((Object(error) as { message?: unknown }).message ?? error)
  span.setAttribute(ERROR_TYPE, errorCode(error))
  span.setStatus({ code: SpanStatusCode.ERROR, message })
  span.end()
}
