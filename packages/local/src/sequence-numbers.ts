/** What every sequence number of today's service begins with: they have 186 bits, so 56 decimal digits from 49 on. */
const VERSION = 1n << 185n

const SHARD_NUMBER_BITS = 32
const DIGITS = 56

/** The number of the shard that a sequence number was made for. */
export function shardNumberOf(sequenceNumber: string): number {
  return Number(BigInt.asUintN(SHARD_NUMBER_BITS, BigInt(sequenceNumber) >> 4n))
}

/** The number just before this one, which no record has: its last bits are the version's, so it is of the same shard. */
export function numberBefore(sequenceNumber: string): string {
  return (BigInt(sequenceNumber) - 1n).toString().padStart(DIGITS, '0')
}

/**
 * Where reading goes on when everything up to this number was read: just after it, which no record is, so that AT and
 * AFTER it mean the same.
 */
export function continuationAfter(sequenceNumber: string): string {
  return (((BigInt(sequenceNumber) >> 4n) << 4n) | 3n).toString().padStart(DIGITS, '0')
}

/**
 * The sequence numbers of one stream: each is greater than every one before it, whichever shard it is for, so that they
 * grow along a shard and a child's are greater than its parents'.
 *
 * Layout from the top: version, milliseconds since 1970 (48 bits), a count (64 bits), the shard's number, a final 2 as
 * the service has it.
 */
export class SequenceNumbers {
  #millis = 0
  #count = 0

  next(nowMs: number, shardNumber: number): string {
    // The wall clock may be set back; the numbers may not.
    this.#millis = Math.max(this.#millis, Math.floor(nowMs))
    const value =
      VERSION | (BigInt(this.#millis) << 100n) | (BigInt(this.#count++) << 36n) | (BigInt(shardNumber) << 4n) | 2n
    return value.toString()
  }
}
