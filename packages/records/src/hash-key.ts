import { hash } from 'node:crypto'
import { quote, RecordsError } from './errors.ts'
import { md5OfShortAscii } from './md5.ts'

/** A 128-bit unsigned position of a key, 0 … 2^128 − 1. It decides which shard takes a record. */
export type HashKey = bigint

/** The greatest hash key, 2^128 − 1. */
export const MAX_HASH_KEY: HashKey = 2n ** 128n - 1n

const DECIMAL = /^0*([0-9]{1,39})$/

const digest = new DataView(new ArrayBuffer(16))

/**
 * The hash key of a partition key: the MD5 of its UTF-8 bytes as a big-endian number.
 * A lone surrogate counts as U+FFFD, as in `Buffer.from(partitionKey)`.
 *
 * @example
 * hashKeyOf('a') // 16955237001963240173058271559858726497n
 */
export function hashKeyOf(partitionKey: string): HashKey {
  if (md5OfShortAscii(partitionKey, digest)) return (digest.getBigUint64(0) << 64n) | digest.getBigUint64(8)
  // By way of hex: 0.5 µs, against 1.1 µs by way of a Buffer.
  return BigInt(`0x${hash('md5', partitionKey, 'hex')}`)
}

/** The first 32 of the 128 bits of {@link hashKeyOf}: enough to tell most hash keys apart, and a plain number. */
export function hashKeyTopOf(partitionKey: string): number {
  if (md5OfShortAscii(partitionKey, digest)) return digest.getUint32(0)
  return Number.parseInt(hash('md5', partitionKey, 'hex').slice(0, 8), 16)
}

/** The first 32 bits of a hash key. */
export function topOf(key: HashKey): number {
  return Number(key >> 96n)
}

/**
 * Reads an explicit hash key as callers and the service write it: decimal digits. Leading zeros are accepted, so that
 * `'007'` is `7n`; the canonical text is `parseHashKey(text).toString()`.
 *
 * @throws {@link RecordsError} `ERR_HASH_KEY` when the text isn't a decimal integer from 0 to 2^128 − 1
 */
export function parseHashKey(decimal: string): HashKey {
  const key = tryParseHashKey(decimal)
  if (key === undefined) {
    throw new RecordsError(
      'ERR_HASH_KEY',
      `Expected a hash key, a decimal integer from 0 to ${MAX_HASH_KEY} (2^128 - 1) without sign or spaces, ` +
        `but got ${typeof decimal === 'string' ? quote(decimal) : `a value of type ${typeof decimal}`}. ` +
        'Leave the explicit hash key out to have it computed from the partition key.',
    )
  }
  return key
}

/** {@link parseHashKey} that answers undefined instead of throwing. */
export function tryParseHashKey(decimal: string): HashKey | undefined {
  const digits = typeof decimal === 'string' ? DECIMAL.exec(decimal)?.[1] : undefined
  if (digits === undefined) return undefined
  const key = BigInt(digits)
  return key <= MAX_HASH_KEY ? key : undefined
}
