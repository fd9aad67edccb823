import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { systemClock } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { FULL_HASH_RANGE, type Position, SHARD_END, TRIM_HORIZON } from '@shardwise/records'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DynamoDBTable } from '../src/dynamodb-table.ts'
import { type Lease, leaseFromItem } from '../src/lease.ts'
import {
  acquire,
  assignTo,
  create,
  end,
  handOff,
  judgeRefusal,
  release,
  renew,
  unchanged,
} from '../src/lease-changes.ts'
import type { ItemChange, Table } from '../src/table.ts'
import { MemoryTable } from './memory-table.ts'

let local: Local
let dynamodb: DynamoDBClient

beforeAll(async () => {
  local = await startLocal({ streams: {} })
  dynamodb = new DynamoDBClient(local.dynamodb)
})

afterAll(async () => {
  dynamodb.destroy()
  await local.stop()
})

const at = (sequenceNumber: string): Position => ({ sequenceNumber, subSequenceNumber: 0 })

describe.each([
  { kind: 'in memory', makeTable: (): Table => new MemoryTable() },
  { kind: 'in DynamoDB', makeTable: (): Table => new DynamoDBTable(dynamodb, 'leases', systemClock) },
])('leases $kind', ({ makeTable }) => {
  const shardId = 'shardId-000000000000'

  async function tableWithLease(): Promise<{ table: Table; lease: Lease }> {
    const table = makeTable()
    await table.ensure()
    await table.delete(shardId, [])
    await table.update(
      create({ shardId, hashRange: FULL_HASH_RANGE, parentShardIds: [], checkpoint: TRIM_HORIZON, startMs: undefined }),
    )
    return { table, lease: await read(table) }
  }

  async function read(table: Table): Promise<Lease> {
    return leaseFromItem((await table.read(shardId))!)!
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
      create({ shardId, hashRange: hashRange!, parentShardIds: [], checkpoint: TRIM_HORIZON, startMs: undefined }),
    )
    expect(await read(table)).toEqual(lease)
  })

  test('renewing takes the counter up by one, and only the one who saw the last counter can', async () => {
    const { table, lease } = await heldByA()
    expect(await write(table, renew(lease, 'a', undefined))).toEqual({ ...lease, counter: lease.counter + 1 })
    await refused(table, renew(lease, 'a', at('7')))
    expect((await read(table)).checkpoint).toEqual(TRIM_HORIZON)
  })

  test('a worker that is not the holder can neither renew nor end nor release', async () => {
    const { table, lease } = await heldByA()
    await refused(table, renew(lease, 'b', undefined))
    await refused(table, end(lease, 'b', []))
    await refused(table, release(lease, 'b', undefined))
  })

  test('of two that assign an expired lease one succeeds, and its late holder is shut out', async () => {
    const { table, lease } = await heldByA()
    const taken = await write(table, assignTo(lease, 'b'))
    expect(taken).toMatchObject({ owner: 'b', counter: lease.counter + 1, ownerSwitches: 1 })
    await refused(table, assignTo(lease, 'c'))
    await refused(table, renew(lease, 'a', at('9')))
    await refused(table, release(lease, 'a', at('9')))
  })

  test('a lease renewed between being seen and being assigned is not assigned', async () => {
    const { table, lease } = await heldByA()
    await write(table, renew(lease, 'a', undefined))
    await refused(table, assignTo(lease, 'b'))
  })

  test('assigning or renewing a deleted lease makes no malformed item', async () => {
    const { table, lease } = await heldByA()
    expect(await table.delete(shardId, [unchanged(lease)])).toBe(true)
    await refused(table, assignTo(lease, 'b'))
    await refused(table, renew(lease, 'a', undefined))
    await refused(table, handOff(lease, 'b'))
    expect(await table.read(shardId)).toBeUndefined()
  })

  test('deleting one that has changed since it was seen is refused', async () => {
    const { table, lease } = await heldByA()
    await write(table, renew(lease, 'a', at('5')))
    expect(await table.delete(shardId, [unchanged(lease)])).toBe(false)
  })

  test('in a handoff the old holder goes on until its last write, and only then the new one can start', async () => {
    const { table, lease } = await heldByA()
    const moving = await write(table, handOff(lease, 'b'))
    expect(moving).toMatchObject({ owner: 'b', checkpointOwner: 'a', counter: lease.counter })
    await refused(table, acquire(moving, 'b', 'token-b', 0))
    await refused(table, handOff(moving, 'c'))
    const renewed = await write(table, renew(lease, 'a', at('3')))
    expect(renewed).toMatchObject({ owner: 'b', checkpointOwner: 'a', counter: lease.counter + 1 })
    const moved = await write(table, release(renewed, 'a', at('4')))
    expect(moved).toMatchObject({ owner: 'b', checkpointOwner: undefined, checkpoint: at('4'), ownerSwitches: 0 })
    await refused(table, renew(moved, 'a', at('5')))
    expect(await write(table, acquire(moved, 'b', 'token-b', 0))).toMatchObject({ token: 'token-b' })
  })

  test('a holder that does not know of the handoff cannot release the lease to nobody', async () => {
    const { table, lease } = await heldByA()
    await write(table, handOff(lease, 'b'))
    await refused(table, release(lease, 'a', undefined))
    expect(judgeRefusal(release(lease, 'a', undefined), lease, 'a', await table.read(shardId))).toBe('held')
  })

  test('a handoff whose old holder is gone ends by assignment', async () => {
    const { table, lease } = await heldByA()
    const moving = await write(table, handOff(lease, 'b'))
    expect(await write(table, assignTo(moving, 'b'))).toMatchObject({ owner: 'b', checkpointOwner: undefined })
    await refused(table, renew(lease, 'a', undefined))
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
    await table.update({ key: shardId, when: [], set: { checkpoint: { S: 'LATEST' } } })
    const latest = { ...assigned, checkpoint: at('LATEST') }
    const held = await write(table, acquire(latest, 'a', 't', 1_234))
    expect(held.startMs).toBe(1_234)
    expect((await write(table, acquire(held, 'a', 't', 9_999))).startMs).toBe(1_234)
  })

  describe('after a refusal', () => {
    async function judge(
      change: (lease: Lease) => ItemChange,
      meanwhile: (lease: Lease) => ItemChange[],
    ): Promise<string> {
      const { table, lease } = await heldByA()
      for (const done of meanwhile(lease)) await write(table, done)
      await refused(table, change(lease))
      return judgeRefusal(change(lease), lease, 'a', await table.read(shardId))
    }
    const heartbeat = (lease: Lease): ItemChange => renew(lease, 'a', undefined)
    const checkpoint = (lease: Lease): ItemChange => renew(lease, 'a', at('8'))
    const farewell = (lease: Lease): ItemChange => release(lease, 'a', at('8'))

    test('the same write done before with its answer lost is known as done', async () => {
      expect(await judge(heartbeat, (lease) => [heartbeat(lease)])).toBe('written')
      expect(await judge(checkpoint, (lease) => [checkpoint(lease)])).toBe('written')
      expect(await judge(farewell, (lease) => [farewell(lease)])).toBe('written')
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
          renew({ ...lease, counter: lease.counter + 1 }, 'a', undefined),
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

describe('the table in DynamoDB', () => {
  test('is made with the key and the index of the KCL', async () => {
    const table = new DynamoDBTable(dynamodb, 'made', systemClock)
    await Promise.all([table.ensure(), new DynamoDBTable(dynamodb, 'made', systemClock).ensure()])
    await table.ensure()
    expect(await table.scan()).toEqual([])
  })

  test('a table with another key is refused with a word on what to do', async () => {
    const { CreateTableCommand } = await import('@aws-sdk/client-dynamodb')
    await dynamodb.send(
      new CreateTableCommand({
        TableName: 'other',
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
      }),
    )
    await expect(new DynamoDBTable(dynamodb, 'other', systemClock).ensure()).rejects.toThrow(
      'Table "other" is no lease table: expected the key leaseKey (HASH), got id (HASH).',
    )
  })

  test('a table that is gone is said to be', async () => {
    await expect(new DynamoDBTable(dynamodb, 'gone', systemClock).scan()).rejects.toMatchObject({ code: 'ERR_TABLE' })
  })

  test('a scan reads every page', async () => {
    const table = new DynamoDBTable(dynamodb, 'pages', systemClock)
    await table.ensure()
    const filler = 'x'.repeat(300_000)
    for (let index = 0; index < 5; index++) {
      await table.update({ key: `item-${index}`, when: [], set: { filler: { S: filler } } })
    }
    expect(await table.scan()).toHaveLength(5)
  })
})
