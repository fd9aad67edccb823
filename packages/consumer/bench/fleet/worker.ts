/**
 * One worker process of the fleet benchmarks. It boots, says so, and runs when it is told to; it tells of each record that its
 * handler gets, and how many requests it has made.
 */
import { subscribe } from 'node:diagnostics_channel'
import type { ClientRequest } from 'node:http'
import { Consumer } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import { APPLICATION, type News, type Order, STREAM, type WorkerConfig } from './messages.ts'
import { nowMs } from './now.ts'

function tell(news: News): void {
  process.send?.(news)
}

const requests: Record<string, number> = {}

// Below the SDK, so that its own repetitions count too.
subscribe('http.client.request.start', (message) => {
  const target = String((message as { request: ClientRequest }).request.getHeader('x-amz-target'))
  const [service = '', operation = ''] = target.split('.')
  if (service.startsWith('DynamoDB')) requests[operation] = (requests[operation] ?? 0) + 1
})

const { workerId, kinesis, dynamodb, options } = JSON.parse(process.argv[2] ?? '') as WorkerConfig

const consumer = new Consumer({
  application: APPLICATION,
  stream: STREAM,
  workerId,
  kinesisConfig: kinesis,
  dynamodbConfig: dynamodb,
  logger: silentLogger,
  onEvent: ({ type, ...event }) => {
    if (type === 'recordsRead') return
    if (type === 'leaderChanged') tell({ type: 'leads', leads: (event as { leader: boolean }).leader })
    const { error } = event as { error?: unknown }
    const details = JSON.stringify(error === undefined ? event : { ...event, error: String(error) })
    tell({ type: 'event', text: `${type} ${details}`, atMs: nowMs() })
  },
  ...options,
})

async function run(): Promise<void> {
  await consumer.run({
    eachRecord: ({ shardId, sequenceNumber, subSequenceNumber }) => {
      tell({ type: 'delivery', shardId, position: `${sequenceNumber}:${subSequenceNumber}`, atMs: nowMs() })
    },
  })
  process.removeAllListeners('disconnect')
  process.disconnect()
}

process.on('disconnect', () => process.exit(1))
process.on('message', (order: Order) => {
  if (order === 'run') void run()
  else if (order === 'close') void consumer.close()
  else tell({ type: 'counted', requests })
})
tell({ type: 'ready' })
