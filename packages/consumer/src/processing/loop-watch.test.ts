import { type Clock, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import { type ConsumerEvent, Telemetry } from '../telemetry/telemetry.ts'
import { ConsumerRecord } from './consumer-record.ts'
import { watchLoop } from './loop-watch.ts'

const source = { stream: 'flights', shardId: 'shard-1', sequenceNumber: '7', arrivedAt: undefined }
const record = new ConsumerRecord(source, 'LH400', undefined, new Uint8Array(), 2, false)

/** Tells what is seen when the loop is blocked for so long, once. */
async function seen(blockedMs: number, lastRecord?: ConsumerRecord): Promise<ConsumerEvent[]> {
  const manual = new ManualClock()
  let lateMs = 0
  const clock: Clock = {
    sleep: (ms, signal) => manual.sleep(ms, signal),
    wallMs: () => 0,
    monotonicMs: () => manual.monotonicMs() + lateMs,
  }
  const events: ConsumerEvent[] = []
  const telemetry = new Telemetry(silentLogger, (event) => events.push(event), {})
  const over = new AbortController()
  const options = { clock, failoverTime: 10_000, telemetry, handler: 'eachRecord (save)', lastRecord: () => lastRecord }
  const watching = watchLoop(options, over.signal)
  await manual.advance(1_000)
  expect(events).toEqual([])
  lateMs = blockedMs
  await manual.advance(1_000)
  over.abort()
  await watching
  await settle()
  expect(manual.sleeping).toBe(0)
  return events
}

test('a loop that was blocked for more than a tenth of failoverTime is told of once, with handler and record', async () => {
  expect(await seen(1_001, record)).toEqual([
    {
      type: 'eventLoopBlocked',
      blockedMs: 1_001,
      handler: 'eachRecord (save)',
      shardId: 'shard-1',
      partitionKey: 'LH400',
      sequenceNumber: '7',
      subSequenceNumber: 2,
    },
  ])
})

test('a shorter delay is not, and without a call there is no record to name', async () => {
  expect(await seen(1_000, record)).toEqual([])
  expect(await seen(5_000)).toMatchObject([{ handler: 'eachRecord (save)', shardId: undefined }])
})
