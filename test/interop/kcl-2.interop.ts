import { expect, test } from 'vitest'
import { Stage } from './stage.ts'

const RECORDS = 2_000

test('beside running workers of the KCL 2 we refuse to start, and take over when they have stopped', async () => {
  await using stage = await Stage.open('kcl-two', 3)
  const kcl = stage.kcl('2', 'kcl')
  stage.took('a KCL 2 makes its table', await kcl.ready(120_000))
  await stage.put(RECORDS)
  await stage.delivered()

  const early = stage.shardwise('early')
  stage.took(
    'we refuse',
    await early.tells('its refusal', (event) => event.event === 'failed' && event.code === 'ERR_TABLE'),
  )
  expect(early.events().some(({ event }) => event === 'started')).toBe(false)
  await stage.put(RECORDS)
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  expect(kcl.events().some(({ event }) => event === 'leaseLost')).toBe(false)
  await kcl.stop()

  await stage.put(RECORDS)
  const ours = stage.shardwise('ours')
  stage.took('it has stopped, we take over', await stage.readBy([ours]))
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  stage.expectOrder()
  await ours.stop()
}, 240_000)
