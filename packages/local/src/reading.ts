import { describeRange } from './descriptions.ts'
import type { KinesisModel } from './kinesis-model.ts'
import { optionalInteger, optionalString, optionalTimeMs, type Request, requiredString } from './requests.ts'
import { shardNumberOf } from './sequence-numbers.ts'
import { invalidArgument, notFound, ServiceError } from './service-error.ts'
import type { Shard } from './shard.ts'
import { decodeIterator, encodeIterator } from './shard-iterator.ts'
import type { Stream } from './stream.ts'

const MAX_RECORDS = 10_000
const MAX_BYTES = 10 * 2 ** 20
const SEQUENCE_NUMBER_DIGITS = 56
const BEFORE_ALL = '0'

export function getShardIterator(model: KinesisModel, request: Request): object {
  const stream = model.stream(request)
  const shard = existing(stream, requiredString(request, 'ShardId'))
  const after = startOf(model, stream, shard, request)
  const { name, createdMs } = stream
  return {
    ShardIterator: encodeIterator({ stream: name, streamCreatedMs: createdMs, shardId: shard.id, after }, model.nowMs),
  }
}

export function getRecords(model: KinesisModel, request: Request): object {
  const { nowMs } = model
  const limit = optionalInteger(request, 'Limit', 1, MAX_RECORDS) ?? MAX_RECORDS
  const iterator = decodeIterator(requiredString(request, 'ShardIterator'), nowMs)
  const stream = model.streamNamed(iterator.stream)
  const shard = existing(stream, iterator.shardId)
  if (stream.createdMs !== iterator.streamCreatedMs) throw invalidArgument('The iterator is of a stream deleted since.')
  const { limits, log } = shard
  if (model.limits && !(limits.callsOut.isOpen(nowMs) && limits.bytesOut.isOpen(nowMs))) {
    throw new ServiceError(
      'ProvisionedThroughputExceededException',
      `Rate exceeded for shard ${shard.id} in stream ${stream.name} under account 000000000000.`,
    )
  }

  const records: object[] = []
  let { after } = iterator
  let index = log.indexAfter(after)
  let bytes = 0
  for (; index < log.length && records.length < limit; index++) {
    const { sequenceNumber, partitionKey, data, arrivedMs } = log.at(index)!
    if (records.length > 0 && bytes + data.length + partitionKey.length > MAX_BYTES) break
    bytes += data.length + partitionKey.length
    after = sequenceNumber
    records.push({
      SequenceNumber: sequenceNumber,
      ApproximateArrivalTimestamp: arrivedMs / 1000,
      Data: data,
      PartitionKey: partitionKey,
    })
  }
  limits.callsOut.take(1)
  limits.bytesOut.take(bytes)

  const next = log.at(index)
  const ended = next === undefined && !shard.isOpen
  return {
    Records: records,
    // 0 says that nothing is left to read, so what arrived within this very millisecond counts as 1.
    MillisBehindLatest: next === undefined ? 0 : Math.max(1, Math.round(nowMs - next.arrivedMs)),
    ...(ended
      ? { ChildShards: shard.children.map(describeChild) }
      : { NextShardIterator: encodeIterator({ ...iterator, after }, nowMs) }),
  }
}

/** The sequence number behind which reading starts. */
function startOf(model: KinesisModel, stream: Stream, shard: Shard, request: Request): string {
  const type = requiredString(request, 'ShardIteratorType')
  switch (type) {
    case 'TRIM_HORIZON':
      return BEFORE_ALL
    case 'LATEST':
      return stream.latest(model.nowMs)
    case 'AT_SEQUENCE_NUMBER':
      return before(sequenceNumberOf(shard, request))
    case 'AFTER_SEQUENCE_NUMBER':
      return sequenceNumberOf(shard, request)
    case 'AT_TIMESTAMP': {
      const timeMs = optionalTimeMs(request, 'Timestamp')
      if (timeMs === undefined)
        throw invalidArgument('Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP.')
      if (timeMs > model.nowMs) {
        throw invalidArgument(
          'The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. ' +
            `timestampInMillis: ${timeMs}, currentTimestampInMillis: ${model.nowMs}`,
        )
      }
      const record = shard.log.at(shard.log.indexAt(timeMs))
      return record === undefined ? stream.latest(model.nowMs) : before(record.sequenceNumber)
    }
    default:
      throw invalidArgument(`ShardIteratorType: ${type} is not a type of iterator.`)
  }
}

function sequenceNumberOf(shard: Shard, request: Request): string {
  const text = optionalString(request, 'StartingSequenceNumber')
  if (text === undefined) throw invalidArgument('Must either specify StartingSequenceNumber or a type that needs none.')
  const number = text.padStart(SEQUENCE_NUMBER_DIGITS, '0')
  const isOfShard =
    /^\d{56}$/.test(number) &&
    shardNumberOf(number) === shard.number &&
    number >= shard.startingSequenceNumber &&
    (shard.endingSequenceNumber === undefined || number <= shard.endingSequenceNumber)
  if (!isOfShard) {
    throw invalidArgument(
      `StartingSequenceNumber ${text} used in GetShardIterator on shard ${shard.id} is invalid because it did not come from this shard.`,
    )
  }
  return number
}

function before(sequenceNumber: string): string {
  return (BigInt(sequenceNumber) - 1n).toString().padStart(SEQUENCE_NUMBER_DIGITS, '0')
}

function describeChild(child: Shard): object {
  return { ShardId: child.id, ParentShards: child.parents.map(({ id }) => id), HashKeyRange: describeRange(child) }
}

function existing(stream: Stream, shardId: string): Shard {
  const shard = stream.shard(shardId)
  if (shard === undefined) {
    throw notFound(`Shard ${shardId} in stream ${stream.name} under account 000000000000 does not exist`)
  }
  return shard
}
