import { invalidArgument, ServiceError } from './service-error.ts'

/** The service's lifetime of a shard iterator. */
const LIFETIME_MS = 5 * 60 * 1000

/** A place in a shard: before the first record with a sequence number greater than `after`. */
export interface ShardIterator {
  readonly stream: string
  readonly streamCreatedMs: number
  readonly shardId: string
  readonly after: string
}

/** Stateless: the token itself says where it points and since when. */
export function encodeIterator(iterator: ShardIterator, nowMs: number): string {
  const { stream, streamCreatedMs, shardId, after } = iterator
  return Buffer.from(JSON.stringify([stream, streamCreatedMs, shardId, after, nowMs])).toString('base64')
}

/** @throws {ServiceError} InvalidArgumentException, or ExpiredIteratorException after five minutes */
export function decodeIterator(token: string, nowMs: number): ShardIterator {
  const [stream, streamCreatedMs, shardId, after, issuedMs] = parse(token)
  if (nowMs - issuedMs > LIFETIME_MS) {
    throw new ServiceError(
      'ExpiredIteratorException',
      `Iterator expired. The iterator was created at time ${new Date(issuedMs).toUTCString()} while right now it is ` +
        `${new Date(nowMs).toUTCString()} which is further in the future than the tolerated delay of ${LIFETIME_MS} milliseconds.`,
    )
  }
  return { stream, streamCreatedMs, shardId, after }
}

function parse(token: string): [string, number, string, string, number] {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(token, 'base64').toString())
  } catch (error) {
    throw Object.assign(invalidArgument('Invalid ShardIterator.'), { cause: error })
  }
  const types = Array.isArray(parsed) ? parsed.map((part) => typeof part).join() : ''
  if (types !== 'string,number,string,string,number') throw invalidArgument('Invalid ShardIterator.')
  return parsed as [string, number, string, string, number]
}
