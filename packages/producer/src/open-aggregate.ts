import { AggregateBuilder, type HashKey } from '@shardwise/records'
import type { Pending } from './pending.ts'
import type { SealedRecord } from './sealed-record.ts'
import type { KeyedRecord } from './user-record.ts'

/**
 * Up to this size a sealed record gets bytes of its own, and its builder is free at once: otherwise a queue of small
 * records would hold a large buffer each, and no limit in bytes would bound the memory.
 */
const COPIED_BYTES = 32 * 1024

/** An aggregate that user records are being added to. Never empty: it begins with its first record. */
export class OpenAggregate {
  /** When its oldest user record arrived. */
  oldestMs: number
  readonly #builder: AggregateBuilder
  readonly #builders: BuilderPool
  readonly #firstHashKey: HashKey
  readonly #firstExplicitHashKey: string | undefined
  readonly #pending: Pending[] = []

  constructor(builders: BuilderPool, first: KeyedRecord, pending: Pending) {
    this.#builders = builders
    this.#builder = builders.take()
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

  sizeWith({ partitionKey, explicitHashKey, data }: KeyedRecord): number {
    return this.#builder.sizeWith(partitionKey, explicitHashKey, data.length)
  }

  add({ partitionKey, explicitHashKey, data }: KeyedRecord, pending: Pending): void {
    this.#builder.add(partitionKey, explicitHashKey, data)
    this.#pending.push(pending)
    // A record that comes from another lane may have arrived earlier than the first.
    if (pending.arrivedMs < this.oldestMs) this.oldestMs = pending.arrivedMs
  }

  /** @param notBeforeMs it doesn't count as expired before */
  seal(recordTtl: number, notBeforeMs = 0): SealedRecord {
    const { partitionKey, explicitHashKey, data: built } = this.#builder.build(this.#firstHashKey)
    const isCopied = built.length <= COPIED_BYTES
    const data = isCopied ? new Uint8Array(built) : built
    if (isCopied) this.#builders.release(this.#builder)
    return {
      partitionKey,
      explicitHashKey,
      hashKey: this.#firstHashKey,
      data,
      bytes: data.length + Buffer.byteLength(partitionKey),
      pending: this.#pending,
      loneExplicitHashKey: this.#firstExplicitHashKey,
      expiresMs: Math.max(this.oldestMs + recordTtl, notBeforeMs),
      builder: isCopied ? undefined : this.#builder,
      isSuspect: false,
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

  /** Takes back a builder whose bytes nobody looks at any more. */
  release(builder: AggregateBuilder | undefined): void {
    if (builder === undefined || this.#free.length >= KEPT_BUILDERS) return
    builder.reset()
    this.#free.push(builder)
  }
}
