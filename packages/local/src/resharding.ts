import { checkPattern, oneOf, optionalString, type Request, requiredInteger, requiredString } from './requests.ts'
import type { Service } from './service.ts'
import { inUse, invalidArgument, limitExceeded, streamLabel, validation } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'
import { checkActive, MAX_SHARDS } from './streams.ts'

const RESIZES_A_DAY = 10

export function splitShard(service: Service, stream: Stream, request: Request): object {
  checkReshardable(stream)
  const shard = openShard(service, stream, requiredString(request, 'ShardToSplit'))
  const text = requiredString(request, 'NewStartingHashKey')
  checkPattern('NewStartingHashKey', text, /^(0|[1-9]\d{0,38})$/)
  const at = BigInt(text)
  const { start, end } = shard.hashRange
  if (at <= start + 1n || at >= end) {
    throw invalidArgument(
      `NewStartingHashKey ${at} used in SplitShard() on shard ${shard.id} in ${streamLabel(stream.name)} ` +
        `is not both greater than one plus the shard's StartingHashKey ${start} and less than the shard's EndingHashKey ${end}.`,
    )
  }
  return update(service, stream, (wallMs) => stream.split(shard, at, wallMs))
}

export function mergeShards(service: Service, stream: Stream, request: Request): object {
  checkReshardable(stream)
  const shard = openShard(service, stream, requiredString(request, 'ShardToMerge'))
  const adjacent = openShard(service, stream, requiredString(request, 'AdjacentShardToMerge'))
  stream.checkAdjacent(shard, adjacent)
  return update(service, stream, (wallMs) => stream.merge(shard, adjacent, wallMs))
}

export function updateShardCount(service: Service, stream: Stream, request: Request): object {
  checkReshardable(stream)
  const target = requiredInteger(request, 'TargetShardCount', 1, Number.MAX_SAFE_INTEGER)
  oneOf('ScalingType', optionalString(request, 'ScalingType'), ['UNIFORM_SCALING'])
  const current = stream.openShards.length
  checkTarget(current, target)
  if (!service.dailyLimits.admits('UpdateShardCount', stream, RESIZES_A_DAY)) {
    throw limitExceeded(
      `${streamLabel(stream.name)} has been scaled ${RESIZES_A_DAY} times within the last 24 hours, which is the limit.`,
    )
  }
  update(service, stream, (wallMs) => stream.resize(target, wallMs))
  return { StreamName: stream.name, StreamARN: stream.arn, CurrentShardCount: current, TargetShardCount: target }
}

function checkTarget(current: number, target: number): void {
  const counts = `Current open shard count: ${current}, Target shard count: ${target}`
  if (target > MAX_SHARDS) {
    throw limitExceeded(`Target shard count or number of open shards cannot be greater than ${MAX_SHARDS}. ${counts}`)
  }
  if (target > 2 * current) {
    throw limitExceeded(`UpdateShardCount cannot scale up over double your current open shard count. ${counts}`)
  }
  if (target < current / 2) {
    throw limitExceeded(`UpdateShardCount cannot scale down below half your current open shard count. ${counts}`)
  }
}

/** Until the time of a reshard is over the old shards go on taking records. */
function update(service: Service, stream: Stream, reshard: (wallMs: number) => void): object {
  const { monotonicMs, reshardMs } = service
  stream.lifecycle.begin('UPDATING', monotonicMs + reshardMs, monotonicMs, (lateMs) => reshard(service.wallMs - lateMs))
  return {}
}

function checkReshardable(stream: Stream): void {
  checkActive(stream)
  if (stream.mode === 'ON_DEMAND') {
    throw validation(`${streamLabel(stream.name)} is in ON_DEMAND mode, in which the service itself sets the shards.`)
  }
}

function openShard(service: Service, stream: Stream, shardId: string): Shard {
  const shard = service.shard(stream, shardId)
  if (shard.isOpen) return shard
  throw inUse(
    `Shard ${shardId} in ${streamLabel(stream.name)} has already been merged or split, and thus is not eligible for merging or splitting.`,
  )
}
