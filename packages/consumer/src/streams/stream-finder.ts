import { ListStreamsCommand } from '@aws-sdk/client-kinesis'
import { type Clock, describeStream, type Kinesis, orAborted, type Random } from '@shardwise/core'
import { askAgain } from '../ask-again.ts'
import { ConsumerError } from '../errors.ts'
import { type InitialPosition, isInitialPosition } from '../leases/shard-sync.ts'
import { streamIdentifier } from './stream-source.ts'
import { STREAM_CALL_BACKOFF, StreamTags } from './stream-tags.ts'

/** One of several streams: its name or ARN, and where to start in it if not at the consumer's `initialPosition`. */
export type StreamChoice = string | { readonly stream: string; readonly initialPosition?: InitialPosition | undefined }

/** A stream of the account and region, to be judged by a predicate. */
export interface FoundStream {
  readonly name: string
  readonly arn: string
  /** Asks for its tags: one ListTagsForStream call (five a second for an account) in five minutes. */
  tags(): Promise<Readonly<Record<string, string>>>
}

/** Which streams an application reads: a list, a function that gives it, or a predicate. */
export type StreamSelection =
  | readonly StreamChoice[]
  | (() => readonly StreamChoice[] | Promise<readonly StreamChoice[]>)
  | { readonly where: (stream: FoundStream) => boolean | Promise<boolean> }

/** A stream that was chosen. Its identifier may be known already from the listing that found it. */
export interface ChosenStream {
  readonly stream: string
  readonly initialPosition: InitialPosition | undefined
  readonly identifier: string | undefined
}

/** What a look for streams found. */
export interface Choice {
  readonly chosen: readonly ChosenStream[]
  /** Streams that the predicate failed to judge. */
  readonly unjudged: readonly FailedStream[]
}

/** One of which it couldn't be found out what it is. */
export interface FailedStream {
  readonly stream: string
  /** As it is or was, if that is known. */
  readonly identifier: string | undefined
  readonly error: unknown
}

export interface StreamFinderOptions {
  readonly selection: StreamSelection
  readonly kinesis: Kinesis
  readonly clock: Clock
  readonly random: Random
}

/** What each of a list of streams must be. */
export const STREAM_CHOICE = 'names, ARNs or { stream, initialPosition }'

export function isListOfStreams(value: unknown): value is readonly StreamChoice[] {
  return Array.isArray(value) && value.every(isStreamChoice)
}

function isStreamChoice(value: unknown): value is StreamChoice {
  if (typeof value === 'string') return value !== ''
  const { stream, initialPosition } = Object(value) as Record<string, unknown>
  return (
    typeof stream === 'string' && stream !== '' && (initialPosition === undefined || isInitialPosition(initialPosition))
  )
}

/** Finds out which streams are chosen. */
export class StreamFinder {
  readonly #options: StreamFinderOptions
  readonly #tags: StreamTags

  constructor(options: StreamFinderOptions) {
    this.#options = options
    this.#tags = new StreamTags(options)
  }

  /** Which are chosen now. Rejects if they can't be listed, or not one of those found can be judged. */
  async find(signal: AbortSignal): Promise<Choice> {
    const { selection } = this.#options
    if ('where' in selection) return await this.#judgeAll(selection.where, signal)
    const choices = typeof selection === 'function' ? await orAborted(asPromise(selection), signal) : selection
    if (!isListOfStreams(choices)) {
      throw new ConsumerError(
        'ERR_STREAM',
        `Option "streams": expected the function to return a list of ${STREAM_CHOICE}, got ${JSON.stringify(choices)}.`,
      )
    }
    const chosen = choices.map((choice) => {
      const { stream, initialPosition } =
        typeof choice === 'string' ? { stream: choice, initialPosition: undefined } : choice
      return { stream, initialPosition, identifier: undefined }
    })
    return { chosen, unjudged: [] }
  }

  async #judgeAll(where: (stream: FoundStream) => boolean | Promise<boolean>, signal: AbortSignal): Promise<Choice> {
    const chosen: ChosenStream[] = []
    const unjudged: FailedStream[] = []
    const found = await this.#list(signal)
    for (const { name, arn, identifier } of found) {
      const stream: FoundStream = { name, arn, tags: () => this.#tags.of(identifier, arn, signal) }
      try {
        const judging = asPromise(() => where(stream))
        // It may never settle.
        if (!(await orAborted(judging, signal))) continue
        chosen.push({ stream: name, initialPosition: undefined, identifier })
      } catch (error) {
        signal.throwIfAborted()
        unjudged.push({ stream: name, identifier, error })
      }
    }
    if (unjudged.length > 0 && unjudged.length === found.length) throw unjudged[0]!.error
    return { chosen, unjudged }
  }

  async #list(signal: AbortSignal): Promise<{ name: string; arn: string; identifier: string }[]> {
    const { kinesis, clock, random } = this.#options
    const streams: { name: string; arn: string; identifier: string }[] = []
    let token: string | undefined
    do {
      const command = new ListStreamsCommand(token === undefined ? {} : { NextToken: token })
      const page = await askAgain(() => orAborted(kinesis.send(command, { abortSignal: signal }), signal), {
        clock,
        random,
        backoff: STREAM_CALL_BACKOFF,
        signal,
      })
      for (const { StreamName, StreamARN, StreamCreationTimestamp } of page.StreamSummaries ?? []) {
        if (StreamName === undefined || StreamARN === undefined || StreamCreationTimestamp === undefined) continue
        const identifier = streamIdentifier(StreamARN, StreamCreationTimestamp)
        streams.push({ name: StreamName, arn: StreamARN, identifier })
      }
      token = page.HasMoreStreams === true ? page.NextToken : undefined
    } while (token !== undefined)
    return streams
  }
}

/** Asks the service what a stream's identifier is. */
export async function identify(
  stream: string,
  { kinesis, clock, random }: Omit<StreamFinderOptions, 'selection'>,
  signal: AbortSignal,
): Promise<string> {
  const { arn, createdAt } = await askAgain(() => orAborted(describeStream(kinesis, stream, signal), signal), {
    clock,
    random,
    backoff: STREAM_CALL_BACKOFF,
    signal,
  })
  if (createdAt === undefined) throw new Error(`DescribeStreamSummary of ${stream} didn't tell when it was created`)
  return streamIdentifier(arn, createdAt)
}

async function asPromise<T>(give: () => T | Promise<T>): Promise<T> {
  return await give()
}
