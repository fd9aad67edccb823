import { AggregateBuilder, type HashKey } from '@shardwise/records'
import type { Pending } from './pending.ts'
import type { SealedRecord } from './sealed-record.ts'
import { type CheckedRecord, MAX_RECORD_BYTES } from './user-record.ts'

/** What the partition key of an aggregate adds to what the service counts. */
const AGGREGATE_KEY_BYTES = 1

/** The largest aggregate that the service takes. */
export const MAX_AGGREGATE_BYTES: number = MAX_RECORD_BYTES - AGGREGATE_KEY_BYTES

/** An aggregate that user records are being added to. Never empty: it begins with its first record. */
export class OpenAggregate {
  /** When its oldest user record arrived. */
  oldestMs: number
  readonly #builder: AggregateBuilder
  readonly #firstHashKey: HashKey
  readonly #firstExplicitHashKey: string | undefined
  readonly #pending: Pending[] = []

  constructor(builder: AggregateBuilder, first: CheckedRecord, pending: Pending) {
    this.#builder = builder
    this.#firstHashKey = first.hashKey
    this.#firstExplicitHashKey = first.explicitHashKey
    this.oldestMs = pending.arrivedMs
    this.add(first, pending)
  }

  get count(): number {
    return this.#pending.length
  }

  get size(): number {
    return this.#builder.size
  }

  sizeWith({ partitionKey, explicitHashKey, data }: CheckedRecord): number {
    return this.#builder.sizeWith(partitionKey, explicitHashKey, data.length)
  }

  add({ partitionKey, explicitHashKey, data }: CheckedRecord, pending: Pending): void {
    this.#builder.add(partitionKey, explicitHashKey, data)
    this.#pending.push(pending)
    // A record that comes from another lane may have arrived earlier than the first.
    if (pending.arrivedMs < this.oldestMs) this.oldestMs = pending.arrivedMs
  }

  seal(recordTtl: number): SealedRecord {
    const { partitionKey, explicitHashKey, data } = this.#builder.build(this.#firstHashKey)
    return {
      partitionKey,
      explicitHashKey,
      data,
      bytes: data.length + Buffer.byteLength(partitionKey),
      pending: this.#pending,
      loneExplicitHashKey: this.#firstExplicitHashKey,
      domain: 'lane',
      expiresMs: this.oldestMs + recordTtl,
      builder: this.#builder,
    }
  }
}

const KEPT_BUILDERS = 32
const INITIAL_BYTES = 64 * 1024

/** Builders whose record is settled, to be used again: their buffers are the largest thing that is allocated. */
export class BuilderPool {
  readonly #free: AggregateBuilder[] = []

  take(): AggregateBuilder {
    return this.#free.pop() ?? new AggregateBuilder({ initialBytes: INITIAL_BYTES })
  }

  /** Takes back the builder of a record whose bytes nobody looks at any more. */
  release({ builder }: SealedRecord): void {
    if (builder === undefined || this.#free.length >= KEPT_BUILDERS) return
    builder.reset()
    this.#free.push(builder)
  }
}
