import {
  CreateStreamCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  PutRecordCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
} from '@aws-sdk/client-kinesis'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Local, startLocal } from '../src/local.ts'

const SHARD = 'shardId-000000000000'
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

let local: Local
let kinesis: KinesisClient
beforeEach(async () => {
  local = await startLocal({ streams: { orders: 1 }, dynamodb: false, clock: 'manual', createMs: 20_000 })
  kinesis = new KinesisClient(local.kinesis)
})
afterEach(async () => {
  kinesis.destroy()
  await local.stop()
})

const put = (text: string) =>
  kinesis.send(new PutRecordCommand({ StreamName: 'orders', PartitionKey: 'a', Data: Buffer.from(text) }))

async function iteratorOf(): Promise<string | undefined> {
  const { ShardIterator } = await kinesis.send(
    new GetShardIteratorCommand({ StreamName: 'orders', ShardId: SHARD, ShardIteratorType: 'TRIM_HORIZON' }),
  )
  return ShardIterator
}

test('iterators expire, lag grows and retention passes when time is moved, and not before', async () => {
  await put('a')
  const ShardIterator = await iteratorOf()
  await local.clock.advance(5 * MINUTE_MS)
  const { Records } = await kinesis.send(new GetRecordsCommand({ ShardIterator }))
  expect(Records).toHaveLength(1)
  await local.clock.advance(1)
  await expect(kinesis.send(new GetRecordsCommand({ ShardIterator }))).rejects.toMatchObject({
    name: 'ExpiredIteratorException',
  })
  await local.clock.set(new Date(Records![0]!.ApproximateArrivalTimestamp!.getTime() + 24 * HOUR_MS + 1))
  expect((await kinesis.send(new GetRecordsCommand({ ShardIterator: await iteratorOf() }))).Records).toEqual([])
})

test('a stream is CREATING for as long as the options say', async () => {
  await kinesis.send(new CreateStreamCommand({ StreamName: 'later', ShardCount: 1 }))
  const statusAfter = async (ms: number): Promise<string | undefined> => {
    await local.clock.advance(ms)
    const { StreamDescriptionSummary } = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: 'later' }))
    return StreamDescriptionSummary?.StreamStatus
  }
  expect(await statusAfter(19_999)).toBe('CREATING')
  expect(await statusAfter(1)).toBe('ACTIVE')
})

test('a subscription lives its five minutes, with a heartbeat every five seconds', async () => {
  const { StreamDescriptionSummary } = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: 'orders' }))
  const { Consumer } = await kinesis.send(
    new RegisterStreamConsumerCommand({ StreamARN: StreamDescriptionSummary!.StreamARN, ConsumerName: 'app' }),
  )
  const { EventStream } = await kinesis.send(
    new SubscribeToShardCommand({
      ConsumerARN: Consumer!.ConsumerARN,
      ShardId: SHARD,
      StartingPosition: { Type: 'TRIM_HORIZON' },
    }),
  )
  let events = 0
  const ended = (async () => {
    for await (const { SubscribeToShardEvent: event } of EventStream!) if (event !== undefined) events++
  })()
  await local.clock.advance(5 * MINUTE_MS)
  await ended
  // One at the start, and one every five seconds until the end.
  expect(events).toBe(60)
})

test('time goes forward only', async () => {
  await expect(local.clock.advance(-1)).rejects.toThrow('clock.advance: expected milliseconds of at least 0, got -1')
  await expect(local.clock.set(new Date(0))).rejects.toThrow('clock.set: expected a date from now on')
})

test('in real time the clock says what to do to set it', async () => {
  await using real = await startLocal({ dynamodb: false })
  await expect(real.clock.advance(1)).rejects.toThrow("start them with { clock: 'manual' }")
})
