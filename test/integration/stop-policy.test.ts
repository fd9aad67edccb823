import { MergeShardsCommand, PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { Consumer, type ConsumerEvent } from '@shardwise/consumer'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { startLocal } from '@shardwise/local'
import { splitEvenly } from '@shardwise/records'
import { expect, test } from 'vitest'

const STREAM = 'orders'
const [LOW, HIGH, CHILD] = ['shardId-000000000000', 'shardId-000000000001', 'shardId-000000000002'] as const
/** A key in each shard, and in their child too. */
const KEYS = splitEvenly(2).map(({ start }, index) => ({
  PartitionKey: ['low', 'high'][index]!,
  ExplicitHashKey: `${start}`,
}))

test('a shard whose record fails again and again stops there, its child waits for it, and all goes on once the handler is mended', async () => {
  await using local = await startLocal({ streams: { [STREAM]: 2 }, limits: false })
  const kinesis = createKinesisClient(local.kinesis)
  const put = async (number: number): Promise<void> => {
    const Records = KEYS.map((key) => ({ ...key, Data: Buffer.from(`${key.PartitionKey} ${number}`) }))
    await kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records }))
  }
  let isMended = false
  const handled: string[] = []
  const events: ConsumerEvent[] = []
  await using consumer = new Consumer({
    application: 'stopped',
    stream: STREAM,
    failoverTime: 1_000,
    idleTimeBetweenReads: 20,
    maxAttempts: 2,
    stoppedRetryMs: 300,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
    onEvent: (event) => events.push(event),
  })
  const running = consumer.run({
    eachRecord: async (record) => {
      if (record.text() === 'low 2' && !isMended) throw new Error('out of order')
      handled.push(record.text())
    },
  })
  const shard = (id: string) => consumer.status().shards.find(({ shardId }) => shardId === id)
  const stops = () => events.filter((event) => event.type === 'shardStopped')

  for (let number = 0; number < 5; number++) await put(number)
  await expect.poll(() => shard(LOW)?.state, { timeout: 10_000 }).toBe('stopped')
  expect(consumer.status()).toMatchObject({ live: true, healthy: false })
  expect(shard(LOW)).toMatchObject({ stopped: { record: { partitionKey: 'low' }, attempts: 2 } })
  await kinesis.send(new MergeShardsCommand({ StreamName: STREAM, ShardToMerge: LOW, AdjacentShardToMerge: HIGH }))
  for (let number = 5; number < 8; number++) await put(number)

  // Reads on in the other shard to its end, and tries again and again in this one.
  await expect.poll(() => shard(CHILD)?.waitingFor, { timeout: 10_000 }).toEqual([LOW])
  await expect.poll(() => stops().length, { timeout: 10_000 }).toBeGreaterThanOrEqual(3)
  expect(handled.filter((text) => text.startsWith('low'))).not.toContain('low 3')
  expect(handled.filter((text) => text.startsWith('high'))).toEqual([0, 1, 2, 3, 4].map((number) => `high ${number}`))

  isMended = true
  await expect.poll(() => handled.length, { timeout: 10_000 }).toBe(16)
  for (const key of ['low', 'high']) {
    expect(handled.filter((text) => text.startsWith(key))).toEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((number) => `${key} ${number}`),
    )
  }
  expect(consumer.status()).toMatchObject({ healthy: true })
  await consumer.close()
  await running
  kinesis.destroy()
}, 60_000)
