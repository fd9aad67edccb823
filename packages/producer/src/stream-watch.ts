import {
  type Backoff,
  type Clock,
  classifyError,
  describeStream,
  type Kinesis,
  type Logger,
  type Random,
  retry,
  type StreamDescription,
} from '@shardwise/core'
import type { HashRange, ShardMap } from '@shardwise/records'
import { ShardMapKeeper } from './shard-map-keeper.ts'
import type { ProducerEvent } from './telemetry.ts'

export interface StreamWatchOptions {
  readonly kinesis: Kinesis
  readonly stream: string
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly signal: AbortSignal
  /** Told of every new map; of undefined when there is none and it isn't waited for any longer. */
  readonly onMap: (map: ShardMap | undefined) => void
  /** Told of every answer, and of undefined when the stream may not be described, or isn't waited for any longer. */
  readonly onDescription: (description: StreamDescription | undefined) => void
  readonly emit: (event: ProducerEvent) => void
}

/** How long the first records wait for the shard map and the description. */
const PATIENCE_MS = 1_000

/** After a listing was refused for good, nobody asks for another one before; where there is no map, one is asked for as often. */
const REFUSED_PAUSE_MS = 30_000

/** After so long, more or less, both are asked for again, as long as records come. */
const REFRESH_MS = 300_000

/** DescribeStreamSummary is granted 20 times a second for a whole account. */
const DESCRIBE_BACKOFF: Backoff = { baseMs: 1_000, maxMs: 30_000 }

/**
 * Knows the stream: its open shards, and what DescribeStreamSummary says of it. Asks at the start, when an answer makes one of
 * them doubtful, and now and then while the stream is written to. What it may not or can't ask in time it says once, and goes
 * on without: records then go alone, which is right on every stream.
 */
export class StreamWatch {
  readonly #options: StreamWatchOptions
  readonly #shardMap: ShardMapKeeper
  #isMapDecided = false
  #isMapMissing = false
  #isDescriptionDecided = false
  #description: StreamDescription | undefined
  /** Whether the service has refused to describe the stream. */
  #isRefused = false
  #describing: Promise<StreamDescription | undefined> | undefined
  #refreshAtMs = Number.POSITIVE_INFINITY
  #refusedUntilMs = 0

  constructor(options: StreamWatchOptions) {
    this.#options = options
    const { stream, logger, emit } = options
    this.#shardMap = new ShardMapKeeper({
      ...options,
      onMap: (map) => this.#useMap(map),
      onRetry: (error, waitMs) => {
        logger.warn({ err: error, stream, waitMs }, 'the shards could not be listed, trying again')
        emit({ type: 'shardMapRetried', error, waitMs })
      },
    })
  }

  /** Whether records can be sent: what can be known of the stream is known, or isn't waited for any longer. */
  get isReady(): boolean {
    return this.#isMapDecided && this.#isDescriptionDecided
  }

  /** The latest description there was. */
  get description(): StreamDescription | undefined {
    return this.#description
  }

  /** Whether a description may still come: neither did it, nor was it refused. */
  get isDescriptionPending(): boolean {
    return this.#description === undefined && !this.#isRefused
  }

  /** Why the latest listing of the shards couldn't be used; undefined after one that could. */
  get lastError(): Error | undefined {
    return this.#shardMap.lastError
  }

  /** The range of a shard, open or closed, if the latest listing has it. */
  rangeOf(shardId: string): HashRange | undefined {
    return this.#shardMap.rangeOf(shardId)
  }

  /** The range of a shard, by a listing from after this call. Rejects where the shards may not be listed. */
  freshRangeOf(shardId: string, signal: AbortSignal): Promise<HashRange> {
    return this.#shardMap.refreshFor(shardId, signal)
  }

  /** Asks for both, once. */
  async start(): Promise<void> {
    if (this.#refreshAtMs !== Number.POSITIVE_INFINITY) return
    const { clock, signal } = this.#options
    this.#scheduleRefresh()
    const known = new AbortController()
    const asked = Promise.all([this.#listFirst(), this.describe()]).finally(() => known.abort('both are known'))
    // Whichever ends first; a pending timer would keep the process alive.
    await clock.sleep(PATIENCE_MS, AbortSignal.any([signal, known.signal])).catch(() => {})
    if (signal.aborted) return
    if (!this.#isMapDecided) this.goWithoutMap(this.#shardMap.lastError)
    if (!this.#isDescriptionDecided) this.#goWithoutDescription(undefined)
    await asked
  }

  /** Asks for both again if that was long ago. */
  refreshIfDue(nowMs: number): void {
    if (nowMs < this.#refreshAtMs) return
    this.#scheduleRefresh()
    void this.refresh()
    void this.describe()
  }

  /** Lists the shards anew. Where that is refused the map stays as it is, and isn't asked for again soon. */
  async refresh(): Promise<void> {
    const { clock, signal, logger, stream, emit } = this.#options
    if (clock.monotonicMs() < this.#refusedUntilMs) return
    try {
      await this.#shardMap.refresh()
    } catch (error) {
      if (signal.aborted) return
      const waitMs = REFUSED_PAUSE_MS
      this.#refusedUntilMs = clock.monotonicMs() + waitMs
      // That was said when it was done without.
      if (this.#isMapMissing) return
      logger.warn(
        { err: error, stream, waitMs },
        'the shards may not be listed: what is known of them may be out of date',
      )
      emit({ type: 'shardMapRetried', error: error as Error, waitMs })
    }
  }

  /** Records go alone from now on, until there is a map again. */
  goWithoutMap(error: Error | undefined): void {
    const { logger, stream, emit, onMap } = this.#options
    this.#isMapDecided = true
    if (this.#isMapMissing) return
    this.#isMapMissing = true
    this.#scheduleRefresh()
    // First of all: whoever is told of it may put something.
    onMap(undefined)
    logger.warn(
      { err: error, stream },
      'the shards of the stream are not known: records are sent one by one, without sharing, until they are; check its name and region, and grant kinesis:ListShards',
    )
    emit({ type: 'shardMapMissing', error })
  }

  /** Asks what the stream is like; undefined if that is refused. Calls in the meantime share one answer. */
  describe(): Promise<StreamDescription | undefined> {
    this.#describing ??= this.#describe().finally(() => {
      this.#describing = undefined
    })
    return this.#describing
  }

  /** The same, but not waited for any longer than the first records wait. */
  async describeSoon(): Promise<StreamDescription | undefined> {
    const { clock, signal } = this.#options
    const known = new AbortController()
    const asked = this.describe().finally(() => known.abort('it is known'))
    const late = clock.sleep(PATIENCE_MS, AbortSignal.any([signal, known.signal]))
    return Promise.race([
      asked,
      late.then(
        () => undefined,
        () => asked,
      ),
    ])
  }

  async #listFirst(): Promise<void> {
    try {
      await this.#shardMap.refresh()
    } catch (error) {
      if (!this.#options.signal.aborted) this.goWithoutMap(error as Error)
    }
  }

  #useMap(map: ShardMap): void {
    this.#isMapDecided = true
    if (this.#isMapMissing) {
      this.#isMapMissing = false
      this.#scheduleRefresh()
    }
    this.#options.onMap(map)
  }

  async #describe(): Promise<StreamDescription | undefined> {
    const { kinesis, stream, clock, random, signal } = this.#options
    try {
      const description = await retry(() => describeStream(kinesis, stream, signal), {
        clock,
        random,
        signal,
        backoff: DESCRIBE_BACKOFF,
        shouldRetry: (error) => classifyError(error) !== 'fatal',
      })
      this.#useDescription(description)
      return description
    } catch (error) {
      if (signal.aborted) return undefined
      const isFirst = !this.#isRefused
      this.#isRefused = true
      if (isFirst) this.#goWithoutDescription(error as Error)
      return undefined
    }
  }

  #useDescription(description: StreamDescription): void {
    const before = this.#description
    this.#description = description
    this.#isRefused = false
    this.#isDescriptionDecided = true
    this.#options.onDescription(description)
    const { distributesByKey, isOnDemand, maxRecordBytes } = description
    const isSame =
      before?.distributesByKey === distributesByKey &&
      before.isOnDemand === isOnDemand &&
      before.maxRecordBytes === maxRecordBytes
    if (!isSame) {
      const distribution = distributesByKey ? 'key' : 'service'
      this.#options.emit({ type: 'streamDescribed', distribution, isOnDemand, maxRecordBytes })
    }
  }

  #goWithoutDescription(error: Error | undefined): void {
    const { logger, stream, emit, onDescription } = this.#options
    this.#isDescriptionDecided = true
    onDescription(undefined)
    logger.warn(
      { err: error, stream },
      error === undefined
        ? 'the stream could not be described yet: it is taken to distribute records by their keys until it is'
        : 'the stream can not be described: whether it distributes records by itself shows only by where they land, and records are limited to 1 MiB; check its name and region, and grant kinesis:DescribeStreamSummary',
    )
    emit({ type: 'descriptionMissing', error })
  }

  #scheduleRefresh(): void {
    const { clock, random } = this.#options
    const refreshMs = this.#isMapMissing ? REFUSED_PAUSE_MS : REFRESH_MS
    this.#refreshAtMs = clock.monotonicMs() + refreshMs * (0.8 + 0.4 * random())
  }
}
