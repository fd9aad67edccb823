import type { Request } from './requests.ts'
import { invalidArgument, ServiceError } from './service-error.ts'

/** The service's lifetime of a token. */
const LIFETIME_MS = 300_000

interface Now {
  readonly monotonicMs: number
}

/** A NextToken: it carries everything that the next page needs to know. Timestamps in it are milliseconds. */
export function encodeToken(listing: Request, { monotonicMs }: Now): string {
  return Buffer.from(JSON.stringify({ ...listing, issuedMs: monotonicMs })).toString('base64')
}

/** @throws {ServiceError} InvalidArgumentException, or ExpiredNextTokenException after 300 seconds */
export function decodeToken(token: string, { monotonicMs }: Now): Request {
  let listing: Request
  try {
    listing = Object(JSON.parse(Buffer.from(token, 'base64').toString())) as Request
  } catch (error) {
    throw Object.assign(invalidArgument('NextToken is invalid.'), { cause: error })
  }
  if (typeof listing.issuedMs !== 'number') throw invalidArgument('NextToken is invalid.')
  if (monotonicMs - listing.issuedMs > LIFETIME_MS) {
    throw new ServiceError('ExpiredNextTokenException', `NextToken expired: it lives ${LIFETIME_MS} milliseconds.`)
  }
  return listing
}
