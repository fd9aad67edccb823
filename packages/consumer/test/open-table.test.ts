import { describe, expect, test } from 'vitest'
import type { Item } from '../src/leases/table.ts'
import { denial, KCL_TABLES, leaseItem, ModelledDynamoDB, NAME, onlyOn } from './modelled-dynamodb.ts'

const COORDINATOR = `${NAME}-CoordinatorState`
const WORKERS = `${NAME}-WorkerMetricStats`
const VERSION = { leaseKey: { S: 'Migration3.0' } }
const SHARD_0 = 'shardId-000000000000'
const MINUTE_MS = 60_000

function versionNote(version: string): Item {
  return { cv: { S: version }, mb: { S: 'java' }, mts: { N: '1795244691541' } }
}

function migrationNote(status: string): Item {
  return { tm: { S: `TABLE_MIGRATION_STATUS_${status}` }, mb: { S: 'java' }, mts: { N: '1795244691541' } }
}

/** An application of the KCL 3.0 to 3.4 with two leases. */
async function threeTables(notes: Item[], owner = 'java'): Promise<ModelledDynamoDB> {
  const world = new ModelledDynamoDB()
  await world.load(NAME, 'leaseKey', [leaseItem(0, { owner }), leaseItem(1, { owner })])
  await world.load(COORDINATOR, 'key', notes)
  await world.load(WORKERS, 'wid', [])
  return world
}

async function singleTable(items: Item[], hasIndex = true): Promise<ModelledDynamoDB> {
  const world = new ModelledDynamoDB()
  await world.load(NAME, 'leaseKey', items, hasIndex)
  return world
}

const oldApplication = (): Promise<ModelledDynamoDB> =>
  singleTable([leaseItem(0, { owner: 'java' }), leaseItem(1, { owner: 'java' })], false)

describe('a new application', () => {
  test('gets a table with the key, the index and the note that the KCL 3.5 makes', async () => {
    const world = new ModelledDynamoDB()
    const table = await world.opened()
    expect(world.describe()).toMatchObject({
      TableStatus: 'ACTIVE',
      BillingModeSummary: { BillingMode: 'PAY_PER_REQUEST' },
      ...KCL_TABLES[0]!.describe,
    })
    expect(world.events).toEqual([{ type: 'tableCreated', table: NAME }])
    const [note, ...others] = await table.scan()
    expect(others).toEqual([])
    const mts = { N: expect.stringMatching(/^\d{13}$/) }
    const asKclWrites = KCL_TABLES[0]!.items.find(({ leaseKey }) => leaseKey?.S === 'Migration3.0')!
    expect(note).toEqual({
      ...asKclWrites,
      mb: { S: 'ours' },
      mts,
      h: { L: [{ M: { cv: { S: 'CLIENT_VERSION_INIT' }, mb: { S: 'ours' }, mts } }] },
    })
  })

  test('has it created as the options say', async () => {
    const world = new ModelledDynamoDB()
    await world.opened({
      tableBillingMode: 'PROVISIONED',
      tableReadCapacity: 7,
      tableWriteCapacity: 9,
      tableTags: { team: 'payments' },
      tableDeletionProtection: true,
      tablePointInTimeRecovery: true,
    })
    const { input } = world.calls.find(({ operation }) => operation === 'CreateTable')!
    const capacity = { ReadCapacityUnits: 7, WriteCapacityUnits: 9 }
    expect(input).toMatchObject({
      BillingMode: 'PROVISIONED',
      ProvisionedThroughput: capacity,
      GlobalSecondaryIndexes: [{ ProvisionedThroughput: capacity }],
      Tags: [{ Key: 'team', Value: 'payments' }],
      DeletionProtectionEnabled: true,
    })
    expect(world.model.execute('DescribeContinuousBackups', { TableName: NAME })).toMatchObject({
      ContinuousBackupsDescription: { PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: 'ENABLED' } },
    })
  })

  test('waits until the backups of a table just made can be turned on', async () => {
    const world = new ModelledDynamoDB()
    let tries = 0
    const dynamodb = world.client(({ operation }, execute) => {
      if (operation !== 'UpdateContinuousBackups' || ++tries > 3) return execute()
      throw Object.assign(new Error('Backups are being enabled'), { name: 'ContinuousBackupsUnavailableException' })
    })
    await world.opened({ dynamodb, tablePointInTimeRecovery: true })
    expect(tries).toBe(4)
  })

  test('is opened by five workers at once, and one of them creates it', async () => {
    const world = new ModelledDynamoDB()
    const workers = ['a', 'b', 'c', 'd', 'e']
    const tables = await world.done(Promise.all(workers.map((workerId) => world.open({ workerId }))))
    expect(world.events).toHaveLength(1)
    expect(tables).toHaveLength(5)
    expect(await tables[0]!.scan()).toEqual([expect.objectContaining({ ...VERSION, cv: { S: 'CLIENT_VERSION_3X' } })])
  })

  test('needs no permission on the tables of old applications', async () => {
    const world = new ModelledDynamoDB()
    await world.opened({ dynamodb: world.client(onlyOn(NAME)) })
    await world.opened({ dynamodb: world.client(onlyOn(NAME)) })
  })

  test('opened again, nothing is written', async () => {
    const world = new ModelledDynamoDB()
    await world.opened()
    world.calls.length = 0
    await world.opened({ tablePointInTimeRecovery: true })
    expect(world.changes).toEqual([])
  })
})

describe('a crash at any call', () => {
  const cases = [
    {
      what: 'while a table is created',
      start: () => Promise.resolve(new ModelledDynamoDB()),
    },
    { what: 'while a table of the KCL 2.x is taken over', start: oldApplication },
    {
      what: 'while an application that was moving to one table is taken over',
      start: async () => {
        const key = { key: { S: 'TableMigration3.5' } }
        const world = await threeTables([{ ...key, ...migrationNote('PENDING') }])
        world.put(NAME, { ...VERSION, ...versionNote('CLIENT_VERSION_3X_WITH_ROLLBACK') })
        return world
      },
    },
  ]

  test.each(cases)('$what leaves something the next worker goes on from', async ({ start }) => {
    const options = { tablePointInTimeRecovery: true }
    const undisturbed = await start()
    await undisturbed.opened(options)
    const outcome = outcomeOf(undisturbed)
    const callCount = undisturbed.calls.length
    for (const isDone of [true, false]) {
      for (let crashAt = 0; crashAt < callCount; crashAt++) {
        // While it only watches, each look is like the one before.
        if (crashAt > 8 && crashAt < callCount - 15) continue
        const world = await start()
        const dynamodb = world.client((_, execute) => {
          if (world.calls.length <= crashAt) return execute()
          if (isDone && world.calls.length === crashAt + 1) outcomeOfCall(execute)
          throw new Error('crashed')
        })
        await expect(world.opened({ ...options, dynamodb, workerId: 'crashes' })).rejects.toThrow('crashed')
        await world.opened(options)
        expect(outcomeOf(world), `crash at call ${crashAt}`).toEqual(outcome)
      }
    }
  })

  function outcomeOfCall(execute: () => object): unknown {
    try {
      return execute()
    } catch (error) {
      return error
    }
  }

  /** All that is left in all tables, without who wrote it and when. */
  function outcomeOf(world: ModelledDynamoDB): unknown {
    const { TableNames } = world.model.execute('ListTables', {}) as { TableNames: string[] }
    const backups = world.model.execute('DescribeContinuousBackups', { TableName: NAME })
    const items = TableNames.map((name) => [name, world.items(name)])
    return { backups, items: JSON.parse(JSON.stringify(items).replaceAll(/"(ours|crashes|\d{13})"/g, '"?"')) }
  }
})

describe('a table that ours may share', () => {
  test.each(['1: one worker', '2: second worker', '3: 45 s', '4: 50 s', '5: after kill', 'KCL 3.5.1 multi-stream'])(
    'as the KCL 3.5 left it (%s) is joined, and nothing is written',
    async (label) => {
      const world = new ModelledDynamoDB()
      await world.loadKcl(label)
      const before = world.items()
      const table = await world.opened({ dynamodb: world.client(onlyOn(NAME)) })
      expect(world.changes).toEqual([])
      expect(await table.scan()).toEqual(before)
      expect(world.calls.some(({ operation }) => operation === 'Scan' && world.calls.length < 4)).toBe(false)
    },
  )

  test('as the KCL 3.4 left it, in three tables, is joined, and looks like one', async () => {
    const world = new ModelledDynamoDB()
    await world.loadKcl('KCL 3.4.2')
    const table = await world.opened()
    expect(world.changes).toEqual([])
    const byType = Object.groupBy(await table.scan(), ({ entityType }) => entityType?.S ?? 'LEASE')
    expect(byType).toMatchObject({
      LEASE: [{ leaseOwner: { S: 'w342' } }, { leaseOwner: { S: 'w342' } }],
      CLIENT_VERSION_MIGRATION: [{ ...VERSION, cv: { S: 'CLIENT_VERSION_3X' } }],
      WORKER_METRIC_STATS: [{ leaseKey: { S: 'w342' }, lut: { N: '1795245307' } }],
    })
    expect((await table.ownedKeys('w342')).toSorted()).toEqual([SHARD_0, 'shardId-000000000001'])
  })

  test('in three tables of which the workers’ is missing gets that one', async () => {
    const world = new ModelledDynamoDB()
    await world.load(NAME, 'leaseKey', [leaseItem(0, { owner: 'java' })])
    await world.load(COORDINATOR, 'key', [{ key: { S: 'Migration3.0' }, ...versionNote('CLIENT_VERSION_3X') }])
    await world.opened()
    expect(world.describe(WORKERS)).toMatchObject({
      KeySchema: [{ AttributeName: 'wid', KeyType: 'HASH' }],
      BillingModeSummary: { BillingMode: 'PAY_PER_REQUEST' },
    })
    expect(world.changes.map(({ operation }) => operation)).toEqual(['CreateTable'])
  })

  test('of which the lease table alone was deleted is filled again where the other two are', async () => {
    const world = new ModelledDynamoDB()
    await world.load(COORDINATOR, 'key', [{ key: { S: 'Migration3.0' }, ...versionNote('CLIENT_VERSION_3X') }])
    const table = await world.opened()
    await table.update({ kind: 'coordinator', key: 'Leader', when: [], set: { ownerName: { S: 'ours' } } })
    expect(world.items()).toEqual([])
    expect(world.items(COORDINATOR)).toHaveLength(2)
  })

  test.each(['INIT', 'DEPLOYED'])('with a move to one table that is only prepared (%s) is joined', async (status) => {
    const world = await threeTables([
      { key: { S: 'Migration3.0' }, ...versionNote('CLIENT_VERSION_3X') },
      { key: { S: 'TableMigration3.5' }, ...migrationNote(status) },
    ])
    world.keepRenewing(SHARD_0)
    const table = await world.opened()
    expect(world.changes).toEqual([])
    await table.update({ kind: 'worker', key: 'ours', when: [], set: { lut: { N: '1' } } })
    expect(world.items(WORKERS)).toEqual([{ wid: { S: 'ours' }, lut: { N: '1' } }])
  })

  test('that was moved to one table is used as one, whether or not the old ones are still there', async () => {
    const moved = { ...VERSION, ...versionNote('CLIENT_VERSION_3X') }
    const complete = migrationNote('COMPLETE')
    const withOld = await threeTables([{ key: { S: 'TableMigration3.5' }, ...complete }])
    withOld.put(NAME, moved)
    withOld.put(NAME, { leaseKey: { S: 'TableMigration3.5' }, ...complete })
    const withoutOld = await singleTable([leaseItem(0), moved, { leaseKey: { S: 'TableMigration3.5' }, ...complete }])
    for (const world of [withOld, withoutOld]) {
      const table = await world.opened()
      expect(world.changes).toEqual([])
      await table.update({ kind: 'coordinator', key: 'Leader', when: [], set: { ownerName: { S: 'ours' } } })
      expect(world.item({ leaseKey: { S: 'Leader' } })).toBeDefined()
      expect(world.calls.map((call) => call.table)).not.toContain(COORDINATOR)
    }
  })

  test('that was moved to one table a moment ago is used as one', async () => {
    const world = await threeTables([{ key: { S: 'TableMigration3.5' }, ...migrationNote('COMPLETE') }])
    world.put(NAME, { ...VERSION, ...versionNote('CLIENT_VERSION_3X') })
    const table = await world.opened()
    await table.update({ kind: 'coordinator', key: 'Leader', when: [], set: { ownerName: { S: 'ours' } } })
    expect(world.item({ leaseKey: { S: 'Leader' } })).toBeDefined()
  })

  test('that is still being created is waited for', async () => {
    const world = new ModelledDynamoDB(60_000)
    const opening = world.done(world.open())
    await expect(opening).resolves.toBeDefined()
    expect(world.clock.monotonicMs()).toBeGreaterThanOrEqual(60_000)
  })
})

const STATES: { state: string; start: () => Promise<ModelledDynamoDB>; said: string }[] = [
  { state: 'of the KCL 1.x or 2.x', start: oldApplication, said: 'so they are of a KCL 1.x or 2.x' },
  ...['CLIENT_VERSION_UPGRADE_FROM_2X', 'CLIENT_VERSION_2X', 'CLIENT_VERSION_3X_WITH_ROLLBACK'].flatMap((version) => [
    {
      state: `in ${version}, in one table`,
      start: () => singleTable([leaseItem(0, { owner: 'java' }), { ...VERSION, ...versionNote(version) }]),
      said: version,
    },
    {
      state: `in ${version}, in three tables`,
      start: () => threeTables([{ key: { S: 'Migration3.0' }, ...versionNote(version) }]),
      said: version,
    },
  ]),
  {
    state: 'in three tables that say nothing yet',
    start: () => threeTables([]),
    said: 'so they are of a KCL 1.x or 2.x',
  },
  {
    state: 'that is moving from three tables to one',
    start: async () => {
      const world = await threeTables([{ key: { S: 'TableMigration3.5' }, ...migrationNote('PENDING') }])
      world.put(NAME, { ...VERSION, ...versionNote('CLIENT_VERSION_3X') })
      return world
    },
    said: 'they are moving the application to a single table (TABLE_MIGRATION_STATUS_PENDING)',
  },
]

describe.each(STATES)('an application $state', ({ start, said }) => {
  const obstacle = /^(KCL 1\.x or 2\.x|CLIENT_VERSION_\w+|TABLE_MIGRATION_STATUS_PENDING)$/

  test('whose leases are renewed is refused, and nothing is written', async () => {
    const world = await start()
    world.keepRenewing(SHARD_0)
    const refusal = await world.opened().then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(refusal).toMatchObject({ code: 'ERR_TABLE', message: expect.stringContaining(said) })
    expect(String(refusal)).toContain(
      `the lease "${SHARD_0}" of the worker "java" was renewed (its leaseCounter went from 5 to 6)`,
    )
    expect(String(refusal)).toContain('when their leases have stood still for 60 s, it goes on from their checkpoints')
    expect(world.changes).toEqual([])
  })

  test('whose leases stand still is taken over after a minute, and not touched before', async () => {
    const world = await start()
    const startedAtMs = world.clock.monotonicMs()
    const opening = world.open()
    await world.clock.advance(MINUTE_MS)
    expect(world.changes).toEqual([])
    const leases = leasesIn(world)
    const table = await world.done(opening)
    expect(world.clock.monotonicMs() - startedAtMs).toBeLessThan(MINUTE_MS + 2_000)
    expect(leasesIn(world)).toEqual(leases)
    const all = await table.scan()
    expect(all.filter(({ cv }) => cv !== undefined)).toMatchObject([{ ...VERSION, cv: { S: 'CLIENT_VERSION_3X' } }])
    expect(all.filter(({ checkpoint }) => checkpoint !== undefined)).toEqual(leases)
    const types = world.events.map(({ type }) => type)
    expect(types).toEqual(['tableWatched', 'tableTakenOver'])
    expect(world.events[0]).toMatchObject({
      table: NAME,
      state: expect.stringMatching(obstacle),
      standstillMs: MINUTE_MS,
    })
    expect(all.find(({ tm }) => tm !== undefined)?.tm?.S).not.toBe('TABLE_MIGRATION_STATUS_PENDING')
    world.calls.length = 0
    await world.opened()
    expect(world.changes).toEqual([])
  })

  test('is taken over by two workers at once, of which one joins the other that already works', async () => {
    const world = await start()
    const early = world.open({ workerId: 'early' })
    await world.clock.advance(MINUTE_MS - 5_000)
    const late = world.open({ workerId: 'late' })
    await world.done(early)
    world.keepRenewing(SHARD_0, 1_000)
    await world.done(late)
    expect(world.changes.map(({ operation }) => operation).every((operation) => operation === 'UpdateItem')).toBe(true)
  })

  test('is taken over by two workers in the same moment', async () => {
    const world = await start()
    await world.done(Promise.all([world.open({ workerId: 'a' }), world.open({ workerId: 'b' })]))
  })

  function leasesIn(world: ModelledDynamoDB): Item[] {
    return world.items().filter(({ checkpoint }) => checkpoint !== undefined)
  }
})

test('a fleet of a longer failover time, whose leases are renewed every third of it, is refused', async () => {
  const world = await oldApplication()
  world.keepRenewing(SHARD_0, 120_000 / 3)
  await expect(world.opened()).rejects.toThrow('was renewed')
  expect(world.changes).toEqual([])
})

test('with a failover time of more than 40 s, leases must stand still for one and a half of it', async () => {
  const world = await oldApplication()
  const opening = world.open({ failoverTime: MINUTE_MS })
  await world.clock.advance(1.5 * MINUTE_MS)
  expect(world.changes).toEqual([])
  expect(world.events).toMatchObject([{ type: 'tableWatched', standstillMs: 1.5 * MINUTE_MS }])
  await world.done(opening)
  expect(world.clock.monotonicMs()).toBeLessThan(1.5 * MINUTE_MS + 4_000)
})

describe('an old application of whose unfinished leases nobody owns any', () => {
  const ended = { ...leaseItem(0, { owner: 'java' }), checkpoint: { S: 'SHARD_END' } }

  test.each([
    { what: 'with an owned lease that is finished', items: [ended, leaseItem(1)] },
    { what: 'with nothing but finished leases', items: [ended] },
    { what: 'with no leases at all', items: [{ ...VERSION, ...versionNote('CLIENT_VERSION_2X') }] },
  ])('is taken over after another look ($what)', async ({ items }) => {
    const world = await singleTable(items)
    const startedAtMs = world.clock.monotonicMs()
    await world.opened()
    expect(world.clock.monotonicMs() - startedAtMs).toBeLessThan(2_000)
    const scans = world.calls.filter(({ operation }) => operation === 'Scan')
    expect(scans.map(({ input }) => input.ConsistentRead)).toEqual([true, true])
    expect(world.events).toMatchObject([{ type: 'tableWatched', standstillMs: 0 }, { type: 'tableTakenOver' }])
    expect(world.item(VERSION)).toMatchObject({ cv: { S: 'CLIENT_VERSION_3X' } })
  })

  test('is refused if somebody takes one up between the two looks', async () => {
    const world = await singleTable([leaseItem(0), leaseItem(1)])
    const opening = world.open()
    await world.clock.advance(500)
    world.put(NAME, leaseItem(0, { owner: 'java' }))
    await expect(world.done(opening)).rejects.toThrow(`the lease "${SHARD_0}" went from nobody to the worker "java"`)
    expect(world.changes).toEqual([])
  })
})

test('what a taken-over application was before stays in its history', async () => {
  const old = { ...VERSION, ...versionNote('CLIENT_VERSION_UPGRADE_FROM_2X'), h: { L: [{ M: {} }] } }
  const world = await singleTable([leaseItem(0, { owner: 'java' }), old])
  await world.opened()
  expect(world.item(VERSION)).toMatchObject({
    cv: { S: 'CLIENT_VERSION_3X' },
    mb: { S: 'ours' },
    h: { L: [{ M: versionNote('CLIENT_VERSION_UPGRADE_FROM_2X') }, { M: {} }] },
  })
})

test('a note that was moved to the lease table already is changed there, and not made a second time', async () => {
  const world = await threeTables([{ key: { S: 'TableMigration3.5' }, ...migrationNote('PENDING') }])
  world.put(NAME, { ...VERSION, ...versionNote('CLIENT_VERSION_3X_WITH_ROLLBACK') })
  await world.opened()
  expect(world.items(COORDINATOR)).toMatchObject([{ tm: { S: 'TABLE_MIGRATION_STATUS_DEPLOYED' }, mb: { S: 'ours' } }])
  expect(world.item(VERSION)).toMatchObject({ cv: { S: 'CLIENT_VERSION_3X' } })
})

test.each([
  {
    what: 'a lease that is taken up by a worker',
    said: `the lease "${SHARD_0}" went from the worker "java" to the worker "other"`,
    change: (world: ModelledDynamoDB) => world.put(NAME, leaseItem(0, { owner: 'other' })),
  },
  {
    what: 'a lease that is created',
    said: 'the lease "shardId-000000000002" was created',
    change: (world: ModelledDynamoDB) => world.put(NAME, leaseItem(2)),
  },
  {
    what: 'a lease that is deleted',
    said: `the lease "${SHARD_0}" was deleted`,
    change: (world: ModelledDynamoDB) =>
      world.model.execute('DeleteItem', { TableName: NAME, Key: { leaseKey: { S: SHARD_0 } } }),
  },
])('$what shows that others are at work', async ({ said, change }) => {
  const world = await oldApplication()
  const opening = world.open()
  await world.clock.advance(5_000)
  change(world)
  await expect(world.done(opening)).rejects.toThrow(said)
  expect(world.changes).toEqual([])
})

test('time that passes inside one look is no standstill of the others', async () => {
  const world = await oldApplication()
  const dynamodb = world.client()
  const answer = Promise.withResolvers<void>()
  const send = async (command: object): Promise<object> => {
    const answered = await (dynamodb.send as (command: object) => Promise<object>)(command)
    if (command.constructor.name === 'ScanCommand') await answer.promise
    return answered
  }
  const opening = world.open({ dynamodb: { send } as typeof dynamodb })
  await world.clock.advance(10 * MINUTE_MS)
  answer.resolve()
  world.keepRenewing(SHARD_0)
  await expect(world.done(opening)).rejects.toMatchObject({ code: 'ERR_TABLE' })
  expect(world.changes).toEqual([])
})

test('a look that shows what another worker of ours did after it took over is no sign of others', async () => {
  const world = await oldApplication()
  const dynamodb = world.client()
  let scans = 0
  const send = async (command: object): Promise<object> => {
    // Found in its old state, the table is taken over before it is looked at again.
    if (command.constructor.name === 'ScanCommand' && ++scans === 3) {
      world.put(NAME, { ...VERSION, ...versionNote('CLIENT_VERSION_3X') })
      world.renew(SHARD_0)
    }
    return await (dynamodb.send as (command: object) => Promise<object>)(command)
  }
  await world.opened({ dynamodb: { send } as typeof dynamodb })
  expect(scans).toBe(3)
  expect(world.changes).toEqual([])
})

test('a change of rules in the moment of the takeover is not overwritten', async () => {
  const world = await singleTable([
    leaseItem(0, { owner: 'java' }),
    { ...VERSION, ...versionNote('CLIENT_VERSION_3X_WITH_ROLLBACK') },
  ])
  const dynamodb = world.client(({ operation }, execute) => {
    if (operation === 'UpdateItem') {
      world.put(NAME, { ...VERSION, ...versionNote('CLIENT_VERSION_2X') })
      world.renew(SHARD_0)
    }
    return execute()
  })
  await expect(world.opened({ dynamodb })).rejects.toThrow('they follow the rules of CLIENT_VERSION_2X')
  expect(world.item(VERSION)).toMatchObject({ cv: { S: 'CLIENT_VERSION_2X' }, mb: { S: 'java' } })
})

test('an application whose note is in its one table is taken over without a permission on others', async () => {
  const old = { ...VERSION, ...versionNote('CLIENT_VERSION_UPGRADE_FROM_2X') }
  const world = await singleTable([leaseItem(0, { owner: 'java' }), old])
  await world.opened({ dynamodb: world.client(onlyOn(NAME)) })
  expect(world.item(VERSION)).toMatchObject({ cv: { S: 'CLIENT_VERSION_3X' } })
})

test('what decides is read consistently', async () => {
  const world = await oldApplication()
  await world.opened()
  const reads = world.calls.filter(({ operation }) => operation === 'GetItem' || operation === 'Scan')
  expect(reads.length).toBeGreaterThan(10)
  expect(reads.every(({ input }) => input.ConsistentRead === true)).toBe(true)
})

test('an end of the consumer ends the watching at once', async () => {
  const world = await oldApplication()
  const closing = new AbortController()
  const opening = world.open({}, closing.signal)
  await world.clock.advance(3_000)
  closing.abort(new Error('closing'))
  await expect(opening).rejects.toThrow('closing')
})

describe('a table that can never be used', () => {
  test('has another key, and is refused with a word on what to do', async () => {
    const world = new ModelledDynamoDB()
    await world.load(NAME, 'id', [])
    await expect(world.opened()).rejects.toMatchObject({
      code: 'ERR_TABLE',
      message:
        `Table "${NAME}" is no table of this application: expected the key leaseKey (HASH, S), got id (HASH, S). ` +
        'Choose another application name, or give tableName.',
    })
  })

  test('has lost its encryption key', async () => {
    const world = await singleTable([])
    const dynamodb = world.client(({ operation }, execute) =>
      operation === 'DescribeTable'
        ? { Table: { ...world.describe(), TableStatus: 'INACCESSIBLE_ENCRYPTION_CREDENTIALS' } }
        : execute(),
    )
    await expect(world.opened({ dynamodb })).rejects.toThrow('got INACCESSIBLE_ENCRYPTION_CREDENTIALS')
  })
})

describe('without the permission', () => {
  const without =
    (world: ModelledDynamoDB, action: string, named = action) =>
    (): ReturnType<ModelledDynamoDB['client']> =>
      world.client(({ operation, table }, execute) => {
        if (operation === action) throw denial(`dynamodb:${named}`, table)
        return execute()
      })

  test.each(['DescribeTable', 'CreateTable', 'GetItem', 'Scan', 'UpdateItem', 'UpdateContinuousBackups'])(
    'to %s, a new application is told so',
    async (action) => {
      const world = new ModelledDynamoDB()
      const dynamodb = without(world, action)()
      await expect(world.opened({ dynamodb, tablePointInTimeRecovery: true })).rejects.toMatchObject({
        code: 'ERR_ACCESS',
        message: expect.stringContaining(`expected that dynamodb:${action} is allowed on table/${NAME}`),
        cause: expect.objectContaining({ name: 'AccessDeniedException' }),
      })
    },
  )

  test('to tag what is created, that action is named', async () => {
    const world = new ModelledDynamoDB()
    const dynamodb = without(world, 'CreateTable', 'TagResource')()
    await expect(world.opened({ dynamodb, tableTags: { a: 'b' } })).rejects.toThrow(
      'expected that dynamodb:TagResource',
    )
  })

  test('to look for the tables of an old application, one that may have them is not opened', async () => {
    const world = await threeTables([{ key: { S: 'Migration3.0' }, ...versionNote('CLIENT_VERSION_3X') }])
    await expect(world.opened({ dynamodb: world.client(onlyOn(NAME)) })).rejects.toMatchObject({
      code: 'ERR_ACCESS',
      message: expect.stringMatching(
        /^Access denied: expected that dynamodb:DescribeTable is allowed on table\/billing-CoordinatorState \(the application was not started by a KCL 3\.5 or Shardwise/,
      ),
    })
    expect(world.changes).toEqual([])
  })

  test.each([
    ['GetItem', COORDINATOR, 'where an application of the KCL 3.0 to 3.4 keeps its leader lock'],
    ['DescribeTable', WORKERS, ''],
  ])('to %s on %s, an old application is told so', async (action, name, why) => {
    const world = await threeTables([{ key: { S: 'Migration3.0' }, ...versionNote('CLIENT_VERSION_3X') }])
    const dynamodb = world.client(({ operation, table }, execute) => {
      if (operation === action && table === name) throw denial(`dynamodb:${action}`, table)
      return execute()
    })
    const opening = world.opened({ dynamodb })
    await expect(opening).rejects.toThrow(`expected that dynamodb:${action} is allowed on table/${name}`)
    await expect(opening).rejects.toThrow(why)
  })
})

test('other errors pass as they come, for the caller to try again', async () => {
  const world = new ModelledDynamoDB()
  const throttled = Object.assign(new Error('slow down'), { name: 'ThrottlingException' })
  const dynamodb = world.client(() => {
    throw throttled
  })
  await expect(world.opened({ dynamodb })).rejects.toBe(throttled)
})
