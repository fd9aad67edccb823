import {
  classifyError,
  createKinesisClient,
  errorCode,
  type Kinesis,
  type ListShardsOptions,
  orAborted,
  retry,
  type Shard,
} from '@shardwise/core'
import type { HashRange, Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import type { InitialPosition } from '../leases/shard-sync.ts'
import type { ConsumerRecord } from '../processing/consumer-record.ts'
import { PollingReader } from '../retrieval/polling-reader.ts'
import { ReadAhead } from '../retrieval/read-ahead.ts'
import type { ChildShard } from '../retrieval/shard-children.ts'
import { DescribedStream } from '../streams/described-stream.ts'
import { shardsOf } from '../streams/shard-list.ts'
import { type StreamEvent, Telemetry } from '../telemetry/telemetry.ts'
import { timedCalls } from '../timed-calls.ts'
import { Wakeup } from '../waiting.ts'
import type { ResolvedReadOptions } from './read-options.ts'
import type { RecordSource } from './record-iterator.ts'
import { TailShard } from './tail-shard.ts'

/** Where the reading of a shard starts. */
export interface ShardStart {
  readonly shardId: string
  readonly hashRange: HashRange
  readonly checkpoint: Position
  /** Where to start if the checkpoint is AT_TIMESTAMP, in milliseconds since 1970. */
  readonly startMs: number | undefined
}

/** All shards that the stream listed at once. */
export interface Listing {
  readonly shards: readonly Shard[]
  /** When they were listed, in milliseconds since 1970, by the service's clock. */
  readonly atMs: number
  /** When the reading was called for, by the same clock. */
  readonly calledAtMs: number
}

/** Where to start at a position of the stream, in milliseconds since 1970; undefined for the oldest record. */
export function startMsOf(from: InitialPosition, { calledAtMs }: Listing): number | undefined {
  if (from === 'TRIM_HORIZON') return undefined
  // LATEST too: a place at the tip, taken anew, would skip what has come since the call.
  return from === 'LATEST' ? calledAtMs : Number(from.timestamp)
}

/** Reads shards through `tail.read` for as long as there are any. Rejects when aborted, or on what trying again can't mend. */
export type Course = (tail: Tail, signal: AbortSignal) => Promise<void>

export const LISTING_BACKOFF = { baseMs: 1_000, maxMs: 20_000 } as const

/** Reads shards without leases, and holds what it has read until that is asked for. */
export class Tail implements RecordSource<ConsumerRecord> {
  readonly options: ResolvedReadOptions
  readonly #course: Course
  readonly #telemetry: Telemetry
  readonly #readAhead: ReadAhead
  readonly #calledAtMs: number
  readonly #stopping = new AbortController()
  readonly #reads = new Set<Promise<unknown>>()
  /** The shards that have something to give, in the order of their turns. */
  readonly #filled = new Set<TailShard>()
  readonly #emptied = new Wakeup()
  readonly #onAbort = (): void => this.#leave()
  /** Where each shard begins: another stream of the same name has shards of the same names. */
  readonly #beginnings = new Map<string, string>()
  #facts: DescribedStream | undefined
  #kinesis: Kinesis | undefined
  #ownKinesis: { destroy(): void } | undefined
  #running: Promise<void> | undefined
  #onChange: () => void = () => undefined
  #hasRead = false
  #isLeft = false
  #isRead = false
  #failure: { readonly error: unknown } | undefined

  constructor(options: ResolvedReadOptions, course: Course) {
    this.options = options
    this.#course = course
    this.#telemetry = new Telemetry(options.logger, undefined, {})
    this.#readAhead = new ReadAhead(options)
    this.#calledAtMs = options.clock.monotonicMs()
  }

  get isOver(): boolean {
    return this.#isLeft || (this.#isRead && this.#filled.size === 0 && this.#failure === undefined)
  }

  start(onChange: () => void): void {
    const { signal } = this.options
    this.#onChange = onChange
    if (signal?.aborted) {
      this.#isLeft = true
      return
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#running = this.#run()
  }

  take(): ConsumerRecord | undefined {
    for (const shard of this.#filled) {
      const next = shard.next()
      if (next === undefined || next.isOfNext) this.#filled.delete(shard)
      if (next === undefined) this.#emptied.wake()
      else {
        this.#filled.add(shard)
        return next.record
      }
    }
    if (this.#failure !== undefined) throw this.#failure.error
    return undefined
  }

  async close(): Promise<void> {
    this.#isLeft = true
    this.#stopping.abort()
    this.options.signal?.removeEventListener('abort', this.#onAbort)
    await this.#running
    await Promise.allSettled(this.#reads)
    this.#filled.clear()
    this.#ownKinesis?.destroy()
  }

  /** Lists all shards, or some; tries again for as long as that may help. @throws {ConsumerError} `ERR_STREAM`, `ERR_ACCESS` */
  async list(filter?: ListShardsOptions['filter']): Promise<Listing> {
    const { stream, clock, random } = this.options
    const signal = this.#stopping.signal
    let serviceMs: number | undefined
    const options = { signal, ...(filter && { filter }), onServiceTime: (ms: number) => (serviceMs = ms) }
    const shards = await retry(() => orAborted(shardsOf(this.#kinesis!, stream, options), signal), {
      clock,
      random,
      backoff: LISTING_BACKOFF,
      signal,
      shouldRetry: (error) => !(error instanceof ConsumerError) && classifyError(error) !== 'fatal',
      onRetry: (error) => this.tell({ type: 'callFailed', doing: 'listing the shards', error }),
    }).catch((error: unknown) => {
      if (error instanceof ConsumerError || signal.aborted) throw error
      throw new ConsumerError(
        'ERR_ACCESS',
        `Listing the shards of ${stream} was refused (${errorCode(error)}: ${String(Object(error).message)}). Check credentials and ` +
          'region, and that kinesis:ListShards, kinesis:GetShardIterator and kinesis:GetRecords are allowed on the stream.',
        { cause: error },
      )
    })
    this.#checkBeginnings(shards)
    const atMs = serviceMs ?? clock.wallMs()
    return { shards, atMs, calledAtMs: Math.floor(atMs - (clock.monotonicMs() - this.#calledAtMs)) }
  }

  /** @throws {ConsumerError} `ERR_STREAM` if these are the shards of another stream */
  #checkBeginnings(shards: readonly Shard[]): void {
    for (const { shardId, startingSequenceNumber } of shards) {
      const known = this.#beginnings.get(shardId) ?? startingSequenceNumber
      this.#beginnings.set(shardId, known)
      if (startingSequenceNumber === known) continue
      throw new ConsumerError(
        'ERR_STREAM',
        `Expected ${shardId} of "${this.options.stream}" to begin at ${known}, got one that begins at ${startingSequenceNumber}: the ` +
          'stream was deleted and made anew while it was read. Start again to read the new one.',
        { shardId },
      )
    }
  }

  tell(event: Parameters<Telemetry['emit']>[0]): void {
    this.#telemetry.emit(event)
  }

  /**
   * Reads a shard. Resolves to its children when all of it has been asked for.
   *
   * @param onEvent told of what happens to the shard before anybody else; what it throws ends the reading
   */
  read(start: ShardStart, onEvent: (event: StreamEvent) => void = () => undefined): Promise<readonly ChildShard[]> {
    const reading = this.#read(start, onEvent)
    this.#reads.add(reading)
    const forget = (): boolean => this.#reads.delete(reading)
    reading.then(forget, forget)
    return reading
  }

  async #read(start: ShardStart, onEvent: (event: StreamEvent) => void): Promise<readonly ChildShard[]> {
    const { options } = this
    const { stream, clock } = options
    const failed = new AbortController()
    // One of its own: a signal takes the longer for a listener, the more it has.
    const signal = AbortSignal.any([this.#stopping.signal, failed.signal])
    const checkStream = (): void =>
      void this.list().catch((error: unknown) => {
        if (error instanceof ConsumerError && error.code === 'ERR_STREAM') failed.abort(error)
      })
    const telemetry = this.#telemetry.of(stream)
    const facts = this.#facts!
    const readAhead = this.#readAhead.join()
    const shard = new TailShard({
      ...start,
      stream,
      clock,
      placement: () => facts.placement(signal),
      onHolds: (bytes) => readAhead.holds(bytes),
    })
    const reader = new PollingReader({
      ...options,
      ...start,
      kinesis: this.#kinesis!,
      // A shard that comes later is no place to find out about permissions.
      isRefusalFinal: !this.#hasRead,
      telemetry: {
        emit: (event) => {
          onEvent(event)
          telemetry.emit(event)
          // The place isn't one of the shard: maybe the shard is another one by now.
          if (event.type === 'readFailed' && errorCode(event.error) === 'InvalidArgumentException') checkStream()
        },
      },
      retention: facts,
      readAhead,
      onRecords: (records) => {
        this.#hasRead = true
        const bytes = shard.push(records)
        this.#filled.add(shard)
        this.#onChange()
        return bytes
      },
    })
    try {
      const children = await reader.run(signal)
      this.#hasRead = true
      while (this.#filled.has(shard)) await this.#emptied.wait(signal)
      return children
    } finally {
      readAhead.close()
    }
  }

  async #run(): Promise<void> {
    const { options } = this
    const signal = this.#stopping.signal
    try {
      const own = options.kinesis === undefined ? createKinesisClient(options.kinesisConfig) : undefined
      this.#ownKinesis = own
      this.#kinesis = timedCalls(options.kinesis ?? own!, options.clock)
      this.#facts = new DescribedStream({ ...options, kinesis: this.#kinesis })
      await this.#course(this, signal)
    } catch (error) {
      if (!signal.aborted) this.#failure = { error }
    }
    this.#stopping.abort()
    this.#isRead = true
    this.#onChange()
  }

  #leave(): void {
    this.#isLeft = true
    this.#stopping.abort()
    this.#onChange()
  }
}
