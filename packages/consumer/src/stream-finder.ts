import { ListStreamsCommand, ListTagsForStreamCommand } from '@aws-sdk/client-kinesis'
import { describeStream, type Kinesis, orAborted } from '@shardwise/core'
import { ConsumerError } from './errors.ts'
import { type InitialPosition, isInitialPosition } from './shard-sync.ts'
import { streamIdentifier } from './stream-source.ts'

/** One of several streams: its name or ARN, and where to start in it if not at the consumer's `initialPosition`. */
export type StreamChoice = string | { readonly stream: string; readonly initialPosition?: InitialPosition | undefined }

/** A stream of the account and region, to be judged by a predicate. */
export interface FoundStream {
  readonly name: string
  readonly arn: string
  /** Asks for its tags: one ListTagsForStream call (five a second for an account). */
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

/** Which streams are chosen now. Rejects if the service or the user's function fails. */
export async function chooseStreams(
  selection: StreamSelection,
  kinesis: Kinesis,
  signal: AbortSignal,
): Promise<ChosenStream[]> {
  if ('where' in selection) return await chooseByPredicate(selection.where, kinesis, signal)
  const choices = typeof selection === 'function' ? await orAborted(asPromise(selection), signal) : selection
  if (!isListOfStreams(choices)) {
    throw new ConsumerError(
      'ERR_STREAM',
      `Option "streams": expected the function to return a list of ${STREAM_CHOICE}, got ${JSON.stringify(choices)}.`,
    )
  }
  return choices.map((choice) => {
    const { stream, initialPosition } =
      typeof choice === 'string' ? { stream: choice, initialPosition: undefined } : choice
    return { stream, initialPosition, identifier: undefined }
  })
}

/** Asks the service what a stream's identifier is. */
export async function identify(stream: string, kinesis: Kinesis, signal: AbortSignal): Promise<string> {
  const { arn, createdAt } = await orAborted(describeStream(kinesis, stream, signal), signal)
  if (createdAt === undefined) throw new Error(`DescribeStreamSummary of ${stream} didn't tell when it was created`)
  return streamIdentifier(arn, createdAt)
}

async function asPromise<T>(give: () => T | Promise<T>): Promise<T> {
  return await give()
}

async function chooseByPredicate(
  where: (stream: FoundStream) => boolean | Promise<boolean>,
  kinesis: Kinesis,
  signal: AbortSignal,
): Promise<ChosenStream[]> {
  const chosen: ChosenStream[] = []
  let token: string | undefined
  do {
    const page = await orAborted(
      kinesis.send(new ListStreamsCommand(token === undefined ? {} : { NextToken: token }), { abortSignal: signal }),
      signal,
    )
    for (const { StreamName: name, StreamARN: arn, StreamCreationTimestamp: createdAt } of page.StreamSummaries ?? []) {
      if (name === undefined || arn === undefined || createdAt === undefined) continue
      const found: FoundStream = { name, arn, tags: () => tagsOf(arn, kinesis, signal) }
      if (!(await where(found))) continue
      chosen.push({ stream: name, initialPosition: undefined, identifier: streamIdentifier(arn, createdAt) })
    }
    token = page.HasMoreStreams === true ? page.NextToken : undefined
  } while (token !== undefined)
  return chosen
}

async function tagsOf(arn: string, kinesis: Kinesis, signal: AbortSignal): Promise<Record<string, string>> {
  const tags: Record<string, string> = {}
  let after: string | undefined
  do {
    const page = await orAborted(
      kinesis.send(
        new ListTagsForStreamCommand({ StreamARN: arn, ...(after !== undefined && { ExclusiveStartTagKey: after }) }),
        { abortSignal: signal },
      ),
      signal,
    )
    for (const { Key, Value } of page.Tags ?? []) if (Key !== undefined) tags[Key] = Value ?? ''
    after = page.HasMoreTags === true ? page.Tags?.at(-1)?.Key : undefined
  } while (after !== undefined)
  return tags
}
