import {
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  type KinesisClient,
  UpdateMaxRecordSizeCommand,
  UpdateStreamModeCommand,
  UpdateStreamRecordDistributionStrategyCommand,
} from '@aws-sdk/client-kinesis'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Producer, type Receipt } from '../src/index.ts'

// What the producer's own client writes, as a server reads it.

let local: Local
let kinesis: KinesisClient

beforeAll(async () => {
  local = await startLocal({ streams: { flights: 2, boats: 1, large: 1, spread: 2 }, dynamodb: false })
  kinesis = createKinesisClient(local.kinesis)
})

afterAll(async () => {
  kinesis.destroy()
  await local.stop()
})

async function arnOf(stream: string): Promise<string> {
  const { StreamDescriptionSummary: summary } = await kinesis.send(
    new DescribeStreamSummaryCommand({ StreamName: stream }),
  )
  return summary?.StreamARN ?? ''
}

/** The record that a receipt tells of, as it is stored. */
async function stored(stream: string, { shardId, sequenceNumber }: Receipt): Promise<{ key?: string; data: Buffer }> {
  const { ShardIterator } = await kinesis.send(
    new GetShardIteratorCommand({
      StreamName: stream,
      ShardId: shardId,
      ShardIteratorType: 'AT_SEQUENCE_NUMBER',
      StartingSequenceNumber: sequenceNumber,
    }),
  )
  const { Records: [first] = [] } = await kinesis.send(new GetRecordsCommand({ ShardIterator, Limit: 1 }))
  return { data: Buffer.from(first?.Data ?? []), ...(first?.PartitionKey != null && { key: first.PartitionKey }) }
}

test('records arrive byte for byte, in streams named by name and by ARN, with keys and data of all kinds', async () => {
  await using producer = new Producer({
    stream: 'flights',
    clientConfig: local.kinesis,
    logger: silentLogger,
    aggregation: false,
  })
  const boats = await arnOf('boats')
  const records = [
    { stream: 'flights', partitionKey: '"é\\\n😀', data: Buffer.from([0, 255, 34, 92]) },
    { stream: boats, partitionKey: 'k', explicitHashKey: '5', data: Buffer.alloc(0) },
    { stream: boats, partitionKey: 'k'.repeat(256), data: Buffer.alloc(200_001, 'x') },
  ]
  for (const record of records) {
    const receipt = await producer.put(record)
    const { key, data } = await stored(record.stream === boats ? 'boats' : 'flights', receipt)
    expect([key, data.equals(record.data)]).toEqual([record.partitionKey, true])
  }
})

test('a record of 10 MiB goes where the stream takes it', async () => {
  const large = await arnOf('large')
  await kinesis.send(new UpdateMaxRecordSizeCommand({ StreamARN: large, MaxRecordSizeInKiB: 10_240 }))
  await using producer = new Producer({ stream: large, clientConfig: local.kinesis, logger: silentLogger })
  const data = Buffer.alloc(10 * 2 ** 20 - 1, 'large ')
  const receipt = await producer.put({ partitionKey: 'k', data })
  expect((await stored('large', receipt)).data.equals(data)).toBe(true)
})

test('a record without a partition key goes to a stream that distributes by itself', async () => {
  const spread = await arnOf('spread')
  await kinesis.send(new UpdateStreamModeCommand({ StreamARN: spread, StreamModeDetails: { StreamMode: 'ON_DEMAND' } }))
  await kinesis.send(
    new UpdateStreamRecordDistributionStrategyCommand({ StreamARN: spread, RecordDistributionStrategy: 'AUTO' }),
  )
  await using producer = new Producer({ stream: spread, clientConfig: local.kinesis, logger: silentLogger })
  const receipts = await Promise.all(['a', 'b'].map((data) => producer.put({ data })))
  const found = await Promise.all(receipts.map((receipt) => stored('spread', receipt)))
  expect(found.map(({ key, data }) => [key, data.toString()])).toEqual([
    [undefined, 'a'],
    [undefined, 'b'],
  ])
})
