import {
  type ConsumerDescription,
  DeregisterStreamConsumerCommand,
  DescribeStreamConsumerCommand,
  RegisterStreamConsumerCommand,
} from '@aws-sdk/client-kinesis'
import {
  backoffMs,
  type Clock,
  classifyError,
  describeStream,
  errorCode,
  type Kinesis,
  orAborted,
  type Random,
} from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { shardsOf } from '../streams/shard-list.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'

export interface RegisteredConsumerOptions {
  readonly kinesis: Kinesis
  /** The stream's name or ARN. */
  readonly stream: string
  /** Registered under this name if it isn't yet. */
  readonly consumerName: string
  /** If given, this one is used, and has to exist. */
  readonly consumerArn?: string | undefined
  /** Whether to fail if it may not be asked for or registered the first time; otherwise that is tried again and again. */
  readonly isRefusalFinal: boolean
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: StreamTelemetry
  /** Told of calls that fail and are made again. */
  readonly onFailure: (doing: string, error: unknown) => void
}

/** The service grants 5 registrations and 20 descriptions a second for a stream, to all who ask. */
const BACKOFF = { baseMs: 400, maxMs: 10_000 }
/** A registration may be refused for the rate, or for others that are just being created: both pass within some 15 s. */
const PATIENT_REGISTRATIONS = 8
/** A consumer is active some seconds after it was registered. One that isn't after so long is told of, again and again. */
const LONG_WAIT_MS = 30_000
const REGISTRATION = 'DescribeStreamConsumer and RegisterStreamConsumer'

/** How a request names the consumer. */
type Which = { readonly ConsumerARN: string } | { readonly StreamARN: string; readonly ConsumerName: string }

/**
 * The consumer of a stream, as the service calls what one subscribes with. Shared by all shards of the stream in a worker, and
 * by all workers of the application. It stays registered until {@link deregister}.
 */
export class RegisteredConsumer {
  readonly #options: RegisteredConsumerOptions
  #streamArn: string | undefined
  #arn: string | undefined
  #wasReady = false
  /** What was subscribed with until the service didn't find something, until it shows whether it is still there. */
  #missed: string | undefined
  /** How often it was found to be gone. */
  #gone = 0
  #asking: Promise<string> | undefined
  #asked = new AbortController()
  #waiting = 0

  constructor(options: RegisteredConsumerOptions) {
    this.#options = options
    this.#streamArn = options.stream.startsWith('arn:') ? options.stream : undefined
  }

  /**
   * The ARN to subscribe with, as soon as the consumer is there and active. One asks for all who wait.
   *
   * @throws {ConsumerError} `ERR_CONSUMER`, `ERR_STREAM` or `ERR_ACCESS` for what trying again can't mend
   * @throws the signal's reason
   */
  async arn(signal: AbortSignal): Promise<string> {
    signal.throwIfAborted()
    if (this.#arn !== undefined) return this.#arn
    if (this.#waiting++ === 0) this.#asked = new AbortController()
    try {
      this.#asking ??= this.#find(this.#asked.signal)
      return await orAborted(this.#asking, signal)
    } finally {
      if (--this.#waiting === 0) {
        this.#asking = undefined
        this.#asked.abort('nobody waits')
      }
    }
  }

  /**
   * The service doesn't find something that a shard was subscribed to with: looks whether it is the consumer. If so it is
   * registered anew.
   *
   * @param arn what was subscribed with
   * @returns whether it was gone
   * @throws as {@link arn}
   */
  async isGone(arn: string, signal: AbortSignal): Promise<boolean> {
    if (this.#arn === arn) {
      this.#arn = undefined
      this.#missed = arn
    }
    const gone = this.#gone
    // One that is registered anew within the same second has the same ARN.
    return (await this.arn(signal)) !== arn || this.#gone !== gone
  }

  /** Deletes it. Resolves to false if there was none. Other consumers of the stream aren't touched. */
  async deregister(signal: AbortSignal): Promise<boolean> {
    let which: Which
    try {
      which = await this.#which(signal)
    } catch (error) {
      throw this.#explained(error)
    }
    try {
      await this.#options.kinesis.send(new DeregisterStreamConsumerCommand(which), { abortSignal: signal })
      return true
    } catch (error) {
      if (errorCode(error) === 'ResourceNotFoundException') return false
      throw isRefusal(error) ? this.#refused('DeregisterStreamConsumer', error) : error
    } finally {
      this.#arn = undefined
    }
  }

  async #find(signal: AbortSignal): Promise<string> {
    const { clock, random, onFailure } = this.#options
    let toldMs = clock.monotonicMs()
    let limited = 0
    for (let attempt = 1; ; attempt++) {
      try {
        const arn = await orAborted(this.#look(signal), signal)
        if (arn !== undefined) {
          this.#wasReady = true
          this.#arn = arn
          return arn
        }
        if (clock.monotonicMs() - toldMs >= LONG_WAIT_MS) {
          toldMs = clock.monotonicMs()
          const error = new Error(`expected it to be active by now, got that it still isn't`)
          onFailure(`waiting for the consumer of ${this.#options.stream}`, error)
        }
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof RegistrationLimit) limited++
        if (this.#isFinal(error, limited)) throw this.#explained(error)
        onFailure(`registering the consumer of ${this.#options.stream}`, this.#explained(error))
        toldMs = clock.monotonicMs()
      }
      await clock.sleep(backoffMs(attempt, BACKOFF, random), signal)
    }
  }

  /** Its ARN if it is ready. By ARN it has to be there; by name it is registered if it isn't. */
  async #look(signal: AbortSignal): Promise<string | undefined> {
    const { kinesis, stream, consumerArn } = this.#options
    const { ConsumerARN: arn, ConsumerStatus: status = 'absent' } = (await this.#describe(signal)) ?? {}
    this.#tellIfGone(arn, status)
    if (arn !== undefined && status === 'ACTIVE') return arn
    if (consumerArn !== undefined && status !== 'CREATING') {
      // It goes with its stream, of which is told first.
      await shardsOf(kinesis, stream, { signal })
      throw new ConsumerError(
        'ERR_CONSUMER',
        `Expected the registered consumer ${consumerArn} ("consumerArn") to be active, got that it is ${status.toLowerCase()}. ` +
          'Register it anew and give its new ARN, or leave "consumerArn" out: then one is registered by name.',
      )
    }
    if (arn === undefined) await this.#register(signal)
    return undefined
  }

  #tellIfGone(arn: string | undefined, status: string): void {
    const missed = this.#missed
    this.#missed = undefined
    if (missed === undefined || (missed === arn && status === 'ACTIVE')) return
    this.#gone++
    this.#options.telemetry.emit({ type: 'consumerGone', consumerArn: missed })
  }

  async #describe(signal: AbortSignal): Promise<ConsumerDescription | undefined> {
    const command = new DescribeStreamConsumerCommand(await this.#which(signal))
    try {
      return (await this.#options.kinesis.send(command, { abortSignal: signal })).ConsumerDescription
    } catch (error) {
      if (errorCode(error) === 'ResourceNotFoundException') return undefined
      throw error
    }
  }

  async #register(signal: AbortSignal): Promise<void> {
    const { kinesis, consumerName, telemetry } = this.#options
    const command = new RegisterStreamConsumerCommand({
      StreamARN: await this.#findStream(signal),
      ConsumerName: consumerName,
    })
    try {
      const { Consumer } = await kinesis.send(command, { abortSignal: signal })
      telemetry.emit({ type: 'consumerRegistered', consumerName, consumerArn: Consumer?.ConsumerARN ?? '' })
    } catch (error) {
      const code = errorCode(error)
      if (code === 'LimitExceededException') throw new RegistrationLimit(error)
      // Another worker was first.
      if (code !== 'ResourceInUseException') throw error
    }
  }

  async #which(signal: AbortSignal): Promise<Which> {
    const { consumerName, consumerArn } = this.#options
    if (consumerArn !== undefined) return { ConsumerARN: consumerArn }
    return { StreamARN: await this.#findStream(signal), ConsumerName: consumerName }
  }

  async #findStream(signal: AbortSignal): Promise<string> {
    const { kinesis, stream } = this.#options
    this.#streamArn ??= (await describeStream(kinesis, stream, signal)).arn
    return this.#streamArn
  }

  /** @param limited how many registrations were refused for a limit */
  #isFinal(error: unknown, limited: number): boolean {
    if (error instanceof ConsumerError) return true
    const code = errorCode(error)
    // The consumer's absence was understood already: it is the stream that isn't there.
    if (code === 'ResourceNotFoundException') return true
    if (!this.#options.isRefusalFinal || this.#wasReady) return false
    return error instanceof RegistrationLimit ? limited >= PATIENT_REGISTRATIONS : classifyError(error) === 'fatal'
  }

  #explained(error: unknown): unknown {
    const { stream, consumerName } = this.#options
    const code = errorCode(error)
    if (error instanceof ConsumerError) return error
    if (code === 'ResourceNotFoundException') {
      const message = `There is no stream "${stream}" in this account and region, or no longer: create it, or check the "stream" option.`
      return new ConsumerError('ERR_STREAM', message, { cause: error })
    }
    if (error instanceof RegistrationLimit) {
      return new ConsumerError(
        'ERR_CONSUMER',
        `The consumer "${consumerName}" could not be registered with ${stream}: ${error.message} A stream has at most ` +
          '20 registered consumers (50 with On-demand Advantage): deregister one that is not needed, or read by polling.',
        { cause: error.cause },
      )
    }
    return isRefusal(error) ? this.#refused(REGISTRATION, error) : error
  }

  #refused(actions: string, error: unknown): ConsumerError {
    const { stream, consumerName, consumerArn } = this.#options
    return new ConsumerError(
      'ERR_ACCESS',
      `AWS refused a call for the consumer ${consumerArn ?? `"${consumerName}" of ${stream}`} (${errorCode(error)}: ` +
        `${String(Object(error).message)}). Fan-out needs kinesis:DescribeStreamSummary on the stream, and kinesis:${actions} on the ` +
        'stream and on its consumers (stream/NAME/consumer/*).',
      { cause: error },
    )
  }
}

/** RegisterStreamConsumer was refused for a limit, of the rate or of what there may be. */
class RegistrationLimit extends Error {
  constructor(cause: unknown) {
    super(String(Object(cause).message), { cause })
  }
}

function isRefusal(error: unknown): boolean {
  return classifyError(error) === 'fatal'
}
