import { RecordsError } from './errors.ts'
import { type HashKey, MAX_HASH_KEY } from './hash-key.ts'

/** A range of hash keys, both ends included. */
export interface HashRange {
  readonly start: HashKey
  readonly end: HashKey
}

/** All hash keys, 0 … 2^128 − 1. */
export const FULL_HASH_RANGE: HashRange = Object.freeze({ start: 0n, end: MAX_HASH_KEY })

/** Whether a hash key lies in a range. */
export function contains(range: HashRange, key: HashKey): boolean {
  return range.start <= key && key <= range.end
}

/** Whether two ranges have a hash key in common. */
export function overlaps(a: HashRange, b: HashRange): boolean {
  return a.start <= b.end && b.start <= a.end
}

/**
 * Splits a range into neighbours of equal size, the last one taking the remainder, as the service does for CreateStream:
 * a stream of 2 shards has 0 … 2^127 − 1 and 2^127 … 2^128 − 1.
 *
 * @param count how many, at least 1 and at most the number of hash keys in the range
 * @param range what to split; default: all hash keys
 * @throws {@link RecordsError} `ERR_HASH_RANGE`
 */
export function splitEvenly(count: number, range: HashRange = FULL_HASH_RANGE): HashRange[] {
  checkRange(range)
  const size = range.end - range.start + 1n
  if (!Number.isSafeInteger(count) || count < 1 || BigInt(count) > size) {
    throw new RecordsError(
      'ERR_HASH_RANGE',
      `Expected count to be an integer from 1 to the number of hash keys in the range (${size}), but got ${count}.`,
    )
  }
  const step = size / BigInt(count)
  return Array.from({ length: count }, (_, index) => {
    const start = range.start + step * BigInt(index)
    return { start, end: index === count - 1 ? range.end : start + step - 1n }
  })
}

/** The hash keys that no range covers, as sorted ranges that don't touch. Empty when the ranges cover all. */
export function findHoles(ranges: readonly HashRange[]): HashRange[] {
  const holes: HashRange[] = []
  let next = 0n
  for (const range of sortRanges(ranges)) {
    if (range.start > next) holes.push({ start: next, end: range.start - 1n })
    if (range.end >= next) next = range.end + 1n
  }
  if (next <= MAX_HASH_KEY) holes.push({ start: next, end: MAX_HASH_KEY })
  return holes
}

/** The hash keys that more than one range covers, as sorted ranges that don't touch. Empty when no two overlap. */
export function findOverlaps(ranges: readonly HashRange[]): HashRange[] {
  const found: { start: HashKey; end: HashKey }[] = []
  let coveredTo = -1n
  for (const range of sortRanges(ranges)) {
    if (range.start <= coveredTo) {
      const end = range.end < coveredTo ? range.end : coveredTo
      const last = found.at(-1)
      if (last === undefined || range.start > last.end + 1n) found.push({ start: range.start, end })
      else if (end > last.end) last.end = end
    }
    if (range.end > coveredTo) coveredTo = range.end
  }
  return found
}

/** @throws {@link RecordsError} `ERR_HASH_RANGE` when the range isn't one */
export function checkRange({ start, end }: HashRange): void {
  if (start < 0n || start > end || end > MAX_HASH_KEY) {
    throw new RecordsError(
      'ERR_HASH_RANGE',
      `Expected a hash range with 0 <= start <= end <= ${MAX_HASH_KEY} (2^128 - 1), but got start ${start}, end ${end}.`,
    )
  }
}

/** Orders ranges by their start, then by their end. */
export function compareRanges(a: HashRange, b: HashRange): number {
  if (a.start !== b.start) return a.start < b.start ? -1 : 1
  return a.end === b.end ? 0 : a.end < b.end ? -1 : 1
}

function sortRanges(ranges: readonly HashRange[]): HashRange[] {
  ranges.forEach(checkRange)
  return [...ranges].sort(compareRanges)
}
