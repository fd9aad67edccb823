import { GetRecordsCommand, ListShardsCommand, SubscribeToShardCommand } from '@aws-sdk/client-kinesis'
import type { Kinesis } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { timedCalls } from './timed-calls.ts'

const clock = new ManualClock()
const silent = { send: () => new Promise(() => {}) } as unknown as Kinesis

/** After how many milliseconds the call is given up, within a minute. */
async function givenUpAfter(command: object): Promise<number | undefined> {
  const sentAtMs = clock.monotonicMs()
  let afterMs: number | undefined
  const call: Promise<unknown> = timedCalls(silent, clock).send(command as ListShardsCommand)
  call.catch(() => {
    afterMs = clock.monotonicMs() - sentAtMs
  })
  await clock.advance(60_000)
  return afterMs
}

test('a call that gets no answer is given up after 10 s, one for records after 30 s', async () => {
  expect(await givenUpAfter(new ListShardsCommand({ StreamName: 'flights' }))).toBe(10_000)
  expect(await givenUpAfter(new GetRecordsCommand({ ShardIterator: 'i' }))).toBe(30_000)
})

test('a subscription is not given up here, and gets the signal of its caller itself', async () => {
  const command = new SubscribeToShardCommand({ ConsumerARN: 'a', ShardId: 's', StartingPosition: { Type: 'LATEST' } })
  expect(await givenUpAfter(command)).toBeUndefined()
  const given: unknown[] = []
  const client = { send: async (...of: unknown[]) => given.push(...of) } as unknown as Kinesis
  const options = { abortSignal: new AbortController().signal }
  await timedCalls(client, clock).send(command, options)
  expect(given).toEqual([command, options])
})
