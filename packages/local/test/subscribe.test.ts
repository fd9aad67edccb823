import { once } from 'node:events'
import { type ClientHttp2Stream, connect, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from 'node:http2'
import { Agent } from 'node:https'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import {
  DeregisterStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  KinesisClient,
  type KinesisClientConfig,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  SplitShardCommand,
  SubscribeToShardCommand,
  type SubscribeToShardEvent,
} from '@aws-sdk/client-kinesis'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { afterAll, describe, expect, test } from 'vitest'
import { type Local, startLocal } from '../src/local.ts'

const SHARD = 'shardId-000000000000'

type Settings = (local: Local) => KinesisClientConfig
const clients: readonly (readonly [string, Settings])[] = [
  ['the default HTTP/2 client', ({ kinesis }) => kinesis],
  ['an HTTP/1.1 client', ({ kinesis }) => ({ ...kinesis, requestHandler: new NodeHttpHandler() })],
]
const tlsClients: typeof clients = [
  [
    'the default HTTP/2 client over TLS',
    ({ kinesis, kinesisTlsEndpoint, certificate }) => {
      setDefaultCACertificates([...TRUSTED, certificate])
      return { ...kinesis, endpoint: kinesisTlsEndpoint }
    },
  ],
  [
    'an HTTP/1.1 client over TLS',
    ({ kinesis, kinesisTlsEndpoint, certificate }) => {
      const requestHandler = new NodeHttpHandler({ httpsAgent: new Agent({ ca: certificate }) })
      return { ...kinesis, endpoint: kinesisTlsEndpoint, requestHandler }
    },
  ],
]
const TRUSTED = getCACertificates('default')
afterAll(() => setDefaultCACertificates(TRUSTED))

/** Registers a consumer and gives what subscribes it to the first shard. */
async function consumerOf(kinesis: KinesisClient, StreamName: string) {
  const { StreamDescriptionSummary } = await kinesis.send(new DescribeStreamSummaryCommand({ StreamName }))
  const { Consumer } = await kinesis.send(
    new RegisterStreamConsumerCommand({ StreamARN: StreamDescriptionSummary!.StreamARN, ConsumerName: 'app' }),
  )
  const ConsumerARN = Consumer!.ConsumerARN
  return {
    ConsumerARN,
    subscribe: async (
      SequenceNumber?: string,
      abortSignal: AbortSignal = new AbortController().signal,
    ): Promise<AsyncGenerator<SubscribeToShardEvent>> => {
      const { EventStream } = await kinesis.send(
        new SubscribeToShardCommand({
          ConsumerARN,
          ShardId: SHARD,
          StartingPosition:
            SequenceNumber === undefined ? { Type: 'TRIM_HORIZON' } : { Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber },
        }),
        { abortSignal },
      )
      return (async function* () {
        for await (const { SubscribeToShardEvent: event } of EventStream!) if (event !== undefined) yield event
      })()
    },
  }
}

const putting = (StreamName: string, ...texts: string[]) =>
  new PutRecordsCommand({
    StreamName,
    Records: texts.map((text) => ({ PartitionKey: `clé ${text}`, Data: Buffer.from(text) })),
  })

const textsOf = (event: SubscribeToShardEvent | undefined): string[] =>
  (event?.Records ?? []).map(({ Data }) => Buffer.from(Data!).toString())

/** Reads on to the next event that has records, or is the last of its shard. */
async function nextWithRecords(events: AsyncGenerator<SubscribeToShardEvent>): Promise<SubscribeToShardEvent> {
  for (;;) {
    const { value } = await events.next()
    if (value === undefined) throw new Error('The subscription ended.')
    if (value.Records?.length || value.ChildShards) return value
  }
}

describe.each([...clients, ...tlsClients])('with %s of the SDK', (_, settings) => {
  test('events come as records do, go on at a continuation, and end with the shard', async () => {
    await using local = await startLocal({ streams: { orders: 1 }, dynamodb: false, limits: false, tls: true })
    const kinesis = new KinesisClient(settings(local))
    try {
      const { subscribe } = await consumerOf(kinesis, 'orders')
      await kinesis.send(putting('orders', 'a', 'b'))
      const leaving = new AbortController()
      const events = await subscribe(undefined, leaving.signal)
      const first = await nextWithRecords(events)
      expect(textsOf(first)).toEqual(['a', 'b'])
      expect(first.Records?.[0]?.PartitionKey).toBe('clé a')
      expect(Math.abs(first.Records![0]!.ApproximateArrivalTimestamp!.getTime() - Date.now())).toBeLessThan(60_000)
      await kinesis.send(putting('orders', 'c'))
      const second = await nextWithRecords(events)
      expect(textsOf(second)).toEqual(['c'])
      leaving.abort()

      const again = await eventually(() => subscribe(first.ContinuationSequenceNumber))
      expect(textsOf(await nextWithRecords(again))).toEqual(['c'])
      await kinesis.send(
        new SplitShardCommand({
          StreamName: 'orders',
          ShardToSplit: SHARD,
          NewStartingHashKey: `${2n ** 127n}`,
        }),
      )
      const last = await nextWithRecords(again)
      expect(last.ChildShards?.map(({ ParentShards }) => ParentShards)).toEqual([[SHARD], [SHARD]])
      expect(await again.next()).toEqual({ done: true, value: undefined })
    } finally {
      kinesis.destroy()
    }
  })
})

describe.each([...clients, ...tlsClients])('with %s of the SDK', (_, settings) => {
  test('a reader that comes late finds everything, to the end of the shard', async () => {
    await using local = await startLocal({ streams: { orders: 1 }, dynamodb: false, limits: false, tls: true })
    const kinesis = new KinesisClient(settings(local))
    try {
      const { subscribe } = await consumerOf(kinesis, 'orders')
      const events = await subscribe()
      await events.next()
      await kinesis.send(putting('orders', 'a'))
      const split = { ShardToSplit: SHARD, NewStartingHashKey: `${2n ** 127n}` }
      await kinesis.send(new SplitShardCommand({ StreamName: 'orders', ...split }))
      // By now the server has written everything.
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(textsOf(await nextWithRecords(events))).toEqual(['a'])
      expect((await nextWithRecords(events)).ChildShards).toHaveLength(2)
      expect(await events.next()).toEqual({ done: true, value: undefined })
    } finally {
      kinesis.destroy()
    }
  })
})

describe.each(clients)('with %s of the SDK', (_, settings) => {
  test('an error in mid-stream and one at the start come out under their names', async () => {
    await using local = await startLocal({ streams: { orders: 1 }, dynamodb: false, limits: false })
    const kinesis = new KinesisClient(settings(local))
    try {
      const { ConsumerARN, subscribe } = await consumerOf(kinesis, 'orders')
      const events = await subscribe()
      await events.next()
      await kinesis.send(new DeregisterStreamConsumerCommand({ ConsumerARN }))
      await expect(events.next()).rejects.toMatchObject({ name: 'ResourceNotFoundException' })
      await expect(subscribe()).rejects.toMatchObject({ name: 'ResourceNotFoundException' })
    } finally {
      kinesis.destroy()
    }
  })

  test('a client that goes away makes room for the next', async () => {
    await using local = await startLocal({ streams: { orders: 1 }, dynamodb: false, limits: false })
    const kinesis = new KinesisClient(settings(local))
    try {
      const { subscribe } = await consumerOf(kinesis, 'orders')
      const leaving = new AbortController()
      const held = await subscribe(undefined, leaving.signal)
      await held.next()
      await expect(subscribe()).rejects.toMatchObject({ name: 'ResourceInUseException' })
      leaving.abort()
      await kinesis.send(putting('orders', 'a'))
      const events = await eventually(subscribe)
      expect(textsOf(await nextWithRecords(events))).toEqual(['a'])
    } finally {
      kinesis.destroy()
    }
  })
})

test('any number of subscriptions that nobody reads leave room for other requests on their connection', async () => {
  const shards = 24
  await using local = await startLocal({ streams: { orders: shards }, dynamodb: false, limits: false })
  const session = connect(local.kinesisEndpoint, { settings: { initialWindowSize: 1_024 } })
  const opened: ClientHttp2Stream[] = []
  const ask = (operation: string, request: object): ClientHttp2Stream => {
    const stream = session.request({
      ':method': 'POST',
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': `Kinesis_20131202.${operation}`,
    })
    opened.push(stream)
    return stream.end(JSON.stringify(request))
  }
  const statusOf = async (stream: ClientHttp2Stream): Promise<number | undefined> => {
    const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders & IncomingHttpStatusHeader]
    return headers[':status']
  }
  const kinesis = new KinesisClient({ ...local.kinesis, requestHandler: new NodeHttpHandler() })
  try {
    const { ConsumerARN } = await consumerOf(kinesis, 'orders')
    for (let shard = 0; shard < shards; shard++) {
      const ExplicitHashKey = String((2n ** 128n / BigInt(shards)) * BigInt(shard) + 1_000n)
      const Records = [{ PartitionKey: 'k', ExplicitHashKey, Data: Buffer.alloc(2 ** 20 - 1) }]
      await kinesis.send(new PutRecordsCommand({ StreamName: 'orders', Records }))
    }
    for (let shard = 0; shard < shards; shard++) {
      const ShardId = `shardId-${String(shard).padStart(12, '0')}`
      const StartingPosition = { Type: 'TRIM_HORIZON' }
      expect(await statusOf(ask('SubscribeToShard', { ConsumerARN, ShardId, StartingPosition }))).toBe(200)
      expect(await statusOf(ask('ListStreams', {}))).toBe(200)
    }
  } finally {
    for (const stream of opened) stream.destroy()
    session.destroy()
    kinesis.destroy()
  }
})

/** The server learns a little later that a client has gone. */
async function eventually<T>(action: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action()
    } catch (error) {
      if (attempt === 50) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}
