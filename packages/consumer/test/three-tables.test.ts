import { beforeEach, describe, expect, test } from 'vitest'
import type { Item, ItemChange, Table } from '../src/leases/table.ts'
import { leaseItem, ModelledDynamoDB, NAME } from './modelled-dynamodb.ts'

const COORDINATOR = `${NAME}-CoordinatorState`
const WORKERS = `${NAME}-WorkerMetricStats`
const NOTE = { cv: { S: 'CLIENT_VERSION_3X' }, mb: { S: 'java' }, mts: { N: '1795244691541' } }

let world: ModelledDynamoDB
let table: Table

beforeEach(async () => {
  world = new ModelledDynamoDB()
  await world.load(NAME, 'leaseKey', [leaseItem(0, { owner: 'java' })])
  await world.load(COORDINATOR, 'key', [{ key: { S: 'Migration3.0' }, ...NOTE }])
  await world.load(WORKERS, 'wid', [{ wid: { S: 'java' }, lut: { N: '100' }, sts: { M: {} }, opr: { M: {} } }])
  table = await world.opened()
})

const lock = (version: string, when: ItemChange['when']): ItemChange => ({
  kind: 'coordinator',
  key: 'Leader',
  when,
  set: {
    ownerName: { S: 'ours' },
    recordVersionNumber: { S: version },
    leaseDuration: { S: '15000' },
    entityType: { S: 'LEADER' },
  },
})
const entry: ItemChange = {
  kind: 'worker',
  key: 'ours',
  when: [],
  set: {
    entityType: { S: 'WORKER_METRIC_STATS' },
    opr: { M: {} },
    sts: { M: {} },
    lut: { N: '200' },
    slu: { N: '200' },
    sup: { N: '1' },
    shardwiseBeat: { N: '1' },
  },
}

async function migrate(): Promise<void> {
  const status = { tm: { S: 'TABLE_MIGRATION_STATUS_COMPLETE' }, mb: { S: 'java' }, mts: { N: '1' } }
  world.put(COORDINATOR, { key: { S: 'TableMigration3.5' }, ...status })
  world.put(NAME, { leaseKey: { S: 'TableMigration3.5' }, ...status, entityType: { S: 'TABLE_MIGRATION' } })
}

test('the leader lock is kept where a KCL 3.4 looks for it, with its conditions', async () => {
  const absent = [{ leaseKey: undefined }]
  expect(await table.update(lock('v1', absent))).toEqual({ ...lock('v1', []).set, leaseKey: { S: 'Leader' } })
  expect(await table.update(lock('v2', absent))).toBeUndefined()
  expect(world.item({ key: { S: 'Leader' } }, COORDINATOR)).toEqual({
    key: { S: 'Leader' },
    ownerName: { S: 'ours' },
    recordVersionNumber: { S: 'v1' },
    leaseDuration: { S: '15000' },
  })
  expect(world.items()).toHaveLength(1)
  expect(await table.read('coordinator', 'Leader')).toMatchObject({
    leaseKey: { S: 'Leader' },
    ownerName: { S: 'ours' },
  })
  expect(await table.delete('coordinator', 'Leader', [{ recordVersionNumber: { S: 'other' } }])).toBe(false)
  expect(await table.delete('coordinator', 'Leader', [{ recordVersionNumber: { S: 'v1' } }])).toBe(true)
  expect(await table.read('coordinator', 'Leader')).toBeUndefined()
})

test('a worker’s entry is written as a KCL 3.4 does, and does not offer a move to one table', async () => {
  const written = await table.update(entry)
  expect(world.item({ wid: { S: 'ours' } }, WORKERS)).toEqual({
    wid: { S: 'ours' },
    opr: { M: {} },
    sts: { M: {} },
    lut: { N: '200' },
    shardwiseBeat: { N: '1' },
  })
  expect(written).toMatchObject({
    leaseKey: { S: 'ours' },
    entityType: { S: 'WORKER_METRIC_STATS' },
    lut: { N: '200' },
  })
  expect(await table.read('worker', 'ours')).toEqual(written)
  expect(await table.delete('worker', 'ours', [{ shardwiseBeat: { N: '1' } }])).toBe(true)
  expect(world.items(WORKERS)).toHaveLength(1)
})

test('leases stay where they are', async () => {
  const key = 'shardId-000000000000'
  const set = { leaseOwner: { S: 'ours' } }
  expect(await table.update({ kind: 'lease', key, when: [{ leaseOwner: { S: 'java' } }], set })).toMatchObject(set)
  expect(await table.read('lease', key)).toMatchObject(set)
  expect(await table.ownedKeys('ours')).toEqual([key])
  expect(await table.delete('lease', key, [set])).toBe(true)
  expect(world.items()).toEqual([])
})

test('a scan gives the items of all three as those of one', async () => {
  await table.update(lock('v1', []))
  await table.update(entry)
  world.put(COORDINATOR, { key: { S: 'something else' }, a: { S: 'b' } })
  const types = (await table.scan()).map(({ leaseKey, entityType }) => [leaseKey?.S, entityType?.S])
  expect(types.toSorted()).toEqual([
    ['Leader', 'LEADER'],
    ['Migration3.0', 'CLIENT_VERSION_MIGRATION'],
    ['java', 'WORKER_METRIC_STATS'],
    ['ours', 'WORKER_METRIC_STATS'],
    ['shardId-000000000000', undefined],
    ['something else', 'STREAM'],
  ])
  expect((await table.scan()).every((item) => item.key === undefined && item.wid === undefined)).toBe(true)
})

describe('while a KCL 3.5 moves to one table', () => {
  test.each([
    ['new', 300, 300],
    ['left behind', 50, 100],
  ])('of a worker’s two entries the newer counts: that in the lease table is %s', async (_, lut, seen) => {
    const moved: Item = { leaseKey: { S: 'java' }, lut: { N: `${lut}` }, entityType: { S: 'WORKER_METRIC_STATS' } }
    world.put(NAME, moved)
    const entries = (await table.scan()).filter(({ leaseKey }) => leaseKey?.S === 'java')
    expect(entries).toMatchObject([{ lut: { N: `${seen}` }, entityType: { S: 'WORKER_METRIC_STATS' } }])
  })

  test('all goes to the one table from the scan on that sees the move complete', async () => {
    await table.update(lock('v1', []))
    await migrate()
    const items = await table.scan()
    expect(items.map(({ leaseKey }) => leaseKey?.S).toSorted()).toEqual(['TableMigration3.5', 'shardId-000000000000'])
    expect(await table.update(lock('v2', [{ recordVersionNumber: { S: 'v1' } }]))).toBeUndefined()
    expect(await table.update(lock('v2', [{ recordVersionNumber: undefined }]))).toBeDefined()
    await table.update(entry)
    expect(world.item({ leaseKey: { S: 'ours' } })).toMatchObject({ sup: { N: '1' }, slu: { N: '200' } })
    expect(world.item({ leaseKey: { S: 'Leader' } })).toMatchObject({ entityType: { S: 'LEADER' } })
    world.calls.length = 0
    await table.scan()
    expect(world.calls.map((call) => call.table)).toEqual([NAME])
  })
})

test('a table that may not be read is named, with what it is for', async () => {
  const denied = Object.assign(new Error('no'), { name: 'AccessDeniedException' })
  const dynamodb = world.client(({ operation, table: name }, execute) => {
    if (operation === 'Scan' && name === WORKERS) throw denied
    return execute()
  })
  const opened = await world.opened({ dynamodb })
  await expect(opened.scan()).rejects.toMatchObject({
    code: 'ERR_ACCESS',
    message: expect.stringContaining(
      `dynamodb:Scan is allowed on table/${WORKERS} (where the workers of an application of the KCL 3.0 to 3.4 show that they live)`,
    ),
  })
})
