import { errorCode } from '@shardwise/core'
import { AT_TIMESTAMP, type Position, TRIM_HORIZON } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import {
  isRecordPlace,
  type ReadShardOptions,
  type RecordPlace,
  type Records,
  resolveShardOptions,
} from './read-options.ts'
import { RecordIterator } from './record-iterator.ts'
import { type Listing, startMsOf, Tail } from './tail.ts'

/**
 * Reads the user records of one shard in their order, without a lease: for tests, debugging and small tools. It ends with the
 * shard, and never for want of records: leave the loop, or abort `signal`, and everything is released. Nothing is read before the
 * first record is asked for.
 *
 * @throws {OptionError} for an option that is unknown, missing, or not what it must be
 * @throws {ConsumerError} in the loop: `ERR_STREAM` if there is no such stream or shard, or no longer; `ERR_ACCESS` if AWS refuses a
 *   call for good; `ERR_RECORD` in the place of a damaged aggregate, or if `from` isn't in the shard
 * @example
 * for await (const record of readShard({ stream: 'flights', shardId, from: failed })) {
 *   console.log(record.sequenceNumber, record.subSequenceNumber, record.text())
 *   break
 * }
 */
export function readShard(options: ReadShardOptions): Records {
  const resolved = resolveShardOptions(options)
  const { shardId, from = 'TRIM_HORIZON' } = options
  return new RecordIterator(new Tail(resolved, (tail) => follow(tail, shardId, from)))
}

async function follow(tail: Tail, shardId: string, from: NonNullable<ReadShardOptions['from']>): Promise<void> {
  const { stream } = tail.options
  const listing = await tail.list()
  const shard = listing.shards.find((listed) => listed.shardId === shardId)
  if (shard === undefined) throw noSuchShard(stream, shardId, listing)
  let place = isRecordPlace(from) ? from : undefined
  await tail.read({ shardId, hashRange: shard.hashRange, ...startAt(from, listing) }, (event) => {
    // A place that something was read at is one.
    if (event.type === 'recordsRead') place = undefined
    const isRefused = event.type === 'readFailed' && errorCode(event.error) === 'InvalidArgumentException'
    if (isRefused && place !== undefined) throw noSuchRecord(stream, shardId, place, event.error)
  })
}

function startAt(
  from: NonNullable<ReadShardOptions['from']>,
  listing: Listing,
): { readonly checkpoint: Position; readonly startMs: number | undefined } {
  if (isRecordPlace(from)) {
    const { sequenceNumber, subSequenceNumber = 0 } = from
    // A checkpoint is the last record that isn't wanted any more.
    return { checkpoint: { sequenceNumber, subSequenceNumber: subSequenceNumber - 1 }, startMs: undefined }
  }
  const startMs = startMsOf(from, listing)
  return { checkpoint: startMs === undefined ? TRIM_HORIZON : AT_TIMESTAMP, startMs }
}

function noSuchShard(stream: string, shardId: string, { shards }: Listing): ConsumerError {
  const some = shards.slice(0, 5).map((shard) => shard.shardId)
  return new ConsumerError(
    'ERR_STREAM',
    `Expected a shard of "${stream}", got "${shardId}", which it does not have, or no longer: its shards are ${some.join(', ')}` +
      `${shards.length > some.length ? ` and ${shards.length - some.length} others` : ''}.`,
    { shardId },
  )
}

function noSuchRecord(stream: string, shardId: string, { sequenceNumber }: RecordPlace, cause: unknown): ConsumerError {
  return new ConsumerError(
    'ERR_RECORD',
    `Expected the sequence number of a record in ${shardId} of "${stream}", got ${sequenceNumber}, which the service refused ` +
      `("${String(Object(cause).message)}"): take it from a record of this very shard, or start at a time.`,
    { cause, shardId },
  )
}
