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
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  ListShardsCommand,
  PutRecordsCommand,
  SplitShardCommand,
} from '@aws-sdk/client-kinesis'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { describe, expect, test } from 'vitest'
import { startLocal } from '../src/local.ts'

const clients = [
  ['the default HTTP/2 client', () => ({})],
  ['an HTTP/1.1 client', () => ({ requestHandler: new NodeHttpHandler() })],
] as const

describe.each(clients)('with %s of the SDK', (_, settings) => {
  test('records are put, read back, and followed through a split', async () => {
    await using local = await startLocal({ streams: { orders: 1 } })
    const kinesis = new KinesisClient({ ...local.kinesis, ...settings() })
    try {
      const put = await kinesis.send(
        new PutRecordsCommand({
          StreamName: 'orders',
          Records: [
            { PartitionKey: 'é', Data: Buffer.from([0, 255, 128]) },
            { PartitionKey: 'empty', Data: new Uint8Array() },
          ],
        }),
      )
      expect(put.FailedRecordCount).toBe(0)
      const shardId = put.Records?.[0]?.ShardId
      await kinesis.send(
        new SplitShardCommand({ StreamName: 'orders', ShardToSplit: shardId, NewStartingHashKey: `${2n ** 127n}` }),
      )
      const { ShardIterator } = await kinesis.send(
        new GetShardIteratorCommand({ StreamName: 'orders', ShardId: shardId, ShardIteratorType: 'TRIM_HORIZON' }),
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
    await using local = await startLocal()
    const kinesis = new KinesisClient({ ...local.kinesis, ...settings() })
    try {
      await expect(kinesis.send(new ListShardsCommand({ StreamName: 'missing' }))).rejects.toMatchObject({
        name: 'ResourceNotFoundException',
        message: 'Stream missing under account 000000000000 not found.',
        $metadata: { httpStatusCode: 400 },
      })
    } finally {
      kinesis.destroy()
    }
  })
})

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
  [{ shards: 4 }, 'unknown option "shards"'],
  [{ streams: { orders: 0 } }, 'stream "orders": expected a number of shards'],
  [{ limits: 'off' }, '"limits" must be true or false'],
  [{ retentionBytes: 0 }, '"retentionBytes" must be'],
  [{ retentionMs: '1' }, '"retentionMs" must be'],
  [{ kinesisPort: 70_000 }, '"kinesisPort" must be a port'],
])('the options %j are refused', async (options, message) => {
  await expect(startLocal(options as object)).rejects.toThrow(message)
})

test('a port that is taken is reported, not waited for', async () => {
  await using local = await startLocal()
  const kinesisPort = Number(new URL(local.kinesisEndpoint).port)
  await expect(startLocal({ kinesisPort })).rejects.toThrow('EADDRINUSE')
})
