import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

test('KCL workers and ours share one table through joins, reshards, deaths and changes of the leader', async () => {
  await using stage = await Stage.open('mixed', 8)
  const shardwise1 = stage.shardwise('shardwise1')
  await stage.put(2_000)
  await stage.delivered()
  expect(await stage.leader()).toBe('shardwise1')
  {
    await using _putting = stage.keepPutting()

    const kcl1 = stage.kcl('3.5', 'kcl1')
    await kcl1.ready()
    stage.took('we lead, a KCL joins: until both read', await stage.readBy([shardwise1, kcl1]))
    const shardwise2 = stage.shardwise('shardwise2')
    const kcl2 = stage.kcl('3.5', 'kcl2')
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

    await shardwise1.stop()
    const [second, secondMs] = await stage.nextLeader(shardwise1)
    stage.took(`our leader stops: until ${second} leads`, secondMs)
    stage.took('and until its shards are read', secondMs + (await stage.readBy([shardwise2, kcl1, kcl2])))

    // The last of ours: a KCL must lead.
    await shardwise2.kill()
    const [third, thirdMs] = await stage.nextLeader(shardwise2)
    expect(third).toMatch(/^kcl/)
    stage.took(`our last worker, the leader, is killed: until ${third} leads`, thirdMs)
    stage.took('and until its shards are read', thirdMs + (await stage.readBy([kcl1, kcl2])))

    const shardwise3 = stage.shardwise('shardwise3')
    stage.took('a KCL leads, one of ours joins: until all three read', await stage.readBy([kcl1, kcl2, shardwise3]))

    const [leading, following] = third === 'kcl1' ? [kcl1, kcl2] : [kcl2, kcl1]
    await leading.kill()
    const [fourth, fourthMs] = await stage.nextLeader(leading)
    stage.took(`the leading KCL is killed: until ${fourth} leads`, fourthMs)
    stage.took('and until its shards are read', fourthMs + (await stage.readBy([following, shardwise3])))

    const kcl3 = stage.kcl('3.5', 'kcl3')
    await kcl3.ready()
    stage.took(`${fourth} leads, a KCL joins: until all three read`, await stage.readBy([following, shardwise3, kcl3]))
    stage.took('a KCL stops', await following.stop())
    stage.took('and until its shards are read', await stage.readBy([shardwise3, kcl3]))
  }
  stage.took('then all is read', await stage.delivered())
  stage.expectOrder()
}, 300_000)
