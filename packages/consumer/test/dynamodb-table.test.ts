import { describe, expect, test } from 'vitest'
import { DynamoDBTable } from '../src/leases/dynamodb-table.ts'
import type { DynamoDB, TableAccess } from '../src/leases/items-table.ts'
import { denial, leaseItem, ModelledDynamoDB, NAME } from './modelled-dynamodb.ts'

const INDEX = 'LeaseOwnerToLeaseKeyIndex'
const leases = [leaseItem(0, { owner: 'a' }), leaseItem(1, { owner: 'b' }), leaseItem(2, { owner: 'a' }), leaseItem(3)]
const ofA = ['shardId-000000000000', 'shardId-000000000002']

function accessTo(world: ModelledDynamoDB, dynamodb: DynamoDB = world.client()): TableAccess {
  return { dynamodb, clock: world.clock, random: () => 0.5 }
}

async function loaded(hasIndex: boolean, items = leases): Promise<ModelledDynamoDB> {
  const world = new ModelledDynamoDB()
  await world.load(NAME, 'leaseKey', items, hasIndex)
  return world
}

function addIndex(world: ModelledDynamoDB, name = INDEX): void {
  world.model.execute('UpdateTable', {
    TableName: NAME,
    AttributeDefinitions: ['leaseKey', 'leaseOwner'].map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
    GlobalSecondaryIndexUpdates: [
      {
        Create: {
          IndexName: name,
          KeySchema: [
            { AttributeName: 'leaseOwner', KeyType: 'HASH' },
            { AttributeName: 'leaseKey', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'KEYS_ONLY' },
        },
      },
    ],
  })
}

const operationsOf = (world: ModelledDynamoDB): string[] => world.calls.map(({ operation }) => operation)

describe('the keys that a worker owns', () => {
  test('are found by the index', async () => {
    const world = await loaded(true)
    const table = new DynamoDBTable(accessTo(world), NAME)
    expect((await table.ownedKeys('a')).toSorted()).toEqual(ofA)
    expect(await table.ownedKeys('nobody')).toEqual([])
    expect(operationsOf(world)).toEqual(['DescribeTable', 'Query', 'Query'])
  })

  test('are found without it, in a table of the KCL 2.x, and a minute later by an index added since', async () => {
    const world = await loaded(false)
    const table = new DynamoDBTable(accessTo(world), NAME)
    expect((await table.ownedKeys('a')).toSorted()).toEqual(ofA)
    addIndex(world)
    await world.clock.advance(30_000)
    expect((await table.ownedKeys('a')).toSorted()).toEqual(ofA)
    expect(operationsOf(world)).toEqual(['DescribeTable', 'Scan', 'Scan'])
    await world.clock.advance(30_000)
    expect((await table.ownedKeys('a')).toSorted()).toEqual(ofA)
    expect(operationsOf(world).slice(3)).toEqual(['DescribeTable', 'Query'])
  })

  test('are found without it where another index is', async () => {
    const world = await loaded(false)
    addIndex(world, 'somebody-elses')
    const table = new DynamoDBTable(accessTo(world), NAME)
    expect((await table.ownedKeys('a')).toSorted()).toEqual(ofA)
    expect(operationsOf(world)).toEqual(['DescribeTable', 'Scan'])
  })

  test('are found when the index is deleted under it', async () => {
    const world = await loaded(true)
    const table = new DynamoDBTable(accessTo(world), NAME, true)
    world.model.execute('UpdateTable', {
      TableName: NAME,
      AttributeDefinitions: [{ AttributeName: 'leaseKey', AttributeType: 'S' }],
      GlobalSecondaryIndexUpdates: [{ Delete: { IndexName: INDEX } }],
    })
    expect((await table.ownedKeys('a')).toSorted()).toEqual(ofA)
  })

  test('are found on every page', async () => {
    // Two answers' worth of keys: a page is 1 MB.
    const filler = 'x'.repeat(1_000)
    const many = Array.from({ length: 1_500 }, (_, index) => ({
      leaseKey: { S: `${filler}${index}` },
      leaseOwner: { S: 'a' },
    }))
    for (const hasIndex of [true, false]) {
      const world = await loaded(hasIndex, many)
      const table = new DynamoDBTable(accessTo(world), NAME)
      expect(await table.ownedKeys('a')).toHaveLength(many.length)
      expect(await table.scan()).toHaveLength(many.length)
      expect(world.calls.length).toBeGreaterThan(4)
    }
  })

  test('in an index that may not be asked are an error that names it', async () => {
    const world = await loaded(true)
    const dynamodb = world.client(() => {
      throw denial('dynamodb:Query', `${NAME}/index/${INDEX}`)
    })
    await expect(new DynamoDBTable(accessTo(world, dynamodb), NAME, true).ownedKeys('a')).rejects.toMatchObject({
      code: 'ERR_ACCESS',
      message: expect.stringContaining(
        `expected that dynamodb:Query is allowed on table/${NAME}/index/${INDEX}, got "`,
      ),
    })
  })
})

describe('a call that is refused for good', () => {
  const change = { kind: 'lease', key: 'x', when: [], set: { a: { S: 'b' } } } as const
  const calls: { action: string; call: (table: DynamoDBTable) => Promise<unknown> }[] = [
    { action: 'Scan', call: (table) => table.scan() },
    { action: 'GetItem', call: (table) => table.read('lease', 'x') },
    { action: 'UpdateItem', call: (table) => table.update(change) },
    { action: 'DeleteItem', call: (table) => table.delete('lease', 'x', [{ a: { S: 'b' } }]) },
    { action: 'DescribeTable', call: (table) => table.ownedKeys('a') },
  ]

  test.each(calls)('for lack of permission names dynamodb:$action and the table', async ({ action, call }) => {
    const world = new ModelledDynamoDB()
    const refusal = Object.assign(new Error('no'), { name: 'AccessDeniedException' })
    const dynamodb = world.client(() => {
      throw refusal
    })
    await expect(call(new DynamoDBTable(accessTo(world, dynamodb), NAME))).rejects.toMatchObject({
      code: 'ERR_ACCESS',
      message:
        `Access denied: expected that dynamodb:${action} is allowed on table/${NAME}, got "no". ` +
        `Allow it in the IAM policy of the worker's role.`,
      cause: refusal,
    })
  })

  test.each(calls.filter(({ action }) => action !== 'DescribeTable'))(
    'since the table is gone says so ($action)',
    async ({ call }) => {
      const world = new ModelledDynamoDB()
      await expect(call(new DynamoDBTable(accessTo(world), NAME))).rejects.toMatchObject({
        code: 'ERR_TABLE',
        message: `The table "${NAME}" does not exist any more.`,
      })
    },
  )

  test('since the table is gone says so of a query', async () => {
    const world = new ModelledDynamoDB()
    const table = new DynamoDBTable(accessTo(world), NAME, true)
    await expect(table.ownedKeys('a')).rejects.toThrow(`The table "${NAME}" does not exist any more.`)
  })
})

describe('a page of a look at many', () => {
  const filler = 'x'.repeat(1_000)
  const many = Array.from({ length: 2_500 }, (_, index) => ({
    leaseKey: { S: `${filler}${index}` },
    leaseOwner: { S: 'a' },
  }))
  const looks: { what: string; hasIndex: boolean; look: (table: DynamoDBTable) => Promise<unknown[]> }[] = [
    { what: 'a scan', hasIndex: true, look: (table) => table.scan() },
    { what: 'a scan for keys', hasIndex: false, look: (table) => table.ownedKeys('a') },
    { what: 'a query', hasIndex: true, look: (table) => table.ownedKeys('a') },
  ]
  const throttled = Object.assign(new Error('slow down'), { name: 'ProvisionedThroughputExceededException' })

  /** Each page is refused so many times first. */
  async function refusing(times: number, hasIndex: boolean): Promise<[ModelledDynamoDB, DynamoDBTable]> {
    const world = await loaded(hasIndex, many)
    let refusals = 0
    const dynamodb = world.client(({ operation }, execute) => {
      if (operation !== 'DescribeTable' && refusals++ < times) throw throttled
      refusals = 0
      return execute()
    })
    return [world, new DynamoDBTable(accessTo(world, dynamodb), NAME)]
  }

  test.each(looks)('that is throttled is asked for again by itself, longer and longer after ($what)', async (each) => {
    const [world, table] = await refusing(4, each.hasIndex)
    const startedAtMs = world.clock.monotonicMs()
    expect(await world.done(each.look(table))).toHaveLength(many.length)
    const pages = world.calls.filter(({ operation }) => operation !== 'DescribeTable')
    expect(pages.filter(({ input }) => input.ExclusiveStartKey === undefined)).toHaveLength(5)
    expect(pages.length).toBeGreaterThanOrEqual(15)
    expect(world.clock.monotonicMs() - startedAtMs).toBeGreaterThanOrEqual((pages.length / 5) * (50 + 100 + 200 + 400))
  })

  test.each(looks)('that is throttled all the time fails the look ($what)', async ({ hasIndex, look }) => {
    const [world, table] = await refusing(5, hasIndex)
    await expect(world.done(look(table))).rejects.toBe(throttled)
    expect(world.calls.filter(({ operation }) => operation !== 'DescribeTable')).toHaveLength(5)
  })

  test('that fails for another reason fails the look at once, and so does a throttled call for one item', async () => {
    const world = await loaded(true)
    for (const [error, call] of [
      [new Error('reset'), (table: DynamoDBTable) => table.scan()],
      [throttled, (table: DynamoDBTable) => table.read('lease', 'x')],
      [throttled, (table: DynamoDBTable) => table.update({ kind: 'lease', key: 'x', when: [], set: {} })],
      [throttled, (table: DynamoDBTable) => table.delete('lease', 'x', [])],
    ] as const) {
      world.calls.length = 0
      const dynamodb = world.client(() => {
        throw error
      })
      await expect(call(new DynamoDBTable(accessTo(world, dynamodb), NAME))).rejects.toBe(error)
      expect(world.calls).toHaveLength(1)
    }
  })
})
