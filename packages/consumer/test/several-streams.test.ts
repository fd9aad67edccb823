import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb'
import {
  AddTagsToStreamCommand,
  CreateStreamCommand,
  DeleteStreamCommand,
  GetShardIteratorCommand,
  PutRecordCommand,
} from '@aws-sdk/client-kinesis'
import { createKinesisClient, type Kinesis, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Consumer } from '../src/consumer.ts'
import type { ConsumerOptions } from '../src/options.ts'
import type { ConsumerEvent } from '../src/telemetry/telemetry.ts'

let local: Local
let kinesis: Kinesis & { destroy(): void }
let consumers: Consumer[]
let handled: string[]
let events: ConsumerEvent[]

beforeEach(async () => {
  local = await startLocal({ streams: { orders: 2, flights: 1, other: 1 }, limits: false })
  kinesis = createKinesisClient(local.kinesis)
  consumers = []
  handled = []
  events = []
})

afterEach(async () => {
  await Promise.all(consumers.map((consumer) => consumer.close()))
  kinesis.destroy()
  await local.stop()
})

function start(workerId: string, options: Partial<ConsumerOptions>): { consumer: Consumer; ended: Promise<void> } {
  const consumer = new Consumer({
    application: 'shop',
    workerId,
    failoverTime: 1_000,
    idleTimeBetweenReads: 20,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
    onEvent: (event) => events.push(event),
    ...options,
  })
  consumers.push(consumer)
  const ended = consumer.run({ eachRecord: (record) => void handled.push(`${record.stream}:${record.text()}`) })
  return { consumer, ended }
}

const put = (stream: string, text: string): Promise<unknown> =>
  kinesis.send(new PutRecordCommand({ StreamName: stream, PartitionKey: text, Data: Buffer.from(text) }))
const until = (holds: () => void): Promise<void> => vi.waitFor(holds, { timeout: 8_000, interval: 20 })
const shards = (consumer: Consumer): string[] =>
  consumer
    .status()
    .shards.map(({ stream, shardId }) => `${stream} ${Number(shardId.slice(-4))}`)
    .sort()

test('one application reads the records of all its streams, and its workers share their shards', async () => {
  const streams = ['orders', 'flights']
  const { consumer: a } = start('a', { streams })
  await until(() => expect(shards(a)).toEqual(['flights 0', 'orders 0', 'orders 1']))
  const { consumer: b } = start('b', { streams })
  await until(() => expect(shards(a).length + shards(b).length * 10).toBeOneOf([12, 21]))
  await Promise.all(streams.flatMap((stream) => ['1', '2', '3'].map((text) => put(stream, text))))
  await until(() =>
    expect(handled.toSorted()).toEqual(streams.toSorted().flatMap((stream) => [1, 2, 3].map((n) => `${stream}:${n}`))),
  )
  expect(new Set(a.status().leases.map(({ stream }) => stream))).toEqual(new Set(streams))
})

test('its leases are laid out as the KCL has them', async () => {
  const { consumer } = start('a', { streams: ['flights'] })
  await until(() => expect(shards(consumer)).toEqual(['flights 0']))
  const dynamodb = new DynamoDBClient(local.dynamodb)
  const { Items = [] } = await dynamodb.send(new ScanCommand({ TableName: 'shop' }))
  dynamodb.destroy()
  const [lease] = Items.filter((item) => item.entityType?.S === 'LEASE')
  expect(lease).toMatchObject({
    leaseKey: { S: expect.stringMatching(/^\d{12}:flights:\d{10}:shardId-000000000000$/) },
    streamName: { S: expect.stringMatching(/^\d{12}:flights:\d{10}$/) },
    shardId: { S: 'shardId-000000000000' },
  })
})

test('streams are found by their tags', async () => {
  await kinesis.send(new AddTagsToStreamCommand({ StreamName: 'orders', Tags: { team: 'shop' } }))
  const { consumer } = start('a', { streams: { where: async (stream) => (await stream.tags()).team === 'shop' } })
  await until(() => expect(shards(consumer)).toEqual(['orders 0', 'orders 1']))
  expect(consumer.status().streams).toEqual(['orders'])
})

test('a stream that is deleted is given up, and the others go on', async () => {
  const { consumer } = start('a', { streams: ['orders', 'flights'] })
  await until(() => expect(shards(consumer)).toHaveLength(3))
  await kinesis.send(new DeleteStreamCommand({ StreamName: 'flights' }))
  await until(() => expect(shards(consumer)).toEqual(['orders 0', 'orders 1']))
  expect(events).toContainEqual(expect.objectContaining({ type: 'streamRemoved', stream: 'flights' }))
  await put('orders', 'still')
  await until(() => expect(handled).toEqual(['orders:still']))
})

test('a stream that is made anew is read from its start, by other leases', async () => {
  await put('flights', 'old')
  const { consumer } = start('a', { streams: ['flights', 'other'] })
  await until(() => expect(handled).toEqual(['flights:old']))
  await kinesis.send(new DeleteStreamCommand({ StreamName: 'flights' }))
  // Another second: the identifier tells the time of creation in seconds.
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  await kinesis.send(new CreateStreamCommand({ StreamName: 'flights', ShardCount: 1 }))
  await put('flights', 'new')
  await vi.waitFor(() => expect(handled).toEqual(['flights:old', 'flights:new']), { timeout: 15_000, interval: 50 })
  expect(shards(consumer)).toEqual(['flights 0', 'other 0'])
})

test('a stream whose shards may not be read is told of, and the others go on', async () => {
  const send = (command: GetShardIteratorCommand, options?: object): Promise<unknown> => {
    if (!(command instanceof GetShardIteratorCommand) || command.input.StreamName !== 'orders') {
      return kinesis.send(command, options)
    }
    const name = 'AccessDeniedException'
    return Promise.reject(Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 400 } }))
  }
  const { consumer } = start('a', { streams: ['orders', 'flights'], kinesis: { send } as unknown as Kinesis })
  await until(() =>
    // Once a minute and shard.
    expect(events.filter((event) => event.type === 'readFailed' && event.stream === 'orders')).toHaveLength(2),
  )
  await put('flights', 'still')
  await until(() => expect(handled).toEqual(['flights:still']))
  expect(shards(consumer)).toEqual(['flights 0', 'orders 0', 'orders 1'])
})

test('closing does not wait for a predicate that never settles', async () => {
  const { consumer, ended } = start('a', { streams: { where: () => new Promise<boolean>(() => {}) } })
  await new Promise((resolve) => setTimeout(resolve, 100))
  await consumer.close()
  await ended
})

test('a stream that does not exist is told of and the others are read', async () => {
  const { consumer } = start('a', { streams: ['nothing', 'flights'] })
  await until(() => expect(shards(consumer)).toEqual(['flights 0']))
  expect(events).toContainEqual(expect.objectContaining({ type: 'streamMissing', stream: 'nothing' }))
})

test('leases of one stream can not be gone on from with several, nor the other way round', async () => {
  const { consumer: several } = start('a', { application: 'many', streams: ['flights'] })
  await until(() => expect(shards(several)).toEqual(['flights 0']))
  await several.close()
  const { ended } = start('a', { application: 'many', stream: 'flights' })
  await expect(ended).rejects.toMatchObject({ code: 'ERR_TABLE', message: expect.stringContaining('several streams') })
  const { consumer: one } = start('b', { application: 'one', stream: 'flights' })
  await until(() => expect(shards(one)).toEqual(['flights 0']))
  await one.close()
  const { ended: refused } = start('b', { application: 'one', streams: ['flights'] })
  await expect(refused).rejects.toMatchObject({ code: 'ERR_TABLE', message: expect.stringContaining('one stream') })
})

test('a function that gives no list of streams is refused', async () => {
  const { ended } = start('a', { streams: (() => 'flights') as unknown as () => string[] })
  await expect(ended).rejects.toMatchObject({ code: 'ERR_STREAM', message: expect.stringContaining('got "flights"') })
})
