import { once } from 'node:events'
import { connect } from 'node:net'
import {
  DescribeStreamCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
  PutRecordsCommand,
  SplitShardCommand,
} from '@aws-sdk/client-kinesis'
import { cbor, tag } from '@smithy/core/cbor'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Local, startLocal } from '../src/local.ts'

const CBOR = 'application/x-amz-cbor-1.1'
const JSON_TYPE = 'application/x-amz-json-1.1'

let local: Local
beforeAll(async () => {
  local = await startLocal({ streams: { orders: 1, split: 1, 'split-1': 1, times: 1, cbor: 1 } })
})
afterAll(() => local.stop())

async function post(
  operation: string | undefined,
  contentType: string | undefined,
  body: NonNullable<RequestInit['body']>,
): Promise<Response> {
  return await fetch(local.kinesisEndpoint, {
    method: 'POST',
    body,
    headers: {
      ...(contentType !== undefined && { 'content-type': contentType }),
      ...(operation !== undefined && { 'x-amz-target': `Kinesis_20131202.${operation}` }),
    },
  })
}

/** Calls in CBOR; the answer has times as tags. */
async function callCbor(operation: string, request: Uint8Array): Promise<{ response: Response; answer: CborAnswer }> {
  const response = await post(operation, CBOR, Buffer.from(request))
  return { response, answer: cbor.deserialize(Buffer.from(await response.arrayBuffer())) as CborAnswer }
}
type CborAnswer = Record<string, unknown> & { Records: Record<string, unknown>[] }

const clients = [
  ['the default HTTP/2 client', 'split', () => ({})],
  ['an HTTP/1.1 client', 'split-1', () => ({ requestHandler: new NodeHttpHandler() })],
] as const

describe.each(clients)('with %s of the SDK', (_, StreamName, settings) => {
  test('records are put, read back, and followed through a split', async () => {
    const kinesis = new KinesisClient({ ...local.kinesis, ...settings() })
    try {
      const put = await kinesis.send(
        new PutRecordsCommand({
          StreamName,
          Records: [
            { PartitionKey: 'é', Data: Buffer.from([0, 255, 128]) },
            { PartitionKey: 'empty', Data: new Uint8Array() },
          ],
        }),
      )
      expect(put.FailedRecordCount).toBe(0)
      const shardId = put.Records?.[0]?.ShardId
      await kinesis.send(
        new SplitShardCommand({ StreamName, ShardToSplit: shardId, NewStartingHashKey: `${2n ** 127n}` }),
      )
      const { ShardIterator } = await kinesis.send(
        new GetShardIteratorCommand({ StreamName, ShardId: shardId, ShardIteratorType: 'TRIM_HORIZON' }),
      )
      const got = await kinesis.send(new GetRecordsCommand({ ShardIterator }))
      expect(got.Records?.map(({ PartitionKey, Data }) => [PartitionKey, [...(Data ?? [])]])).toEqual([
        ['é', [0, 255, 128]],
        ['empty', []],
      ])
      expect(got.Records?.map(({ SequenceNumber }) => SequenceNumber)).toEqual(
        put.Records?.map(({ SequenceNumber }) => SequenceNumber),
      )
      expect(Math.abs((got.Records?.[0]?.ApproximateArrivalTimestamp?.getTime() ?? 0) - Date.now())).toBeLessThan(
        60_000,
      )
      expect(got.NextShardIterator).toBeUndefined()
      expect(got.ChildShards?.map(({ ParentShards }) => ParentShards)).toEqual([[shardId], [shardId]])
    } finally {
      kinesis.destroy()
    }
  })

  test('an error comes out under its name and with its text', async () => {
    const kinesis = new KinesisClient({ ...local.kinesis, ...settings() })
    try {
      await expect(kinesis.send(new ListShardsCommand({ StreamName: 'missing' }))).rejects.toMatchObject({
        name: 'ResourceNotFoundException',
        message: expect.stringContaining('Stream missing under account 000000000000 not found'),
        $metadata: { httpStatusCode: 400 },
      })
    } finally {
      kinesis.destroy()
    }
  })
})

test('JSON has times in seconds with milliseconds, to and fro', async () => {
  const kinesis = new KinesisClient(local.kinesis)
  try {
    await kinesis.send(
      new PutRecordsCommand({ StreamName: 'times', Records: [{ PartitionKey: 'a', Data: Buffer.from('a') }] }),
    )
    const { StreamDescription } = await kinesis.send(new DescribeStreamCommand({ StreamName: 'times' }))
    expect(Math.abs(StreamDescription!.StreamCreationTimestamp!.getTime() - Date.now())).toBeLessThan(60_000)
    const readFrom = async (Timestamp: Date): Promise<number | undefined> => {
      const { ShardIterator } = await kinesis.send(
        new GetShardIteratorCommand({
          StreamName: 'times',
          ShardId: 'shardId-000000000000',
          ShardIteratorType: 'AT_TIMESTAMP',
          Timestamp,
        }),
      )
      const { Records } = await kinesis.send(new GetRecordsCommand({ ShardIterator }))
      return Records?.length
    }
    expect(await readFrom(new Date(Date.now() - 60_000))).toBe(1)
    const arrived = Date.now()
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await readFrom(new Date(arrived + 1))).toBe(0)
  } finally {
    kinesis.destroy()
  }
})

describe('in CBOR, as the SDK for Java speaks it', () => {
  // {_ "Records": [_ {_ "Data": h'68656c6c6f', "PartitionKey": "é" } ], "StreamName": "cbor" }, all of indefinite length
  const PUT =
    'bf675265636f7264739fbf64446174614568656c6c6f6c506172746974696f6e4b657962c3a9ffff6a53747265616d4e616d656463626f72ff'

  test('records are put and read back, with times as tagged milliseconds', async () => {
    const { response, answer: put } = await callCbor('PutRecords', Buffer.from(PUT, 'hex'))
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe(CBOR)
    expect(put).toMatchObject({ FailedRecordCount: 0, Records: [{ ShardId: 'shardId-000000000000' }] })
    const { answer: iterator } = await callCbor(
      'GetShardIterator',
      cbor.serialize({
        StreamName: 'cbor',
        ShardId: 'shardId-000000000000',
        ShardIteratorType: 'AT_TIMESTAMP',
        Timestamp: tag({ tag: 1, value: Date.now() - 60_000 }),
      }),
    )
    const { answer: got } = await callCbor('GetRecords', cbor.serialize({ ShardIterator: iterator.ShardIterator }))
    expect(got.Records).toHaveLength(1)
    const [record] = got.Records
    expect(record).toMatchObject({ PartitionKey: 'é', SequenceNumber: put.Records[0]!.SequenceNumber })
    expect(Buffer.from(record!.Data as Uint8Array).toString()).toBe('hello')
    const { tag: timeTag, value } = record!.ApproximateArrivalTimestamp as { tag: number; value: number }
    expect(timeTag).toBe(1)
    expect(Number.isInteger(value)).toBe(true)
    expect(Math.abs(value - Date.now())).toBeLessThan(60_000)
  })

  test('an error is in the header and in the body', async () => {
    const { response, answer } = await callCbor('ListShards', cbor.serialize({ StreamName: 'missing' }))
    expect(response.status).toBe(400)
    expect(response.headers.get('content-type')).toBe(CBOR)
    expect(response.headers.get('x-amzn-errortype')).toBe('ResourceNotFoundException')
    expect(answer).toEqual({
      __type: 'ResourceNotFoundException',
      message: expect.stringContaining('Stream missing under account 000000000000 not found'),
    })
  })

  test.each([
    ['nothing', ''],
    ['a map that breaks off', 'bf675265'],
    ['a number', '01'],
    ['a list', '80'],
  ])('%s is refused as SerializationException', async (_, body) => {
    const { response, answer } = await callCbor('ListStreams', Buffer.from(body, 'hex'))
    expect([response.status, answer.__type]).toEqual([400, 'SerializationException'])
  })
})

describe('what is no request', () => {
  test.each(['', '{"Limit":', '[]', 'null', '"text"'])(
    'the JSON %j is refused as SerializationException',
    async (body) => {
      const response = await post('ListStreams', JSON_TYPE, body)
      expect(response.status).toBe(400)
      expect(response.headers.get('x-amzn-errortype')).toBe('SerializationException')
      expect(await response.json()).toMatchObject({ __type: 'SerializationException' })
    },
  )

  test('an unknown operation is refused as UnknownOperationException', async () => {
    const response = await post('Unheard', JSON_TYPE, '{}')
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ __type: 'UnknownOperationException' })
  })

  test.each([undefined, 'text/plain', 'application/json'])('the content type %s is refused with 404', async (type) => {
    const response = await post('ListStreams', type, Buffer.from('{}'))
    expect(response.status).toBe(404)
    const text = await response.text()
    expect(text).toContain('<UnknownOperationException>')
    expect(text).toContain(`got ${type ?? 'none'}.`)
  })

  test('parameters of the content type and its case are of no matter', async () => {
    const response = await post('ListStreams', 'Application/X-Amz-Json-1.1; charset=utf-8', '{}')
    expect(response.status).toBe(200)
  })

  test('a GET and a POST without an operation are refused with 403', async () => {
    const get = await fetch(local.kinesisEndpoint)
    expect([get.status, await get.text()]).toEqual([403, expect.stringContaining('<AccessDeniedException>')])
    expect((await post(undefined, JSON_TYPE, '{}')).status).toBe(403)
  })

  test.each([JSON_TYPE, CBOR])(
    'an entry that is no object and data that is no text or bytes are refused in %s',
    async (type) => {
      const encode = (value: object) => (type === CBOR ? Buffer.from(cbor.serialize(value)) : JSON.stringify(value))
      for (const Records of [[1], [null], [{ PartitionKey: 'a', Data: 1 }], [{ PartitionKey: 'a' }]]) {
        expect((await post('PutRecords', type, encode({ StreamName: 'cbor', Records }))).status).toBe(400)
      }
    },
  )

  test('a body beyond 20 MiB is refused with 413, and the connection goes on', async () => {
    expect((await post('PutRecords', JSON_TYPE, Buffer.alloc(21 * 2 ** 20, 'x'))).status).toBe(413)
    expect((await post('ListStreams', JSON_TYPE, '{}')).status).toBe(200)
  })

  test.each(['GIBBERISH\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n and no frame of HTTP/2'])(
    'bytes that are no HTTP, such as %j, do no harm',
    async (bytes) => {
      const socket = connect(Number(new URL(local.kinesisEndpoint).port), '127.0.0.1')
      socket.end(bytes)
      socket.resume()
      await once(socket, 'close')
      expect((await post('ListStreams', JSON_TYPE, '{}')).status).toBe(200)
    },
  )

  test('a client that goes away in mid-request does no harm', async () => {
    const socket = connect(Number(new URL(local.kinesisEndpoint).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write(`POST / HTTP/1.1\r\nhost: local\r\ncontent-length: 1000\r\n\r\n{`)
    socket.resetAndDestroy()
    expect((await post('ListStreams', JSON_TYPE, '{}')).status).toBe(200)
  })
})
