import { boolean, type Clock, checkOptions, nonEmptyString, type OptionCheck, OptionError } from '@shardwise/core'
import type { Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import { type StreamSource, streamName } from '../streams/stream-source.ts'
import { isShardPosition, type ShardPosition } from './reset-plan.ts'
import { type InitialPosition, isInitialPosition } from './shard-sync.ts'

/** Where an application goes on: a position of the stream, or one in a single shard, such as a checkpoint or a record. */
export type ResetPosition =
  | InitialPosition
  /** That shard's checkpoint: what comes after it is read again. The shard is reset, and what is below it. */
  | (Position & { readonly shardId: string; readonly stream?: string | undefined })

/** What {@link Consumer.reset} is told. */
export interface ResetOptions {
  /**
   * Where to go on. `'TRIM_HORIZON'`: at the oldest record that the stream still holds. `'LATEST'`: with what comes from now on.
   * `{ timestamp }`: with what has arrived since. `{ shardId, sequenceNumber, subSequenceNumber }`, of a record or a checkpoint: behind
   * it, in its shard and those below.
   */
  readonly to: ResetPosition
  /** Only these shards and those below them. Default: the whole stream. */
  readonly shards?: readonly string[] | undefined
  /** Only this stream, where the application has several. By name or ARN. Default: all. */
  readonly stream?: string | undefined
  /**
   * Also while workers of the application live. They find their leases lost: what they have in hand may be handled once more, by
   * others and at the same time, and nothing that they write counts any more. Default: false.
   */
  readonly force?: boolean | undefined
  /** Aborting it gives up, at once or half-way; to be mended by doing it again. */
  readonly signal?: AbortSignal | undefined
}

const position: OptionCheck = (value) =>
  isInitialPosition(value) || isPositionInShard(value)
    ? undefined
    : '"TRIM_HORIZON", "LATEST", { timestamp: a Date or milliseconds since 1970 } or { shardId, sequenceNumber, subSequenceNumber }'

const shardIds: OptionCheck = (value) =>
  Array.isArray(value) && value.length > 0 && value.every((id) => nonEmptyString(id) === undefined)
    ? undefined
    : 'a list of at least one shard id'

/** This machine's clock may be behind the service's. */
const CLOCK_TOLERANCE_MS = 60_000

/** @throws {OptionError} for an option that is unknown, missing, or not what it must be */
export function checkResetOptions(given: ResetOptions, clock: Clock): void {
  checkOptions<ResetOptions>(
    'reset',
    // A record has more than a position's fields.
    given,
    {
      to: position,
      shards: shardIds,
      stream: nonEmptyString,
      force: boolean,
      signal: (value) => (value instanceof AbortSignal ? undefined : 'an AbortSignal'),
    },
    ['to'],
  )
  const { to, shards, stream } = given
  if (typeof to === 'object' && 'timestamp' in to && Number(to.timestamp) > clock.wallMs() + CLOCK_TOLERANCE_MS) {
    throw new OptionError(
      'to',
      `reset: option "to" must be a time that has come, got ${JSON.stringify(to.timestamp)}; numbers are milliseconds since 1970.`,
    )
  }
  if (!isShardPosition(to)) return
  const other = shards?.find((shardId) => shardId !== to.shardId)
  if (other !== undefined) {
    throw new OptionError(
      'shards',
      `reset: a sequence number is of one shard: expected "shards" to be left out, or to be [${JSON.stringify(to.shardId)}], got ` +
        `${JSON.stringify(other)}. Reset one shard after the other.`,
    )
  }
  if (to.stream !== undefined && stream !== undefined && !isSameStream(to.stream, stream)) {
    throw new OptionError('stream', `reset: the position is of the stream "${to.stream}", got "${stream}".`)
  }
}

/** @throws {ConsumerError} `ERR_STREAM` unless it is plain which streams are meant */
export function chosenSources(
  { to, stream, shards }: ResetOptions,
  sources: readonly StreamSource[],
): readonly StreamSource[] {
  const name = stream ?? (isShardPosition(to) ? (to as { stream?: string }).stream : undefined)
  const found = name === undefined ? sources : sources.filter((source) => isSameStream(source.stream, name))
  const names = sources.map((source) => source.stream).join(', ')
  if (found.length === 0) {
    throw new ConsumerError(
      'ERR_STREAM',
      `Expected a stream of the application (${names || 'it has none now'}), got "${name}".`,
    )
  }
  if (found.length > 1 && (name !== undefined || shards !== undefined || isShardPosition(to))) {
    throw new ConsumerError(
      'ERR_STREAM',
      `Expected "stream" to say which of the application's streams is meant, which are ${names}${name === undefined ? '' : `, got "${name}"`}.`,
    )
  }
  return found
}

function isPositionInShard(value: unknown): value is ShardPosition {
  const { shardId, sequenceNumber, subSequenceNumber } = Object(value) as Partial<ShardPosition>
  return (
    typeof shardId === 'string' &&
    /^\d+$/.test(String(sequenceNumber)) &&
    typeof sequenceNumber === 'string' &&
    Number.isInteger(subSequenceNumber) &&
    subSequenceNumber! >= 0
  )
}

function isSameStream(a: string, b: string): boolean {
  return a === b || ((!a.includes('/') || !b.includes('/')) && streamName(a) === streamName(b))
}
