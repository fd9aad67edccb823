import {
  type Attributes,
  type BatchObservableCallback,
  type Context,
  type Counter,
  context,
  type Histogram,
  isSpanContextValid,
  type Link,
  type Meter,
  type MetricOptions,
  metrics,
  type ObservableUpDownCounter,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { errorCode } from '@shardwise/core'
import { EARLIER_COPY, ERROR_TYPE, METRICS, type Metric, SHARD_ID, STREAM_NAME } from './metrics.ts'

/** Under this name the meter and the tracer are known. */
const SCOPE = '@shardwise/producer'
/** What SDKs keep of a span's links by default. */
const MAX_LINKS = 128
/** More than a stream has; over the years its shards change. */
const MAX_SHARDS_REMEMBERED = 16_384

/** What a stream's writer has taken so far, and what of it is neither acknowledged nor rejected. */
export interface Observed {
  readonly received: number
  readonly pending: number
  readonly pendingBytes: number
}

export interface SentRequest {
  readonly kinesisRecords: number
  readonly userRecords: number
  readonly bytes: number
  /** Of the user records' puts. The same one may come many times. */
  readonly links: readonly Link[]
}

export interface AcceptedRecord {
  readonly shardId: string
  readonly userRecords: number
  readonly userBytes: number
  readonly bytes: number
  readonly attempts: number
  readonly bufferingMs: number
}

export interface RequestOutcome {
  readonly durationMs: number
  /** Kinesis records that were not accepted. */
  readonly failed: number
  /** If it failed as a whole. */
  readonly error?: Error | undefined
}

/**
 * The metrics and traces of one stream, by the OpenTelemetry API. Where the program set up no SDK, nothing is kept and the
 * calls cost some nanoseconds. A meter provider has to be there when this is made; a tracer provider may come later.
 */
export class StreamTelemetry {
  readonly #observed: () => Observed
  readonly #ofStream: Attributes
  readonly #ofShard = new Map<string, Attributes>()
  readonly #stream: string
  readonly #tracer = trace.getTracer(SCOPE)
  readonly #meter: Meter = metrics.getMeter(SCOPE)
  readonly #instruments = createInstruments(this.#meter)
  #received = 0
  #isClosed = false
  /** Many puts come from one context, such as that of one HTTP request: their link is made once. */
  #lastContext: Context = ROOT_CONTEXT
  #lastLink: Link | undefined
  /** Whether there was ever a link: where nothing is traced nobody has to look for them. */
  hasLinks = false

  /**
   * @param stream the stream's name or ARN
   * @param observed is asked when metrics are collected
   */
  constructor(stream: string, observed: () => Observed) {
    this.#stream = stream.slice(stream.lastIndexOf('/') + 1)
    this.#ofStream = { [STREAM_NAME]: this.#stream }
    this.#observed = observed
    const { userRecordsPending, userRecordsDataPending } = this.#instruments
    const observables = [userRecordsPending, userRecordsDataPending]
    const onCollect: BatchObservableCallback = async (result) => {
      const { pending, pendingBytes } = this.#countReceived()
      result.observe(userRecordsPending, pending, this.#ofStream)
      result.observe(userRecordsDataPending, pendingBytes, this.#ofStream)
      if (!this.#isClosed) return
      // Not before all callbacks were called: the SDK is going through them.
      await Promise.resolve()
      this.#meter.removeBatchObservableCallback(onCollect, observables)
    }
    this.#meter.addBatchObservableCallback(onCollect, observables)
  }

  /** A link to the span that is active now, for the request that will carry what is put now; undefined if there is none. */
  linkOf(): Link | undefined {
    const active = context.active()
    if (active === this.#lastContext) return this.#lastLink
    const spanContext = trace.getSpanContext(active)
    this.#lastContext = active
    this.#lastLink = spanContext !== undefined && isSpanContextValid(spanContext) ? { context: spanContext } : undefined
    if (this.#lastLink !== undefined) this.hasLinks = true
    return this.#lastLink
  }

  /** A PutRecords is about to be sent. */
  requestSent({ kinesisRecords, userRecords, bytes, links }: SentRequest): RequestSpan {
    const { kinesisRecordsPerRequest, userRecordsPerRequest, requestTime } = this.#instruments
    kinesisRecordsPerRequest.record(kinesisRecords, this.#ofStream)
    userRecordsPerRequest.record(userRecords, this.#ofStream)
    const span = this.#tracer.startSpan(`PutRecords ${this.#stream}`, {
      kind: SpanKind.CLIENT,
      // What is active now is some put or timer, not what all these records have in common.
      root: true,
      links: distinct(links),
      attributes: {
        'rpc.system.name': 'aws-api',
        'rpc.method': 'Kinesis/PutRecords',
        'messaging.system': 'aws_kinesis',
        'messaging.operation.type': 'send',
        'messaging.operation.name': 'PutRecords',
        'messaging.destination.name': this.#stream,
        'messaging.batch.message_count': userRecords,
        [STREAM_NAME]: this.#stream,
        'shardwise.kinesis_records': kinesisRecords,
        'shardwise.request_bytes': bytes,
      },
    })
    return new RequestSpan(span, requestTime, this.#ofStream)
  }

  /** A Kinesis record was acknowledged. */
  accepted({ shardId, userRecords, userBytes, bytes, attempts, bufferingMs }: AcceptedRecord): void {
    const ofShard = this.#attributesOf(shardId)
    const to = this.#instruments
    to.userRecordsPut.add(userRecords, ofShard)
    to.userRecordsDataPut.add(userBytes, ofShard)
    to.kinesisRecordsPut.add(1, ofShard)
    to.kinesisRecordsDataPut.add(bytes, ofShard)
    to.userRecordsPerKinesisRecord.record(userRecords, ofShard)
    to.retriesPerRecord.record(attempts - 1, ofShard)
    to.bufferingTime.record(bufferingMs / 1000, ofShard)
  }

  /** One attempt of a Kinesis record failed. */
  attemptFailed(shardId: string, code: string, userRecords: number): void {
    const attributes = { ...this.#attributesOf(shardId), [ERROR_TYPE]: code }
    this.#instruments.kinesisRecordsFailed.add(1, attributes)
    this.#instruments.errorsByCode.add(userRecords, attributes)
  }

  /** User records were given up. */
  rejected(code: string, userRecords: number): void {
    this.#instruments.userRecordsFailed.add(userRecords, { ...this.#ofStream, [ERROR_TYPE]: code })
    if (code === 'ERR_EXPIRED') this.#instruments.userRecordExpired.add(userRecords, this.#ofStream)
  }

  /** An unacknowledged copy of user records is (`misplaced`) or may be (`unknown`) in the stream. */
  possibleDuplicates(userRecords: number, why: 'misplaced' | 'unknown'): void {
    this.#instruments.possibleDuplicates.add(userRecords, { ...this.#ofStream, [EARLIER_COPY]: why })
  }

  /**
   * The stream is written to no more. It is observed once more, because SDKs go on exporting the last they saw, and then
   * no longer.
   */
  close(): void {
    this.#isClosed = true
    this.#countReceived()
  }

  /** Brings the counter up to date, when metrics are collected and at the end: so no `put` has to. */
  #countReceived(): Observed {
    const observed = this.#observed()
    if (observed.received > this.#received) {
      this.#instruments.userRecordsReceived.add(observed.received - this.#received, this.#ofStream)
      this.#received = observed.received
    }
    return observed
  }

  #attributesOf(shardId: string): Attributes {
    let attributes = this.#ofShard.get(shardId)
    if (attributes === undefined) {
      if (this.#ofShard.size >= MAX_SHARDS_REMEMBERED) this.#ofShard.clear()
      attributes = { ...this.#ofStream, [SHARD_ID]: shardId }
      this.#ofShard.set(shardId, attributes)
    }
    return attributes
  }
}

/** A PutRecords under way. */
export class RequestSpan {
  readonly #span: Span
  readonly #requestTime: Histogram
  readonly #ofStream: Attributes

  constructor(span: Span, requestTime: Histogram, ofStream: Attributes) {
    this.#span = span
    this.#requestTime = requestTime
    this.#ofStream = ofStream
  }

  /** Runs `send` so that the spans of the AWS client and of HTTP, where these are traced, become children of this one. */
  within<T>(send: () => T): T {
    return context.with(trace.setSpan(ROOT_CONTEXT, this.#span), send)
  }

  /** Ends the span. */
  answered({ durationMs, failed, error }: RequestOutcome): void {
    const span = this.#span
    if (failed > 0) span.setAttribute('shardwise.failed_records', failed)
    let attributes = this.#ofStream
    if (error !== undefined) {
      const code = errorCode(error)
      attributes = { ...attributes, [ERROR_TYPE]: code }
      span.setAttribute(ERROR_TYPE, code)
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
    }
    this.#requestTime.record(durationMs / 1000, attributes)
    span.end()
  }
}

function distinct(links: readonly Link[]): Link[] {
  const found = new Map<string, Link>()
  let previous: Link | undefined
  for (const link of links) {
    if (link === previous) continue
    previous = link
    found.set(`${link.context.traceId} ${link.context.spanId}`, link)
    if (found.size === MAX_LINKS) break
  }
  return [...found.values()]
}

type Instruments = {
  readonly [Key in keyof typeof METRICS]: {
    counter: Counter
    'up-down counter': ObservableUpDownCounter
    histogram: Histogram
  }[(typeof METRICS)[Key]['kind']]
}

function createInstruments(meter: Meter): Instruments {
  const create = {
    counter: (name: string, options: MetricOptions) => meter.createCounter(name, options),
    'up-down counter': (name: string, options: MetricOptions) => meter.createObservableUpDownCounter(name, options),
    histogram: (name: string, options: MetricOptions) => meter.createHistogram(name, options),
  }
  const made = Object.entries<Metric>(METRICS).map(([key, { name, kind, unit, description, advice = {} }]) => [
    key,
    create[kind](name, { unit, description, advice }),
  ])
  return Object.fromEntries(made) as Instruments
}
