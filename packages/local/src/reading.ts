import { readBatch } from './read-batch.ts'
import { optionalInteger, type Request, refuseDryRun, requiredString } from './requests.ts'
import type { Service } from './service.ts'
import { invalidArgument, streamLabel, throughputExceeded } from './service-error.ts'
import type { Shard } from './shard.ts'
import { decodeIterator, encodeIterator } from './shard-iterator.ts'
import { startOf } from './starting-position.ts'
import type { Stream } from './stream.ts'

const MAX_RECORDS = 10_000
const MAX_BYTES = 10 * 2 ** 20
/** "If a call returns 10 MB, subsequent calls made within the next 5 seconds throw an exception" (AWS, Quotas). */
const PAUSE_AFTER_FULL_MS = 5_000
const ITERATORS_PER_SECOND = 5
const FIELDS = {
  type: 'ShardIteratorType',
  sequenceNumber: 'StartingSequenceNumber',
  operation: 'GetShardIterator',
}

export function getShardIterator(service: Service, request: Request): object {
  const stream = service.servingStream(request)
  const shard = service.shard(stream, requiredString(request, 'ShardId'))
  const after = startOf(stream, shard, request, FIELDS, service.wallMs)
  refuseDryRun(request)
  if (!service.callRates.admits('GetShardIterator', shard, ITERATORS_PER_SECOND)) throw exceeded(stream, shard)
  return { ShardIterator: encodeIterator({ stream, shardId: shard.id, after }, service) }
}

export function getRecords(service: Service, request: Request): object {
  const limit = optionalInteger(request, 'Limit', 1, MAX_RECORDS) ?? MAX_RECORDS
  const iterator = decodeIterator(requiredString(request, 'ShardIterator'), service)
  const stream = service.servingStream({ StreamName: iterator.streamName, StreamARN: request.StreamARN })
  if (stream.incarnation !== iterator.incarnation) {
    throw invalidArgument('The iterator is of a stream deleted since.')
  }
  const shard = service.shard(stream, iterator.shardId)
  refuseDryRun(request)
  checkLimits(service, stream, shard)

  const batch = readBatch(stream, shard, iterator.after, { records: limit, bytes: MAX_BYTES }, service.wallMs)
  shard.limits.callsOut.take(1)
  shard.limits.bytesOut.take(batch.bytes)
  if (batch.isFull) shard.limits.pollableAtMs = service.monotonicMs + PAUSE_AFTER_FULL_MS
  const { records, millisBehindLatest, children, after } = batch
  return {
    Records: records,
    MillisBehindLatest: millisBehindLatest,
    ...(children === undefined
      ? { NextShardIterator: encodeIterator({ stream, shardId: shard.id, after }, service) }
      : { ChildShards: children }),
  }
}

function checkLimits(service: Service, stream: Stream, shard: Shard): void {
  if (!service.limits) return
  const { limits } = shard
  const nowMs = service.monotonicMs
  const isReadable = limits.callsOut.hasOne(nowMs) && limits.bytesOut.isOpen(nowMs) && nowMs >= limits.pollableAtMs
  if (!isReadable) throw exceeded(stream, shard)
}

function exceeded(stream: Stream, shard: Shard): Error {
  return throughputExceeded(`Rate exceeded for shard ${shard.id} in ${streamLabel(stream.name)}.`)
}
