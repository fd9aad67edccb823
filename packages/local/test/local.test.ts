import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  ConditionalCheckFailedException,
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import {
  CreateStreamCommand,
  DescribeStreamSummaryCommand,
  KinesisClient,
  ListStreamsCommand,
} from '@aws-sdk/client-kinesis'
import { expect, test } from 'vitest'
import { startLocal } from '../src/local.ts'

test('DynamoDB serves conditional updates', async () => {
  await using local = await startLocal()
  const dynamodb = new DynamoDBClient(local.dynamodb)
  try {
    await dynamodb.send(
      new CreateTableCommand({
        TableName: 'leases',
        KeySchema: [{ AttributeName: 'leaseKey', KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: 'leaseKey', AttributeType: 'S' }],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    )
    const count = (expected: number): Promise<unknown> =>
      dynamodb.send(
        new UpdateItemCommand({
          TableName: 'leases',
          Key: { leaseKey: { S: 'shard' } },
          UpdateExpression: 'SET leaseCounter = :next',
          ConditionExpression: 'attribute_not_exists(leaseKey) OR leaseCounter = :expected',
          ExpressionAttributeValues: { ':next': { N: `${expected + 1}` }, ':expected': { N: `${expected}` } },
        }),
      )
    await count(0)
    await count(1)
    await expect(count(1)).rejects.toBeInstanceOf(ConditionalCheckFailedException)
    const { Item } = await dynamodb.send(new GetItemCommand({ TableName: 'leases', Key: { leaseKey: { S: 'shard' } } }))
    expect(Item?.leaseCounter).toEqual({ N: '2' })
  } finally {
    dynamodb.destroy()
  }
})

test('a process that has stopped it ends by itself', async () => {
  const script = `
    const { startLocal } = await import(${JSON.stringify(fileURLToPath(new URL('../src/index.ts', import.meta.url)))})
    const local = await startLocal({ streams: { orders: 2 } })
    await local.stop()
    await local.stop()
    console.log('stopped')`
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=shardwise-source', '--input-type=module', '--eval', script],
    { timeout: 15_000 },
  )
  expect(stdout).toBe('stopped\n')
})

test.each([
  [{ shards: 4 }, 'startLocal: unknown option "shards"; did you mean'],
  [{ kinesisport: 1 }, 'unknown option "kinesisport"; did you mean "kinesisPort"?'],
  [{ streams: ['orders'] }, '"streams" must be an object with a number of shards for each stream'],
  [{ streams: { orders: 0 } }, 'a number of shards of at least 1 for stream "orders", got {"orders":0}'],
  [{ streams: { 'or ders': 1 } }, 'which "or ders" is not'],
  [{ limits: 'off' }, '"limits" must be true or false, got "off"'],
  [{ retentionBytes: 0 }, '"retentionBytes" must be a number above 0, got 0'],
  [{ retentionMs: '1' }, '"retentionMs" must be'],
  [{ createMs: -1 }, '"createMs" must be milliseconds, at least 0'],
  [{ clock: 'fake' }, '"clock" must be "real" or "manual", got "fake"'],
  [{ tls: 1 }, '"tls" must be true or false'],
  [{ dynamodb: 'no' }, '"dynamodb" must be true or false'],
  [{ kinesisPort: 70_000 }, '"kinesisPort" must be a port from 0 to 65535, got 70000'],
])('the options %j are refused', async (options, message) => {
  await expect(startLocal(options as object)).rejects.toThrow(message)
})

test('options that are undefined are not given', async () => {
  await using local = await startLocal({ streams: { orders: 1 }, limits: undefined, dynamodb: false } as object)
  expect(local.kinesisEndpoint).toMatch(/^http:/)
})

test.each(['kinesisPort', 'kinesisTlsPort', 'dynamodbPort'])(
  'a %s that is taken is reported, not waited for',
  async (name) => {
    await using local = await startLocal({ dynamodb: false })
    const port = Number(new URL(local.kinesisEndpoint).port)
    await expect(startLocal({ tls: true, [name]: port })).rejects.toThrow(
      `can't listen on 127.0.0.1:${port}: the port is in use`,
    )
  },
)

test('without DynamoDB there is Kinesis alone, and what is asked of the other says so', async () => {
  await using local = await startLocal({ dynamodb: false })
  expect(() => local.dynamodb).toThrow('There is no DynamoDB here: start without { dynamodb: false }.')
  expect(() => local.dynamodbEndpoint).toThrow('There is no DynamoDB here')
})

test('streams of the start are there at once, however many and however long others take', async () => {
  const streams = Object.fromEntries(Array.from({ length: 8 }, (_, index) => [`stream-${index}`, 2]))
  await using local = await startLocal({ streams, createMs: 60_000, dynamodb: false })
  const kinesis = new KinesisClient(local.kinesis)
  try {
    expect((await kinesis.send(new ListStreamsCommand())).StreamNames).toEqual(Object.keys(streams))
    await kinesis.send(new CreateStreamCommand({ StreamName: 'later', ShardCount: 1 }))
    const statusOf = async (StreamName: string) =>
      (await kinesis.send(new DescribeStreamSummaryCommand({ StreamName }))).StreamDescriptionSummary?.StreamStatus
    expect([await statusOf('stream-7'), await statusOf('later')]).toEqual(['ACTIVE', 'CREATING'])
  } finally {
    kinesis.destroy()
  }
})

test('what is asked of stopped servers is refused, and that they stopped is told', async () => {
  const local = await startLocal({ dynamodb: false })
  await local.stop()
  await expect(local.faults.clear()).rejects.toThrow('The local servers have been stopped.')
  await expect(local.closed).resolves.toBeUndefined()
})
