import {
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  KinesisClient,
  ListShardsCommand,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
} from '@aws-sdk/client-kinesis'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Local, startLocal } from '../src/local.ts'

const putting = (count: number) =>
  new PutRecordsCommand({
    StreamName: 'orders',
    Records: Array.from({ length: count }, (_, index) => ({ PartitionKey: `${index}`, Data: Buffer.from('x') })),
  })

const clients = [
  ['HTTP/2', () => ({})],
  ['HTTP/1.1', () => ({ requestHandler: new NodeHttpHandler() })],
] as const

describe.each(clients)('over %s', (_, settings) => {
  let local: Local
  let kinesis: KinesisClient
  beforeEach(async () => {
    local = await startLocal({ streams: { orders: 1 }, limits: false, dynamodb: false, clock: 'manual' })
    kinesis = new KinesisClient({ ...local.kinesis, ...settings(), maxAttempts: 1 })
  })
  afterEach(async () => {
    kinesis.destroy()
    await local.stop()
  })

  const recordsHeld = async (): Promise<number> => {
    const response = await fetch(local.kinesisEndpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': 'Kinesis_20131202.GetShardIterator',
      },
      body: JSON.stringify({
        StreamName: 'orders',
        ShardId: 'shardId-000000000000',
        ShardIteratorType: 'TRIM_HORIZON',
      }),
    })
    const { ShardIterator } = (await response.json()) as { ShardIterator: string }
    return (await kinesis.send(new GetRecordsCommand({ ShardIterator }))).Records?.length ?? 0
  }

  test('throttling is an error of the service, as often as the rule says', async () => {
    const fault = await local.faults.add({ fault: 'throttle', operation: 'PutRecords', count: 2 })
    for (let call = 1; call <= 2; call++) {
      await expect(kinesis.send(putting(1))).rejects.toMatchObject({ name: 'ProvisionedThroughputExceededException' })
    }
    expect((await kinesis.send(putting(1))).FailedRecordCount).toBe(0)
    expect(await fault.hits()).toBe(2)
  })

  test('a removed fault strikes no more, and neither does a cleared one', async () => {
    const fault = await local.faults.add({ fault: 'internalError', operation: 'ListShards' })
    const list = new ListShardsCommand({ StreamName: 'orders' })
    await expect(kinesis.send(list)).rejects.toMatchObject({ $metadata: { httpStatusCode: 500 } })
    await fault.remove()
    expect((await kinesis.send(list)).Shards).toHaveLength(1)
    await local.faults.add({ fault: 'internalError' })
    await expect(kinesis.send(list)).rejects.toThrow()
    await local.faults.clear()
    expect((await kinesis.send(list)).Shards).toHaveLength(1)
    expect(await fault.hits()).toBe(1)
  })

  test('a part of the entries fails', async () => {
    await local.faults.add({ fault: 'partialFailure', share: 0.25 })
    const { FailedRecordCount, Records } = await kinesis.send(putting(8))
    expect(FailedRecordCount).toBe(2)
    expect(Records?.filter(({ ErrorCode }) => ErrorCode !== undefined)).toHaveLength(2)
    expect(await recordsHeld()).toBe(6)
  })

  test('a reset breaks the connection with nothing done; a lost answer, with all done', async () => {
    const reset = await local.faults.add({ fault: 'reset', operation: 'PutRecords', count: 1 })
    await expect(kinesis.send(putting(1))).rejects.toThrow()
    expect([await reset.hits(), await recordsHeld()]).toEqual([1, 0])
    const lost = await local.faults.add({ fault: 'lostAnswer', operation: 'PutRecords', count: 1 })
    await expect(kinesis.send(putting(1))).rejects.toThrow()
    expect([await lost.hits(), await recordsHeld()]).toEqual([1, 1])
  })

  test('a delayed answer comes when its time has come', async () => {
    const delay = await local.faults.add({ fault: 'delay', delayMs: 30_000, operation: 'ListShards' })
    let isAnswered = false
    const answer = kinesis.send(new ListShardsCommand({ StreamName: 'orders' })).then(({ Shards }) => {
      isAnswered = true
      return Shards
    })
    while ((await delay.hits()) === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    await local.clock.advance(29_999)
    await kinesis.send(putting(1))
    expect(isAnswered).toBe(false)
    await local.clock.advance(1)
    expect(await answer).toHaveLength(1)
  })
})

/** Registers a consumer and gives what subscribes it to a shard: the events after the first. */
async function subscriber(kinesis: KinesisClient) {
  const { StreamDescriptionSummary } = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: 'orders' }))
  const { Consumer } = await kinesis.send(
    new RegisterStreamConsumerCommand({ StreamARN: StreamDescriptionSummary!.StreamARN, ConsumerName: 'app' }),
  )
  return async (ShardId = 'shardId-000000000000') => {
    const StartingPosition = { Type: 'LATEST' } as const
    const { EventStream } = await kinesis.send(
      new SubscribeToShardCommand({ ConsumerARN: Consumer!.ConsumerARN, ShardId, StartingPosition }),
    )
    const events = EventStream![Symbol.asyncIterator]()
    await events.next()
    return events
  }
}

describe.each(clients)('a running subscription over %s', (_, settings) => {
  let local: Local
  let kinesis: KinesisClient
  beforeEach(async () => {
    local = await startLocal({ streams: { orders: 1 }, limits: false, dynamodb: false, clock: 'manual' })
    kinesis = new KinesisClient({ ...local.kinesis, ...settings(), maxAttempts: 1 })
  })
  afterEach(async () => {
    kinesis.destroy()
    await local.stop()
  })

  test('ends with an error by errorEvent, and as after its five minutes by earlyEnd', async () => {
    const subscribe = await subscriber(kinesis)
    const failing = await subscribe()
    await local.faults.add({ fault: 'errorEvent', count: 1 })
    await kinesis.send(putting(1))
    await expect(failing.next()).rejects.toMatchObject({ name: 'InternalFailureException' })
    const ending = await subscribe()
    await local.faults.add({ fault: 'earlyEnd', count: 1 })
    await kinesis.send(putting(1))
    expect(await ending.next()).toEqual({ done: true, value: undefined })
  })

  test('is silent by stall, until its client gives it up', async () => {
    const subscribe = await subscriber(kinesis)
    const stalled = await subscribe()
    const stall = await local.faults.add({ fault: 'stall', count: 1 })
    let hasCome = false
    void stalled.next().then(
      () => {
        hasCome = true
      },
      () => undefined,
    )
    await local.clock.advance(5 * 60_000)
    expect(await stall.hits()).toBe(1)
    const next = await subscribe()
    await kinesis.send(putting(1))
    expect((await next.next()).value?.SubscribeToShardEvent?.Records).toHaveLength(1)
    expect(hasCome).toBe(false)
  })
})

test('a rule that makes no sense is refused with what was expected', async () => {
  await using local = await startLocal({ dynamodb: false })
  await expect(local.faults.add({ fault: 'delay' })).rejects.toThrow(TypeError)
  await expect(local.faults.add({ fault: 'fire' } as never)).rejects.toThrow('one of throttle, internalError')
  await expect(local.faults.add({ fault: 'reset', probability: 2 })).rejects.toThrow('above 0 and up to 1, got 2')
})

test('the SDK sends again by itself what a reset broke', async () => {
  await using local = await startLocal({ streams: { orders: 1 }, dynamodb: false })
  const kinesis = new KinesisClient({ ...local.kinesis, requestHandler: new NodeHttpHandler() })
  try {
    await local.faults.add({ fault: 'reset', operation: 'PutRecords', count: 1 })
    expect((await kinesis.send(putting(1))).FailedRecordCount).toBe(0)
  } finally {
    kinesis.destroy()
  }
})

test('a broken subscription takes no other along on its HTTP/2 connection', async () => {
  await using local = await startLocal({ streams: { orders: 2 }, limits: false, dynamodb: false, clock: 'manual' })
  const kinesis = new KinesisClient(local.kinesis)
  try {
    const subscribe = await subscriber(kinesis)
    const broken = await subscribe('shardId-000000000000')
    const whole = await subscribe('shardId-000000000001')
    await local.faults.add({ fault: 'reset', operation: 'SubscribeToShard', shardId: 'shardId-000000000000' })
    await local.clock.advance(5_000)
    await expect(broken.next()).rejects.toThrow()
    expect((await whole.next()).value?.SubscribeToShardEvent?.Records).toEqual([])
  } finally {
    kinesis.destroy()
  }
})

test('the same seed strikes the same requests', async () => {
  const struck = async (seed: number): Promise<string> => {
    await using local = await startLocal({ streams: { orders: 1 }, limits: false, dynamodb: false, seed })
    await local.faults.add({ fault: 'throttle', operation: 'PutRecords', probability: 0.5 })
    const kinesis = new KinesisClient({ ...local.kinesis, requestHandler: new NodeHttpHandler(), maxAttempts: 1 })
    let outcomes = ''
    for (let request = 0; request < 40; request++) {
      outcomes += await kinesis.send(putting(1)).then(
        () => '.',
        () => 'x',
      )
    }
    kinesis.destroy()
    return outcomes
  }
  const first = await struck(1)
  expect(first).toMatch(/x/)
  expect(first).toMatch(/\./)
  expect(await struck(1)).toBe(first)
  expect(await struck(2)).not.toBe(first)
})
