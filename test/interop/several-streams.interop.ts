import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

const RECORDS = 2_000

test('an application of several streams goes from the KCL to us and back, and runs on both', async () => {
  await using stage = await Stage.open('several', 2, ['orders', 'returns'])
  const ours = stage.shardwise('ours')
  await stage.put(RECORDS)
  await stage.delivered()
  await ours.stop()

  await stage.put(RECORDS)
  const kcl = stage.kcl('3.5', 'kcl')
  await kcl.ready()
  stage.took('a KCL joins our table: until it reads', await stage.readBy([kcl]))
  await stage.delivered()
  expect(stage.repeats()).toBe(0)

  await stage.split('orders')
  await stage.put(RECORDS)
  await stage.delivered()
  await stage.allRead()
  await stage.put(RECORDS)
  await stage.delivered()
  const repeats = stage.repeats()
  {
    await using _putting = stage.keepPutting()
    const ours2 = stage.shardwise('ours2')
    stage.took('a KCL leads, we join: until both read', await stage.readBy([kcl, ours2]))
    expect(stage.repeats()).toBe(repeats)
    await stage.merge('returns')
    await stage.allRead()
    await kcl.stop()
    stage.took('the KCL has stopped: until we read all', await stage.readBy([ours2]))
  }
  await stage.delivered()
  stage.expectOrder()
}, 180_000)
