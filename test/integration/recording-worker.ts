/**
 * One worker process of the kill-and-reshard test: appends a line for every delivery to a file that all workers share.
 * The file is opened for appending, so the order of its lines is the order of the deliveries over all processes.
 */
import { openSync, writeSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Consumer } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'

export interface RecordingWorkerConfig {
  readonly workerId: string
  readonly stream: string
  readonly application: string
  readonly logFile: string
  readonly kinesis: object
  readonly dynamodb: object
}

const config = JSON.parse(process.argv[2] ?? '') as RecordingWorkerConfig
const log = openSync(config.logFile, 'a')

const consumer = new Consumer({
  application: config.application,
  stream: config.stream,
  workerId: config.workerId,
  kinesisConfig: config.kinesis,
  dynamodbConfig: config.dynamodb,
  failoverTime: 1_500,
  idleTimeBetweenReads: 50,
  logger: silentLogger,
})

process.on('disconnect', () => process.exit(1))
process.on('SIGTERM', () => {
  void consumer.close()
})
// From now on it can be stopped gracefully.
process.send?.('ready')

await consumer.run({
  eachRecord: async (record) => {
    // A misplaced copy is one too many: the producer has sent its record again, and order is not promised for it.
    if (record.misplaced) return
    writeSync(log, `${config.workerId} ${record.partitionKey} ${record.text()}\n`)
    // Long enough that a kill finds handlers at work.
    await setTimeout(Math.random() * 4)
  },
})
process.removeAllListeners('disconnect')
process.disconnect()
