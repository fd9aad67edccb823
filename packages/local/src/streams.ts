import { describeBriefly } from './descriptions.ts'
import {
  checkPattern,
  nullValue,
  oneOf,
  optionalBoolean,
  optionalInteger,
  optionalString,
  optionalTimeMs,
  type Request,
  requiredString,
  structure,
} from './requests.ts'
import type { Service } from './service.ts'
import { ACCOUNT, inUse, invalidArgument, limitExceeded, notFound, streamLabel } from './service-error.ts'
import type { Stream } from './stream.ts'
import { checkedTags } from './tags.ts'

/** The most shards of a stream, UpdateShardCount's own bound (AWS API reference). */
export const MAX_SHARDS = 10_000
/** What an on-demand stream starts with: 4 MiB/s. */
const ON_DEMAND_SHARDS = 4
/** How many streams may be CREATING at once. */
const MAX_CREATING = 5
export const MODES = ['PROVISIONED', 'ON_DEMAND'] as const
const STRATEGIES = ['AUTO', 'USER_PARTITION_KEY'] as const

export function createStream(service: Service, request: Request): object {
  const name = requiredString(request, 'StreamName')
  checkPattern('StreamName', name, /^[a-zA-Z0-9_.-]{1,128}$/)
  settleAll(service)
  if (service.streams.has(name)) throw inUse(`Stream ${name} under account ${ACCOUNT} already exists.`)
  const mode = oneOf(
    'StreamMode',
    optionalString(structure(request, 'StreamModeDetails'), 'StreamMode') ?? MODES[0],
    MODES,
  )
  const shardCount =
    optionalInteger(request, 'ShardCount', 1, MAX_SHARDS) ?? (mode === 'ON_DEMAND' ? ON_DEMAND_SHARDS : undefined)
  if (shardCount === undefined) throw nullValue('shardCount')
  const tags = checkedTags(request.Tags ?? {})
  const stream = service.makeStream(name, shardCount, mode)
  stream.maxRecordKiB = optionalInteger(request, 'MaxRecordSizeInKiB', 1024, 10_240) ?? stream.maxRecordKiB
  stream.warmThroughputMiBps = optionalInteger(request, 'WarmThroughputMiBps', 0, 10_240)
  setStrategy(stream, optionalString(request, 'RecordDistributionStrategy') ?? stream.distribution)
  for (const [key, value] of tags) stream.tags.set(key, value)
  const creating = [...service.streams.values()].filter(({ lifecycle }) => lifecycle.status === 'CREATING')
  if (service.limits && creating.length >= MAX_CREATING) {
    throw limitExceeded(`${MAX_CREATING} streams are being created already.`)
  }
  const { monotonicMs, createMs } = service
  stream.lifecycle.begin('CREATING', monotonicMs + createMs, monotonicMs)
  service.streams.set(name, stream)
  return {}
}

/** @throws {ServiceError} InvalidArgumentException for AUTO on a provisioned stream */
export function setStrategy(stream: Stream, strategy: string): void {
  const checked = oneOf('RecordDistributionStrategy', strategy, STRATEGIES)
  if (checked === 'AUTO' && stream.mode === 'PROVISIONED') {
    throw invalidArgument(
      `RecordDistributionStrategy AUTO is only supported for on-demand streams; stream ${stream.name} is in PROVISIONED mode.`,
    )
  }
  stream.distribution = checked
}

export function deleteStream(service: Service, stream: Stream, request: Request): object {
  if (stream.consumers.size > 0 && !optionalBoolean(request, 'EnforceConsumerDeletion')) {
    throw inUse(
      `Stream ${stream.name} under account ${ACCOUNT} still has ${stream.consumers.size} registered consumers.`,
    )
  }
  if (stream.lifecycle.status === 'DELETING') return {}
  const { monotonicMs, createMs } = service
  for (const consumer of stream.consumers.values()) {
    consumer.endSubscriptions(notFound(`Stream ${stream.name} under account ${ACCOUNT} was deleted.`))
  }
  stream.lifecycle.begin('DELETING', monotonicMs + createMs, monotonicMs, () => {
    if (service.streams.get(stream.name) === stream) service.streams.delete(stream.name)
  })
  return {}
}

export function listStreams(service: Service, request: Request): object {
  const limit = optionalInteger(request, 'Limit', 1, 10_000) ?? 100
  const after = optionalString(request, 'NextToken') ?? optionalString(request, 'ExclusiveStartStreamName') ?? ''
  settleAll(service)
  const names = [...service.streams.keys()].sort().filter((name) => name > after)
  const page = names.slice(0, limit)
  const hasMore = names.length > limit
  return {
    StreamNames: page,
    HasMoreStreams: hasMore,
    ...(hasMore && { NextToken: page.at(-1) }),
    StreamSummaries: page.map((name) => describeBriefly(service.streams.get(name)!)),
  }
}

/** A stream whose deletion has come to its end is gone after this. */
export function settleAll(service: Service): void {
  for (const stream of [...service.streams.values()]) service.settle(stream)
}

export function checkActive({ name, lifecycle }: Stream): void {
  if (lifecycle.status === 'ACTIVE') return
  throw inUse(`Stream ${name} under account ${ACCOUNT} not ACTIVE, instead in state ${lifecycle.status}`)
}

export function checkServing({ name, lifecycle }: Stream): void {
  if (lifecycle.isServing) return
  throw inUse(`Stream ${name} under account ${ACCOUNT} not ACTIVE or UPDATING, instead in state ${lifecycle.status}`)
}

/** A request may tell streams apart that had the same name, by when they were created. */
export function checkCreation(stream: Stream, request: Request): void {
  const createdMs = optionalTimeMs(request, 'StreamCreationTimestamp')
  // In seconds: that is what is left of a timestamp after its way through most clients.
  if (createdMs === undefined || Math.floor(createdMs / 1000) === Math.floor(stream.createdMs / 1000)) return
  throw notFound(`No ${streamLabel(stream.name)} was created at ${new Date(createdMs).toISOString()}.`)
}
