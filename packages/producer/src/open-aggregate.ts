import { AggregateBuilder } from '@shardwise/records'
import type { Pending } from './pending.ts'
import { type SealedRecord, sealLone } from './sealed-record.ts'
import { hashKeyOfRecord, type KeyedRecord } from './user-record.ts'

/**
 * Up to this size a sealed record gets bytes of its own, and its builder is free at once: otherwise a queue of small
 * records would hold a large buffer each, and no limit in bytes would bound the memory.
 */
const COPIED_BYTES = 32 * 1024

/**
 * An aggregate that user records are being added to. Never empty: it begins with its first record. As long as that is the only
 * one nothing is copied: of many shards that get a record now and then, most send lone ones.
 */
export class OpenAggregate {
  /** When its oldest user record arrived. */
  oldestMs: number
  readonly #builders: BuilderPool
  #builder: AggregateBuilder | undefined
  readonly #first: KeyedRecord
  readonly #pending: Pending[]

  constructor(builders: BuilderPool, first: KeyedRecord, pending: Pending) {
    this.#builders = builders
    this.#first = first
    this.#pending = [pending]
    this.oldestMs = pending.arrivedMs
  }

  get count(): number {
    return this.#pending.length
  }

  get size(): number {
    return this.#builder?.size ?? this.#first.data.length
  }

  sizeWith({ partitionKey, explicitHashKey, data }: KeyedRecord): number {
    return this.#begun().sizeWith(partitionKey, explicitHashKey, data.length)
  }

  add({ partitionKey, explicitHashKey, data }: KeyedRecord, pending: Pending): void {
    this.#begun().add(partitionKey, explicitHashKey, data)
    this.#pending.push(pending)
    // A record that comes from another lane may have arrived earlier than the first.
    if (pending.arrivedMs < this.oldestMs) this.oldestMs = pending.arrivedMs
  }

  /** @param notBeforeMs it doesn't count as expired before */
  seal(recordTtl: number, notBeforeMs = 0): SealedRecord {
    const builder = this.#builder
    const [only] = this.#pending
    if (builder === undefined || this.#pending.length === 1) {
      this.#builders.release(builder)
      return sealLone(this.#first, only as Pending, recordTtl, notBeforeMs)
    }
    const hashKey = hashKeyOfRecord(this.#first)
    const { partitionKey, explicitHashKey, data: built } = builder.build(hashKey)
    const isCopied = built.length <= COPIED_BYTES
    const data = isCopied ? new Uint8Array(built) : built
    if (isCopied) this.#builders.release(builder)
    return {
      partitionKey,
      explicitHashKey,
      hashKey,
      data,
      bytes: data.length + Buffer.byteLength(partitionKey),
      pending: this.#pending,
      loneExplicitHashKey: undefined,
      expiresMs: Math.max(this.oldestMs + recordTtl, notBeforeMs),
      builder: isCopied ? undefined : builder,
      isSuspect: false,
    }
  }

  /** Its builder, with the first record in it. */
  #begun(): AggregateBuilder {
    if (this.#builder === undefined) {
      const { partitionKey, explicitHashKey, data } = this.#first
      this.#builder = this.#builders.take()
      this.#builder.add(partitionKey, explicitHashKey, data)
    }
    return this.#builder
  }
}

const KEPT_BUILDERS = 64
/** Grows as needed: ten thousand lanes with a few records each must not hold a large buffer each. */
const INITIAL_BYTES = 4 * 1024

/** Builders whose record is settled, to be used again: their buffers are the largest thing that is allocated. */
export class BuilderPool {
  readonly #free: AggregateBuilder[] = []

  take(): AggregateBuilder {
    return this.#free.pop() ?? new AggregateBuilder({ initialBytes: INITIAL_BYTES })
  }

  /** Takes back a builder whose bytes nobody looks at any more. */
  release(builder: AggregateBuilder | undefined): void {
    if (builder === undefined || this.#free.length >= KEPT_BUILDERS) return
    builder.reset()
    this.#free.push(builder)
  }
}
