import { invalidArgument, ServiceError } from './service-error.ts'

/** The service's lifetime of a shard iterator. */
const LIFETIME_MS = 5 * 60 * 1000

/** A place in a shard: before the first record with a sequence number greater than `after`. */
export interface ShardIterator {
  readonly streamName: string
  readonly incarnation: string
  readonly shardId: string
  readonly after: string
}

interface Now {
  readonly monotonicMs: number
  readonly wallMs: number
}

export interface IteratorTarget {
  readonly stream: { readonly name: string; readonly incarnation: string }
  readonly shardId: string
  readonly after: string
}

/** Stateless: the token itself says where it points and since when. */
export function encodeIterator({ stream, shardId, after }: IteratorTarget, now: Now): string {
  const parts = [stream.name, stream.incarnation, shardId, after, now.monotonicMs]
  return Buffer.from(JSON.stringify(parts)).toString('base64')
}

/** @throws {ServiceError} InvalidArgumentException, or ExpiredIteratorException after five minutes */
export function decodeIterator(token: string, now: Now): ShardIterator {
  const [streamName, incarnation, shardId, after, issuedMs] = parse(token)
  const ageMs = now.monotonicMs - issuedMs
  if (ageMs > LIFETIME_MS) {
    throw new ServiceError(
      'ExpiredIteratorException',
      `Iterator expired. The iterator was created at time ${new Date(now.wallMs - ageMs).toUTCString()} while right now it is ` +
        `${new Date(now.wallMs).toUTCString()} which is further in the future than the tolerated delay of ${LIFETIME_MS} milliseconds.`,
    )
  }
  return { streamName, incarnation, shardId, after }
}

function parse(token: string): [string, string, string, string, number] {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(token, 'base64').toString())
  } catch (error) {
    throw Object.assign(invalidArgument('Invalid ShardIterator.'), { cause: error })
  }
  const types = Array.isArray(parsed) ? parsed.map((part) => typeof part).join() : ''
  if (types !== 'string,string,string,string,number') throw invalidArgument('Invalid ShardIterator.')
  return parsed as [string, string, string, string, number]
}
