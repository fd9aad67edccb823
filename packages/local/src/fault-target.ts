import { streamNameIn } from './arns.ts'
import type { FaultTarget } from './faults.ts'
import { checkEntry, hashKeyOfEntry, type PutEntry } from './put-entry.ts'
import type { Request } from './requests.ts'
import type { Service } from './service.ts'
import { ServiceError } from './service-error.ts'
import { decodeIterator } from './shard-iterator.ts'
import { decodeToken } from './tokens.ts'

const ARN_FIELDS = ['StreamARN', 'ConsumerARN', 'ResourceARN']

/** Which stream and shards a request is about, as far as it can be told; the operation itself judges whether it is valid. */
export function targetOf(service: Service, operation: string, request: Request): FaultTarget {
  try {
    if (operation === 'GetRecords') {
      const { streamName, shardId } = decodeIterator(String(request.ShardIterator), service)
      return { stream: streamName, shardIds: [shardId] }
    }
    const stream = streamNameOf(service, request)
    return { stream, shardIds: stream === undefined ? [] : shardIdsOf(service, stream, operation, request) }
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    return { stream: undefined, shardIds: [] }
  }
}

function streamNameOf(service: Service, request: Request): string | undefined {
  if (typeof request.StreamName === 'string') return request.StreamName
  for (const field of ARN_FIELDS) {
    const arn = request[field]
    if (typeof arn === 'string') return streamNameIn(arn, field)
  }
  if (typeof request.NextToken !== 'string') return undefined
  const { StreamName, StreamARN } = decodeToken(request.NextToken, service)
  return typeof StreamName === 'string' ? StreamName : streamNameIn(String(StreamARN), 'StreamARN')
}

function shardIdsOf(service: Service, streamName: string, operation: string, request: Request): string[] {
  if (typeof request.ShardId === 'string') return [request.ShardId]
  const isPut = operation === 'PutRecord' || operation === 'PutRecords'
  if (!isPut) return []
  const entries = operation === 'PutRecord' ? [request] : request.Records
  if (!Array.isArray(entries)) return []
  const stream = service.streamNamed(streamName)
  if (!stream.distributesByKey) return stream.upcoming(entries.length).map(({ id }) => id)
  return entries.map((entry: PutEntry) => {
    checkEntry(entry, Number.POSITIVE_INFINITY, true)
    return stream.shardFor(hashKeyOfEntry(entry)).id
  })
}
