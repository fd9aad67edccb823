import { test } from 'vitest'
import { Stage } from './stage.ts'

test('java multi', async () => {
  await using stage = await Stage.open('multi', 2, ['a', 'b'])
  const kcl = stage.kcl('3.5', 'kcl')
  await stage.put(500)
  await kcl.ready()
  await stage.delivered()
  await stage.split('a')
  await stage.put(500)
  await stage.delivered()
  stage.took('', await stage.allRead())
  console.log(JSON.stringify(await stage.items()))
})
