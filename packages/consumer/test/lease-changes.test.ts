import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { silentLogger, systemClock } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { FULL_HASH_RANGE, type Position, SHARD_END, TRIM_HORIZON } from '@shardwise/records'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Lease, leaseFromItem } from '../src/leases/lease.ts'
import {
  acquire,
  assignTo,
  create,
  end,
  handOff,
  judgeRefusal,
  type Progress,
  release,
  renew,
  unchanged,
} from '../src/leases/lease-changes.ts'
import { openTable } from '../src/leases/open-table.ts'
import type { ItemChange, Table } from '../src/leases/table.ts'
import { Telemetry } from '../src/telemetry/telemetry.ts'
import { MemoryTable } from './memory-table.ts'
import { beat } from './progress.ts'

let local: Local
let dynamodb: DynamoDBClient
let inDynamoDB: Table

beforeAll(async () => {
  local = await startLocal({ streams: {} })
  dynamodb = new DynamoDBClient(local.dynamodb)
  inDynamoDB = await open('leases', 'a')
})

afterAll(async () => {
  dynamodb.destroy()
  await local.stop()
})

function open(tableName: string, workerId: string): Promise<Table> {
  return openTable(
    {
      dynamodb,
      tableName,
      tableBillingMode: 'PAY_PER_REQUEST',
      tableReadCapacity: 10,
      tableWriteCapacity: 10,
      tableTags: {},
      tableDeletionProtection: false,
      tablePointInTimeRecovery: false,
      workerId,
      failoverTime: 10_000,
      clock: systemClock,
      random: Math.random,
      telemetry: new Telemetry(silentLogger, undefined, {}),
    },
    new AbortController().signal,
  )
}

const shardIdOf = (index: number): string => `shardId-00000000000${index}`
const at = (sequenceNumber: string): Position => ({ sequenceNumber, subSequenceNumber: 0 })
const progress = (checkpoint?: Position): Progress => ({ checkpoint, throughputKBps: 0.25 })

describe.each([
  { kind: 'in memory', makeTable: (): Table => new MemoryTable() },
  { kind: 'in DynamoDB', makeTable: (): Table => inDynamoDB },
])('leases $kind', ({ makeTable }) => {
  const shardId = shardIdOf(0)

  async function tableWithLease(): Promise<{ table: Table; lease: Lease }> {
    const table = makeTable()
    await table.delete('lease', shardId, [])
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
    return { table, lease: await read(table) }
  }

  async function read(table: Table): Promise<Lease> {
    return leaseFromItem((await table.read('lease', shardId))!)!
  }

  async function write(table: Table, change: ItemChange): Promise<Lease> {
    const item = await table.update(change)
    expect(item, 'the write was refused').toBeDefined()
    return leaseFromItem(item!)!
  }

  async function refused(table: Table, change: ItemChange): Promise<void> {
    expect(await table.update(change)).toBeUndefined()
  }

  async function heldByA(): Promise<{ table: Table; lease: Lease }> {
    const { table, lease } = await tableWithLease()
    const assigned = await write(table, assignTo(lease, 'a'))
    return { table, lease: await write(table, acquire(assigned, 'a', 'token-a', 0)) }
  }

  test('creating one that exists changes nothing', async () => {
    const { table, lease } = await heldByA()
    const { hashRange } = lease
    await refused(
      table,
      create({
        streamIdentifier: undefined,
        shardId,
        hashRange: hashRange!,
        parentShardIds: [],
        checkpoint: TRIM_HORIZON,
        startMs: undefined,
      }),
    )
    expect(await read(table)).toEqual(lease)
  })

  test('renewing takes the counter up by one, and only the one who saw the last counter can', async () => {
    const { table, lease } = await heldByA()
    expect(await write(table, renew(lease, 'a', beat()))).toEqual({ ...lease, counter: lease.counter + 1 })
    await refused(table, renew(lease, 'a', beat(at('7'))))
    expect((await read(table)).checkpoint).toEqual(TRIM_HORIZON)
  })

  test('a worker that is not the holder can neither renew nor end nor release', async () => {
    const { table, lease } = await heldByA()
    await refused(table, renew(lease, 'b', beat()))
    await refused(table, end(lease, 'b', []))
    await refused(table, release(lease, 'b', undefined))
  })

  test('of two that assign an expired lease one succeeds, and its late holder is shut out', async () => {
    const { table, lease } = await heldByA()
    const taken = await write(table, assignTo(lease, 'b'))
    expect(taken).toMatchObject({ owner: 'b', counter: lease.counter + 1, ownerSwitches: 1 })
    await refused(table, assignTo(lease, 'c'))
    await refused(table, renew(lease, 'a', beat(at('9'))))
    await refused(table, release(lease, 'a', at('9')))
  })

  test('a lease renewed between being seen and being assigned is not assigned', async () => {
    const { table, lease } = await heldByA()
    await write(table, renew(lease, 'a', beat()))
    await refused(table, assignTo(lease, 'b'))
  })

  test('assigning or renewing a deleted lease makes no malformed item', async () => {
    const { table, lease } = await heldByA()
    expect(await table.delete('lease', shardId, [unchanged(lease)])).toBe(true)
    await refused(table, assignTo(lease, 'b'))
    await refused(table, renew(lease, 'a', beat()))
    await refused(table, handOff(lease, 'b'))
    expect(await table.read('lease', shardId)).toBeUndefined()
  })

  test('deleting one that has changed since it was seen is refused', async () => {
    const { table, lease } = await heldByA()
    await write(table, renew(lease, 'a', beat(at('5'))))
    expect(await table.delete('lease', shardId, [unchanged(lease)])).toBe(false)
  })

  test('in a handoff the old holder goes on until its last write, and only then the new one can start', async () => {
    const { table, lease } = await heldByA()
    const moving = await write(table, handOff(lease, 'b'))
    expect(moving).toMatchObject({ owner: 'b', checkpointOwner: 'a', counter: lease.counter })
    await refused(table, acquire(moving, 'b', 'token-b', 0))
    await refused(table, handOff(moving, 'c'))
    const renewed = await write(table, renew(lease, 'a', beat(at('3'))))
    expect(renewed).toMatchObject({ owner: 'b', checkpointOwner: 'a', counter: lease.counter + 1 })
    const moved = await write(table, release(renewed, 'a', at('4')))
    expect(moved).toMatchObject({ owner: 'b', checkpointOwner: undefined, checkpoint: at('4'), ownerSwitches: 0 })
    await refused(table, renew(moved, 'a', beat(at('5'))))
    expect(await write(table, acquire(moved, 'b', 'token-b', 0))).toMatchObject({ token: 'token-b' })
  })

  test('a holder that does not know of the handoff cannot release the lease to nobody', async () => {
    const { table, lease } = await heldByA()
    await write(table, handOff(lease, 'b'))
    await refused(table, release(lease, 'a', undefined))
    expect(judgeRefusal(release(lease, 'a', undefined), lease, 'a', await table.read('lease', shardId))).toBe('held')
  })

  test('a handoff whose old holder is gone ends by assignment', async () => {
    const { table, lease } = await heldByA()
    const moving = await write(table, handOff(lease, 'b'))
    expect(await write(table, assignTo(moving, 'b'))).toMatchObject({ owner: 'b', checkpointOwner: undefined })
    await refused(table, renew(lease, 'a', beat()))
  })

  test('a shard that has ended is not handed off, and its end leaves no handoff pending', async () => {
    const { table, lease } = await heldByA()
    const moving = await write(table, handOff(lease, 'b'))
    const ended = await write(table, end(moving, 'a', ['shardId-000000000001']))
    expect(ended).toMatchObject({
      checkpoint: SHARD_END,
      checkpointOwner: undefined,
      childShardIds: ['shardId-000000000001'],
    })
    await refused(table, handOff(lease, 'b'))
  })

  test('released without a handoff, it has no owner', async () => {
    const { table, lease } = await heldByA()
    expect(await write(table, release(lease, 'a', at('6')))).toMatchObject({ owner: undefined, checkpoint: at('6') })
  })

  test('a KCL lease at LATEST gets the time at which reading starts when it is taken up', async () => {
    const { table, lease } = await tableWithLease()
    const assigned = await write(table, assignTo(lease, 'a'))
    await table.update({ kind: 'lease', key: shardId, when: [], set: { checkpoint: { S: 'LATEST' } } })
    const latest = { ...assigned, checkpoint: at('LATEST') }
    const held = await write(table, acquire(latest, 'a', 't', 1_234))
    expect(held.startMs).toBe(1_234)
    expect((await write(table, acquire(held, 'a', 't', 9_999))).startMs).toBe(1_234)
  })

  test('a holder that leaves can pass the lease on, and the next one goes on from its last checkpoint', async () => {
    const { table, lease } = await heldByA()
    const passed = await write(table, release(lease, 'a', at('6'), 'b'))
    expect(passed).toMatchObject({ owner: 'b', checkpointOwner: undefined, checkpoint: at('6'), ownerSwitches: 0 })
    expect(await write(table, acquire(passed, 'b', 'token-b', 0))).toMatchObject({ checkpoint: at('6') })
  })

  test('in a handoff the lease goes where the leader sent it, whomever else its holder has in mind', async () => {
    const { table, lease } = await heldByA()
    const moving = await write(table, handOff(lease, 'b'))
    expect(await write(table, release(moving, 'a', at('6'), 'c'))).toMatchObject({ owner: 'b' })
  })

  test('a checkpoint clears what the KCL had prepared, a heartbeat leaves it, and what nobody knows stays', async () => {
    const { table, lease } = await heldByA()
    const pending = {
      pendingCheckpoint: { S: '9' },
      pendingCheckpointSubSequenceNumber: { N: '0' },
      pendingCheckpointState: { B: new Uint8Array([1, 2]) },
    }
    const unknown = { childShardIds: { SS: ['x'] }, somethingNew: { M: { deep: { L: [{ N: '1' }] } } } }
    await table.update({ kind: 'lease', key: shardId, when: [], set: { ...pending, ...unknown } })
    const renewed = await write(table, renew(lease, 'a', progress()))
    expect(await table.read('lease', shardId)).toMatchObject({ ...pending, ...unknown, throughputKBps: { N: '0.25' } })
    await write(table, renew(renewed, 'a', progress(at('7'))))
    const item = (await table.read('lease', shardId))!
    expect(item).toMatchObject({ ...unknown, checkpoint: { S: '7' } })
    expect(Object.keys(item).filter((name) => name.startsWith('pending'))).toEqual([])
  })

  describe('after a refusal', () => {
    async function judge(
      change: (lease: Lease) => ItemChange,
      meanwhile: (lease: Lease) => ItemChange[],
    ): Promise<string> {
      const { table, lease } = await heldByA()
      for (const done of meanwhile(lease)) await write(table, done)
      await refused(table, change(lease))
      return judgeRefusal(change(lease), lease, 'a', await table.read('lease', shardId))
    }
    const heartbeat = (lease: Lease): ItemChange => renew(lease, 'a', beat())
    const checkpoint = (lease: Lease): ItemChange => renew(lease, 'a', beat(at('8')))
    const passedOn = (lease: Lease): ItemChange => release(lease, 'a', at('8'), 'b')
    const farewell = (lease: Lease): ItemChange => release(lease, 'a', at('8'))

    test('the same write done before with its answer lost is known as done', async () => {
      expect(await judge(heartbeat, (lease) => [heartbeat(lease)])).toBe('written')
      expect(await judge(checkpoint, (lease) => [checkpoint(lease)])).toBe('written')
      expect(await judge(farewell, (lease) => [farewell(lease)])).toBe('written')
      expect(await judge(passedOn, (lease) => [passedOn(lease)])).toBe('written')
      const finish = (lease: Lease): ItemChange => end(lease, 'a', ['y', 'x'])
      expect(await judge(finish, (lease) => [finish(lease)])).toBe('written')
    })

    test('a counter one higher with another checkpoint is not ours', async () => {
      expect(await judge(checkpoint, (lease) => [heartbeat(lease)])).toBe('lost')
    })

    test('a counter two higher is not ours', async () => {
      expect(
        await judge(heartbeat, (lease) => [
          heartbeat(lease),
          renew({ ...lease, counter: lease.counter + 1 }, 'a', beat()),
        ]),
      ).toBe('lost')
    })

    test('another owner with the counter one higher is not ours', async () => {
      expect(await judge(heartbeat, (lease) => [assignTo(lease, 'b')])).toBe('lost')
      expect(await judge(farewell, (lease) => [assignTo(lease, 'b')])).toBe('lost')
    })

    test('a second worker of the same id that took it up is told apart', async () => {
      expect(await judge(heartbeat, (lease) => [acquire(lease, 'a', 'other-token', 0)])).toBe('lost')
    })

    test('an answer lost before a handoff began is known as done', async () => {
      expect(
        await judge(heartbeat, (lease) => [heartbeat(lease), handOff({ ...lease, counter: lease.counter + 1 }, 'b')]),
      ).toBe('written')
    })
  })
})

test('a table is opened by several real clients at once', async () => {
  const tables = await Promise.all(['a', 'b', 'c'].map((workerId) => open('raced', workerId)))
  await tables[0]!.update({ kind: 'lease', key: shardIdOf(7), when: [], set: { leaseOwner: { S: 'b' } } })
  expect(await tables[1]!.ownedKeys('b')).toEqual([shardIdOf(7)])
  expect((await tables[2]!.scan()).map(({ leaseKey }) => leaseKey?.S).toSorted()).toEqual([
    'Migration3.0',
    shardIdOf(7),
  ])
})
