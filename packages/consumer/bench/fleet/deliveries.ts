export interface Delivery {
  readonly workerId: string
  readonly shardId: string
  readonly position: string
  readonly atMs: number
}

/** A moment, on the machine's clock, from which on something is measured. */
type Since = number

interface Shard {
  workerId: string
  lastAtMs: number
}

interface Move {
  readonly shardId: string
  readonly atMs: number
  /** For how long no record of the shard came. */
  readonly gapMs: number
}

/** What the handlers of all workers got, and what follows from it about who reads which shard. */
export class Deliveries {
  /** Who handled the last record of each. */
  readonly #shards = new Map<string, Shard>()
  readonly #positions = new Set<string>()
  readonly #repeatedAtMs: number[] = []
  readonly #moves: Move[] = []
  #startedAtMs = Number.NEGATIVE_INFINITY
  #lastAtMs = Number.NEGATIVE_INFINITY
  #onDelivery: (atMs: number) => void = () => {}

  add({ workerId, shardId, position, atMs }: Delivery): void {
    this.#lastAtMs = atMs
    const before = this.#positions.size
    if (this.#positions.add(`${shardId}:${position}`).size === before) this.#repeatedAtMs.push(atMs)
    const shard = this.#shards.get(shardId)
    if (shard === undefined) {
      this.#shards.set(shardId, { workerId, lastAtMs: atMs })
      this.#startedAtMs = atMs
    } else {
      if (shard.workerId !== workerId) this.#moves.push({ shardId, atMs, gapMs: atMs - shard.lastAtMs })
      shard.workerId = workerId
      shard.lastAtMs = atMs
    }
    this.#onDelivery(atMs)
  }

  /** How many different records were delivered. */
  get distinct(): number {
    return this.#positions.size
  }

  /** When a shard went to another worker, or was first read, for the last time. */
  get lastMoveAtMs(): number {
    return Math.max(this.#startedAtMs, this.#moves.at(-1)?.atMs ?? this.#startedAtMs)
  }

  shardsOf(workerId: string): string[] {
    return [...this.#shards].filter(([, shard]) => shard.workerId === workerId).map(([shardId]) => shardId)
  }

  workerOf(shardId: string): string | undefined {
    return this.#shards.get(shardId)?.workerId
  }

  /** How many shards each worker reads that reads any. */
  counts(): number[] {
    return [...Map.groupBy(this.#shards.values(), ({ workerId }) => workerId).values()].map(({ length }) => length)
  }

  /** How many deliveries were of records that had been delivered before. */
  repeated(since: Since): number {
    return this.#repeatedAtMs.filter((atMs) => atMs > since).length
  }

  /** Of each shard that was moved, the longest time without a record around a move, in seconds. */
  gaps(since: Since): number[] {
    const moves = this.#moves.filter(({ atMs }) => atMs > since)
    return [...Map.groupBy(moves, ({ shardId }) => shardId).values()].map(
      (ofShard) => Math.max(...ofShard.map(({ gapMs }) => gapMs)) / 1_000,
    )
  }

  /** Resolves to when the first record was delivered after which it holds. */
  async until(what: string, holds: () => boolean, timeoutMs = 120_000): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const timer = setTimeout(() => {
      reject(
        new Error(`Expected within ${timeoutMs / 1_000} s: ${what}. Shards a worker: ${this.counts().join(', ')}.`),
      )
    }, timeoutMs)
    this.#onDelivery = (atMs) => {
      if (holds()) resolve(atMs)
    }
    if (holds()) resolve(this.#lastAtMs)
    try {
      return await promise
    } finally {
      this.#onDelivery = () => {}
      clearTimeout(timer)
    }
  }
}
