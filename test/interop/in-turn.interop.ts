import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

const RECORDS = 2_000

test('the KCL 3.5 continues a table that we made, from our checkpoints', async () => {
  await using stage = await Stage.open('ours-first', 3)
  const ours = stage.shardwise('ours')
  await stage.put(RECORDS)
  await stage.delivered()
  await ours.stop()

  await stage.put(RECORDS)
  const kcl = stage.kcl('3.5', 'kcl')
  stage.took('a KCL joins a table of ours', await kcl.ready())
  stage.took('then all is read', await stage.delivered())
  expect(stage.repeats()).toBe(0)
  stage.expectOrder()
  await kcl.stop()
})

test('we continue a table of the KCL 3.5: after a reshard, with prepared checkpoints, after its end and its death', async () => {
  await using stage = await Stage.open('kcl-first', 3)
  const kcl = stage.kcl('3.5', 'kcl')
  stage.took('a KCL makes a table', await kcl.ready(120_000))
  await stage.put(RECORDS)
  stage.took('then all is read', await stage.delivered())
  const parent = await stage.split()
  await stage.put(RECORDS)
  stage.took('a KCL reads all of a split', await stage.delivered())
  await kcl.tells('its parent has ended', (event) => event.event === 'shardEnded' && event.shard === parent)
  // What a producer with an outdated shard map left in a child, and wrote again.
  const repeats = stage.repeats()

  kcl.command('prepare')
  await kcl.tells('that it only prepares', ({ event }) => event === 'preparing')
  await stage.put(RECORDS)
  await stage.delivered()
  stage.took('a KCL stops', await kcl.stop())
  const prepared = [...(await stage.leases()).values()].filter(
    ({ pendingCheckpoint }) => pendingCheckpoint !== undefined,
  )
  expect(prepared).toHaveLength(4)

  const ours = stage.shardwise('ours')
  stage.took('we take over from a KCL that has stopped', await stage.readBy([ours]))
  // What was prepared only is not finished: it comes again.
  await ours.tells('the last record', (event) => event.event === 'record' && Number(event.data) === 3 * RECORDS - 1)
  await stage.put(RECORDS)
  await stage.delivered()
  expect(stage.repeats()).toBe(repeats + RECORDS)
  stage.expectOrder()
  await ours.stop()
  for (const lease of (await stage.leases()).values()) expect(lease).not.toHaveProperty('pendingCheckpoint')

  const doomed = stage.kcl('3.5', 'doomed')
  await doomed.ready()
  {
    await using _putting = stage.keepPutting()
    await stage.put(RECORDS)
    await doomed.tells('a record', ({ event }) => event === 'record')
    await doomed.kill()
    const heir = stage.shardwise('heir')
    stage.took('we take over from a KCL that was killed', await stage.readBy([heir]))
  }
  stage.took('then all is read', await stage.delivered())
})
