import { setTimeout } from 'node:timers/promises'
import { DescribeStreamSummaryCommand, ListStreamConsumersCommand } from '@aws-sdk/client-kinesis'
import type { Local } from '@shardwise/local'
import { expect, test } from 'vitest'
import { until } from './event-log.ts'
import { Stage } from './stage.ts'

const RECORDS = 2_000
const TICK_MS = 50
const FIVE_MINUTES_MS = 300_000

/** Lets time go by in a Kinesis whose clock is set by hand, so that it can also be made to jump. */
function keepTicking(local: Local): AsyncDisposable {
  const stopped = new AbortController()
  const ticking = (async () => {
    let lastMs = performance.now()
    while (!stopped.signal.aborted) {
      await setTimeout(TICK_MS)
      const nowMs = performance.now()
      await local.clock.advance(nowMs - lastMs)
      lastMs = nowMs
    }
  })()
  return {
    [Symbol.asyncDispose]: async () => {
      stopped.abort()
      await ticking
    },
  }
}

/** How often an operation has been called since. */
async function callsOf(local: Local, operation: string): Promise<() => Promise<number>> {
  const counting = await local.faults.add({ fault: 'delay', delayMs: 0, operation })
  return async () => await counting.hits()
}

test('a KCL reads by fan-out as from the service: to the ends of shards, over five minutes, after breaks, and with us', async () => {
  await using stage = await Stage.open('fan-out', 3, undefined, { clock: 'manual', limits: true })
  const { local, kinesis } = stage
  await using _ticking = keepTicking(local)
  const reads = await callsOf(local, 'GetRecords')
  const subscriptions = await callsOf(local, 'SubscribeToShard')
  await stage.put(RECORDS)

  const kcl = stage.kcl('3.5', 'kcl', { retrieval: 'fanOut' })
  stage.took('a KCL starts', await kcl.ready(120_000))
  stage.took('then all that was there is read', await stage.delivered())
  const { StreamDescriptionSummary } = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: 'orders' }))
  const { Consumers } = await kinesis.send(
    new ListStreamConsumersCommand({ StreamARN: StreamDescriptionSummary?.StreamARN }),
  )
  expect(Consumers).toMatchObject([{ ConsumerName: 'fan-out', ConsumerStatus: 'ACTIVE' }])
  expect(await subscriptions()).toBe(3)
  expect(stage.log.deliveries().some(({ sub }) => sub > 0)).toBe(true)

  {
    await using _putting = stage.keepPutting()
    const parent = await stage.split()
    await kcl.tells(
      'the end of the shard that was split',
      (event) => event.event === 'shardEnded' && event.shard === parent,
    )
    stage.took('a split: until both children are read', await stage.allRead())
    await stage.merge()
    stage.took('a merge: until the child is read', await stage.allRead())
    expect(kcl.events().filter(({ event }) => event === 'shardEnded')).toHaveLength(3)
  }
  await stage.delivered()
  expect(await subscriptions()).toBe(6)
  // What a producer with an outdated shard map left in a child, and wrote again.
  const repeats = stage.repeats()

  // The three that are read now.
  await local.clock.advance(FIVE_MINUTES_MS)
  const renewed = await until('each subscription is renewed', async () => (await subscriptions()) >= 9)
  await stage.put(RECORDS)
  stage.took('five minutes are over: until all is read again', renewed + (await stage.delivered()))
  expect(await subscriptions()).toBe(9)

  const breaks = await local.faults.add({ fault: 'reset', operation: 'SubscribeToShard', count: 3 })
  await stage.put(RECORDS)
  stage.took('subscriptions break: until all is read', await stage.delivered())
  expect(await breaks.hits()).toBe(3)
  expect(stage.repeats()).toBe(repeats)

  // The consumer is registered by the application's name: both subscribe as the same one, and take shards from each other.
  const ours = stage.shardwise('ours', { retrieval: 'fanOut' })
  {
    await using _putting = stage.keepPutting()
    stage.took('a KCL leads, one of ours joins: until both read', await stage.readBy([kcl, ours]))
    stage.took('a KCL stops', await kcl.stop())
    stage.took('and until we read all', await stage.readBy([ours]))
    const back = stage.kcl('3.5', 'back', { retrieval: 'fanOut' })
    await back.ready()
    stage.took('we lead, a KCL joins: until both read', await stage.readBy([ours, back]))
  }
  stage.took('then all is read', await stage.delivered())
  stage.expectOrder()
  expect(await reads()).toBe(0)
}, 240_000)
