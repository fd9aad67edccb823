/**
 * Fan-out against a Kinesis that we haven't written: `kinesis-local`, over HTTP/1.1, which is all that it speaks, so with a
 * client of the user's own. It sends an event a second; what it can't show is the end of a shard.
 */
import { Agent } from 'node:http'
import { CreateStreamCommand, DescribeStreamSummaryCommand, KinesisClient } from '@aws-sdk/client-kinesis'
import { Consumer, type ConsumerEvent } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { expect, test } from 'vitest'
import { startKinesisLocal } from '../conformance/kinesis-local.ts'

const STREAM = 'orders'
const SHARDS = 3
const RECORDS = 600
const KEYS = 20

test('records come in order from kinesis-local by fan-out, over a broken connection, a restart, and from polling on', async () => {
  const emulator = await startKinesisLocal()
  await using local = await startLocal()
  const httpAgent = new Agent({ keepAlive: true })
  const kinesis = new KinesisClient({
    ...local.kinesis,
    endpoint: emulator.endpoint,
    requestHandler: new NodeHttpHandler({ httpAgent }),
  })
  let subscriptions = 0
  kinesis.middlewareStack.add(
    (next, { commandName }) =>
      (args) => {
        if (commandName === 'SubscribeToShardCommand') subscriptions++
        return next(args)
      },
    { step: 'initialize' },
  )
  const producer = new Producer({ stream: STREAM, client: kinesis })
  const delivered: number[] = []
  const events: ConsumerEvent[] = []
  const start = (retrieval: 'polling' | 'fanOut'): AsyncDisposable => {
    const consumer = new Consumer({
      application: 'second',
      stream: STREAM,
      retrieval,
      kinesis,
      dynamodbConfig: local.dynamodb,
      logger: silentLogger,
      onEvent: (event) => events.push(event),
    })
    const running = consumer.run({
      eachRecord: (record) => {
        delivered.push(Number(record.text()))
      },
    })
    return {
      [Symbol.asyncDispose]: async () => {
        await consumer.close()
        await running
      },
    }
  }
  let put = 0
  const putMore = async (): Promise<void> => {
    const receipts = Array.from({ length: RECORDS }, () => {
      const number = put++
      return producer.put({ partitionKey: `key-${number % KEYS}`, data: String(number) })
    })
    await Promise.all(receipts)
  }
  const allDelivered = async (what: string): Promise<void> => {
    await expect.poll(() => delivered.length, { timeout: 15_000, interval: 50, message: what }).toBe(put)
  }
  const told = (type: ConsumerEvent['type']): number => events.filter((event) => event.type === type).length

  try {
    await kinesis.send(new CreateStreamCommand({ StreamName: STREAM, ShardCount: SHARDS }))
    const summary = new DescribeStreamSummaryCommand({ StreamName: STREAM })
    await expect
      .poll(async () => (await kinesis.send(summary)).StreamDescriptionSummary?.StreamStatus, { timeout: 10_000 })
      .toBe('ACTIVE')
    {
      await using _polling = start('polling')
      await putMore()
      await allDelivered('by polling')
    }
    {
      await using _fanOut = start('fanOut')
      await putMore()
      await allDelivered('by fan-out, from where polling was')
      expect([subscriptions, told('consumerRegistered')]).toEqual([SHARDS, 1])
      httpAgent.destroy()
      await putMore()
      await allDelivered('after a broken connection')
      expect(subscriptions).toBe(2 * SHARDS)
    }
    await putMore()
    {
      await using _again = start('fanOut')
      await allDelivered('after a restart')
      expect(told('consumerRegistered')).toBe(1)
    }
    const byKey = Map.groupBy(delivered, (number) => number % KEYS)
    for (const [key, numbers] of byKey) {
      expect(numbers, `order of key-${key}`).toEqual(numbers.toSorted((a, b) => a - b))
    }
    expect(new Set(delivered).size).toBe(put)
  } finally {
    await producer.close()
    kinesis.destroy()
    await emulator.stop()
  }
}, 60_000)
