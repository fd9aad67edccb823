import type { KinesisClient } from '@aws-sdk/client-kinesis'
import { createKinesisClient, type Kinesis } from '@shardwise/core'
import { ProducerError } from './errors.ts'
import { Fifo } from './fifo.ts'
import { type ProducerOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import { Epoch, type Pending, type Receipt } from './pending.ts'
import { closed, expired, type Rejection, reject } from './rejection.ts'
import { sealLone } from './sealed-record.ts'
import { StreamWriter } from './stream-writer.ts'
import { type CheckedRecord, RecordCheck, type UserRecord } from './user-record.ts'

/** What a waiting record takes beside its bytes: promises, functions, its place in a queue. Measured at 600 to 700 on Node 24. */
const RECORD_OVERHEAD_BYTES = 600

/** What a producer has taken and not yet settled. */
export interface Outstanding {
  readonly records: number
  /** Data and partition keys, and 600 bytes of overhead a record. */
  readonly bytes: number
}

export interface CloseOptions {
  /** Cuts the draining short: what is not acknowledged by then is rejected with `ERR_CLOSED`. */
  readonly signal?: AbortSignal
}

/**
 * Puts user records into a Kinesis data stream: aggregated, in order per partition key, with retries and back-pressure.
 *
 * Nothing happens on the network before the first `put`.
 *
 * @example
 * const producer = new Producer({ stream: 'flights' })
 * const receipt = await producer.put({ partitionKey: 'ATL', data: JSON.stringify({ delay: 3 }) })
 * await producer.close()
 *
 * @example Many records, as fast as the stream takes them, in bounded memory
 * for await (const record of source) {
 *   await producer.ready
 *   producer.put(record).catch(report)
 * }
 * await producer.flush()
 */
export class Producer implements AsyncDisposable {
  readonly #options: ResolvedOptions
  readonly #check = new RecordCheck()
  readonly #kinesis: Kinesis
  readonly #ownClient: KinesisClient | undefined
  readonly #writer: StreamWriter
  /** Records that wait for room, oldest first, and their bytes. */
  readonly #line = new Fifo<{ readonly record: CheckedRecord; readonly pending: Pending }>()
  #lineBytes = 0
  #records = 0
  #bytes = 0
  #epoch = new Epoch()
  /** Of puts before the last flush that are not settled yet. */
  readonly #earlier = new Set<Promise<void>>()
  #room: PromiseWithResolvers<void> | undefined
  #closing: Promise<void> | undefined
  #isClientChecked = false

  /** @throws {OptionError} for an option that is unknown, missing or out of range */
  constructor(options: ProducerOptions) {
    this.#options = resolveOptions(options)
    const { client, clientConfig } = this.#options
    this.#ownClient = client === undefined ? createKinesisClient(clientConfig) : undefined
    this.#kinesis = client ?? this.#ownClient!
    this.#writer = new StreamWriter({
      ...this.#options,
      kinesis: this.#kinesis,
      onSettled: (pending) => this.#onSettled(pending),
      expireLine: (nowMs) => this.#expireLine(nowMs),
    })
  }

  /**
   * Puts one user record. Resolves when the stream has it; records with the same partition key are in the stream in the
   * order of their `put` calls, whether or not these are awaited.
   *
   * @throws {ProducerError} (as a rejection) with the record, a `code`, and whether it may be in the stream (`outcome`)
   */
  put(record: UserRecord): Promise<Receipt> {
    return new Promise((resolve, reject) => {
      if (this.#closing !== undefined) {
        throw new ProducerError('ERR_CLOSED', 'put: the producer is closed. Put before close().', { record })
      }
      const checked = this.#check.check(record)
      if (!this.#isClientChecked) this.#checkClient()
      const pending: Pending = {
        resolve,
        reject,
        epoch: this.#epoch,
        arrivedMs: this.#options.clock.monotonicMs(),
        bytes: checked.bytes,
        attempts: 0,
        earlierCopy: undefined,
        lastError: undefined,
      }
      this.#admit(checked, pending)
    })
  }

  /**
   * Resolves while there is room for more, at once or as soon as there is again. Awaiting it before each `put` keeps
   * the memory bounded without waiting for acknowledgements.
   */
  get ready(): Promise<void> {
    if (this.#hasRoom) return READY
    this.#room ??= Promise.withResolvers()
    return this.#room.promise
  }

  /** What is taken and not yet settled. */
  get outstanding(): Outstanding {
    return { records: this.#records + this.#line.length, bytes: this.#bytes + this.#lineBytes }
  }

  /** Sends what waits without delay; resolves when every record put before this call is acknowledged or rejected. */
  flush(): Promise<void> {
    const closed = this.#epoch.close()
    this.#epoch = new Epoch()
    this.#earlier.add(closed)
    const settled = Promise.all(this.#earlier).then(() => {
      this.#earlier.delete(closed)
    })
    return this.#writer.hurry(settled)
  }

  /**
   * Takes no more records, waits until those taken are acknowledged or rejected, and frees timers and connections; then
   * the process can end. A second call waits for the first.
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

  async #close(): Promise<void> {
    try {
      await this.flush()
    } finally {
      this.#writer.abort()
      this.#ownClient?.destroy()
    }
  }

  #cutShortOn(signal: AbortSignal, closing: Promise<void>): void {
    const onAbort = (): void => this.#cutShort()
    const done = (): void => signal.removeEventListener('abort', onAbort)
    signal.addEventListener('abort', onAbort, { once: true })
    closing.then(done, done)
  }

  /** Rejects all that is outstanding. The line first: what is rejected behind it makes room, and the line would move up. */
  #cutShort(): void {
    const { stream } = this.#options
    for (let next = this.#line.first; next !== undefined; next = this.#line.first)
      this.#rejectFirstInLine(closed(stream))
    this.#writer.abort()
  }

  #expireLine(nowMs: number): number {
    const { stream, recordTtl } = this.#options
    for (let next = this.#line.first; next !== undefined; next = this.#line.first) {
      const expiresMs = next.pending.arrivedMs + recordTtl
      if (expiresMs > nowMs) return expiresMs
      this.#rejectFirstInLine(expired(stream, recordTtl))
    }
    return Number.POSITIVE_INFINITY
  }

  #rejectFirstInLine(rejection: Rejection): void {
    const { record, pending } = this.#line.shift()!
    this.#lineBytes -= sizeOf(pending)
    reject(sealLone(record, pending, this.#options.recordTtl), rejection, () => pending.epoch.settleOne())
  }

  #checkClient(): void {
    this.#isClientChecked = true
    const { client, logger } = this.#options
    if (client !== undefined) void warnOfRetries(client, logger)
  }

  get #hasRoom(): boolean {
    return this.#line.length === 0 && this.#bytes < this.#options.maxOutstandingBytes
  }

  #admit(record: CheckedRecord, pending: Pending): void {
    const { maxOutstandingBytes } = this.#options
    const size = sizeOf(pending)
    if (this.#hasRoom) {
      pending.epoch.add()
      this.#take(record, pending, pending.arrivedMs)
    } else if (this.#lineBytes + size <= maxOutstandingBytes) {
      pending.epoch.add()
      this.#line.push({ record, pending })
      this.#lineBytes += size
      this.#writer.wakeAt(pending.arrivedMs + this.#options.recordTtl, pending.arrivedMs)
    } else {
      throw new ProducerError(
        'ERR_BUFFER_FULL',
        `put: ${this.#bytes + this.#lineBytes} bytes are outstanding already, twice maxOutstandingBytes (${maxOutstandingBytes}). ` +
          'Await producer.ready before put, or each put.',
        { record: userRecordOf(record), retryable: true },
      )
    }
  }

  #take(record: CheckedRecord, pending: Pending, nowMs: number): void {
    this.#records++
    this.#bytes += sizeOf(pending)
    this.#writer.write(record, pending, nowMs)
  }

  #onSettled(pending: Pending): void {
    this.#records--
    this.#bytes -= sizeOf(pending)
    pending.epoch.settleOne()
    while (this.#line.length > 0 && this.#bytes < this.#options.maxOutstandingBytes) {
      const { record, pending: next } = this.#line.shift()!
      this.#lineBytes -= sizeOf(next)
      this.#take(record, next, this.#options.clock.monotonicMs())
    }
    if (this.#room !== undefined && this.#hasRoom) {
      this.#room.resolve()
      this.#room = undefined
    }
  }
}

const READY: Promise<void> = Promise.resolve()

function sizeOf({ bytes }: Pending): number {
  return bytes + RECORD_OVERHEAD_BYTES
}

function userRecordOf({ partitionKey, explicitHashKey, data }: CheckedRecord): UserRecord {
  return { partitionKey, explicitHashKey, data }
}

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
