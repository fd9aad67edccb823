import { expect, test } from 'vitest'
import { Stage } from './stage.ts'
import type { Worker } from './worker.ts'

/** One of each key. */
const RECORDS = 40
const SHARDS = 2

/** By shard: the checkpoint that was prepared, and the note with it. */
type Prepared = Map<string, readonly [sequence: string | undefined, sub: number | undefined, state: string | undefined]>

/** What a worker prepared last in each shard. */
function preparedBy(worker: Worker): Prepared {
  const prepared = worker.events().filter((event) => event.event === 'prepared')
  return new Map(prepared.map(({ shard, sequence, sub }) => [shard, [sequence, sub, 'half done']]))
}

/** What a worker was told when it took over. */
function toldTo(worker: Worker): Prepared {
  const started = worker.events().filter((event) => event.event === 'started')
  return new Map(started.map(({ shard, pending, pendingSub, state }) => [shard, [pending, pendingSub, state]]))
}

test('what we have prepared and not made, a KCL is told when it takes over; and the other way round', async () => {
  await using stage = await Stage.open('two-phase', SHARDS)
  const ours = stage.shardwise('ours', { isManual: true })
  await stage.put(RECORDS)
  await stage.delivered()
  ours.command('prepare')
  await ours.tells('that it only prepares', ({ event }) => event === 'preparing')
  await stage.put(RECORDS)
  await stage.delivered()
  await ours.stop()
  const byUs = preparedBy(ours)
  expect(byUs.size).toBe(SHARDS)

  const kcl = stage.kcl('3.5', 'kcl')
  await kcl.ready(120_000)
  await stage.readBy([kcl])
  expect(toldTo(kcl)).toEqual(byUs)
  // What was prepared only is not finished: it came again.
  await stage.put(RECORDS)
  await stage.delivered()
  expect(stage.repeats()).toBe(RECORDS)
  kcl.command('prepare')
  await kcl.tells('that it only prepares', ({ event }) => event === 'preparing')
  await stage.put(RECORDS)
  await stage.delivered()
  await kcl.stop()
  const byKcl = preparedBy(kcl)
  expect(byKcl.size).toBe(SHARDS)

  const heir = stage.shardwise('heir', { isManual: true })
  await stage.readBy([heir])
  expect(toldTo(heir)).toEqual(byKcl)
  await stage.put(RECORDS)
  await stage.delivered()
  expect(stage.repeats()).toBe(2 * RECORDS)
  stage.expectOrder()
  await heir.stop()
  for (const lease of (await stage.leases()).values()) expect(lease).not.toHaveProperty('pendingCheckpoint')
})
