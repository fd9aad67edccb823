import { type Clock, type Kinesis, silentLogger } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { MAX_HASH_KEY } from '@shardwise/records'
import { inParallel } from '../src/in-parallel.ts'
import { type Assign, assignByCount } from '../src/leases/assignment.ts'
import { FleetView, type Look } from '../src/leases/fleet-view.ts'
import { Leader } from '../src/leases/leader.ts'
import { LEADER_KEY, LeaderLock } from '../src/leases/leader-lock.ts'
import { holderOf, isFinished, type Lease, leaseFromItem } from '../src/leases/lease.ts'
import { acquire, release, renew } from '../src/leases/lease-changes.ts'
import type { Item, Table } from '../src/leases/table.ts'
import { WorkerPresence } from '../src/leases/worker-entry.ts'
import { oneStream, type Streams } from '../src/streams/streams.ts'
import { type ConsumerEvent, Telemetry } from '../src/telemetry/telemetry.ts'

/** The failover time of every {@link Coordinator}. */
export const F = 1_000

export interface CoordinatorOptions {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly clock: Clock
  readonly streams?: Streams
  readonly maxLeases?: number
  readonly assign?: Assign
  readonly formerStreamWaitMs?: number
}

/** What a worker does besides reading: shows itself, looks at the table, leads if it comes to it. Each step is the test's. */
export class Coordinator {
  readonly workerId: string
  readonly events: ConsumerEvent[] = []
  readonly view: FleetView
  readonly lock: LeaderLock
  readonly leader: Leader
  readonly presence: WorkerPresence
  readonly #options: CoordinatorOptions
  #lastLook: Look = { sentAtMs: 0, nowMs: 0, wallMs: 0 }

  constructor(workerId: string, options: CoordinatorOptions) {
    this.workerId = workerId
    this.#options = options
    const { streams = oneStream('orders', 'TRIM_HORIZON') } = options
    const all = {
      maxLeases: Number.POSITIVE_INFINITY,
      assign: assignByCount,
      formerStreamWaitMs: 3_600_000,
      ...options,
      streams,
      workerId,
      failoverTime: F,
      closeTimeout: 10_000,
      random: seededRandom([...workerId].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7)),
      telemetry: new Telemetry(silentLogger, (event) => this.events.push(event), {}),
    }
    this.view = new FleetView({
      ...all,
      isOurs: ({ streamIdentifier }) => (streamIdentifier !== undefined) === streams.areSeveral,
      onSkipped: (leaseKey, reason) => this.events.push({ type: 'itemSkipped', leaseKey, reason }),
    })
    this.lock = new LeaderLock({ ...all, durationMs: 1.5 * F })
    this.leader = new Leader(this.view, this.lock, all)
    this.presence = new WorkerPresence({ ...all, periodMs: F / 2 })
  }

  /** Heartbeat. */
  async beat(): Promise<void> {
    await this.presence.show()
    await this.lock.renew()
  }

  /** Follows the lock; scans the table, and leads, if it comes to it. Resolves to whether it led; rejects if that failed. */
  async look(): Promise<boolean> {
    const { table } = this.#options
    if (!this.lock.held) {
      const [item, look] = await this.#timed(() => table.read('coordinator', LEADER_KEY))
      this.lock.observe(item, look)
    }
    if (!this.lock.held && !this.lock.isStale) {
      this.leader.rest()
      return false
    }
    try {
      await this.scan()
      const isLeader = await this.lock.consider(this.view.leaderItem, this.#lastLook)
      if (isLeader) await this.leader.lead(new AbortController().signal)
      else this.leader.rest()
      return isLeader
    } catch (error) {
      await this.leader.roundFailed(error)
      throw error
    }
  }

  async scan(): Promise<void> {
    const [items, look] = await this.#timed(() => this.#options.table.scan())
    this.#lastLook = look
    this.view.observe(items, look)
  }

  /** The events of one type, without it. */
  told<Type extends ConsumerEvent['type']>(type: Type): Omit<Extract<ConsumerEvent, { type: Type }>, 'type'>[] {
    return this.events.filter((event) => event.type === type).map(({ type: _, ...rest }) => rest as never)
  }

  async #timed<T>(ask: () => Promise<T>): Promise<[T, Look]> {
    const { clock } = this.#options
    const sentAtMs = clock.monotonicMs()
    const answer = await ask()
    return [answer, { sentAtMs, nowMs: clock.monotonicMs(), wallMs: clock.wallMs() }]
  }
}

/** How many leases each of the workers has; one that is being handed off counts for its next owner. */
export function countsOf(table: { readonly items: ReadonlyMap<string, Item> }, workerIds: readonly string[]): number[] {
  const counts = new Map(workerIds.map((workerId) => [workerId, 0]))
  for (const lease of leasesIn(table)) {
    if (lease.owner !== undefined) counts.set(lease.owner, (counts.get(lease.owner) ?? 0) + 1)
  }
  return workerIds.map((workerId) => counts.get(workerId) ?? 0)
}

export function leasesIn(table: { readonly items: ReadonlyMap<string, Item> }): Lease[] {
  return [...table.items.values()]
    .filter(({ entityType }) => (entityType?.S ?? 'LEASE') === 'LEASE')
    .flatMap((item) => leaseFromItem(item) ?? [])
}

/**
 * What living holders do: take up what is theirs, renew it, hand off what is asked of them. One write a lease.
 *
 * @param handsOff whether one does; false for a holder whose handler never comes back
 */
export async function hold(
  table: Table,
  leases: readonly Lease[],
  isAlive: (id: string) => boolean,
  handsOff: (id: string) => boolean = () => true,
): Promise<void> {
  await inParallel(leases, async (lease) => {
    const holder = holderOf(lease)
    if (holder === undefined || isFinished(lease) || !isAlive(holder)) return
    const change =
      lease.owner !== holder && handsOff(holder)
        ? release(lease, holder, undefined)
        : lease.token?.startsWith(`${holder}:`)
          ? renew(lease, holder, { checkpoint: undefined, throughputKBps: 0 })
          : acquire(lease, holder, `${holder}:${lease.counter}`, 0)
    await table.update(change)
  })
}

/** A stream of so many shards, as ListShards tells of it. Named by their place: `shardId-000000000007`. */
export function shardsOf(count: number): object[] {
  const width = (MAX_HASH_KEY + 1n) / BigInt(count)
  return Array.from({ length: count }, (_, index) => ({
    ShardId: shardIdOf(index),
    HashKeyRange: {
      StartingHashKey: String(BigInt(index) * width),
      EndingHashKey: String(index === count - 1 ? MAX_HASH_KEY : BigInt(index + 1) * width - 1n),
    },
    SequenceNumberRange: { StartingSequenceNumber: String(index + 1) },
  }))
}

export function shardIdOf(index: number): string {
  return `shardId-${String(index).padStart(12, '0')}`
}

/** A Kinesis that knows only ListShards. @param list the shards of a stream; throws for one that can't be listed */
export function listing(list: (stream: string) => object[]): Kinesis {
  const send = (command: { input: { StreamName?: string; StreamARN?: string } }): Promise<object> => {
    const { StreamName, StreamARN = '' } = command.input
    return new Promise((resolve) => resolve({ Shards: list(StreamName ?? StreamARN) }))
  }
  return { send } as unknown as Kinesis
}
