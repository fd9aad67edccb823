import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

const RECORDS = 2_000
const COORDINATOR = '-CoordinatorState'
const WORKERS = '-WorkerMetricStats'

test('we continue an application of the KCL 3.4 with its three tables, run beside it, and it continues after us', async () => {
  await using stage = await Stage.open('three', 4)
  const kcl = stage.kcl('3.4', 'kcl')
  stage.took('a KCL 3.4 makes its tables', await kcl.ready(120_000))
  await stage.put(RECORDS)
  await stage.delivered()
  const parent = await stage.split()
  await stage.put(RECORDS)
  await stage.delivered()
  await kcl.tells('its parent has ended', (event) => event.event === 'shardEnded' && event.shard === parent)
  await kcl.stop()
  const repeats = stage.repeats()

  await stage.put(RECORDS)
  const ours = stage.shardwise('ours')
  stage.took('we take over', await stage.readBy([ours]))
  await stage.delivered()
  expect(stage.repeats()).toBe(repeats)
  // A KCL 3.4 takes everything in this table for a lease.
  for (const { leaseKey } of await stage.items()) expect(leaseKey?.S).toMatch(/^shardId-/)
  expect(await stage.leader(COORDINATOR)).toBe('ours')
  expect((await stage.items(WORKERS)).map(({ wid }) => wid?.S)).toContain('ours')

  const kcl2 = stage.kcl('3.4', 'kcl2')
  {
    await using _putting = stage.keepPutting()
    await kcl2.ready()
    stage.took('we lead, a KCL 3.4 joins: until both read', await stage.readBy([ours, kcl2]))
    expect(stage.repeats()).toBe(repeats)
    stage.took('we stop', await ours.stop())
    const [leader, ms] = await stage.nextLeader(ours, COORDINATOR)
    stage.took(`until ${leader} leads`, ms)
    stage.took('and until our shards are read', ms + (await stage.readBy([kcl2])))
    const ours2 = stage.shardwise('ours2')
    stage.took('a KCL 3.4 leads, we join: until both read', await stage.readBy([kcl2, ours2]))
    await kcl2.kill()
    stage.took('the leading KCL 3.4 is killed: until its shards are read', await stage.readBy([ours2]))
    const kcl35 = stage.kcl('3.5', 'kcl35')
    await kcl35.ready()
    stage.took('we lead, a KCL 3.5 joins: until both read', await stage.readBy([ours2, kcl35]))
    await ours2.kill()
    stage.took('we are killed: until the KCL 3.5 reads all', await stage.readBy([kcl35]))
  }
  stage.took('then all is read', await stage.delivered())
  stage.expectOrder()
}, 300_000)

test('an application whose three tables a KCL 3.5 has merged into one is one table for us too', async () => {
  await using stage = await Stage.open('merged', 4)
  const kcl34 = stage.kcl('3.4', 'kcl34')
  await kcl34.ready(120_000)
  await stage.put(RECORDS)
  await stage.delivered()
  await kcl34.stop()
  // What its leader writes when all workers have been ready for hours.
  const [version] = (await stage.items(COORDINATOR)).filter(({ key }) => key?.S === 'Migration3.0')
  const { key: _, ...moved } = version!
  const merged = { tm: { S: 'TABLE_MIGRATION_STATUS_COMPLETE' }, mb: { S: 'kcl35' }, mts: { N: String(Date.now()) } }
  const type = { entityType: { S: 'TABLE_MIGRATION' } }
  await stage.putItem({ leaseKey: { S: 'Migration3.0' }, ...moved, entityType: { S: 'CLIENT_VERSION_MIGRATION' } })
  await stage.putItem({ leaseKey: { S: 'TableMigration3.5' }, ...merged, ...type })
  await stage.putItem({ key: { S: 'TableMigration3.5' }, ...merged, ...type }, COORDINATOR)

  await stage.put(RECORDS)
  const ours = stage.shardwise('ours')
  await stage.readBy([ours])
  const kcl35 = stage.kcl('3.5', 'kcl35')
  await kcl35.ready()
  stage.took('a KCL 3.5 joins us in the one table', await stage.readBy([ours, kcl35]))
  expect(await stage.leader()).toBe('ours')
  expect((await stage.items(WORKERS)).map(({ wid }) => wid?.S)).toEqual(['kcl34'])
  await ours.stop()
  await stage.readBy([kcl35])
  await stage.nextLeader(ours)
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  stage.expectOrder()
}, 240_000)
