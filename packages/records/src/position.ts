import { quote, RecordsError } from './errors.ts'

/** Where a user record stands in its shard. */
export interface Position {
  /** The sequence number of the Kinesis record, decimal; or the name of a sentinel, such as `TRIM_HORIZON`. */
  readonly sequenceNumber: string
  /** The user record's index inside its aggregate; 0 for a lone record and for sentinels. */
  readonly subSequenceNumber: number
}

/** The place that a timestamp kept elsewhere tells: before everything else. */
export const AT_TIMESTAMP: Position = sentinel('AT_TIMESTAMP')
/** The oldest record that the stream still holds. */
export const TRIM_HORIZON: Position = sentinel('TRIM_HORIZON')
/** After the youngest record at the time of asking. */
export const LATEST: Position = sentinel('LATEST')
/** All of the shard is finished: after every record. */
export const SHARD_END: Position = sentinel('SHARD_END')

/** The KCL's order of checkpoints: AT_TIMESTAMP < TRIM_HORIZON < LATEST < sequence numbers < SHARD_END. */
const NUMBER_RANK = 3
const SENTINEL_RANKS: ReadonlyMap<string, number> = new Map([
  ['AT_TIMESTAMP', 0],
  ['TRIM_HORIZON', 1],
  ['LATEST', 2],
  ['SHARD_END', 4],
])

/**
 * Compares two decimal sequence numbers, by length and then by text, which is many times faster than by BigInt.
 *
 * @returns negative, 0 or positive, as for `Array.prototype.sort`
 * @throws {@link RecordsError} `ERR_POSITION` for a text that isn't decimal, such as a sentinel
 */
export function compareSequenceNumbers(a: string, b: string): number {
  checkDecimal(a)
  checkDecimal(b)
  const left = withoutLeadingZeros(a)
  const right = withoutLeadingZeros(b)
  if (left.length !== right.length) return left.length < right.length ? -1 : 1
  return left === right ? 0 : left < right ? -1 : 1
}

/**
 * Compares two positions of one shard, sentinels included:
 * AT_TIMESTAMP < TRIM_HORIZON < LATEST < sequence numbers < SHARD_END.
 *
 * @returns negative, 0 or positive, as for `Array.prototype.sort`
 * @throws {@link RecordsError} `ERR_POSITION` for a sequence number that is neither decimal nor a sentinel
 */
export function comparePositions(a: Position, b: Position): number {
  const rankA = rankOf(a.sequenceNumber)
  const rankB = rankOf(b.sequenceNumber)
  if (rankA !== rankB) return rankA - rankB
  const order = rankA === NUMBER_RANK ? compareSequenceNumbers(a.sequenceNumber, b.sequenceNumber) : 0
  return order !== 0 ? order : a.subSequenceNumber - b.subSequenceNumber
}

/** Whether a position is a sentinel instead of a record's place. */
export function isSentinel(position: Position): boolean {
  return SENTINEL_RANKS.has(position.sequenceNumber)
}

function sentinel(name: string): Position {
  return Object.freeze({ sequenceNumber: name, subSequenceNumber: 0 })
}

function rankOf(sequenceNumber: string): number {
  return isDigit(sequenceNumber.charCodeAt(0))
    ? NUMBER_RANK
    : (SENTINEL_RANKS.get(sequenceNumber) ?? refuse(sequenceNumber))
}

// Only the ends are looked at: this runs for every record, and what comes from the service is decimal throughout.
function checkDecimal(text: string): void {
  if (!isDigit(text.charCodeAt(0)) || !isDigit(text.charCodeAt(text.length - 1))) refuse(text)
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57
}

function withoutLeadingZeros(text: string): string {
  return text.charCodeAt(0) === 48 ? text.replace(/^0+(?=.)/, '') : text
}

function refuse(text: string): never {
  throw new RecordsError(
    'ERR_POSITION',
    `Expected a decimal sequence number${SENTINEL_RANKS.has(text) ? '' : ` or one of ${[...SENTINEL_RANKS.keys()].join(', ')}`}, ` +
      `but got ${quote(text)}.${SENTINEL_RANKS.has(text) ? ' Compare sentinels with comparePositions.' : ''}`,
  )
}
