import {
  KinesisClient,
  ListShardsCommand,
  PutRecordsCommand,
  type PutRecordsCommandInput,
} from '@aws-sdk/client-kinesis'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { putRecordsBody, writePutRecordsBodies } from './put-records-body.ts'

interface Sent {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | string
}

const notSent = (): Promise<never> => Promise.reject(Object.assign(new Error('not sent'), { name: 'NotSent' }))

/** A client whose requests go nowhere, and the last of them. */
function recordingClient(answer = notSent): { readonly client: KinesisClient; readonly sent: () => Sent } {
  let last: Sent | undefined
  const client = new KinesisClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    maxAttempts: 1,
    requestHandler: {
      handle: (request: unknown) => {
        last = request as Sent
        return answer()
      },
    },
  })
  return { client, sent: () => last! }
}

async function bodyOf(client: KinesisClient, sent: () => Sent, input: PutRecordsCommandInput): Promise<string> {
  await expect(client.send(new PutRecordsCommand(input))).rejects.toThrow('not sent')
  expect(sent().headers['content-length']).toBe(`${sent().body.length}`)
  return Buffer.from(sent().body).toString()
}

const partitionKey = fc.oneof(
  fc.string({ maxLength: 10 }),
  fc.string({ unit: 'binary', maxLength: 10 }),
  fc.constant('\ud800"\\\n'),
)
const record = fc.record({ PartitionKey: partitionKey, Data: fc.uint8Array({ maxLength: 20 }) })
const keyless = fc.record({ Data: fc.uint8Array({ maxLength: 20 }) })
const withUndefined = keyless.map(({ Data }) => ({ PartitionKey: undefined, ExplicitHashKey: undefined, Data }))
const withHashKey = fc.record({ PartitionKey: partitionKey, ExplicitHashKey: fc.constant('12'), Data: fc.uint8Array() })

test('says the same as what the SDK writes', async () => {
  const [theirs, ours] = [recordingClient(), recordingClient()]
  writePutRecordsBodies(ours.client)
  const records = fc.array(fc.oneof(record, withHashKey, keyless, withUndefined), { minLength: 1, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(
      records,
      fc.constantFrom({ StreamName: 's' }, { StreamARN: 'arn:aws:kinesis:us-east-1:000000000000:stream/s' }),
      async (Records, stream) => {
        const input = { ...stream, Records }
        const expected = JSON.parse(await bodyOf(theirs.client, theirs.sent, input))
        expect(JSON.parse(await bodyOf(ours.client, ours.sent, input))).toEqual(expected)
        expect(ours.sent().headers['content-type']).toBe(theirs.sent().headers['content-type'])
      },
    ),
    { numRuns: 50 },
  )
})

test('writes data of any length, whole chunks and a rest, from the middle of a buffer', () => {
  for (const length of [0, 1, 2, 3, 49_151, 49_152, 49_153, 200_000]) {
    const data = new Uint8Array(length + 7).map((_, index) => index * 31).subarray(7)
    const body = Buffer.from(
      putRecordsBody({ StreamName: 's', Records: [{ PartitionKey: 'é', Data: data }] }),
    ).toString()
    expect(JSON.parse(body)).toEqual({
      StreamName: 's',
      Records: [{ PartitionKey: 'é', Data: Buffer.from(data).toString('base64') }],
    })
  }
})

test('leaves other requests as they are', async () => {
  const { client, sent } = recordingClient()
  writePutRecordsBodies(client)
  await expect(client.send(new ListShardsCommand({ StreamName: 's' }))).rejects.toThrow('not sent')
  expect(JSON.parse(Buffer.from(sent().body).toString())).toEqual({ StreamName: 's' })
})

test('writes over the body of a request that was accepted, and of no other', async () => {
  const accepted = async (): Promise<never> =>
    ({ response: { statusCode: 200, headers: {}, body: Buffer.from('{"Records":[]}') } }) as never
  const answers = [accepted, notSent, accepted]
  const { client, sent } = recordingClient(() => answers.shift()!())
  writePutRecordsBodies(client)
  const memory: unknown[] = []
  for (const text of ['first', 'second', 'third']) {
    const put = client.send(
      new PutRecordsCommand({ StreamName: 's', Records: [{ PartitionKey: 'k', Data: Buffer.from(text) }] }),
    )
    await put.catch(() => {})
    expect(JSON.parse(`${sent().body}`).Records[0].Data).toBe(Buffer.from(text).toString('base64'))
    memory.push((sent().body as Buffer).buffer)
  }
  expect(memory[1]).toBe(memory[0])
  expect(memory[2]).not.toBe(memory[1])
})
