import type { Clock } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { FULL_HASH_RANGE, TRIM_HORIZON } from '@shardwise/records'
import { type Handler, handlerOf } from '../src/processing/handler.ts'
import { HandlerPool, type HandlerPoolOptions, type PoolShard } from '../src/processing/handler-pool.ts'
import type { EachRecord, ManualCheckpoints } from '../src/processing/handlers.ts'
import { ShardQueue } from '../src/processing/shard-queue.ts'
import type { BatchLimits, Ordering, Work } from '../src/processing/work.ts'
import type { StreamEvent } from '../src/telemetry/telemetry.ts'

export interface StageShard extends PoolShard {
  readonly queue: ShardQueue
  readonly abort: AbortController
  readonly events: StreamEvent[]
  readonly stops: { readonly work: Work; readonly error: unknown; readonly attempts: number }[]
  held: boolean
  /** How often progress was told. */
  told: number
  /** Adds records with these keys; the data counts from 0 on. */
  push(...keys: string[]): void
  /** The events of one type. */
  eventsOf<Type extends StreamEvent['type']>(type: Type): Extract<StreamEvent, { readonly type: Type }>[]
}

export interface StageShardOptions {
  readonly ordering?: Ordering
  readonly batch?: BatchLimits
  readonly checkpoints?: ManualCheckpoints
  readonly now?: () => number
}

/** A shard for a pool, with a record for each of the keys. */
export function shardOf(shardId: string, keys: readonly string[], options: StageShardOptions = {}): StageShard {
  const abort = new AbortController()
  const queue: ShardQueue = new ShardQueue({
    stream: 'flights',
    shardId,
    hashRange: FULL_HASH_RANGE,
    checkpoint: TRIM_HORIZON,
    dropMisplaced: false,
    maxAheadRecords: 100_000,
    now: options.now ?? (() => 0),
    onProgress: () => shard.told++,
    onMisplaced: () => {},
    ...(options.ordering && { ordering: options.ordering }),
    ...(options.batch && { batch: options.batch }),
  })
  let pushed = 0
  const shard: StageShard = {
    queue,
    signal: abort.signal,
    abort,
    held: true,
    told: 0,
    events: [],
    stops: [],
    checkpoints: options.checkpoints,
    telemetry: { emit: (event) => shard.events.push(event) },
    mayRun: () => shard.held && !abort.signal.aborted,
    onStop: (work, error, attempts) => shard.stops.push({ work, error, attempts }),
    push: (...more) => {
      queue.push(
        more.map((partitionKey) => ({
          sequenceNumber: String(100 + pushed),
          partitionKey,
          data: Buffer.from(String(pushed++)),
          arrivedAt: undefined,
        })),
      )
    },
    eventsOf: (type) => shard.events.filter((event) => event.type === type) as never,
  }
  shard.push(...keys)
  return shard
}

export const POOL_OPTIONS = {
  application: 'delays',
  workerId: 'worker-1',
  concurrency: 10,
  random: () => 0.5,
  failurePolicy: 'stop',
  maxAttempts: 10,
  maxAgeMs: Number.POSITIVE_INFINITY,
  closeTimeout: 1_000,
} as const

export function poolOf(
  handler: EachRecord | Handler,
  options: Partial<HandlerPoolOptions> = {},
): { readonly pool: HandlerPool; readonly clock: ManualClock } {
  const clock = new ManualClock()
  const made = typeof handler === 'function' ? handlerOf({ eachRecord: handler as EachRecord }, undefined) : handler
  return { pool: new HandlerPool(made, { ...POOL_OPTIONS, clock: clock as Clock, ...options }), clock }
}

/** A handler whose calls the test ends by hand. */
export class ManualHandler {
  /** `shard/key` and the record's number, of every call. */
  readonly begun: string[] = []
  readonly signals = new Map<string, AbortSignal>()
  readonly #ends = new Map<string, PromiseWithResolvers<unknown>>()

  readonly eachRecord: EachRecord = (record, { signal }) => {
    const name = `${record.shardId}/${record.partitionKey}${record.text()}`
    this.begun.push(name)
    this.signals.set(name, signal)
    const end = Promise.withResolvers<unknown>()
    this.#ends.set(name, end)
    return end.promise
  }

  async end(...names: string[]): Promise<void> {
    for (const name of names) this.#ends.get(name)!.resolve(undefined)
    await settle()
  }

  async fail(name: string, error: unknown = new Error('no')): Promise<void> {
    this.#ends.get(name)!.reject(error)
    await settle()
  }
}
