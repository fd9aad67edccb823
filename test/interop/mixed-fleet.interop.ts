import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

/** Its own rules would be those of the KCL 2: only a note in the table can tell it that these are the KCL 3's. */
const UPGRADING = { clientVersion: 'CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X' }

test('KCL workers and ours share one table through joins, reshards, deaths and changes of the leader', async () => {
  await using stage = await Stage.open('mixed', 8)
  const shardwise1 = stage.shardwise('shardwise1')
  await stage.put(2_000)
  await stage.delivered()
  {
    await using _putting = stage.keepPutting()

    expect(await stage.leader()).toBe('shardwise1')
    const kcl1 = stage.kcl('3.5', 'kcl1')
    await kcl1.ready()
    stage.took('we lead, a KCL joins: until both read', await stage.readBy([shardwise1, kcl1]))
    const shardwise2 = stage.shardwise('shardwise2')
    const kcl2 = stage.kcl('3.5', 'kcl2', UPGRADING)
    await kcl2.ready()
    stage.took(
      'we lead, one of each joins: until all four read',
      await stage.readBy([shardwise1, kcl1, kcl2, shardwise2]),
    )
    // Only handoffs until here: nothing comes twice, nothing out of order.
    expect(stage.repeats()).toBe(0)
    stage.expectOrder()

    await stage.split()
    stage.took('a split: until both children are read', await stage.allRead())
    await stage.merge()
    stage.took('a merge: until the child is read', await stage.allRead())

    expect(await stage.leader()).toBe('shardwise1')
    await shardwise1.kill()
    const [second, secondMs] = await stage.nextLeader(shardwise1)
    stage.took(`our leader is killed: until ${second} leads`, secondMs)
    stage.took('and until its shards are read', secondMs + (await stage.readBy([shardwise2, kcl1, kcl2])))
    await kcl1.stop()
    stage.took('a KCL has stopped: until its shards are read', await stage.readBy([shardwise2, kcl2]))
    await kcl2.kill()
    stage.took('the last KCL is killed: until its shards are read', await stage.readBy([shardwise2]))

    expect(await stage.leader()).toBe('shardwise2')
    const kcl3 = stage.kcl('3.5', 'kcl3')
    await kcl3.ready()
    await stage.readBy([shardwise2, kcl3])
    await shardwise2.stop()
    const [, thirdMs] = await stage.nextLeader(shardwise2)
    stage.took('our leader has stopped: until a KCL leads', thirdMs)
    stage.took('and until its shards are read', thirdMs + (await stage.readBy([kcl3])))

    const shardwise3 = stage.shardwise('shardwise3')
    stage.took('a KCL leads, one of ours joins: until both read', await stage.readBy([kcl3, shardwise3]))
    const kcl4 = stage.kcl('3.5', 'kcl4')
    await kcl4.ready()
    stage.took('a KCL leads, another KCL joins: until all three read', await stage.readBy([kcl3, kcl4, shardwise3]))

    expect(await stage.leader()).toBe('kcl3')
    await kcl3.kill()
    const [fourth, fourthMs] = await stage.nextLeader(kcl3)
    stage.took(`the leading KCL is killed: until ${fourth} leads`, fourthMs)
    stage.took('and until its shards are read', fourthMs + (await stage.readBy([kcl4, shardwise3])))
  }
  stage.took('then all is read', await stage.delivered())
  stage.expectOrder()
}, 300_000)

test('a KCL that leads, and goes by the load of the CPU, gives shards to us', async () => {
  await using stage = await Stage.open('load', 8)
  const shardwise1 = stage.shardwise('shardwise1')
  await stage.put(1_000)
  await stage.delivered()
  {
    await using _putting = stage.keepPutting()
    const kcls = [stage.kcl('3.5', 'kcl1', { cpu: '95' }), stage.kcl('3.5', 'kcl2', { cpu: '95' })]
    for (const kcl of kcls) await kcl.ready()
    await stage.readBy([shardwise1, ...kcls])
    await shardwise1.stop()
    await stage.readBy(kcls)
    const shardwise2 = stage.shardwise('shardwise2', { idle: true })
    stage.took(
      'a KCL leads by load, one of ours joins: until all three read',
      await stage.readBy([...kcls, shardwise2]),
    )
  }
  await stage.delivered()
  stage.expectOrder()
}, 120_000)
