import { checkOptions, nonEmptyString } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import { Connections } from './connections.ts'
import { createFleet } from './create-fleet.ts'
import { ConsumerError } from './errors.ts'
import type { Fleet } from './leases/fleet.ts'
import { holderOf, isFinished } from './leases/lease.ts'
import { type ResetLease, resetApplication } from './leases/reset.ts'
import { checkResetOptions, type ResetOptions } from './leases/reset-options.ts'
import { type ConsumerOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import type { ConsumerRecord } from './processing/consumer-record.ts'
import { watchLoop } from './processing/loop-watch.ts'
import { covers, type Pausable, Pauses } from './processing/pauses.ts'
import { RecordStream } from './processing/record-stream.ts'
import type { ShardConsumer } from './processing/shard-consumer.ts'
import type { ShardStatus } from './processing/shard-status.ts'
import { checkHandlers, type Handlers } from './run-options.ts'
import { SeveralStreams, type Streams } from './streams/streams.ts'
import { RecordIterator } from './tail/record-iterator.ts'
import { ConsumerMeter } from './telemetry/consumer-meter.ts'
import { Telemetry } from './telemetry/telemetry.ts'

/** One lease of the application, whoever holds it. */
export interface LeaseStatus {
  /** The stream's name or ARN; undefined for one that is none of the application's any more. */
  readonly stream: string | undefined
  readonly shardId: string
  readonly holder: string | undefined
  /** Who gets it next, while it is being handed off. */
  readonly nextOwner: string | undefined
  readonly checkpoint: Position
  readonly finished: boolean
}

export interface ConsumerStatus {
  readonly worker: string
  /** It runs, and its loops turn. Not whether AWS can be reached: to start the process anew wouldn't mend that. For liveness probes. */
  readonly live: boolean
  /**
   * It holds the leases that are its own, and every shard that it reads is at most `readyLagMs` behind the tip. For readiness probes and
   * rolling updates.
   */
  readonly ready: boolean
  /** It is live, and none of its shards has stopped. For alerts. */
  readonly healthy: boolean
  readonly leader: boolean
  /** The streams that the application reads, by name or ARN. */
  readonly streams: readonly string[]
  /** The shards that this worker holds. */
  readonly shards: readonly ShardStatus[]
  /**
   * As of this worker's last look at the table: where it leads, every lease of the application; otherwise those that it holds, since
   * it looks at no others.
   */
  readonly leases: readonly LeaseStatus[]
}

/**
 * One worker of an application: shares the stream's shards with the other workers of the same name, and hands every user
 * record to a handler, those of one key in order and one at a time. What has been handled is remembered in a DynamoDB table.
 *
 * Each record is delivered at least once. It comes again after a crash, from the last checkpoint on, and when its handler fails.
 *
 * @typeParam Value what `record.value` is: what the option `codec` makes of a record's data
 *
 * @example
 * const consumer = new Consumer({ application: 'delays', stream: 'flights' })
 * process.once('SIGTERM', () => consumer.close())
 * await consumer.run({ eachRecord: async (record) => save(record.partitionKey, record.json()) })
 */
export class Consumer<Value = undefined> {
  readonly #options: ResolvedOptions
  readonly #pauses = new Pauses()
  #telemetry: Telemetry
  readonly #closing = new AbortController()
  readonly #hurry = new AbortController()
  #streams: Streams | undefined
  #fleet: Fleet<ShardConsumer> | undefined
  #running: Promise<void> | undefined
  /** It is being reset, or deregistered. */
  #isBusy = false
  /** `close()` has been called. */
  #isClosing = false
  #isOver = false

  /** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
  constructor(options: ConsumerOptions<Value>) {
    this.#options = resolveOptions(options)
    const { logger, onEvent, application, workerId } = this.#options
    this.#telemetry = new Telemetry(logger, onEvent, { application, worker: workerId })
  }

  /**
   * Consumes until {@link close}; then resolves. The process can exit afterwards.
   *
   * @throws {OptionError} for what it doesn't know
   * @throws {ConsumerError} `ERR_STREAM`, `ERR_TABLE`, `ERR_CONSUMER` or `ERR_ACCESS` for what trying again can't mend; `ERR_STOPPED` if a
   *   shard has stopped and `onStop` is `exit`; `ERR_STATE` if it runs or ran before, another worker has started under its `workerId`, or with
   *   `checkpointing: 'manual'` there is no `onShardEnd`
   *
   * @example
   * await consumer.run({ eachBatch: (records) => insertAll(records.map((record) => record.json())), maxRecords: 200, maxWaitMs: 1_000 })
   */
  async run(handlers: Handlers<Value>): Promise<void> {
    checkHandlers(handlers, this.#options.checkpointing)
    await this.#begin(handlers, this.#options)
  }

  /**
   * The records, one after the other, for a loop: the one in hand is finished when the loop asks for the next. Of a shard one at a time,
   * with a turn for each shard; for more at once there is {@link run}. The consumer runs as long as the loop does: leaving it
   * (`break`, `return`, `throw`) closes the consumer, and the record in hand comes again elsewhere; {@link close} ends it.
   * `concurrency`, `ordering`, `handlerTimeoutMs` and retries have no say here.
   *
   * @param options.signal aborting it is the same as {@link close}
   * @throws what {@link run} rejects with, from `next()`; {@link ConsumerError} `ERR_STATE` with `checkpointing: 'manual'`
   *
   * @example
   * for await (const record of consumer.records()) await save(record.partitionKey, record.json())
   */
  records({
    signal,
  }: {
    readonly signal?: AbortSignal | undefined
  } = {}): AsyncIterableIterator<ConsumerRecord<Value>, undefined> {
    if (this.#options.checkpointing === 'manual') {
      throw new ConsumerError(
        'ERR_STATE',
        "records() makes checkpoints of what the loop has moved on from: expected checkpointing 'automatic', got 'manual'.",
      )
    }
    const options: ResolvedOptions = {
      ...this.#options,
      concurrency: 1,
      ordering: 'shard',
      handlerTimeoutMs: undefined,
    }
    return new RecordIterator(
      new RecordStream<Value>({
        run: (eachRecord) => this.#begin({ eachRecord, signal }, options),
        isHeld: ({ stream, shardId }) => this.#shards({ stream, shardId }).some((shard) => shard.isHeld()),
        later: (again) => void options.clock.sleep(LATER_MS).then(again),
        close: async () => {
          this.#hurry.abort()
          await this.#close()
        },
      }),
    )
  }

  /**
   * Stops gracefully: takes no new records, finishes those in hand, writes the checkpoints, and gives the leases back, so that
   * other workers go on at once. Handlers and hooks that take longer than `closeTimeout` are aborted. Resolves when all that is done. A
   * second call while the first is under way waits for them no longer: it aborts them.
   *
   * @param options.signal aborted: wait for handlers no longer
   */
  async close({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#isClosing) this.#hurry.abort()
    this.#isClosing = true
    const hurry = (): void => this.#hurry.abort()
    signal?.addEventListener('abort', hurry, { once: true })
    if (signal?.aborted) hurry()
    await this.#close()
    signal?.removeEventListener('abort', hurry)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close()
  }

  /**
   * Begins nothing new, and tries nothing again, of all shards, of a stream's, or of one: what is in hand is finished, and the leases
   * are kept. Shards that are taken up later are meant too. Reading goes on until the memory for it is full.
   *
   * @throws {OptionError} for what it doesn't know
   */
  pause(which: Pausable = {}): void {
    this.#setPaused(which, true)
  }

  /**
   * Goes on after {@link pause}; what was last said of a shard counts. A shard that has stopped is tried again at once.
   *
   * @throws {OptionError} for what it doesn't know
   */
  resume(which: Pausable = {}): void {
    this.#setPaused(which, false)
    for (const shard of this.#shards(which)) shard.retry()
  }

  /**
   * Moves the application, or some of its shards, to another place of the stream: what lies behind it is handled once more. Refused
   * while workers of the application live, which is watched for somewhat longer than `failoverTime`.
   *
   * @returns the leases that were moved
   * @throws {OptionError} for what it doesn't know
   * @throws {ConsumerError} `ERR_STATE` while workers live, unless it is forced, or while this one runs; `ERR_STREAM` for a shard or stream
   *   that doesn't exist; `ERR_RECORD` for a sequence number that isn't of its shard
   *
   * @example
   * await consumer.reset({ to: { timestamp: new Date('2026-03-01T06:00:00Z') } })
   */
  async reset(options: ResetOptions): Promise<ResetLease[]> {
    checkResetOptions(options, this.#options.clock)
    const telemetry = this.#telemetry
    return await this.#alone('reset()', options.signal, async (connections) => {
      const [table, streams] = [await connections.table(), await connections.streams(() => {})]
      const { kinesis } = connections
      return await resetApplication(options, { ...this.#options, table, kinesis, sources: streams.sources, telemetry })
    })
  }

  /**
   * Deletes the consumers that were registered for fan-out with the application's streams, `consumerName` or `consumerArn`, so
   * that they are billed for no longer. Nothing else does. For an application that is retired, or reads by polling again: stop all its
   * workers first, or that they read by fan-out; one that still does registers its consumer anew. A stream that was removed from
   * the application, or deleted, is not looked for.
   *
   * @returns the streams, by name or ARN, that had such a consumer
   * @throws {ConsumerError} `ERR_STATE` while this one runs; `ERR_STREAM` or `ERR_ACCESS` for what trying again can't mend
   */
  async deregister({ signal }: { readonly signal?: AbortSignal } = {}): Promise<string[]> {
    return await this.#alone('deregister()', signal, (connections) => connections.deregister())
  }

  /** How this worker is, what it holds, and what it knows of the others. */
  status(): ConsumerStatus {
    const shards = this.#shards({}).map((shard) => shard.status())
    const live = this.#running !== undefined && !this.#isOver && (this.#fleet?.isLive ?? true)
    return {
      worker: this.#options.workerId,
      live,
      ready: live && (this.#fleet?.isSettled ?? false) && shards.every((shard) => this.#isReady(shard)),
      healthy: live && shards.every(({ stopped }) => stopped === undefined),
      leader: this.#fleet?.isLeader ?? false,
      streams: (this.#streams?.sources ?? []).map(({ stream }) => stream),
      shards,
      leases: (this.#fleet?.leases ?? []).map((lease) => ({
        stream: this.#streams?.find(lease.streamIdentifier)?.stream,
        shardId: lease.shardId,
        holder: holderOf(lease),
        nextOwner: lease.checkpointOwner === undefined ? undefined : lease.owner,
        checkpoint: lease.checkpoint,
        finished: isFinished(lease),
      })),
    }
  }

  #isReady({ state, millisBehindLatest }: ShardStatus): boolean {
    if (state !== 'reading') return state !== 'starting'
    return millisBehindLatest !== undefined && millisBehindLatest <= this.#options.readyLagMs
  }

  #shards(which: Pausable): readonly ShardConsumer[] {
    return (this.#fleet?.shards ?? []).filter((shard) => covers(which, shard))
  }

  #setPaused(which: Pausable, paused: boolean): void {
    checkOptions<Pausable>(paused ? 'pause' : 'resume', which, { stream: nonEmptyString, shardId: nonEmptyString })
    this.#pauses.set(which, paused)
    for (const shard of this.#shards(which)) shard.pauseChanged()
  }

  async #close(): Promise<void> {
    this.#closing.abort(new ConsumerError('ERR_CLOSED', 'The consumer is being closed.'))
    // Why it failed is told where run() is awaited.
    await this.#running?.catch(() => undefined)
  }

  /** Does what can't be done beside a run of this consumer. */
  async #alone<T>(
    call: string,
    signal: AbortSignal = new AbortController().signal,
    work: (connections: Connections) => Promise<T>,
  ): Promise<T> {
    if (this.#isBusy || (this.#running !== undefined && !this.#isOver)) {
      throw new ConsumerError(
        'ERR_STATE',
        `The consumer runs: expected that it, and every other worker of the application, is closed before ${call}.`,
      )
    }
    this.#isBusy = true
    const connections = new Connections(this.#options, this.#telemetry, signal)
    try {
      return await work(connections)
    } catch (error) {
      throw connections.explain(error)
    } finally {
      this.#isBusy = false
      connections.close()
    }
  }

  async #begin<Given>(handlers: Handlers<Given>, options: ResolvedOptions): Promise<void> {
    if (this.#running !== undefined || this.#closing.signal.aborted || this.#isBusy) {
      const got = this.#isBusy
        ? 'it is being reset'
        : this.#running === undefined
          ? 'it was closed before'
          : 'it has run already'
      throw new ConsumerError('ERR_STATE', `A consumer runs once, and ${got}. Make a new Consumer to run again.`)
    }
    this.#running = this.#run(handlers, options).finally(() => {
      this.#isOver = true
    })
    await this.#running
  }

  async #run<Given>(handlers: Handlers<Given>, options: ResolvedOptions): Promise<void> {
    const { signal } = handlers
    const close = (): void => this.#closing.abort(signal?.reason)
    signal?.addEventListener('abort', close, { once: true })
    if (signal?.aborted) close()
    const { application, workerId, logger, onEvent } = options
    const meter = new ConsumerMeter({ application, workerId, status: () => this.status() })
    this.#telemetry = new Telemetry(logger, onEvent, { application, worker: workerId }, meter)
    const connections = new Connections(options, this.#telemetry, this.#closing.signal)
    try {
      await this.#consume(handlers, options, connections)
    } catch (error) {
      const { aborted, reason } = this.#closing.signal
      if (!aborted || (error instanceof ConsumerError && error !== reason)) throw connections.explain(error)
    } finally {
      signal?.removeEventListener('abort', close)
      meter.close()
      connections.close()
    }
  }

  async #consume<Given>(handlers: Handlers<Given>, options: ResolvedOptions, connections: Connections): Promise<void> {
    const telemetry = this.#telemetry
    const { clock, failoverTime } = options
    const signal = this.#closing.signal
    const streams = await connections.streams(() => this.#fleet?.wake())
    this.#streams = streams
    const fanOut = await connections.fanOut(streams)
    const table = await connections.table()
    const { kinesis } = connections
    const { fleet, pool } = createFleet(handlers, {
      table,
      kinesis,
      streams,
      options,
      telemetry,
      pauses: this.#pauses,
      ...(fanOut && { readersOf: fanOut.readersOf }),
    })
    this.#fleet = fleet
    const over = new AbortController()
    const { handlerName } = pool
    const loopWatch = { clock, failoverTime, telemetry, handler: handlerName, lastRecord: () => pool.lastRecord }
    const watching = [
      watchLoop(loopWatch, over.signal),
      ...(streams instanceof SeveralStreams ? [streams.watch(signal)] : []),
    ]
    const hurry = (): void => {
      for (const shard of fleet.shards) shard.hurry()
    }
    this.#hurry.signal.addEventListener('abort', hurry, { once: true })
    try {
      await fleet.run(signal)
    } finally {
      if (this.#hurry.signal.aborted) hurry()
      await fleet.stop()
      this.#closing.abort()
      over.abort()
      await Promise.all(watching)
    }
  }
}

/** A loop that has to wait until it is known whether a lease is lost looks again after so long. */
const LATER_MS = 50
