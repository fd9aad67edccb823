import { silentLogger } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { type Assign, assignByCount } from '../src/leases/assignment.ts'
import { Fleet } from '../src/leases/fleet.ts'
import { holderOf } from '../src/leases/lease.ts'
import type { Condition, Item, ItemChange, ItemKind, Table } from '../src/leases/table.ts'
import { oneStream } from '../src/streams/streams.ts'
import { Telemetry } from '../src/telemetry/telemetry.ts'
import { countsOf, leasesIn, listing, shardsOf } from './coordinator.ts'
import { EventClock } from './event-clock.ts'
import { IdleShard } from './idle-shard.ts'
import { MemoryTable } from './memory-table.ts'

const FAILOVER_MS = 10_000
/** Of a Scan's page. */
const PAGE_BYTES = 1 << 20
/** What an item takes, more or less. */
const ITEM_BYTES = 400

/** Requests as DynamoDB counts them: a page of a scan is one. */
export interface Requests {
  writes: number
  reads: number
  queries: number
  pages: number
}

/** A table that finds the leases of an owner by an index, and counts what it is asked. */
class CountedTable extends MemoryTable {
  readonly requests: Requests = { writes: 0, reads: 0, queries: 0, pages: 0 }
  readonly #keysOf = new Map<string, Set<string>>()

  override scan(): Promise<Item[]> {
    this.requests.pages += Math.max(1, Math.ceil((this.items.size * ITEM_BYTES) / PAGE_BYTES))
    return super.scan()
  }

  override ownedKeys(workerId: string): Promise<string[]> {
    this.requests.queries++
    return Promise.resolve([...(this.#keysOf.get(workerId) ?? [])])
  }

  override read(kind: ItemKind, key: string): Promise<Item | undefined> {
    this.requests.reads++
    return super.read(kind, key)
  }

  override async update(change: ItemChange): Promise<Item | undefined> {
    this.requests.writes++
    const before = this.items.get(change.key)?.leaseOwner?.S
    const item = await super.update(change)
    const after = this.items.get(change.key)?.leaseOwner?.S
    if (before !== after) {
      if (before !== undefined) this.#keysOf.get(before)?.delete(change.key)
      if (after !== undefined) this.#keysOf.set(after, (this.#keysOf.get(after) ?? new Set()).add(change.key))
    }
    return item
  }

  override delete(kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean> {
    this.requests.writes++
    const owner = this.items.get(key)?.leaseOwner?.S
    if (owner !== undefined) this.#keysOf.get(owner)?.delete(key)
    return super.delete(kind, key, when)
  }
}

/** What it took until every shard was held and all workers had as many, give or take one. */
export interface Settling {
  readonly seconds: number
  /** Looks of the leader in which leases were moved. */
  readonly rounds: number
  /** The longest that the leader thought about an assignment, on a real clock. */
  readonly decisionMs: number
  readonly requests: Requests
}

/** Whole workers over one table, in virtual time, with shards of which nothing is read. */
export class LargeFleet {
  readonly #clock = new EventClock()
  readonly #table = new CountedTable()
  readonly #shards: number
  readonly #alive = new Map<string, { die: () => void; fleet: Fleet<IdleShard> }>()
  /** When leases were moved. */
  readonly #movedAt = new Set<number>()
  #decisionMs = 0

  constructor(shards: number) {
    this.#shards = shards
  }

  /** Starts workers, all within a tenth of a second. */
  start(count: number): void {
    const before = this.#alive.size
    for (let index = 0; index < count; index++) this.#start(`worker-${String(before + index).padStart(4, '0')}`)
  }

  /** Kills workers at once; the leader is among them if it is told. */
  kill(count: number, options: { readonly withLeader: boolean }): void {
    const ids = [...this.#alive].filter(([, { fleet }]) => fleet.isLeader === options.withLeader).map(([id]) => id)
    const others = [...this.#alive.keys()].filter((id) => !ids.includes(id))
    for (const id of [...ids, ...others].slice(0, count)) {
      this.#alive.get(id)?.die()
      this.#alive.delete(id)
    }
  }

  /** Time passes until the fleet is even. */
  async settle(maxSeconds: number): Promise<Settling> {
    const startedMs = this.#clock.monotonicMs()
    const before = { ...this.#table.requests }
    this.#movedAt.clear()
    this.#decisionMs = 0
    while (!this.isSettled()) {
      if (this.#clock.monotonicMs() - startedMs > maxSeconds * 1_000) {
        throw new Error(`Expected the fleet to be even within ${maxSeconds} s; ${this.#state()}.`)
      }
      await this.#clock.advance(100)
    }
    return {
      seconds: (this.#clock.monotonicMs() - startedMs) / 1_000,
      rounds: this.#movedAt.size,
      decisionMs: this.#decisionMs,
      requests: since(before, this.#table.requests),
    }
  }

  /** What is asked of the table in so many seconds. */
  async requestsIn(seconds: number): Promise<Requests> {
    const before = { ...this.#table.requests }
    await this.#clock.advance(seconds * 1_000)
    return since(before, this.#table.requests)
  }

  isSettled(): boolean {
    const leases = leasesIn(this.#table)
    const counts = countsOf(this.#table, [...this.#alive.keys()])
    return (
      leases.length === this.#shards &&
      Math.max(...counts) - Math.min(...counts) <= 1 &&
      leases.every(
        (lease) =>
          lease.checkpointOwner === undefined && this.#alive.has(holderOf(lease) ?? '') && this.#isHeld(lease.leaseKey),
      )
    )
  }

  #isHeld(leaseKey: string): boolean {
    const owner = this.#table.items.get(leaseKey)?.leaseOwner?.S ?? ''
    return this.#alive.get(owner)?.fleet.shards.some(({ lease }) => lease.leaseKey === leaseKey) ?? false
  }

  #state(): string {
    const leases = leasesIn(this.#table)
    const counts = countsOf(this.#table, [...this.#alive.keys()])
    return `${leases.length} leases, ${Math.min(...counts)} to ${Math.max(...counts)} a worker`
  }

  #start(workerId: string): void {
    const random = seededRandom(Number(workerId.slice(7)) + 1)
    const { table, die } = this.#mortal()
    const assign: Assign = (leases, workers) => {
      const startedAt = performance.now()
      const moves = assignByCount(leases, workers)
      this.#decisionMs = Math.max(this.#decisionMs, performance.now() - startedAt)
      if (moves.length > 0) this.#movedAt.add(this.#clock.monotonicMs())
      return moves
    }
    const fleet: Fleet<IdleShard> = new Fleet<IdleShard>({
      table,
      kinesis: listing(() => shardsOf(this.#shards)),
      streams: oneStream('orders', 'TRIM_HORIZON'),
      assign,
      failoverTime: FAILOVER_MS,
      closeTimeout: 10_000,
      formerStreamWaitMs: 3_600_000,
      maxLeases: Number.POSITIVE_INFINITY,
      clock: this.#clock,
      random,
      telemetry: new Telemetry(silentLogger, undefined, {}),
      workerId,
      consume: (holder) => new IdleShard(holder, this.#clock, 0.45 * FAILOVER_MS),
    })
    this.#alive.set(workerId, { die, fleet })
    void this.#clock.sleep(random() * 100).then(() => fleet.run(new AbortController().signal))
  }

  /** The table as one worker reaches it, until it dies: then nothing it asks is ever answered. */
  #mortal(): { table: Table; die: () => void } {
    let isDead = false
    const unless =
      <Args extends unknown[], Result>(ask: (...args: Args) => Promise<Result>) =>
      (...args: Args): Promise<Result> =>
        isDead ? new Promise(() => {}) : ask(...args)
    const table = this.#table
    return {
      die: () => {
        isDead = true
      },
      table: {
        scan: unless(() => table.scan()),
        ownedKeys: unless((workerId: string) => table.ownedKeys(workerId)),
        read: unless((kind: ItemKind, key: string) => table.read(kind, key)),
        update: unless((change: ItemChange) => table.update(change)),
        delete: unless((kind: ItemKind, key: string, when: readonly Condition[]) => table.delete(kind, key, when)),
      },
    }
  }
}

function since(before: Requests, after: Requests): Requests {
  return {
    writes: after.writes - before.writes,
    reads: after.reads - before.reads,
    queries: after.queries - before.queries,
    pages: after.pages - before.pages,
  }
}
