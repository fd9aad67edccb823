import { describeShard } from './descriptions.ts'
import type { KinesisModel } from './kinesis-model.ts'
import { optionalInteger, optionalString, optionalTimeMs, type Request, requiredString } from './requests.ts'
import { invalidArgument, ServiceError } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'

/** The most shards in an answer, also when more are asked for. */
const MAX_PAGE = 1_000
/** The service's lifetime of a token. */
const TOKEN_LIFETIME_MS = 300_000

/** ListShards. A token carries everything that the first request said, so that later pages are of the same listing. */
export function listShards(model: KinesisModel, request: Request): object {
  const token = optionalString(request, 'NextToken')
  const named = optionalString(request, 'StreamName') ?? optionalString(request, 'StreamARN')
  if (token !== undefined && named !== undefined) {
    throw invalidArgument('NextToken and StreamName cannot be provided together.')
  }
  if (token !== undefined && optionalString(request, 'ExclusiveStartShardId') !== undefined) {
    throw invalidArgument('NextToken and ExclusiveStartShardId cannot be provided together.')
  }
  const limit = Math.min(optionalInteger(request, 'MaxResults', 1, 10_000) ?? MAX_PAGE, MAX_PAGE)
  const listing = token === undefined ? request : parseToken(token, model.nowMs)
  const stream = model.stream(listing)
  if (listing.streamCreatedMs !== undefined && listing.streamCreatedMs !== stream.createdMs) {
    throw invalidArgument('NextToken is of a stream deleted since.')
  }
  const after = optionalString(listing, 'ExclusiveStartShardId') ?? ''
  const isListed = shardFilter(stream, Object(listing.ShardFilter) as Request, model.nowMs)
  const shards = stream.shards.filter((shard) => shard.id > after && isListed(shard))
  const page = shards.slice(0, limit)
  const next = {
    StreamName: stream.name,
    ShardFilter: listing.ShardFilter,
    ExclusiveStartShardId: page.at(-1)?.id,
    streamCreatedMs: stream.createdMs,
    issuedMs: model.nowMs,
  }
  return {
    Shards: page.map(describeShard),
    ...(shards.length > limit && { NextToken: Buffer.from(JSON.stringify(next)).toString('base64') }),
  }
}

function shardFilter(stream: Stream, filter: Request, nowMs: number): (shard: Shard) => boolean {
  // A closed shard is listed as long as it may hold records.
  const horizonMs = Math.max(stream.createdMs, nowMs - stream.retentionMs)
  const openAt = (timeMs: number) => (shard: Shard) => shard.createdMs <= timeMs && shard.closedMs >= timeMs
  const openSince = (timeMs: number) => (shard: Shard) => shard.closedMs >= timeMs
  const type = optionalString(filter, 'Type')
  switch (type) {
    case undefined:
    case 'FROM_TRIM_HORIZON':
      return openSince(horizonMs)
    case 'AT_TRIM_HORIZON':
      // Reshards within the very millisecond of creation leave nothing open at it: take the oldest generation.
      return (shard) => openSince(horizonMs)(shard) && !shard.parents.some(openSince(horizonMs))
    case 'AT_LATEST':
      return ({ isOpen }) => isOpen
    case 'AT_TIMESTAMP':
      return openAt(Math.max(horizonMs, timestampOf(filter)))
    case 'FROM_TIMESTAMP':
      return openSince(Math.max(horizonMs, timestampOf(filter)))
    case 'AFTER_SHARD_ID': {
      const after = requiredString(filter, 'ShardId')
      return (shard) => shard.id > after && openSince(horizonMs)(shard)
    }
    default:
      throw invalidArgument(`ShardFilter.Type: ${type} is not a filter type.`)
  }
}

function timestampOf(filter: Request): number {
  const timeMs = optionalTimeMs(filter, 'Timestamp')
  if (timeMs === undefined) throw invalidArgument('ShardFilter.Timestamp: expected with this type of filter.')
  return timeMs
}

function parseToken(token: string, nowMs: number): Request {
  let listing: Request
  try {
    listing = Object(JSON.parse(Buffer.from(token, 'base64').toString())) as Request
  } catch (error) {
    throw Object.assign(invalidArgument('NextToken is invalid.'), { cause: error })
  }
  if (typeof listing.issuedMs !== 'number') throw invalidArgument('NextToken is invalid.')
  if (nowMs - listing.issuedMs > TOKEN_LIFETIME_MS) {
    throw new ServiceError(
      'ExpiredNextTokenException',
      `NextToken expired: it lives ${TOKEN_LIFETIME_MS} milliseconds.`,
    )
  }
  return listing
}
