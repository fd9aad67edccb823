import type { Writable } from 'node:stream'
import type { KinesisClient } from '@aws-sdk/client-kinesis'
import { createKinesisClient, type Encoder, type Kinesis, orAborted } from '@shardwise/core'
import { ProducerError } from './errors.ts'
import { type ProducerOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import { Epoch, NO_ATTEMPTS, type Pending, type Receipt, sizeOf } from './pending.ts'
import { writableTo } from './record-writable.ts'
import { closed, expired, type Rejection } from './rejection.ts'
import { StreamWriter } from './stream-writer.ts'
import { type CheckedRecord, RecordCheck, type UserRecord } from './user-record.ts'
import { WaitingLine } from './waiting-line.ts'

/** What a producer has taken and not yet settled. */
export interface Outstanding {
  readonly records: number
  /** Data and partition keys, and 600 bytes of overhead a record. */
  readonly bytes: number
  /** How long ago the oldest was put, in milliseconds; 0 if there is none. */
  readonly oldestMs: number
}

export interface FlushOptions {
  /** Ends the waiting, with its reason as the rejection. The records go on. */
  readonly signal?: AbortSignal | undefined
}

export interface CloseOptions {
  /**
   * Cuts the draining short: what is not acknowledged by then is rejected with `ERR_CLOSED`, and `close` itself with
   * `ERR_UNDELIVERED`, which hands all of it back.
   */
  readonly signal?: AbortSignal | undefined
}

/** What is neither bytes nor text needs a codec. */
export type ProducerArguments<Value> = [Value] extends [Uint8Array | string]
  ? [options?: ProducerOptions<Value>]
  : [options: ProducerOptions<Value> & { readonly codec: Encoder<Value> }]

/**
 * Puts user records into Kinesis data streams: aggregated, in order per partition key, with retries and back-pressure.
 *
 * Nothing happens on the network before the first `put`.
 *
 * @example
 * const producer = new Producer({ stream: 'flights' })
 * const receipt = await producer.put({ partitionKey: 'ATL', data: JSON.stringify({ delay: 3 }) })
 * await producer.close()
 *
 * @example Many records, as fast as the stream takes them, in bounded memory
 * const producer = new Producer({ stream: 'flights', onError: (error) => report(error.record) })
 * for await (const record of source) {
 *   await producer.ready
 *   producer.put(record)
 * }
 * await producer.flush()
 *
 * @example Typed values, by a schema
 * const producer = new Producer({ stream: 'flights', codec: z.object({ origin: z.string(), delay: z.number() }) })
 * await producer.put({ partitionKey: 'ATL', data: { origin: 'ATL', delay: 3 } })
 */
export class Producer<Value = Uint8Array | string> implements AsyncDisposable {
  readonly #options: ResolvedOptions<Value>
  readonly #check: RecordCheck<Value>
  readonly #kinesis: Kinesis
  readonly #ownClient: KinesisClient | undefined
  readonly #writers = new Map<string, StreamWriter>()
  #defaultWriter: StreamWriter | undefined
  readonly #line: WaitingLine
  #records = 0
  #bytes = 0
  #epoch = new Epoch()
  /** Resolves when every put before the last flush is settled. */
  #earlier: Promise<unknown> = Promise.resolve()
  #flushes = 0
  /** Bytes taken since `ready` last waited for a turn of the event loop. */
  #bytesThisTurn = 0
  #turn: Promise<void> | undefined
  #room: PromiseWithResolvers<void> | undefined
  #closing: Promise<void> | undefined
  #isCutShort = false
  readonly #undelivered: ProducerError[] = []
  #isClientChecked = false

  /** @throws {OptionError} for an option that is unknown or out of range */
  constructor(...[options]: ProducerArguments<Value>) {
    this.#options = resolveOptions<Value>(options ?? {})
    const { client, clientConfig, clock, encode, requestTimeout, recordTtl } = this.#options
    this.#check = new RecordCheck(encode)
    // The producer gives a request up by itself; this is for the connection.
    const requestTimeoutMs = Math.max(30_000, 2 * requestTimeout)
    this.#ownClient = client === undefined ? createKinesisClient(clientConfig, { requestTimeoutMs }) : undefined
    this.#kinesis = client ?? this.#ownClient!
    this.#line = new WaitingLine(clock, recordTtl, () => this.#expireLine(clock.monotonicMs()))
  }

  /**
   * Puts one user record. Resolves when the stream has it; records with the same partition key are in the stream in the
   * order of their `put` calls, whether or not these are awaited.
   *
   * @throws {ProducerError} (as a rejection) with the record, a `code`, and whether it may be in the stream (`outcome`)
   */
  put(record: UserRecord<Value>): Promise<Receipt> {
    const receipt = Promise.withResolvers<Receipt>()
    try {
      this.#admit(record, receipt)
    } catch (error) {
      receipt.reject(error as Error)
      this.#tellOf(error as ProducerError, receipt.promise)
    }
    return receipt.promise
  }

  /**
   * Resolves while there is room for more, otherwise as soon as there is again. Awaiting it before each `put` keeps the memory
   * bounded without waiting for acknowledgements. It resolves at once, but now and then in the next turn of the event loop, so
   * that a loop that does nothing but put doesn't keep from being sent what it has put.
   */
  get ready(): Promise<void> {
    if (this.#hasRoom) {
      if (this.#bytesThisTurn < BYTES_A_TURN) return READY
      this.#turn ??= this.#nextTurn()
      return this.#turn
    }
    this.#room ??= Promise.withResolvers()
    return this.#room.promise
  }

  /**
   * A Node stream in object mode that puts every user record written to it, with the back-pressure of {@link ready}. It
   * finishes when all of them are acknowledged; one that can't be put destroys it with its error, or, where `onError` is
   * set, is told there. The producer stays open. `Writable.toWeb` makes a web stream of it.
   *
   * @example
   * await pipeline(Readable.from(records), producer.writable())
   */
  writable(): Writable {
    return writableTo(this, { goesOn: this.#options.onError !== undefined })
  }

  /** What is taken and not yet settled. */
  get outstanding(): Outstanding {
    const records = this.#records + this.#line.length
    let oldest = this.#line.first?.pending.arrivedMs ?? Number.POSITIVE_INFINITY
    for (const writer of this.#writers.values()) oldest = Math.min(oldest, writer.oldestMs)
    const oldestMs = records === 0 ? 0 : Math.max(0, this.#options.clock.monotonicMs() - oldest)
    return { records, bytes: this.#bytes + this.#line.bytes, oldestMs }
  }

  /**
   * Sends what waits without delay; resolves when every record put before this call is acknowledged or rejected, and says
   * nothing of which.
   */
  async flush({ signal }: FlushOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    const closed = this.#epoch.close()
    this.#epoch = new Epoch()
    const settled = Promise.all([this.#earlier, closed])
    this.#earlier = settled
    this.#flushes++
    for (const writer of this.#writers.values()) writer.hurry()
    try {
      await (signal === undefined ? settled : orAborted(settled, signal))
    } finally {
      this.#flushes--
    }
  }

  /**
   * Takes no more records, waits until those taken are acknowledged or rejected, and frees timers and connections; then
   * the process can end. A second call waits for the first.
   *
   * @throws {ProducerError} (as a rejection) `ERR_UNDELIVERED` with every record that was not acknowledged, if `signal` cuts
   *   it short
   */
  close({ signal }: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close()
    if (signal?.aborted) this.#cutShort()
    else if (signal !== undefined) this.#cutShortOn(signal, this.#closing)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #admit(record: UserRecord<Value>, { promise, resolve, reject }: PromiseWithResolvers<Receipt>): void {
    if (this.#closing !== undefined) {
      throw new ProducerError('ERR_CLOSED', 'put: the producer is closed. Put before close().', { record })
    }
    const checked = this.#check.check(record)
    const writer = this.#writerFor(record)
    if (!this.#isClientChecked) this.#checkClient()
    const pending: Pending = {
      promise,
      resolve,
      reject,
      epoch: this.#epoch,
      arrivedMs: this.#options.clock.monotonicMs(),
      bytes: checked.bytes,
      value: this.#options.encode === undefined ? undefined : record.data,
      link: writer.linkOf(),
      attempts: NO_ATTEMPTS,
      earlierCopy: undefined,
      lastError: undefined,
    }
    if (this.#hasRoom) {
      pending.epoch.add()
      this.#take(checked, pending, writer, pending.arrivedMs)
    } else {
      this.#queue(checked, pending, writer, record)
    }
  }

  #queue(checked: CheckedRecord, pending: Pending, writer: StreamWriter, record: UserRecord<Value>): void {
    const { maxOutstandingBytes } = this.#options
    if (this.#line.length > 0 && this.#line.bytes + sizeOf(pending) > maxOutstandingBytes) {
      throw new ProducerError(
        'ERR_BUFFER_FULL',
        `put: ${this.#bytes} bytes are outstanding and ${this.#line.bytes} wait in line, each up to maxOutstandingBytes (${maxOutstandingBytes}). ` +
          'Await each put; or, where one caller puts alone, producer.ready before it.',
        { record, retryable: true },
      )
    }
    pending.epoch.add()
    this.#line.push({ record: checked, pending, writer })
  }

  #writerFor(record: UserRecord<Value>): StreamWriter {
    // What nearly every put comes to: a Map and a check of the name would be a twentieth of its cost.
    if (record.stream === undefined && this.#defaultWriter !== undefined) return this.#defaultWriter
    return this.#writerOf(this.#streamOf(record))
  }

  #streamOf(record: UserRecord<Value>): string {
    const stream = record.stream ?? this.#options.stream
    if (typeof stream === 'string' && stream.trim() !== '') return stream
    const got = record.stream === undefined ? 'neither put nor the producer names one' : `got ${JSON.stringify(stream)}`
    throw new ProducerError('ERR_STREAM', `put: expected a stream's name or ARN, ${got}.`, { record })
  }

  #writerOf(stream: string): StreamWriter {
    let writer = this.#writers.get(stream)
    if (writer === undefined) {
      writer = new StreamWriter({
        ...this.#options,
        stream,
        isNamed: stream !== this.#options.stream,
        kinesis: this.#kinesis,
        onSettled: (pending, error) => this.#onSettled(pending, error),
        isFlushing: () => this.#flushes > 0,
      })
      this.#writers.set(stream, writer)
      if (stream === this.#options.stream) this.#defaultWriter = writer
    }
    return writer
  }

  async #close(): Promise<void> {
    try {
      await this.flush()
    } finally {
      for (const writer of this.#writers.values()) writer.abort()
      this.#ownClient?.destroy()
    }
    if (this.#undelivered.length === 0) return
    throw new ProducerError(
      'ERR_UNDELIVERED',
      `close: ${this.#undelivered.length} records were not acknowledged before it was cut short. ` +
        'Each is in `undelivered`, with whether it may be in the stream.',
      { undelivered: this.#undelivered },
    )
  }

  #cutShortOn(signal: AbortSignal, closing: Promise<void>): void {
    const onAbort = (): void => this.#cutShort()
    const done = (): void => signal.removeEventListener('abort', onAbort)
    signal.addEventListener('abort', onAbort, { once: true })
    closing.then(done, done)
  }

  /** Rejects all that is outstanding. The line first: what is rejected behind it makes room, and the line would move up. */
  #cutShort(): void {
    this.#isCutShort = true
    for (let next = this.#line.first; next !== undefined; next = this.#line.first) {
      this.#rejectFirstInLine(closed(next.writer.stream))
    }
    for (const writer of this.#writers.values()) writer.abort()
  }

  #expireLine(nowMs: number): void {
    for (let next = this.#line.first; next !== undefined && this.#line.expiresMs <= nowMs; next = this.#line.first) {
      this.#rejectFirstInLine(expired(next.writer.stream, this.#options.recordTtl))
    }
    this.#line.setAlarm(nowMs)
  }

  #rejectFirstInLine(rejection: Rejection): void {
    const { record, pending, writer } = this.#line.shift()!
    writer.turnAway(record, pending, rejection, (_, error) => {
      pending.epoch.settleOne()
      if (error !== undefined) this.#onRejected(error, pending)
    })
  }

  #checkClient(): void {
    this.#isClientChecked = true
    void warnOfRetries(this.#kinesis, this.#options.logger)
  }

  async #nextTurn(): Promise<void> {
    await this.#options.clock.sleep(0)
    this.#turn = undefined
    this.#bytesThisTurn = 0
  }

  get #hasRoom(): boolean {
    return this.#line.length === 0 && this.#bytes < this.#options.maxOutstandingBytes
  }

  #take(record: CheckedRecord, pending: Pending, writer: StreamWriter, nowMs: number): void {
    this.#records++
    const size = sizeOf(pending)
    this.#bytes += size
    this.#bytesThisTurn += size
    writer.write(record, pending, nowMs)
  }

  #onSettled(pending: Pending, error: ProducerError | undefined): void {
    this.#records--
    this.#bytes -= sizeOf(pending)
    pending.epoch.settleOne()
    if (error !== undefined) this.#onRejected(error, pending)
    this.#moveUp()
    if (this.#room !== undefined && this.#hasRoom) {
      this.#room.resolve()
      this.#room = undefined
    }
  }

  #moveUp(): void {
    while (this.#line.length > 0 && this.#bytes < this.#options.maxOutstandingBytes) {
      const { record, pending, writer } = this.#line.shift()!
      this.#take(record, pending, writer, this.#options.clock.monotonicMs())
    }
  }

  #onRejected(error: ProducerError, { promise }: Pending): void {
    if (this.#isCutShort) this.#undelivered.push(error)
    this.#tellOf(error, promise)
  }

  #tellOf(error: ProducerError, promise: Promise<Receipt>): void {
    const { onError, logger } = this.#options
    if (onError === undefined) return
    // Whoever is told there need not await the put. Only now: to catch what is never rejected costs as much as the promise.
    promise.catch(ignore)
    try {
      onError(error as ProducerError<Value>)
    } catch (thrown) {
      logger.error({ err: thrown, code: error.code }, 'onError threw')
    }
  }
}

/**
 * So much is taken before the event loop has its turn. With small records it is 2,000 of them, a few milliseconds; with
 * less, requests are small and many, with more, everything outstanding outlives the garbage collector's nursery.
 */
const BYTES_A_TURN = 1.5 * 2 ** 20

const READY: Promise<void> = Promise.resolve()

function ignore(): void {}

/** The SDK's clients give `maxAttempts` as a function; what stands in for one may give a number, or nothing. */
async function warnOfRetries(client: Kinesis, logger: ResolvedOptions['logger']): Promise<void> {
  const { config } = client as { config?: { maxAttempts?: unknown } }
  const given = config?.maxAttempts
  const maxAttempts: unknown = await Promise.resolve(typeof given === 'function' ? given() : given).catch(
    () => undefined,
  )
  if (typeof maxAttempts === 'number' && maxAttempts > 1) {
    logger.warn(
      { maxAttempts },
      'the client retries by itself, which hides records that are written twice: set maxAttempts to 1',
    )
  }
}
