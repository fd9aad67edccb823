import { silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { FULL_HASH_RANGE, type Position, TRIM_HORIZON } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { beat } from '../../test/progress.ts'
import { Telemetry } from '../telemetry/telemetry.ts'
import { type Lease, leaseFromItem } from './lease.ts'
import { assignTo, create, handOff, type Progress } from './lease-changes.ts'
import { LeaseHolder, type LeaseHolderContext } from './lease-holder.ts'
import type { Item, ItemChange } from './table.ts'

const shardId = 'shardId-000000000000'
const at = (number: number): { sequenceNumber: string; subSequenceNumber: number } => ({
  sequenceNumber: String(number),
  subSequenceNumber: 0,
})

/** A table whose next updates go wrong as the test says. */
class FaultyTable extends MemoryTable {
  faults: ('lost request' | 'lost answer' | 'hangs')[] = []

  override async update(change: ItemChange): Promise<Item | undefined> {
    const fault = this.faults.shift()
    if (fault === 'lost request') throw new Error('timeout')
    if (fault === 'hangs') return await new Promise(() => {})
    const item = await super.update(change)
    if (fault === 'lost answer') throw new Error('timeout')
    return item
  }

  get lease(): Lease {
    return leaseFromItem(this.items.get(shardId)!)!
  }
}

let table: FaultyTable
let clock: ManualClock
let context: LeaseHolderContext

beforeEach(async () => {
  table = new FaultyTable()
  clock = new ManualClock()
  context = {
    table,
    clock,
    workerId: 'a',
    failoverTime: 1_000,
    random: Math.random,
    initialPosition: 'TRIM_HORIZON',
    telemetry: new Telemetry(silentLogger, undefined, {}),
  }
  await table.update(
    create({
      streamIdentifier: undefined,
      shardId,
      hashRange: FULL_HASH_RANGE,
      parentShardIds: [],
      checkpoint: TRIM_HORIZON,
      startMs: undefined,
    }),
  )
  await table.update(assignTo(table.lease, 'a'))
})

async function hold(): Promise<LeaseHolder> {
  const holder = await LeaseHolder.acquire(table.lease, context)
  return holder!
}

/** Lets a write with its retries go on for a while. */
async function within(ms: number, write: Promise<boolean>): Promise<boolean | 'pending'> {
  let result: boolean | 'pending' = 'pending'
  void write.then((written) => {
    result = written
  })
  for (let passed = 0; passed < ms && result === 'pending'; passed += 10) await clock.advance(10)
  await settle()
  return result
}

test.each([
  { checkpoint: 'LATEST', initialPosition: 'TRIM_HORIZON', startMs: 10_000, where: 'a minute ago' },
  { checkpoint: 'AT_TIMESTAMP', initialPosition: { timestamp: 3_000 }, startMs: 3_000, where: 'at that time' },
  { checkpoint: 'AT_TIMESTAMP', initialPosition: 'TRIM_HORIZON', startMs: undefined, where: 'at the oldest record' },
  { checkpoint: 'TRIM_HORIZON', initialPosition: 'LATEST', startMs: undefined, where: 'at the oldest record' },
] as const)(
  'a lease that a KCL left at $checkpoint is read from $where on, with initialPosition $initialPosition',
  async ({ checkpoint, initialPosition, startMs }) => {
    table.items.set(shardId, { ...table.items.get(shardId), checkpoint: { S: checkpoint } })
    await clock.advance(70_000 - clock.wallMs())
    const holder = await LeaseHolder.acquire(table.lease, { ...context, initialPosition })
    expect(holder?.lease.startMs).toBe(startMs)
    await holder?.close()
  },
)

test('a lease that has changed since it was seen is not taken up', async () => {
  const seen = table.lease
  await hold()
  expect(await LeaseHolder.acquire(seen, context)).toBeUndefined()
})

test('it holds for failoverTime after the last successful renewal was sent, then it is lost and nothing more is written', async () => {
  const holder = await hold()
  await clock.advance(900)
  expect(await holder.renew(beat())).toBe(true)
  await clock.advance(999)
  expect(holder.isHeld()).toBe(true)
  await clock.advance(1)
  expect(holder.isHeld()).toBe(false)
  expect(holder.lost.reason).toMatchObject({ code: 'ERR_LEASE_LOST', shardId })
  const before = table.lease
  expect(await holder.renew(beat(at(5)))).toBe(false)
  expect(await holder.release(at(5))).toBe(false)
  expect(table.lease).toEqual(before)
})

test('renewals that hang do not keep it', async () => {
  const holder = await hold()
  table.faults = ['hangs', 'hangs', 'hangs', 'hangs']
  const renewal = holder.renew(beat())
  await clock.advance(1_000)
  expect(holder.lost.aborted).toBe(true)
  expect(await renewal).toBe(false)
})

test('one that is never answered is tried again while there is time, whatever client is used', async () => {
  const holder = await hold()
  table.faults = ['hangs']
  expect(await within(600, holder.renew(beat(at(5))))).toBe(true)
  expect(table.lease.checkpoint).toEqual(at(5))
})

test('a machine that was suspended has lost it by the clock that went on', async () => {
  let aheadMs = 0
  const suspended = {
    monotonicMs: () => clock.monotonicMs(),
    wallMs: () => clock.wallMs() + aheadMs,
    sleep: (ms: number, signal?: AbortSignal) => clock.sleep(ms, signal),
  }
  const holder = (await LeaseHolder.acquire(table.lease, { ...context, clock: suspended }))!
  expect(holder.isHeld()).toBe(true)
  aheadMs = 1_001
  expect(holder.isHeld()).toBe(false)
  aheadMs = -60_000
  expect(holder.isHeld()).toBe(true)
  await holder.close()
})

test.each(['lost request', 'lost answer'] as const)('a %s is made up for, once', async (fault) => {
  const holder = await hold()
  const { counter } = table.lease
  table.faults = [fault]
  expect(await within(500, holder.renew(beat(at(5))))).toBe(true)
  expect(table.lease).toMatchObject({ counter: counter + 1, checkpoint: at(5) })
  expect(await holder.renew(beat(at(6)))).toBe(true)
  expect(table.lease).toMatchObject({ counter: counter + 2, checkpoint: at(6) })
})

test('a renewal whose answer was lost counts from when it was first sent', async () => {
  const holder = await hold()
  await clock.advance(500)
  table.faults = ['lost answer', 'lost request', 'lost request']
  expect(await within(400, holder.renew(beat()))).toBe(true)
  await clock.advance(1_500 - clock.monotonicMs() - 1)
  expect(holder.isHeld()).toBe(true)
  await clock.advance(1)
  expect(holder.isHeld()).toBe(false)
})

test('a lost answer of the last write is made up for', async () => {
  const holder = await hold()
  table.faults = ['lost answer']
  expect(await within(500, holder.release(at(5)))).toBe(true)
  expect(table.lease).toMatchObject({ owner: undefined, checkpoint: at(5) })
})

test('taken by another worker, it is lost at the next renewal', async () => {
  const holder = await hold()
  await table.update(assignTo(table.lease, 'b'))
  expect(await holder.renew(beat(at(9)))).toBe(false)
  expect(holder.lost.reason.message).toContain('another worker has changed it, b')
  expect(table.lease).toMatchObject({ owner: 'b', checkpoint: TRIM_HORIZON })
})

test('lost and held again by the same worker, the old holder can write nothing', async () => {
  const old = await hold()
  await table.update(assignTo(table.lease, 'a'))
  const now = await hold()
  expect(await old.renew(beat(at(9)))).toBe(false)
  expect(await now.renew(beat(at(3)))).toBe(true)
  expect(table.lease.checkpoint).toEqual(at(3))
})

test('a handoff is noticed at the next renewal, and the lease goes to its next owner', async () => {
  const holder = await hold()
  await table.update(handOff(table.lease, 'b'))
  expect(holder.handoffTo).toBeUndefined()
  expect(await holder.renew(beat(at(2)))).toBe(true)
  expect(holder.handoffTo).toBe('b')
  expect(await holder.release(at(3))).toBe(true)
  expect(table.lease).toMatchObject({ owner: 'b', checkpointOwner: undefined, checkpoint: at(3) })
})

test('a handoff that began unnoticed is not undone by giving the lease back', async () => {
  const holder = await hold()
  await table.update(handOff(table.lease, 'b'))
  expect(await holder.release(at(3))).toBe(true)
  expect(table.lease).toMatchObject({ owner: 'b', checkpointOwner: undefined, checkpoint: at(3) })
})

test('writes go one after the other, each with the counter that the one before has left', async () => {
  const holder = await hold()
  const { counter } = table.lease
  const writes = [
    holder.renew(beat(at(1))),
    holder.renew(beat(at(2))),
    holder.release(at(3)),
    holder.renew(beat(at(4))),
  ]
  expect(await Promise.all(writes)).toEqual([true, true, true, false])
  expect(table.lease).toMatchObject({ counter: counter + 3, owner: undefined, checkpoint: at(3) })
  expect(holder.lost.aborted).toBe(false)
})

test('an unmoved checkpoint is not written again', async () => {
  const holder = await hold()
  await holder.renew(beat(at(1)))
  table.items.set(shardId, { ...table.items.get(shardId), pendingCheckpoint: { S: 'kept' } })
  await holder.renew(beat(at(1)))
  expect(table.items.get(shardId)).toHaveProperty('pendingCheckpoint')
})

describe('at the end of its shard', () => {
  test('the last write names the children', async () => {
    const holder = await hold()
    expect(await holder.end(['x', 'y'])).toBe(true)
    expect(table.lease).toMatchObject({ checkpoint: { sequenceNumber: 'SHARD_END' }, childShardIds: ['x', 'y'] })
    await clock.advance(5_000)
    expect(holder.lost.aborted).toBe(false)
  })
})

describe('a checkpoint in two phases', () => {
  const state = new Uint8Array([1, 2])
  const pending = { ...at(9), state }
  const progress = (checkpoint: Position): Progress => ({ checkpoint, throughputKBps: 0 })

  test('is announced with its state, and who takes the lease over sees it until a checkpoint is written', async () => {
    const holder = await hold()
    expect(await holder.prepare(at(9), state)).toBe(true)
    expect(holder.lease.pendingCheckpoint).toEqual(pending)
    await holder.release(undefined, 'a')
    const next = await hold()
    expect(next.lease.pendingCheckpoint).toEqual(pending)
    await next.renew(progress(at(3)))
    expect(table.lease.pendingCheckpoint).toBeUndefined()
    await next.close()
  })

  test('stays announced while its holder writes earlier ones, and goes with the one that reaches it', async () => {
    const holder = await hold()
    await holder.prepare(at(9), undefined)
    await holder.renew(progress(at(8)))
    expect(table.lease).toMatchObject({ checkpoint: at(8), pendingCheckpoint: { ...at(9), state: undefined } })
    await holder.renew(progress(at(9)))
    expect(table.lease.pendingCheckpoint).toBeUndefined()
    await holder.close()
  })

  test('is announced together with the checkpoint that has been reached', async () => {
    const holder = await hold()
    const { counter } = holder.lease
    await holder.prepare(at(9), state)
    await holder.prepare(at(20), undefined, at(9))
    expect(table.lease).toMatchObject({ checkpoint: at(9), pendingCheckpoint: at(20), counter: counter + 2 })
    await holder.close()
  })

  test('stays announced in the last write too', async () => {
    const holder = await hold()
    await holder.prepare(at(9), state)
    await holder.release(at(8))
    expect(table.lease).toMatchObject({ owner: undefined, checkpoint: at(8), pendingCheckpoint: pending })
  })

  test('is written once when the answer is lost, and not at all when the lease is', async () => {
    const holder = await hold()
    table.faults = ['lost answer']
    expect(await within(500, holder.prepare(at(9), state))).toBe(true)
    expect(table.lease.pendingCheckpoint).toEqual(pending)
    table.items.set(shardId, { ...table.items.get(shardId), leaseOwner: { S: 'b' }, leaseCounter: { N: '99' } })
    expect(await within(500, holder.prepare(at(10), state))).toBe(false)
    await holder.close()
  })
})
