/** One worker of an application, as a process of its own: writes the same lines, and takes the same commands, as the Java one. */
import { writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import { createInterface } from 'node:readline'
import { Consumer, ConsumerError } from '@shardwise/consumer'

export interface ShardwiseWorkerSettings {
  readonly worker: string
  readonly application: string
  readonly streams: readonly string[]
  readonly failoverMs: number
  readonly kinesis: object
  readonly dynamodb: object
  /** Tells the load of a machine of its own that has nothing else to do, not of this one, which all the workers share. */
  readonly idle: boolean
  readonly retrieval: 'polling' | 'fanOut'
}

const settings = JSON.parse(process.argv[2] ?? '') as ShardwiseWorkerSettings
const { worker, application, streams, failoverMs, retrieval } = settings
const [stream = ''] = streams

function print(event: string, fields: object = {}): void {
  writeSync(1, `${JSON.stringify({ worker, event, ...fields })}\n`)
}

function shardOf(event: { readonly stream?: string; readonly shardId: string }): object {
  return { stream: event.stream ?? stream, shard: event.shardId }
}

if (settings.idle) {
  os.cpus = () => {
    const times = { user: 0, nice: 0, sys: 0, irq: 0, idle: performance.now() }
    return [{ model: 'idle', speed: 0, times }]
  }
  syncBuiltinESMExports()
}

const consumer = new Consumer({
  application,
  ...(streams.length === 1 ? { stream } : { streams }),
  workerId: worker,
  failoverTime: failoverMs,
  retrieval,
  kinesisConfig: settings.kinesis,
  dynamodbConfig: settings.dynamodb,
  onEvent: (event) => {
    if (event.type === 'shardStarted') {
      const { sequenceNumber, subSequenceNumber } = event.checkpoint
      print('started', { ...shardOf(event), sequence: sequenceNumber, sub: subSequenceNumber })
    }
    if (event.type === 'leaseLost') print('leaseLost', shardOf(event))
    if (event.type === 'leaseHandedOff') print('handedOff', shardOf(event))
    if (event.type === 'shardEnded') print('shardEnded', shardOf(event))
  },
})

// Whoever started it holds the other end: if that is gone, so is this.
const commands = createInterface({ input: process.stdin })
let isStopping = false
commands.on('line', (line) => {
  if (line !== 'stop') throw new Error(`expected stop, got ${line}`)
  isStopping = true
  void consumer.close()
})
commands.on('close', () => {
  if (!isStopping) process.exit(3)
})
print('ready')

try {
  await consumer.run({
    eachRecord: (record) => {
      // The KCL leaves those out; the producer has sent them again.
      if (record.misplaced) return
      print('record', {
        stream: record.stream,
        shard: record.shardId,
        sequence: record.sequenceNumber,
        sub: record.subSequenceNumber,
        key: record.partitionKey,
        data: record.text(),
      })
    },
  })
  print('stopped')
  process.exit(0)
} catch (error) {
  const { code, message } = error instanceof ConsumerError ? error : { code: 'none', message: String(error) }
  print('failed', { code, message })
  process.exit(1)
}
