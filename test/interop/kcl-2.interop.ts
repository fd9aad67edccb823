import { expect, test } from 'vitest'
import type { WorkerEvent } from './event-log.ts'
import { Stage } from './stage.ts'

const RECORDS = 2_000
/** A minute of watching comes first. */
const TAKEOVER_MS = 120_000

function isRefusal(event: WorkerEvent): boolean {
  return event.event === 'failed' && event.code === 'ERR_TABLE'
}

test('beside running workers of the KCL 2 we refuse to start, take over when they have stopped, and can go back', async () => {
  await using stage = await Stage.open('kcl-two', 3)
  const kcl = stage.kcl('2', 'kcl')
  stage.took('a KCL 2 makes its table', await kcl.ready(120_000))
  await stage.put(RECORDS)
  await stage.delivered()

  const early = stage.shardwise('early')
  stage.took('we refuse', await early.tells('its refusal', isRefusal))
  expect(early.events().some(({ event }) => event === 'started')).toBe(false)
  await stage.put(RECORDS)
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  expect(kcl.events().some(({ event }) => event === 'leaseLost')).toBe(false)
  await kcl.stop()

  await stage.put(RECORDS)
  const ours = stage.shardwise('ours')
  stage.took('it has stopped: until we read', await stage.readBy([ours], TAKEOVER_MS))
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  await ours.stop()

  // A KCL 2 takes every item for a lease, and fails on one that is none.
  const others = (await stage.items())
    .flatMap(({ leaseKey }) => leaseKey?.S ?? [])
    .filter((key) => !key.startsWith('shardId-'))
  expect(others).toEqual(['Migration3.0'])
  for (const key of others) await stage.deleteItem(key)
  await stage.put(RECORDS)
  const back = stage.kcl('2', 'back')
  await back.ready()
  stage.took('we have stopped: until a KCL 2 reads', await stage.readBy([back]))
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  stage.expectOrder()
}, 360_000)

test('beside a KCL 3 that keeps the rules of the KCL 2 we refuse to start', async () => {
  await using stage = await Stage.open('upgrading', 3)
  const kcl = stage.kcl('3.5', 'kcl', { clientVersion: 'CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X' })
  await kcl.ready(120_000)
  await stage.put(RECORDS)
  await stage.delivered()

  await stage.shardwise('early').tells('its refusal', isRefusal)
  await stage.put(RECORDS)
  await stage.delivered()
  expect(stage.repeats()).toBe(0)
  expect(kcl.events().some(({ event }) => event === 'leaseLost')).toBe(false)
}, 180_000)
