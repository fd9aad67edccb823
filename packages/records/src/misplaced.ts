import { hashKeyOf, tryParseHashKey } from './hash-key.ts'
import { contains, type HashRange } from './hash-range.ts'

/**
 * Whether a user record's hash key lies outside its shard's range. A KPL that learned of a reshard too late leaves such
 * copies behind and writes the record again where it belongs. On service-managed streams it says nothing.
 *
 * It marks, and drops nothing. A record whose explicit hash key isn't one (no sound producer writes such) is not
 * misplaced: nobody can tell where else it would be, so whoever drops misplaced records must not drop it. Never throws.
 */
export function isMisplaced(
  record: { readonly partitionKey: string; readonly explicitHashKey?: string | undefined },
  range: HashRange,
): boolean {
  const { partitionKey, explicitHashKey } = record
  const key = explicitHashKey === undefined ? hashKeyOf(partitionKey) : tryParseHashKey(explicitHashKey)
  return key !== undefined && !contains(range, key)
}
