import { type AggregateBuilder, deaggregate, type HashKey, parseHashKey } from '@shardwise/records'
import type { Pending } from './pending.ts'
import { type CheckedRecord, hashKeyOfRecord } from './user-record.ts'

/** A Kinesis record that is ready to be sent, with everybody who waits for it. */
export interface SealedRecord {
  readonly partitionKey: string | undefined
  /** Decimal hash key of its first user record. Always sent, as the KPL does, but for a record without a partition key. */
  readonly explicitHashKey: string | undefined
  /** The same as a number. */
  readonly hashKey: HashKey
  readonly data: Uint8Array
  /** What the service counts: data and partition key. */
  readonly bytes: number
  /** In the order of the user records inside. */
  readonly pending: readonly Pending[]
  /** The explicit hash key that the user of a lone record gave. */
  readonly loneExplicitHashKey: string | undefined
  /** When its oldest user record has been waiting for `recordTtl`, on the monotonic clock, or shortly after. */
  readonly expiresMs: number
  /** Whose buffer `data` is a view of, if that may be used again. */
  builder: AggregateBuilder | undefined
  /** Whether a request was refused that had it in it, so that it goes in one of its own: it may be what is wrong. */
  isSuspect: boolean
}

/** How often it was sent. */
export function attemptsOf({ pending }: SealedRecord): number {
  return pending[0]?.attempts.length ?? 0
}

/**
 * Seals a user record as it is, to be sent plain.
 *
 * @param notBeforeMs it doesn't count as expired before
 */
export function sealLone(record: CheckedRecord, pending: Pending, recordTtl: number, notBeforeMs = 0): SealedRecord {
  const hashKey = hashKeyOfRecord(record)
  return {
    partitionKey: record.partitionKey,
    explicitHashKey: record.partitionKey === undefined ? record.explicitHashKey : hashKey.toString(),
    hashKey,
    data: record.data,
    bytes: record.bytes,
    pending: [pending],
    loneExplicitHashKey: record.explicitHashKey,
    expiresMs: Math.max(pending.arrivedMs + recordTtl, notBeforeMs),
    builder: undefined,
    isSuspect: false,
  }
}

/** A user record taken out of a sealed one. */
export interface Unsealed {
  readonly record: CheckedRecord
  readonly pending: Pending
}

/** Takes a sealed record apart into its user records, in order. Their data are views. */
export function unseal(sealed: SealedRecord): Unsealed[] {
  const { pending, partitionKey, loneExplicitHashKey, data } = sealed
  const [only] = pending
  // By the number of those who wait, not by the bytes: a user's own data may look like an aggregate.
  if (pending.length === 1 && only !== undefined) {
    return [{ record: checkedAgain(partitionKey, loneExplicitHashKey, data, only), pending: only }]
  }
  const inside = deaggregate(data)
  if (inside.kind !== 'aggregate' || inside.records.length !== pending.length) {
    throw new Error(
      `expected an aggregate of ${pending.length} user records that was built here, found: ${inside.kind}`,
    )
  }
  return inside.records.map((record, index) => {
    const waiting = pending[index]!
    return { record: checkedAgain(record.partitionKey, record.explicitHashKey, record.data, waiting), pending: waiting }
  })
}

/** Takes a sealed record apart into what is too old and what isn't. */
export function splitExpired(
  sealed: SealedRecord,
  nowMs: number,
  recordTtl: number,
): { readonly old: readonly Unsealed[]; readonly alive: readonly Unsealed[] } {
  const { old = [], alive = [] } = Object.groupBy(unseal(sealed), ({ pending }) =>
    pending.arrivedMs + recordTtl > nowMs ? 'alive' : 'old',
  )
  return { old, alive }
}

function checkedAgain(
  partitionKey: string | undefined,
  explicitHashKey: string | undefined,
  data: Uint8Array,
  { bytes }: Pending,
): CheckedRecord {
  const hashKey = explicitHashKey === undefined ? undefined : parseHashKey(explicitHashKey)
  return { partitionKey, explicitHashKey, hashKey, data, bytes }
}
