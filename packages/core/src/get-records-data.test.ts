import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { GetRecordsCommand, KinesisClient, ListStreamsCommand } from '@aws-sdk/client-kinesis'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { readGetRecordsData, withholdData } from './get-records-data.ts'
import { createKinesisClient } from './kinesis-client.ts'

const config = {
  region: 'us-east-1',
  credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  maxAttempts: 1,
}

interface Answer {
  readonly statusCode?: number
  readonly body: Buffer
  readonly chunkBytes?: number
}

/** A client that gets one answer to all requests. */
function answered({ statusCode = 200, body, chunkBytes = body.length + 1 }: Answer): KinesisClient {
  const chunks = Array.from({ length: Math.ceil(body.length / chunkBytes) }, (_, index) =>
    body.subarray(index * chunkBytes, (index + 1) * chunkBytes),
  )
  return new KinesisClient({
    ...config,
    requestHandler: {
      handle: async () => ({
        response: { statusCode, headers: { 'x-amzn-requestid': 'id' }, body: Readable.from(chunks) } as never,
      }),
    },
  })
}

/** What a client makes of an answer: its output, or the error. */
async function outcome(client: KinesisClient): Promise<unknown> {
  try {
    return await client.send(new GetRecordsCommand({ ShardIterator: 'i' }))
  } catch (error) {
    const { name, message, $metadata } = error as Error & { $metadata?: unknown }
    return { name, message, $metadata }
  }
}

async function bothOutcomes(answer: Answer): Promise<{ readonly ours: unknown; readonly theirs: unknown }> {
  const ours = answered(answer)
  readGetRecordsData(ours)
  return { ours: await outcome(ours), theirs: await outcome(answered(answer)) }
}

const text = fc.oneof(
  fc.string({ maxLength: 10 }),
  fc.string({ unit: 'binary', maxLength: 10 }),
  fc.constantFrom('Data', '"Data":"AAAA"', '\\"Data', '"Data', '\ud800\n', '__proto__'),
)
const data = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('base64'))
const record = fc.record(
  {
    SequenceNumber: fc.nat().map(String),
    ApproximateArrivalTimestamp: fc.oneof(
      fc.integer({ min: 0, max: 2e12 }).map((ms) => ms / 1_000),
      fc.nat({ max: 2 ** 31 }),
    ),
    Data: fc.oneof({ weight: 9, arbitrary: data }, { weight: 1, arbitrary: fc.constant(null) }),
    PartitionKey: fc.option(text),
    EncryptionType: fc.constantFrom('NONE', 'KMS'),
    Unknown: fc.oneof(text, fc.record({ Data: data })),
    __type: text,
  },
  { requiredKeys: ['SequenceNumber', 'Data'] },
)
const childShard = fc.record({
  ShardId: text,
  ParentShards: fc.array(text, { maxLength: 2 }),
  HashKeyRange: fc.record({ StartingHashKey: text, EndingHashKey: text }),
})
const answer = fc.record(
  {
    Records: fc.option(fc.array(record, { maxLength: 5 })),
    NextShardIterator: fc.option(text),
    MillisBehindLatest: fc.nat(),
    ChildShards: fc.option(fc.array(childShard, { maxLength: 2 })),
    Data: text,
  },
  { requiredKeys: ['Records'] },
)

test('makes of any answer what the SDK makes of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      answer,
      fc.constantFrom(undefined, 1),
      fc.integer({ min: 1, max: 200 }),
      async (fields, space, chunkBytes) => {
        const { ours, theirs } = await bothOutcomes({
          body: Buffer.from(JSON.stringify(fields, null, space)),
          chunkBytes,
        })
        expect(ours).toEqual(theirs)
      },
    ),
    { numRuns: 100 },
  )
})

test('makes of any damaged answer what the SDK makes of it', async () => {
  const body = Buffer.from(
    '{"Records":[{"SequenceNumber":"1","Data":"QUJDRA==","PartitionKey":"a"},{"Data":"QUJD"}],"MillisBehindLatest":5}',
  )
  // Node.js takes base64url too, which the SDK refuses.
  const byte = fc
    .oneof(fc.nat(255), fc.constantFrom(...Buffer.from('"=\\/:,{}[] A')))
    .filter((each) => !'-_'.includes(String.fromCharCode(each)))
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(body.length - 1), byte), { minLength: 1, maxLength: 3 }),
      async (changes) => {
        const damaged = Buffer.from(body)
        for (const [at, value] of changes) damaged[at] = value
        const { ours, theirs } = await bothOutcomes({ body: damaged })
        // Where in the answer JSON.parse gives up is another matter.
        if (Object(theirs).name === 'SyntaxError') expect(ours).toMatchObject({ name: 'SyntaxError' })
        else expect(ours).toEqual(theirs)
      },
    ),
    { numRuns: 150 },
  )
})

test('decodes data of its own accord where the answer is as the service writes it', () => {
  const json = Buffer.from('{"Records":[{"SequenceNumber":"1","Data":"QUI=","PartitionKey":"é"},{"Data":""}]}')
  expect(withholdData(json)).toEqual({
    data: [Buffer.from('AB'), Buffer.alloc(0)].map((bytes) => Uint8Array.from(bytes)),
    rest: '{"Records":[{"SequenceNumber":"1","Data":"AAAA","PartitionKey":"é"},{"Data":"AAAB"}]}',
  })
})

test('leaves errors to the SDK', async () => {
  const body = Buffer.from('{"__type":"ExpiredIteratorException","message":"it expired","Data":"QUJD"}')
  const { ours, theirs } = await bothOutcomes({ statusCode: 400, body })
  expect(ours).toMatchObject({ name: 'ExpiredIteratorException', message: 'it expired' })
  expect(ours).toEqual(theirs)
})

test('leaves the answers of other requests as they are', async () => {
  const client = answered({ body: Buffer.from('{"StreamNames":["Data"],"HasMoreStreams":false}') })
  readGetRecordsData(client)
  expect(await client.send(new ListStreamsCommand())).toMatchObject({ StreamNames: ['Data'], HasMoreStreams: false })
})

test('is not used by a client that is given a protocol', () => {
  const names = (client: KinesisClient): string => client.middlewareStack.identify().join()
  const { protocol } = new KinesisClient(config).config
  expect(names(createKinesisClient(config))).toMatch('GetRecordsData')
  expect(names(createKinesisClient({ ...config, protocol }))).not.toMatch('GetRecordsData')
})

describe('over HTTP', () => {
  const body = Buffer.from(JSON.stringify({ Records: [{ Data: Buffer.alloc(100_000, 'x').toString('base64') }] }))

  async function serving(answer: (response: ServerResponse) => void) {
    let connections = 0
    const server = createServer((_, response) => answer(response))
    server.on('connection', () => connections++)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const client = createKinesisClient({
      ...config,
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    })
    return {
      get: (abortSignal?: AbortSignal) =>
        client.send(new GetRecordsCommand({ ShardIterator: 'i' }), { ...(abortSignal && { abortSignal }) }),
      connections: () => connections,
      [Symbol.asyncDispose]: async () => {
        client.destroy()
        server.close()
        server.closeAllConnections()
        await once(server, 'close')
      },
    }
  }

  test('one connection serves request after request', async () => {
    await using service = await serving((response) => response.end(body))
    for (let request = 0; request < 3; request++) {
      const { Records } = await service.get()
      expect(Records?.[0]?.Data).toEqual(new Uint8Array(100_000).fill(0x78))
    }
    expect(service.connections()).toBe(1)
  })

  test('an answer that breaks off is an error', async () => {
    await using service = await serving((response) => {
      response.writeHead(200, { 'Content-Length': body.length })
      response.write(body.subarray(0, 50_000), () => response.destroy())
    })
    await expect(service.get()).rejects.toThrow('aborted')
  })

  test('a request is given up in the middle of its answer', async () => {
    const abort = new AbortController()
    await using service = await serving((response) => {
      response.writeHead(200, { 'Content-Length': body.length })
      response.write(body.subarray(0, 50_000), () => abort.abort())
    })
    await expect(service.get(abort.signal)).rejects.toThrow()
    expect(abort.signal.aborted).toBe(true)
  })
})
