import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { createFleet } from '../src/create-fleet.ts'
import type { Fleet } from '../src/leases/fleet.ts'
import type { Condition, Item, ItemChange, ItemKind, Table } from '../src/leases/table.ts'
import { resolveOptions } from '../src/options.ts'
import type { ShardConsumer } from '../src/processing/shard-consumer.ts'
import { oneStream } from '../src/streams/streams.ts'
import { Telemetry } from '../src/telemetry/telemetry.ts'
import { shardsOf } from './coordinator.ts'
import { MemoryTable } from './memory-table.ts'

const LEASES = 4
/** Of whole length for every period there is. */
const MEASURED_MS = 180_000
const SETTLING_MS = 20_500

type Counts = Readonly<Record<string, number>>

/** A table as one worker reaches it: counts what it is asked. */
class CountedTable implements Table {
  readonly #table: MemoryTable
  counts: Record<string, number> = {}

  constructor(table: MemoryTable) {
    this.#table = table
  }

  scan(): Promise<Item[]> {
    this.#count('scans')
    return this.#table.scan()
  }

  ownedKeys(workerId: string): Promise<string[]> {
    this.#count('queries')
    return this.#table.ownedKeys(workerId)
  }

  read(kind: ItemKind, key: string): Promise<Item | undefined> {
    this.#count(`${kind} reads`)
    return this.#table.read(kind, key)
  }

  update(change: ItemChange): Promise<Item | undefined> {
    this.#count(`${change.kind} writes`)
    return this.#table.update(change)
  }

  delete(kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean> {
    this.#count('deletes')
    return this.#table.delete(kind, key, when)
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}

/** Its shards have no records, or one new record at each read. */
function streamOf(load: 'idle' | 'busy'): Kinesis {
  let sequenceNumber = 0
  const record = (): object => ({
    SequenceNumber: String(++sequenceNumber),
    PartitionKey: 'key',
    Data: Buffer.from('data'),
    ApproximateArrivalTimestamp: new Date(0),
  })
  const answers: Record<string, () => object> = {
    ListShardsCommand: () => ({ Shards: shardsOf(2 * LEASES) }),
    GetShardIteratorCommand: () => ({ ShardIterator: 'next' }),
    GetRecordsCommand: () => ({
      Records: load === 'busy' ? [record()] : [],
      NextShardIterator: 'next',
      MillisBehindLatest: 0,
    }),
  }
  const send = async (command: object): Promise<object> => answers[command.constructor.name]!()
  return { send } as unknown as Kinesis
}

/** Two workers with 4 leases each, at rest: what each asks of the table in 18 failover times. */
async function requestsOf(load: 'idle' | 'busy'): Promise<{ leader: Counts; follower: Counts }> {
  const clock = new ManualClock()
  const shared = new MemoryTable()
  const stop = new AbortController()
  const start = (workerId: string): { table: CountedTable; fleet: Fleet<ShardConsumer>; ended: Promise<void> } => {
    const table = new CountedTable(shared)
    const { fleet } = createFleet(
      { eachRecord: () => {} },
      {
        table,
        kinesis: streamOf(load),
        streams: oneStream('orders', 'TRIM_HORIZON'),
        options: resolveOptions({
          application: 'shop',
          stream: 'orders',
          workerId,
          idleTimeBetweenReads: 1_000,
          clock,
          random: seededRandom(workerId.charCodeAt(0)),
          logger: silentLogger,
        }),
        telemetry: new Telemetry(silentLogger, undefined, {}),
        factsOf: () => ({
          known: () => 86_400_000,
          ask: () => Promise.resolve(86_400_000),
          placement: () => 'byKey',
        }),
      },
    )
    return { table, fleet, ended: fleet.run(stop.signal).then(() => fleet.stop()) }
  }
  const leader = start('a')
  await clock.advance(1_100)
  const follower = start('b')
  await clock.advance(SETTLING_MS)
  expect([leader.fleet.isLeader, follower.fleet.isLeader]).toEqual([true, false])
  expect([leader.fleet.shards.length, follower.fleet.shards.length]).toEqual([LEASES, LEASES])
  leader.table.counts = {}
  follower.table.counts = {}
  await clock.advance(MEASURED_MS)
  const counts = { leader: { ...leader.table.counts }, follower: { ...follower.table.counts } }
  stop.abort()
  await clock.advance(1_000)
  await Promise.all([leader.ended, follower.ended])
  return counts
}

test('a lease without records is written every 0.45 of failoverTime', async () => {
  const { leader, follower } = await requestsOf('idle')
  expect(leader['lease writes']).toBe((LEASES * MEASURED_MS) / 4_500)
  expect(follower['lease writes']).toBe(leader['lease writes'])
})

test('a lease whose checkpoint moves all the time is written every third of failoverTime, and nothing else more often', async () => {
  const idle = await requestsOf('idle')
  const { leader, follower } = await requestsOf('busy')
  const writes = (LEASES * MEASURED_MS * 3) / 10_000
  expect(leader).toEqual({ ...idle.leader, 'lease writes': writes })
  expect(follower).toEqual({ ...idle.follower, 'lease writes': writes })
})

test('whatever the number of leases, a worker writes twice in a failoverTime; the leader four times, and looks ten times', async () => {
  const { leader } = await requestsOf('idle')
  const { 'lease writes': _, ...rest } = leader
  expect(rest).toEqual({
    'worker writes': 36,
    'coordinator writes': 36,
    // One a second, and a consistent one with each listing of the shards, once a minute.
    scans: 180 + 3,
  })
})

test('who does not lead asks the index every 1.5 s and looks at the leader lock every 2 s', async () => {
  const { follower } = await requestsOf('idle')
  const { 'lease writes': _, ...rest } = follower
  expect(rest).toEqual({
    'worker writes': 36,
    queries: 120,
    'coordinator reads': 90,
    // The leader's entry, once a minute.
    'worker reads': 3,
  })
})
