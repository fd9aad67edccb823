import { silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { assignByCount } from '../src/leases/assignment.ts'
import { Fleet, type FleetOptions } from '../src/leases/fleet.ts'
import { holderOf, type Lease } from '../src/leases/lease.ts'
import type { Item } from '../src/leases/table.ts'
import { oneStream, type Streams } from '../src/streams/streams.ts'
import { type ConsumerEvent, Telemetry } from '../src/telemetry/telemetry.ts'
import { F, leasesIn, listing, shardIdOf, shardsOf } from './coordinator.ts'
import { IdleShard } from './idle-shard.ts'
import { MemoryTable } from './memory-table.ts'

/** A shard whose last records are being handled for as long as the test says, when it is given up. */
class SlowShard extends IdleShard {
  drained: Promise<void> = Promise.resolve()
  #isStopping = false

  override stop(successor?: string): void {
    if (this.#isStopping) return
    this.#isStopping = true
    void this.drained.then(() => super.stop(successor))
  }
}

/** A table whose owner index can't be read, if the test says so. */
class FleetTable extends MemoryTable {
  isIndexDown = false

  override ownedKeys(workerId: string): Promise<string[]> {
    return this.isIndexDown ? Promise.reject(new Error('no index')) : super.ownedKeys(workerId)
  }
}

interface Worker {
  readonly fleet: Fleet<SlowShard>
  readonly events: ConsumerEvent[]
  readonly ended: Promise<unknown>
  readonly stop: () => Promise<void>
}

let table: FleetTable
let clock: ManualClock
let drained: Promise<void>

beforeEach(() => {
  table = new FleetTable()
  clock = new ManualClock()
  drained = Promise.resolve()
})

function start(
  workerId: string,
  options: Partial<FleetOptions<SlowShard>> = {},
  seed = workerId.charCodeAt(0),
): Worker {
  const stopping = new AbortController()
  const events: ConsumerEvent[] = []
  const fleet = new Fleet<SlowShard>({
    table,
    kinesis: listing(() => shardsOf(4)),
    streams: oneStream('orders', 'TRIM_HORIZON'),
    assign: assignByCount,
    failoverTime: F,
    closeTimeout: 10_000,
    formerStreamWaitMs: 3_600_000,
    maxLeases: Number.POSITIVE_INFINITY,
    clock,
    random: seededRandom(seed),
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}),
    workerId,
    consume: (holder) => {
      const shard = new SlowShard(holder, clock, 0.45 * F)
      shard.drained = drained
      return shard
    },
    ...options,
  })
  const ended = fleet.run(stopping.signal).then(
    () => undefined,
    (error: unknown) => error,
  )
  const stop = async (): Promise<void> => {
    stopping.abort()
    await ended
    await fleet.stop()
  }
  return { fleet, events, ended, stop }
}

const leasesOf = (workerId: string): Lease[] => leasesIn(table).filter((lease) => holderOf(lease) === workerId)
const set = (key: string, attributes: Item): void => {
  table.items.set(key, { ...table.items.get(key), ...attributes })
}
const isHeld = ({ fleet }: Worker): boolean[] => fleet.shards.map(({ holder }) => holder.isHeld())

describe('a worker that stops', () => {
  test('passes its leases on, if it leads, and the next one has them without anybody finding them unowned', async () => {
    const a = start('a')
    await clock.advance(F)
    const b = start('b')
    await clock.advance(2 * F)
    expect([leasesOf('a').length, leasesOf('b').length]).toEqual([2, 2])
    const stopped = a.stop()
    await clock.advance(20)
    await stopped
    expect(leasesOf('b')).toHaveLength(4)
    await clock.advance(F)
    expect(isHeld(b)).toEqual([true, true, true, true])
    await b.stop()
  })

  test('leaves alone what it has passed on to a worker that took it up and is stopping itself', async () => {
    const a = start('a')
    await clock.advance(F)
    const b = start('b')
    await clock.advance(2 * F)
    const slow = Promise.withResolvers<void>()
    const [last] = a.fleet.shards
    last!.drained = slow.promise
    const stopped = a.stop()
    await clock.advance(F / 2)
    expect(leasesOf('b')).toHaveLength(3)
    const draining = Promise.withResolvers<void>()
    for (const shard of b.fleet.shards) shard.drained = draining.promise
    const stoppedToo = b.stop()
    await clock.advance(F / 10)
    slow.resolve()
    await clock.advance(F / 10)
    await stopped
    expect(isHeld(b)).toEqual([true, true, true])
    // The fourth, which it never took up, is free for the next worker.
    expect(leasesOf('b')).toHaveLength(3)
    draining.resolve()
    await clock.advance(F / 10)
    await stoppedToo
  })

  test('takes back what it has passed on to a worker that left without taking it up', async () => {
    const a = start('a')
    await clock.advance(F)
    const b = start('b')
    await clock.advance(2 * F)
    const slow = Promise.withResolvers<void>()
    const [last] = a.fleet.shards
    last!.drained = slow.promise
    table.isIndexDown = true
    const stopped = a.stop()
    await clock.advance(F / 10)
    const stoppedToo = b.stop()
    await clock.advance(F / 10)
    await stoppedToo
    expect(leasesOf('b').length).toBeGreaterThan(0)
    slow.resolve()
    await clock.advance(F / 10)
    await stopped
    expect(leasesOf('b').length + leasesOf('a').length).toBeLessThanOrEqual(1)
  })
})

describe('a worker that can not do its part', () => {
  test('says nothing that keeps it alive while it can not find its leases', async () => {
    const a = start('a')
    await clock.advance(F)
    const b = start('b')
    await clock.advance(2 * F)
    table.isIndexDown = true
    await clock.advance(3.5 * F)
    const silent = table.items.get('b')?.shardwiseBeat
    await clock.advance(3 * F)
    expect(table.items.get('b')?.shardwiseBeat).toEqual(silent)
    table.isIndexDown = false
    await clock.advance(6 * F)
    expect(table.items.get('b')?.shardwiseBeat).not.toEqual(silent)
    await a.stop()
    await b.stop()
  })

  test('ends when another has started under its name, and gives back nothing of the other', async () => {
    const old = start('a')
    await clock.advance(F)
    const now = start('a', {}, 99)
    await clock.advance(2 * F)
    expect(await old.ended).toMatchObject({ code: 'ERR_STATE', message: expect.stringContaining('workerId "a"') })
    await old.fleet.stop()
    await clock.advance(4 * F)
    expect(isHeld(now)).toEqual([true, true, true, true])
    await now.stop()
  })

  test('is told that its leases are of an application with several streams, though it does not lead', async () => {
    const a = start('a')
    await clock.advance(F)
    set('1:other:2:shardId-000000000000', {
      ...table.items.get(shardIdOf(0)),
      leaseKey: { S: '1:other:2:shardId-000000000000' },
      streamName: { S: '1:other:2' },
      shardId: { S: 'shardId-000000000000' },
      leaseOwner: { S: 'b' },
    })
    const b = start('b')
    await clock.advance(F)
    expect(await b.ended).toMatchObject({ code: 'ERR_TABLE', message: expect.stringContaining('several streams') })
    await b.fleet.stop()
    await a.stop()
  })

  test('gives back the lease of a stream that it does not know, once it has looked for it', async () => {
    let lookedAtMs = Number.NEGATIVE_INFINITY
    let asked = 0
    const streams: Streams = {
      ...oneStream('orders', 'TRIM_HORIZON'),
      areSeveral: true,
      find: () => undefined,
      sources: [],
      get lookedAtMs() {
        return lookedAtMs
      },
      lookSoon: () => asked++,
    }
    const key = '1:new:2:shardId-000000000000'
    set(key, {
      leaseKey: { S: key },
      streamName: { S: '1:new:2' },
      shardId: { S: 'shardId-000000000000' },
      leaseOwner: { S: 'b' },
      leaseCounter: { N: '3' },
      checkpoint: { S: '7' },
    })
    set('Leader', {
      leaseKey: { S: 'Leader' },
      ownerName: { S: 'a' },
      recordVersionNumber: { S: '1' },
      leaseDuration: { S: '120000' },
    })
    const b = start('b', { streams })
    await clock.advance(F)
    expect(asked).toBeGreaterThan(0)
    expect(table.items.get(key)).toMatchObject({ leaseOwner: { S: 'b' } })
    lookedAtMs = clock.monotonicMs()
    await clock.advance(F)
    expect(table.items.get(key)).not.toHaveProperty('leaseOwner')
    await b.stop()
  })

  test('reads what is its own though its rounds as the leader fail', async () => {
    const a = start('a')
    await clock.advance(F)
    await a.stop()
    set(shardIdOf(1), { leaseOwner: { S: 'b' } })
    const b = start('b', {
      assign: () => {
        throw new Error('no idea')
      },
    })
    await clock.advance(F)
    expect(isHeld(b)).toEqual([true])
    expect(b.events).toContainEqual(expect.objectContaining({ type: 'callFailed' }))
    await b.stop()
    await settle()
  })
})
