import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

test('a worker that stood still for too long is replaced, finds that out, and gets its part again', async () => {
  await using stage = await Stage.open('pauses', 6)
  const ours = stage.shardwise('ours')
  await stage.put(1_000)
  await stage.delivered()
  const kcl = stage.kcl('3.5', 'kcl')
  await kcl.ready()
  {
    await using _putting = stage.keepPutting()
    await stage.readBy([ours, kcl])

    kcl.pause()
    stage.took('a KCL stands still: until we read its shards', await stage.heldBy([ours]))
    await stage.put(500)
    kcl.resume()
    stage.took('it goes on: until both read', await stage.readBy([ours, kcl]))
    expect(kcl.events().filter(({ event }) => event === 'leaseLost')).not.toHaveLength(0)

    expect(await stage.leader()).toBe('ours')
    ours.pause()
    stage.took('we, leading, stand still: until a KCL reads our shards', await stage.heldBy([kcl]))
    await stage.put(500)
    ours.resume()
    stage.took('we go on: until both read', await stage.readBy([ours, kcl]))
    expect(ours.events().filter(({ event }) => event === 'leaseLost')).not.toHaveLength(0)
  }
  await stage.delivered()
  await ours.stop()
  await kcl.stop()
}, 180_000)
