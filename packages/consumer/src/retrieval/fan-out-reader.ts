import {
  type StartingPosition,
  SubscribeToShardCommand,
  type SubscribeToShardEvent,
  type SubscribeToShardEventStream,
} from '@aws-sdk/client-kinesis'
import { classifyError, errorCode, type Kinesis } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { timed } from '../timed.ts'
import { FailureNotice } from './failure-notice.ts'
import { Patience } from './patience.ts'
import type { Reservation } from './read-ahead.ts'
import { ReadingPlace } from './reading-place.ts'
import type { RegisteredConsumer } from './registered-consumer.ts'
import { type ChildShard, childrenAtEnd, childrenIfGone, EndJudge } from './shard-children.ts'
import type { ShardReader, ShardReaderOptions } from './shard-reader.ts'
import type { SubscribePace } from './subscribe-pace.ts'

export interface FanOutReaderOptions extends ShardReaderOptions {
  /** Sends SubscribeToShard: over HTTP/2, for the service. */
  readonly subscriber: Kinesis
  readonly consumer: Pick<RegisteredConsumer, 'arn' | 'isGone'>
  readonly pace: SubscribePace
}

/** A subscription lives for five minutes. One that ends much earlier has lost its connection. */
const FULL_LIFE_MS = 270_000
/** A failure that is the only one in so long isn't worth a word. */
const LONE_FAILURE_MS = 60_000

/** The events of a subscription; what is known besides of those that our own client has made. */
interface EventSource extends AsyncIterable<SubscribeToShardEventStream> {
  /** How many bytes have come. */
  readonly receivedBytes?: number
  /** Nothing has come that hasn't been taken. */
  readonly isDrained?: boolean
}

interface Events {
  readonly iterator: AsyncIterator<SubscribeToShardEventStream>
  readonly source: EventSource
}

/** What came of an event. */
interface Taken {
  /** What its records take up from now on. */
  readonly bytes: number
  readonly isEnd: boolean
  readonly children: SubscribeToShardEvent['ChildShards']
}

/**
 * Reads one shard with SubscribeToShard: the service sends events as records come. A subscription lives for five minutes, and
 * the next goes on where it ended. An event is taken only when there is room for it; until then the window of its stream fills,
 * and the service waits.
 */
export class FanOutReader implements ShardReader {
  readonly #options: FanOutReaderOptions
  readonly #place: ReadingPlace
  readonly #end: EndJudge
  /** Where the service says that the next subscription goes on. */
  #continuation: string | undefined
  #everRead = false
  #failedAtMs = Number.NEGATIVE_INFINITY
  readonly #notice = new FailureNotice()

  constructor(options: FanOutReaderOptions) {
    this.#options = options
    this.#place = new ReadingPlace(options)
    this.#end = new EndJudge(options.shardId)
  }

  get millisBehindLatest(): number | undefined {
    return this.#place.millisBehindLatest
  }

  async run(signal: AbortSignal): Promise<readonly ChildShard[]> {
    const { clock, retention } = this.#options
    // Asks, so that it is known when it is needed.
    retention.known(signal)
    for (;;) {
      const waitMs = this.#options.pace.nextMs - clock.monotonicMs()
      if (waitMs > 0) await clock.sleep(waitMs, signal)
      const children = await this.#readByOne(signal)
      if (children !== undefined) return children
    }
  }

  /** Reads by one subscription, until that ends. Returns the children at the shard's end. */
  async #readByOne(signal: AbortSignal): Promise<readonly ChildShard[] | undefined> {
    const { readAhead, clock, consumer, telemetry } = this.#options
    const patience = new Patience(clock, signal)
    let reservation: Reservation | undefined
    let arn: string | undefined
    let hasBegun = false
    let failure: unknown
    try {
      arn = await consumer.arn(signal)
      reservation = await readAhead.reserve(signal, 'event')
      const events = await this.#subscribe(arn, patience, signal)
      hasBegun = true
      const begunMs = clock.monotonicMs()
      telemetry.measures?.subscriptionBegan()
      for (;;) {
        const taken = await this.#take(events, patience, signal)
        if (taken === undefined) {
          this.#checkEnd(clock.monotonicMs() - begunMs)
          return undefined
        }
        reservation.done(taken.bytes)
        if (taken.isEnd) return await childrenAtEnd(taken.children, this.#options, signal)
        reservation = await readAhead.reserve(signal, 'event')
      }
    } catch (error) {
      signal.throwIfAborted()
      failure = error
    } finally {
      // At once: as long as it lives, nobody else gets the shard for the same consumer.
      patience.end()
      reservation?.done()
      if (hasBegun) telemetry.measures?.subscriptionEnded(failure)
    }
    return await this.#recover(failure, { arn, hasBegun }, signal)
  }

  async #subscribe(arn: string, patience: Patience, signal: AbortSignal): Promise<Events> {
    const { subscriber, shardId, clock, telemetry } = this.#options
    const position = this.#position
    const command = new SubscribeToShardCommand({ ConsumerARN: arn, ShardId: shardId, StartingPosition: position })
    this.#place.asking()
    this.#options.pace.calling(clock.monotonicMs())
    const { EventStream } = await timed(
      clock,
      signal,
      () => patience.wait(() => subscriber.send(command, { abortSignal: patience.signal })),
      (durationMs, failure) => telemetry.measures?.subscriptionAsked(durationMs, failure),
    )
    this.#options.pace.began(clock.monotonicMs())
    if (EventStream === undefined) throw new Error('SubscribeToShard answered without a stream of events')
    this.#place.started(position.Type === 'AT_SEQUENCE_NUMBER' ? position.SequenceNumber : undefined)
    return { iterator: EventStream[Symbol.asyncIterator](), source: EventStream }
  }

  get #position(): StartingPosition {
    if (this.#continuation === undefined) return this.#place.position
    return { Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: this.#continuation }
  }

  /** @throws if it ended before its time */
  #checkEnd(lifeMs: number): void {
    if (lifeMs >= FULL_LIFE_MS) return
    throw new Error(`the subscription ended after ${Math.round(lifeMs / 1_000)} s, expected after five minutes`)
  }

  /** Takes the next event and passes its records on, of which nothing is kept here. Undefined if the subscription has ended. */
  async #take({ iterator, source }: Events, patience: Patience, signal: AbortSignal): Promise<Taken | undefined> {
    // Otherwise the event may have waited here: it is only known to have come since the last time that nothing did.
    if (source.isDrained) this.#place.asking()
    const { done, value } = await patience.wait(
      () => iterator.next(),
      () => source.receivedBytes ?? 0,
    )
    if (done) return undefined
    const { Records: records = [], MillisBehindLatest: millisBehindLatest = 0, ...event } = eventIn(value)
    const { ContinuationSequenceNumber: continuation, ChildShards: children } = event
    const isEnd = this.#end.isEnd(
      { goesOn: Boolean(continuation), children, millisBehindLatest },
      this.#place.position.SequenceNumber,
    )
    const bytes = await this.#place.accept({ records, millisBehindLatest, isEnd }, signal)
    this.#continuation = continuation
    this.#everRead = true
    this.#options.pace.came()
    return { bytes, isEnd, children }
  }

  /** Prepares the next subscription after an error. Returns the children if the shard is no longer there to be read. */
  async #recover(
    error: unknown,
    { arn, hasBegun }: { readonly arn: string | undefined; readonly hasBegun: boolean },
    signal: AbortSignal,
  ): Promise<readonly ChildShard[] | undefined> {
    if (error instanceof ConsumerError) throw error
    const code = errorCode(error)
    if (code === 'InvalidArgumentException') this.#continuation = undefined
    if (code === 'ResourceNotFoundException' && arn !== undefined) {
      if (await this.#options.consumer.isGone(arn, signal)) {
        this.#options.pace.freed()
        return undefined
      }
      const children = await this.#childrenIfGone(signal)
      if (children !== undefined) return children
    }
    this.#checkAccess(error, arn)
    const isInUse = code === 'ResourceInUseException'
    this.#failed(error, isInUse ? (hasBegun ? 'takenOver' : 'held') : 'other')
    return undefined
  }

  async #childrenIfGone(signal: AbortSignal): Promise<readonly ChildShard[] | undefined> {
    const { shardId, telemetry } = this.#options
    try {
      const children = await childrenIfGone(this.#options, signal)
      if (children !== undefined) telemetry.emit({ type: 'shardGone', shardId })
      return children
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof ConsumerError) throw error
      return undefined
    }
  }

  /** @throws {ConsumerError} if the first subscription was refused for good */
  #checkAccess(error: unknown, arn = ''): void {
    const { shardId, stream, isRefusalFinal } = this.#options
    const code = errorCode(error)
    const isFirst = !this.#everRead && this.#failedAtMs === Number.NEGATIVE_INFINITY
    if (!isRefusalFinal || !isFirst || classifyError(error) !== 'fatal' || !/access|credential|token/i.test(code))
      return
    throw new ConsumerError(
      'ERR_ACCESS',
      `Subscribing to ${shardId} of ${stream} was refused (${code}). Fan-out needs kinesis:SubscribeToShard on the consumer ` +
        `${arn}, and kinesis:ListShards on the stream.`,
      { cause: error, shardId },
    )
  }

  #failed(error: unknown, failure: 'held' | 'takenOver' | 'other'): void {
    const { clock, shardId, telemetry } = this.#options
    const nowMs = clock.monotonicMs()
    const retryInMs = this.#options.pace.failed(nowMs, failure)
    const isLone = nowMs - this.#failedAtMs >= LONE_FAILURE_MS && classifyError(error) !== 'fatal'
    this.#failedAtMs = nowMs
    if (failure === 'held' ? !this.#options.pace.isRefusalNews : isLone) return
    const failures = this.#notice.count(errorCode(error), nowMs)
    if (failures !== undefined) telemetry.emit({ type: 'readFailed', shardId, failures, retryInMs, error })
  }
}

/** @throws the error that came instead of an event */
function eventIn(value: SubscribeToShardEventStream): Partial<SubscribeToShardEvent> {
  if (value.SubscribeToShardEvent !== undefined) return value.SubscribeToShardEvent
  const [name, error] = Object.entries(value)[0] ?? []
  throw error instanceof Error ? error : new Error(`expected a SubscribeToShardEvent, got ${name}`)
}
