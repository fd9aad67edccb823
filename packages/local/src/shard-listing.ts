import { describeShard } from './descriptions.ts'
import { optionalInteger, optionalString, optionalTimeMs, type Request, requiredString, structure } from './requests.ts'
import type { Service } from './service.ts'
import { invalidArgument } from './service-error.ts'
import type { Shard } from './shard.ts'
import type { Stream } from './stream.ts'
import { checkCreation, checkServing } from './streams.ts'
import { decodeToken, encodeToken } from './tokens.ts'

/** The most shards in an answer, also when more are asked for. */
const MAX_PAGE = 1_000
const CALLS_PER_SECOND = 1_000

/** ListShards. A token carries everything that the first request said, so that later pages are of the same listing. */
export function listShards(service: Service, request: Request): object {
  const token = optionalString(request, 'NextToken')
  checkAlone(request, token)
  const limit = Math.min(optionalInteger(request, 'MaxResults', 1, 10_000) ?? MAX_PAGE, MAX_PAGE)
  const listing = token === undefined ? request : revived(decodeToken(token, service))
  const stream = service.stream(listing)
  service.admitCall('ListShards', stream, CALLS_PER_SECOND)
  if (listing.incarnation !== undefined && listing.incarnation !== stream.incarnation) {
    throw invalidArgument('NextToken is of a stream deleted since.')
  }
  checkCreation(stream, request)
  checkServing(stream)
  const filter = structure(listing, 'ShardFilter')
  const isListed = shardFilter(stream, filter, service.wallMs)
  const page: Shard[] = []
  let index = stream.family.indexAfter(optionalString(listing, 'ExclusiveStartShardId') ?? '')
  let hasMore = false
  for (; index < stream.shards.length; index++) {
    const shard = stream.shards[index]!
    if (!isListed(shard)) continue
    hasMore = page.length === limit
    if (hasMore) break
    page.push(shard)
  }
  const next = {
    StreamName: stream.name,
    ShardFilter: { ...filter, Timestamp: optionalTimeMs(filter, 'Timestamp') },
    ExclusiveStartShardId: page.at(-1)?.id,
    incarnation: stream.incarnation,
  }
  return { Shards: page.map(describeShard), ...(hasMore && { NextToken: encodeToken(next, service) }) }
}

function checkAlone(request: Request, token: string | undefined): void {
  if (token === undefined) return
  for (const field of ['StreamName', 'StreamARN', 'StreamCreationTimestamp', 'ExclusiveStartShardId']) {
    if (request[field] === undefined || request[field] === null) continue
    throw invalidArgument(`NextToken and ${field} cannot be provided together.`)
  }
}

function revived(listing: Request): Request {
  const { Timestamp: timeMs, ...filter } = structure(listing, 'ShardFilter')
  return { ...listing, ShardFilter: { ...filter, ...(typeof timeMs === 'number' && { Timestamp: new Date(timeMs) }) } }
}

function shardFilter(stream: Stream, filter: Request, nowMs: number): (shard: Shard) => boolean {
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
      return ({ parents }) => parents.every(({ id }) => stream.family.byId(id) === undefined)
    case 'AT_LATEST':
      return ({ isOpen }) => isOpen
    case 'AT_TIMESTAMP':
      return openAt(Math.max(horizonMs, timestampOf(filter)))
    case 'FROM_TIMESTAMP':
      return openSince(Math.max(horizonMs, timestampOf(filter)))
    case 'AFTER_SHARD_ID': {
      const after = requiredString(filter, 'ShardId')
      return (shard) => shard.id > after
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
