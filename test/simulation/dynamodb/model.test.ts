import type { TableDescription } from '@aws-sdk/client-dynamodb'
import { describe, expect, test } from 'vitest'
import { DynamoDBModel, type DynamoDBModelOptions, type DynamoDBWrite, type Item } from './model.ts'

const TableName = 'leases'
const LEASES = {
  TableName,
  BillingMode: 'PAY_PER_REQUEST',
  KeySchema: [{ AttributeName: 'leaseKey', KeyType: 'HASH' }],
  AttributeDefinitions: [
    { AttributeName: 'leaseKey', AttributeType: 'S' },
    { AttributeName: 'leaseOwner', AttributeType: 'S' },
  ],
  GlobalSecondaryIndexes: [
    {
      IndexName: 'by-owner',
      KeySchema: [
        { AttributeName: 'leaseOwner', KeyType: 'HASH' },
        { AttributeName: 'leaseKey', KeyType: 'RANGE' },
      ],
      Projection: { ProjectionType: 'KEYS_ONLY' },
    },
  ],
}

interface Answer {
  readonly Item?: Item
  readonly Attributes?: Item
  readonly Items?: Item[]
  readonly Count?: number
  readonly ScannedCount?: number
  readonly LastEvaluatedKey?: Item
  readonly Table?: TableDescription
}

/** A model at time 0 with the table of leases. */
class World {
  nowMs = 0
  readonly writes: DynamoDBWrite[] = []
  readonly #model: DynamoDBModel

  constructor(options: Partial<DynamoDBModelOptions> = {}) {
    this.#model = new DynamoDBModel({
      nowMs: () => this.nowMs,
      random: () => 0.5,
      onWrite: (write) => this.writes.push(write),
      ...options,
    })
    this.call('CreateTable', LEASES)
  }

  call(operation: string, input: object = { TableName }): Answer {
    return this.#model.execute(operation, input, 'worker-1')
  }

  put(leaseKey: string, fields: Item = {}): void {
    this.call('PutItem', { TableName, Item: { leaseKey: { S: leaseKey }, ...fields } })
  }

  get(leaseKey: string, ConsistentRead = true): Item | undefined {
    return this.call('GetItem', { TableName, Key: { leaseKey: { S: leaseKey } }, ConsistentRead }).Item
  }

  update(leaseKey: string, UpdateExpression: string, fields: object = {}): Answer {
    return this.call('UpdateItem', { TableName, Key: { leaseKey: { S: leaseKey } }, UpdateExpression, ...fields })
  }

  ownedBy(owner: string, fields: object = {}): Item[] {
    const { Items = [] } = this.call('Query', {
      TableName,
      IndexName: 'by-owner',
      KeyConditionExpression: 'leaseOwner = :owner',
      ExpressionAttributeValues: { ':owner': { S: owner } },
      ...fields,
    })
    return Items
  }
}

function keysOf(items: readonly Item[] = []): (string | undefined)[] {
  return items.map(({ leaseKey }) => leaseKey?.S)
}

function errorOf(act: () => unknown): unknown {
  try {
    act()
  } catch (error) {
    return error
  }
  return undefined
}

const invalid = expect.objectContaining({ name: 'ValidationException', $fault: 'client' })

describe('an eventually consistent read', () => {
  test('finds the item as it was, a consistent one as it is', () => {
    const world = new World({ readLagMs: () => 100 })
    world.put('a', { uses: { N: '1' } })
    world.nowMs = 50
    world.put('a', { uses: { N: '2' } })
    world.nowMs = 120
    expect(world.get('a', false)?.uses).toEqual({ N: '1' })
    expect(world.get('a', true)?.uses).toEqual({ N: '2' })
    world.nowMs = 150
    expect(world.get('a', false)?.uses).toEqual({ N: '2' })
  })

  test('still finds what is deleted, and not yet what is new', () => {
    const world = new World({ readLagMs: () => 100 })
    world.put('old')
    world.nowMs = 1000
    world.call('DeleteItem', { TableName, Key: { leaseKey: { S: 'old' } } })
    world.put('new')
    expect(keysOf(world.call('Scan').Items)).toEqual(['old'])
    expect(keysOf(world.call('Scan', { TableName, ConsistentRead: true }).Items)).toEqual(['new'])
    world.nowMs = 1100
    expect(keysOf(world.call('Scan').Items)).toEqual(['new'])
  })

  test('of many items is stale in parts', () => {
    let lagMs = 0
    const world = new World({ readLagMs: () => (lagMs = 100 - lagMs) })
    for (const name of ['a', 'b', 'c', 'd']) world.put(name, { uses: { N: '1' } })
    world.nowMs = 1000
    for (const name of ['a', 'b', 'c', 'd']) world.put(name, { uses: { N: '2' } })
    const usesOf = world.call('Scan').Items?.map(({ uses }) => uses?.N)
    expect(usesOf).toEqual(['1', '2', '1', '2'])
  })

  test('looks back a minute of writes, and refuses to look back further', () => {
    let lagMs = 60_000
    const world = new World({ readLagMs: () => lagMs })
    for (let second = 0; second <= 300; second++) {
      world.nowMs = second * 1000
      world.put('a', { second: { N: String(second) } })
    }
    expect(world.get('a', false)?.second).toEqual({ N: '240' })
    lagMs = 60_001
    expect(() => world.get('a', false)).toThrow('Expected readLagMs to give 0 to 60000, got 60001.')
  })
})

describe('an index', () => {
  test('shows a write after its lag, and what is projected', () => {
    const world = new World({ indexLagMs: () => 20 })
    world.put('a', { leaseOwner: { S: 'x' }, uses: { N: '1' } })
    world.nowMs = 19
    expect(world.ownedBy('x')).toEqual([])
    world.nowMs = 20
    expect(world.ownedBy('x')).toEqual([{ leaseKey: { S: 'a' }, leaseOwner: { S: 'x' } }])
  })

  test('never shows an earlier write to an item after a later one', () => {
    const lags = [50, 0, 0]
    const world = new World({ indexLagMs: () => lags.shift() ?? 0 })
    world.put('a', { leaseOwner: { S: 'x' } })
    world.put('a', { leaseOwner: { S: 'y' } })
    world.put('b', { leaseOwner: { S: 'y' } })
    expect(keysOf(world.ownedBy('y'))).toEqual(['b'])
    world.nowMs = 50
    expect(keysOf(world.ownedBy('y'))).toEqual(['a', 'b'])
    expect(world.ownedBy('x')).toEqual([])
  })

  test('lacks items without its key', () => {
    const world = new World()
    world.put('a', { leaseOwner: { S: 'x' } })
    world.put('b')
    world.update('a', 'REMOVE leaseOwner')
    expect(world.ownedBy('x')).toEqual([])
    expect(world.call('Scan', { TableName, IndexName: 'by-owner' }).Count).toBe(0)
  })

  test('cannot be read consistently', () => {
    expect(errorOf(() => new World().ownedBy('x', { ConsistentRead: true }))).toEqual(invalid)
  })

  test('that is added later has what was there once it is active', () => {
    const world = new World({ createMs: 10 })
    world.nowMs = 10
    world.put('a', { kind: { S: 'lease' } })
    const [{ Projection } = LEASES.GlobalSecondaryIndexes[0]!] = LEASES.GlobalSecondaryIndexes
    const Create = { IndexName: 'by-kind', KeySchema: [{ AttributeName: 'kind', KeyType: 'HASH' }], Projection }
    world.call('UpdateTable', {
      TableName,
      AttributeDefinitions: [...LEASES.AttributeDefinitions, { AttributeName: 'kind', AttributeType: 'S' }],
      GlobalSecondaryIndexUpdates: [{ Create }],
    })
    const scan = { TableName, IndexName: 'by-kind' }
    expect(errorOf(() => world.call('Scan', scan))).toEqual(invalid)
    expect(world.call('DescribeTable').Table?.GlobalSecondaryIndexes?.[1]?.IndexStatus).toBe('CREATING')
    world.nowMs = 20
    expect(keysOf(world.call('Scan', scan).Items)).toEqual(['a'])
    world.call('UpdateTable', { TableName, GlobalSecondaryIndexUpdates: [{ Delete: { IndexName: 'by-kind' } }] })
    expect(errorOf(() => world.call('Scan', scan))).toEqual(invalid)
  })
})

describe('a table', () => {
  test('can be described, but not used, while it is being created', () => {
    const world = new World({ createMs: 100 })
    const notFound = expect.objectContaining({ name: 'ResourceNotFoundException' })
    expect(world.call('DescribeTable').Table?.TableStatus).toBe('CREATING')
    expect(errorOf(() => world.get('a'))).toEqual(notFound)
    world.nowMs = 100
    expect(world.call('DescribeTable').Table?.TableStatus).toBe('ACTIVE')
    expect(world.get('a')).toBeUndefined()
    world.call('DeleteTable')
    expect(errorOf(() => world.call('DescribeTable'))).toEqual(notFound)
  })

  test('is not created twice', () => {
    const world = new World()
    expect(errorOf(() => world.call('CreateTable', LEASES))).toMatchObject({ name: 'ResourceInUseException' })
    expect(world.call('ListTables', {})).toEqual({ TableNames: [TableName] })
  })

  test('keeps what is set about it', () => {
    const world = new World()
    const ResourceArn = world.call('DescribeTable').Table?.TableArn
    world.call('TagResource', { ResourceArn, Tags: [{ Key: 'team', Value: 'a' }] })
    expect(world.call('ListTagsOfResource', { ResourceArn })).toEqual({ Tags: [{ Key: 'team', Value: 'a' }] })
    const TimeToLiveSpecification = { AttributeName: 'until', Enabled: true }
    world.call('UpdateTimeToLive', { TableName, TimeToLiveSpecification })
    expect(world.call('DescribeTimeToLive')).toEqual({
      TimeToLiveDescription: { TimeToLiveStatus: 'ENABLED', AttributeName: 'until' },
    })
    expect(errorOf(() => world.call('UpdateTimeToLive', { TableName, TimeToLiveSpecification }))).toEqual(invalid)
    world.call('UpdateContinuousBackups', {
      TableName,
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
    })
    expect(world.call('DescribeContinuousBackups')).toMatchObject({
      ContinuousBackupsDescription: { PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: 'ENABLED' } },
    })
    world.call('UpdateTable', { TableName, DeletionProtectionEnabled: true })
    expect(errorOf(() => world.call('DeleteTable'))).toEqual(invalid)
  })
})

describe('a failed condition', () => {
  test('is an error as the client throws it, with the item if asked for', () => {
    const world = new World()
    world.put('a', { uses: { N: '1' } })
    const fields = { ConditionExpression: 'attribute_not_exists(leaseKey)' }
    const error = errorOf(() => world.update('a', 'REMOVE uses', fields))
    expect(error).toMatchObject({
      name: 'ConditionalCheckFailedException',
      message: 'The conditional request failed',
      $metadata: { httpStatusCode: 400 },
      $fault: 'client',
    })
    expect(error).not.toHaveProperty('Item')
    const asked = { ...fields, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' }
    expect(errorOf(() => world.update('a', 'REMOVE uses', asked))).toMatchObject({
      Item: { leaseKey: { S: 'a' }, uses: { N: '1' } },
    })
    expect(world.get('a')?.uses).toEqual({ N: '1' })
  })
})

describe('writes', () => {
  test('are told of before and after, with their context, if they took effect', () => {
    const world = new World()
    world.put('a')
    world.update('a', 'ADD uses :one', { ExpressionAttributeValues: { ':one': { N: '1' } } })
    const told = { table: TableName, key: 'a', context: 'worker-1' }
    const before = { leaseKey: { S: 'a' } }
    const after = { leaseKey: { S: 'a' }, uses: { N: '1' } }
    expect(world.writes).toEqual([
      { ...told, before: undefined, after: before },
      { ...told, before, after },
    ])
    errorOf(() => world.update('a', 'REMOVE uses', { ConditionExpression: 'attribute_not_exists(leaseKey)' }))
    world.call('DeleteItem', { TableName, Key: { leaseKey: { S: 'never there' } } })
    expect(world.writes).toHaveLength(2)
  })

  test('that only remove do not create an item, and those that change nothing do', () => {
    const world = new World()
    world.update('a', 'REMOVE uses')
    expect(world.get('a')).toBeUndefined()
    world.call('UpdateItem', { TableName, Key: { leaseKey: { S: 'a' } } })
    expect(world.get('a')).toEqual({ leaseKey: { S: 'a' } })
  })

  test('of several elements of a list mean the list as it was', () => {
    const world = new World()
    world.put('a', { l: { L: ['0', '1', '2', '3'].map((N) => ({ N })) } })
    const values = { ExpressionAttributeValues: { ':x': { S: 'x' } } }
    world.update('a', 'REMOVE l[0], l[2] SET l[9] = :x, l[1] = :x', values)
    expect(world.get('a')?.l).toEqual({ L: [{ S: 'x' }, { N: '3' }, { S: 'x' }] })
  })

  test('are refused where an index key would be empty', () => {
    const world = new World()
    expect(errorOf(() => world.put('a', { leaseOwner: { S: '' } }))).toEqual(invalid)
    expect(world.get('a')).toBeUndefined()
  })

  test('above 400 KB are refused', () => {
    expect(errorOf(() => new World().put('a', { big: { S: 'x'.repeat(400 * 1024) } }))).toEqual(invalid)
  })
})

describe('what is stored', () => {
  test('does not change with what was given or got', () => {
    const world = new World()
    const given = { bytes: { B: new Uint8Array([1]) }, set: { SS: ['a'] }, map: { M: { deep: { L: [{ S: 'x' }] } } } }
    world.put('a', given)
    given.bytes.B[0] = 2
    given.set.SS.push('b')
    given.map.M.deep.L.length = 0
    const got = world.get('a')
    expect(got).toEqual({
      leaseKey: { S: 'a' },
      bytes: { B: new Uint8Array([1]) },
      set: { SS: ['a'] },
      map: { M: { deep: { L: [{ S: 'x' }] } } },
    })
    got!.bytes!.B![0] = 3
    got!.set!.SS!.push('c')
    got!.map!.M!.deep!.L!.length = 0
    expect(world.get('a')).toMatchObject({
      bytes: { B: new Uint8Array([1]) },
      set: { SS: ['a'] },
      map: { M: { deep: { L: [{ S: 'x' }] } } },
    })
  })
})

describe('a scan', () => {
  test('comes in an order of hashes, page by page', () => {
    const world = new World()
    const names = Array.from({ length: 10 }, (_, index) => `shard-${index}`)
    for (const name of names) world.put(name)
    const all = keysOf(world.call('Scan').Items)
    expect(all.toSorted()).toEqual(names)
    expect(all).not.toEqual(names)
    const paged: (string | undefined)[] = []
    let ExclusiveStartKey: Item | undefined
    do {
      const page = world.call('Scan', { TableName, Limit: 3, ExclusiveStartKey })
      paged.push(...keysOf(page.Items))
      ExclusiveStartKey = page.LastEvaluatedKey
    } while (ExclusiveStartKey !== undefined)
    expect(paged).toEqual(all)
  })

  test('in segments finds each item once', () => {
    const world = new World()
    for (let index = 0; index < 30; index++) world.put(`shard-${index}`)
    const segments = [0, 1, 2].map((Segment) =>
      keysOf(world.call('Scan', { TableName, Segment, TotalSegments: 3 }).Items),
    )
    expect(segments.every((keys) => keys.length > 0)).toBe(true)
    expect(segments.flat()).toEqual(keysOf(world.call('Scan').Items))
  })

  test('ends a page at 1 MB', () => {
    const world = new World()
    for (const name of ['a', 'b', 'c', 'd']) world.put(name, { big: { S: 'x'.repeat(300 * 1024) } })
    const first = world.call('Scan')
    expect(first).toMatchObject({ Count: 3, LastEvaluatedKey: { leaseKey: first.Items?.[2]?.leaseKey } })
    expect(world.call('Scan', { TableName, ExclusiveStartKey: first.LastEvaluatedKey })).toMatchObject({ Count: 1 })
  })

  test('goes on after a key that is deleted meanwhile', () => {
    const world = new World()
    for (const name of ['a', 'b', 'c']) world.put(name)
    const all = keysOf(world.call('Scan').Items)
    const { LastEvaluatedKey: ExclusiveStartKey } = world.call('Scan', { TableName, Limit: 1 })
    world.call('DeleteItem', { TableName, Key: ExclusiveStartKey })
    world.nowMs = 1_000_000
    expect(keysOf(world.call('Scan', { TableName, ExclusiveStartKey }).Items)).toEqual(all.slice(1))
  })
})

describe('what is not modelled', () => {
  test('is refused, be it an operation or a field', () => {
    const world = new World()
    expect(() => world.call('ExecuteStatement')).toThrow('The DynamoDB model has no operation ExecuteStatement.')
    expect(() => world.call('GetItem', { TableName, AttributesToGet: ['a'] })).toThrow(
      'has no AttributesToGet in GetItem.',
    )
  })
})
