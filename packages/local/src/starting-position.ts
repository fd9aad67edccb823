import { optionalString, optionalTimeMs, type Request, requiredString } from './requests.ts'
import { numberBefore, shardNumberOf } from './sequence-numbers.ts'
import { invalidArgument, validation } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

const SEQUENCE_NUMBER = /^\d{56}$/

/** The names that the fields of a position have in the request of an operation. */
export interface PositionFields {
  readonly type: string
  readonly sequenceNumber: string
  readonly operation: string
}

/** The sequence number, one of the shard's own, behind which reading starts. */
export function startOf(
  stream: Stream,
  shard: Shard,
  position: Request,
  fields: PositionFields,
  nowMs: number,
): string {
  const type = requiredString(position, fields.type)
  switch (type) {
    case 'TRIM_HORIZON':
      return shard.startingSequenceNumber
    case 'LATEST':
      return stream.latest(nowMs, shard)
    case 'AT_SEQUENCE_NUMBER':
      return numberBefore(sequenceNumberOf(shard, position, fields))
    case 'AFTER_SEQUENCE_NUMBER':
      return sequenceNumberOf(shard, position, fields)
    case 'AT_TIMESTAMP': {
      const record = shard.log.at(shard.log.indexAt(timestampOf(position, nowMs)))
      return record === undefined ? stream.latest(nowMs, shard) : numberBefore(record.sequenceNumber)
    }
    default:
      throw validation(
        `Value '${type}' at '${fields.type[0]!.toLowerCase()}${fields.type.slice(1)}' failed to satisfy constraint: ` +
          'Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]',
      )
  }
}

function timestampOf(position: Request, nowMs: number): number {
  const timeMs = optionalTimeMs(position, 'Timestamp')
  if (timeMs === undefined) {
    throw invalidArgument('Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.')
  }
  if (timeMs > nowMs) {
    throw invalidArgument(
      'The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. ' +
        `timestampInMillis: ${timeMs}, currentTimestampInMillis: ${nowMs}`,
    )
  }
  return timeMs
}

function sequenceNumberOf(shard: Shard, position: Request, { sequenceNumber, operation }: PositionFields): string {
  const number = optionalString(position, sequenceNumber)
  if (number === undefined) throw invalidArgument(`Must either specify ${sequenceNumber} or a type that needs none.`)
  const isOfShard =
    SEQUENCE_NUMBER.test(number) &&
    shardNumberOf(number) === shard.number &&
    number >= shard.startingSequenceNumber &&
    (shard.endingSequenceNumber === undefined || number <= shard.endingSequenceNumber)
  if (isOfShard) return number
  throw invalidArgument(
    `${sequenceNumber} ${number} used in ${operation} on shard ${shard.id} is invalid because it did not come from this shard.`,
  )
}
