/** Puts one record with the built producer and reads it with the built consumer, on the built local Kinesis and DynamoDB. */
import assert from 'node:assert/strict'
import { Consumer } from '@shardwise/consumer'
import { startLocal } from '@shardwise/local'
import { Producer } from '@shardwise/producer'
import { deaggregate } from '@shardwise/records'

assert.equal(deaggregate(Buffer.from('not an aggregate')).kind, 'raw')

const local = await startLocal({ streams: { smoke: 1 } })
const producer = new Producer({ stream: 'smoke', clientConfig: local.kinesis })
const receipt = await producer.put({ partitionKey: 'key', data: 'hello' })
const consumer = new Consumer({
  application: 'smoke',
  stream: 'smoke',
  kinesisConfig: local.kinesis,
  dynamodbConfig: local.dynamodb,
})
const received = await new Promise((resolve, reject) => {
  consumer.run({ eachRecord: resolve }).catch(reject)
})
assert.equal(received.text(), 'hello')
assert.equal(received.sequenceNumber, receipt.sequenceNumber)
await consumer.close()
await producer.close()
await local.stop()
process.stdout.write(`put and delivered on Node ${process.version}\n`)
