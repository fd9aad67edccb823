/**
 * Counts by key in DynamoDB, and counts nothing twice: each key's counter remembers the place of the last record that it has
 * counted, and takes only what lies behind it. So what is delivered again, after a crash or a reset, changes nothing.
 */
import {
  CreateTableCommand,
  DynamoDBClient,
  ScanCommand,
  UpdateItemCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import { Consumer, type ConsumerRecord } from '@shardwise/consumer'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'

const KEYS = 50
const RECORDS = 2_000
const TABLE = 'page-views'

await using local = await startLocal({ streams: { views: 2 } })
const dynamodb = new DynamoDBClient(local.dynamodb)
await dynamodb.send(
  new CreateTableCommand({
    TableName: TABLE,
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [{ AttributeName: 'page', KeyType: 'HASH' }],
    AttributeDefinitions: [{ AttributeName: 'page', AttributeType: 'S' }],
  }),
)
await waitUntilTableExists({ client: dynamodb, minDelay: 1, maxWaitTime: 30 }, { TableName: TABLE })

await using producer = new Producer({ stream: 'views', clientConfig: local.kinesis })
for (let number = 0; number < RECORDS; number++) {
  await producer.ready
  void producer.put({ partitionKey: `page-${number % KEYS}`, data: '1' })
}
await producer.flush()

/** Grows from record to record of a key, also across splits and merges, and sorts as a text. */
function placeOf({ sequenceNumber, subSequenceNumber }: ConsumerRecord): string {
  return `${sequenceNumber.padStart(60, '0')}-${String(subSequenceNumber).padStart(6, '0')}`
}

/** Whether it was counted: not if it had been before. */
async function count(record: ConsumerRecord): Promise<boolean> {
  try {
    await dynamodb.send(
      new UpdateItemCommand({
        TableName: TABLE,
        Key: { page: { S: record.partitionKey } },
        UpdateExpression: 'ADD #views :one SET #place = :place',
        ConditionExpression: 'attribute_not_exists(#place) OR #place < :place',
        ExpressionAttributeNames: { '#views': 'views', '#place': 'place' },
        ExpressionAttributeValues: { ':one': { N: record.text() }, ':place': { S: placeOf(record) } },
      }),
    )
    return true
  } catch (error) {
    if ((error as Error).name !== 'ConditionalCheckFailedException') throw error
    return false
  }
}

const makeConsumer = (): Consumer =>
  new Consumer({
    application: 'view-counts',
    stream: 'views',
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
  })

/** Until every record has been delivered. Returns how many of them were counted. */
async function consumeAll(): Promise<number> {
  const consumer = makeConsumer()
  let delivered = 0
  let counted = 0
  await consumer.run({
    eachRecord: async (record) => {
      if (await count(record)) counted++
      if (++delivered === RECORDS) void consumer.close()
    },
  })
  return counted
}

const first = await consumeAll()
await makeConsumer().reset({ to: 'TRIM_HORIZON' })
const again = await consumeAll()

const { Items: items = [] } = await dynamodb.send(new ScanCommand({ TableName: TABLE }))
dynamodb.destroy()
const checks = {
  'every record was counted': first === RECORDS,
  'what came again after the reset was not': again === 0,
  'every counter is right': items.length === KEYS && items.every(({ views }) => Number(views?.N) === RECORDS / KEYS),
}
console.log(
  `${RECORDS} records of ${KEYS} keys were delivered twice: ${first} counted the first time, ${again} the second`,
)
for (const [what, holds] of Object.entries(checks)) console.log(`${holds ? 'ok    ' : 'FAILED'} ${what}`)
process.exitCode = Object.values(checks).every(Boolean) ? 0 : 1
