import { setTimeout } from 'node:timers/promises'
import { test } from 'vitest'
import { Stage } from './stage.ts'

test('killed kcl', async () => {
  await using stage = await Stage.open('killed', 4)
  const ours = stage.shardwise('ours')
  await stage.put(500)
  await stage.delivered()
  await ours.stop()
  const former = stage.kcl('3.5', 'former')
  await former.ready()
  await stage.readBy([former])
  await former.stop()
  const doomed = stage.kcl('3.5', 'doomed')
  await doomed.ready()
  await stage.readBy([doomed])
  await stage.put(1000)
  await doomed.tells('a record', ({ event }) => event === 'record')
  await doomed.kill()
  stage.shardwise('heir')
  for (let i = 0; i < 55; i++) {
    const items = await stage.items()
    const l = items.filter((x) => x.leaseKey?.S?.startsWith('shard')).map((x) => `${x.leaseOwner?.S}/${x.checkpointOwner?.S ?? ''}/${x.leaseCounter?.N}`)
    console.log(i, l.sort().join(' '), items.find((x) => x.leaseKey?.S === 'Leader')?.ownerName?.S)
    if (l.every((x) => x.startsWith('heir//'))) break
    await setTimeout(1000)
  }
  await stage.delivered()
})
