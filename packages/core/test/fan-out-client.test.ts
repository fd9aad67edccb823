import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  DeregisterStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  KinesisClient,
  type KinesisClientConfig,
  ListShardsCommand,
  PutRecordCommand,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  SplitShardCommand,
  SubscribeToShardCommand,
  type SubscribeToShardCommandInput,
  type SubscribeToShardEvent,
} from '@aws-sdk/client-kinesis'
import { createFanOutClient } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { NodeHttp2Handler } from '@smithy/node-http-handler'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { Http2Handler } from '../src/http2-handler.ts'

const SHARDS = 200

let local: Local
let kinesis: KinesisClient
let streamArn: string
let clients: KinesisClient[] = []
let consumers = 0

beforeAll(async () => {
  local = await startLocal({ streams: { flights: SHARDS }, dynamodb: false, tls: true })
  kinesis = new KinesisClient(local.kinesis)
  const answer = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: 'flights' }))
  streamArn = answer.StreamDescriptionSummary?.StreamARN ?? ''
})

afterEach(() => {
  for (const client of clients) client.destroy()
  clients = []
})

afterAll(async () => {
  kinesis.destroy()
  await local.stop()
})

function fanOutClient(config: KinesisClientConfig = {}): KinesisClient {
  const client = createFanOutClient({ ...local.kinesis, ...config })
  clients.push(client)
  return client
}

/** A subscription from the start of a shard, for a consumer of its own. */
async function request(shard = 0): Promise<SubscribeToShardCommandInput> {
  const command = new RegisterStreamConsumerCommand({ StreamARN: streamArn, ConsumerName: `c${++consumers}` })
  const { Consumer } = await kinesis.send(command)
  return {
    ConsumerARN: Consumer?.ConsumerARN,
    ShardId: `shardId-${String(shard).padStart(12, '0')}`,
    StartingPosition: { Type: 'TRIM_HORIZON' },
  }
}

async function subscribe(
  client: KinesisClient,
  input: SubscribeToShardCommandInput,
): Promise<() => Promise<SubscribeToShardEvent | undefined>> {
  const { EventStream } = await client.send(new SubscribeToShardCommand(input))
  const events = EventStream![Symbol.asyncIterator]()
  return async () => (await events.next()).value?.SubscribeToShardEvent
}

test('hundreds of subscriptions share a few connections, and what is put comes at once', async () => {
  const client = fanOutClient()
  const input = await request()
  const { Shards = [] } = await kinesis.send(new ListShardsCommand({ StreamName: 'flights' }))
  const nexts = await Promise.all(Shards.map(({ ShardId }) => subscribe(client, { ...input, ShardId })))
  const heartbeats = await Promise.all(nexts.map((next) => next()))
  expect(heartbeats.filter((event) => event?.MillisBehindLatest === 0)).toHaveLength(SHARDS)
  expect((client.config.requestHandler as unknown as Http2Handler).connections).toBe(4)
  const answers = nexts.map((next) => next())
  const put = { StreamName: 'flights', PartitionKey: 'AB123', Data: Buffer.from('took off') }
  await kinesis.send(new PutRecordCommand(put))
  const event = await Promise.race(answers)
  expect(Buffer.from(event?.Records?.[0]?.Data ?? []).toString()).toBe('took off')
})

test('a refusal comes as the error that the service gives it', async () => {
  const client = fanOutClient()
  const unknown = subscribe(client, { ...(await request()), ShardId: 'shardId-000000009999' })
  await expect(unknown).rejects.toMatchObject({ name: 'ResourceNotFoundException', $metadata: { httpStatusCode: 400 } })
  const input = await request()
  await subscribe(client, input)
  await expect(subscribe(client, input)).rejects.toMatchObject({ $metadata: { httpStatusCode: 400 } })
})

test('events are read as the SDK reads them', async () => {
  const sdk = new KinesisClient({ ...local.kinesis, requestHandler: new NodeHttp2Handler() })
  clients.push(sdk)
  const shard = 7
  const ExplicitHashKey = String((2n ** 128n / BigInt(SHARDS)) * BigInt(shard) + 10n)
  const Records = [Buffer.alloc(0), Buffer.from('"Data":"'), Buffer.alloc(100_000, 7), Buffer.from('é')].map(
    (Data, i) => ({
      Data,
      PartitionKey: ['plain', '"Data":"AAAA"', '\\', 'ключ 🛫'][i]!,
      ExplicitHashKey,
    }),
  )
  await kinesis.send(new PutRecordsCommand({ StreamName: 'flights', Records }))
  const read = async (client: KinesisClient): Promise<SubscribeToShardEvent | undefined> =>
    await (await subscribe(client, await request(shard)))()
  const [ours, theirs] = [await read(fanOutClient()), await read(sdk)]
  expect(ours?.Records?.map(({ PartitionKey }) => PartitionKey)).toEqual(Records.map((each) => each.PartitionKey))
  const comparable = (event: SubscribeToShardEvent | undefined): object => ({
    ...event,
    MillisBehindLatest: event?.MillisBehindLatest === 0,
    Records: event?.Records?.map((record) => ({ ...record, Data: Buffer.from(record.Data!).toString('base64') })),
  })
  expect(comparable(ours)).toEqual(comparable(theirs))
})

test('an error inside the stream of events comes by its name', async () => {
  const input = await request(9)
  const next = await subscribe(fanOutClient(), input)
  await next()
  const message = expect.stringContaining('deregistered')
  const refused = expect(next()).rejects.toMatchObject({ name: 'ResourceNotFoundException', message })
  await kinesis.send(new DeregisterStreamConsumerCommand({ ConsumerARN: input.ConsumerARN }))
  await refused
})

test('the last event of a shard has its children', async () => {
  const input = await request(11)
  const next = await subscribe(fanOutClient(), input)
  await next()
  const NewStartingHashKey = String((2n ** 128n / BigInt(SHARDS)) * 11n + 100n)
  await kinesis.send(new SplitShardCommand({ StreamName: 'flights', ShardToSplit: input.ShardId, NewStartingHashKey }))
  const { ChildShards, ContinuationSequenceNumber } = (await next())!
  expect(ContinuationSequenceNumber).toBeUndefined()
  expect(ChildShards?.map(({ ParentShards }) => ParentShards)).toEqual([[input.ShardId], [input.ShardId]])
  expect(ChildShards?.[1]?.HashKeyRange?.StartingHashKey).toBe(NewStartingHashKey)
  expect(await next()).toBeUndefined()
})

test('over TLS it trusts what the agent of the settings trusts', async () => {
  const endpoint = local.kinesisTlsEndpoint
  const trusting = fanOutClient({ endpoint, requestHandler: { httpsAgent: { ca: local.certificate } } })
  const next = await subscribe(trusting, await request())
  expect(await next()).toMatchObject({ MillisBehindLatest: 0 })
  const other = fanOutClient({ endpoint })
  await expect(subscribe(other, await request())).rejects.toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
})

test('after destroy() the process ends, in the middle of a subscription', async () => {
  const program = fileURLToPath(new URL('./exit-after-destroy.ts', import.meta.url))
  const given = [local.kinesis, await request()].map((each) => JSON.stringify(each))
  const options = { timeout: 15_000 }
  const args = ['--conditions=shardwise-source', program, ...given]
  const { stdout } = await promisify(execFile)(process.execPath, args, options)
  expect(stdout).toBe('first event\n')
})
