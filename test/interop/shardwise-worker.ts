/** One worker of an application, as a process of its own: writes the same lines, and takes the same commands, as the Java one. */
import { writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import os from 'node:os'
import { createInterface } from 'node:readline'
import { Consumer, ConsumerError, type ConsumerRecord, type HandlerContext } from '@shardwise/consumer'

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
  /** Checkpoints are made by the handler for each record, or only prepared after the command `prepare`; one record of a shard at a time. */
  readonly isManual: boolean
}

const settings = JSON.parse(process.argv[2] ?? '') as ShardwiseWorkerSettings
const { worker, application, streams, failoverMs, retrieval, isManual } = settings
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
  ...(isManual && { checkpointing: 'manual', ordering: 'shard' }),
  kinesisConfig: settings.kinesis,
  dynamodbConfig: settings.dynamodb,
  onEvent: (event) => {
    if (event.type === 'leaseLost') print('leaseLost', shardOf(event))
    if (event.type === 'leaseHandedOff') print('handedOff', shardOf(event))
    if (event.type === 'shardEnded') print('shardEnded', shardOf(event))
  },
})

// Whoever started it holds the other end: if that is gone, so is this.
const commands = createInterface({ input: process.stdin })
let isStopping = false
let onlyPrepares = false
commands.on('line', (line) => {
  if (line === 'prepare' && isManual) {
    onlyPrepares = true
    print('preparing')
    return
  }
  if (line !== 'stop') throw new Error(`expected stop, or prepare where checkpoints are manual, got ${line}`)
  isStopping = true
  void consumer.close()
})
commands.on('close', () => {
  if (!isStopping) process.exit(3)
})
print('ready')

async function checkpoint(record: ConsumerRecord, context: HandlerContext): Promise<void> {
  if (!onlyPrepares) {
    context.checkpoint()
    return
  }
  await context.prepareCheckpoint(record, Buffer.from('half done'))
  print('prepared', { ...shardOf(record), sequence: record.sequenceNumber, sub: record.subSequenceNumber })
}

try {
  await consumer.run({
    onShardEnd: () => {},
    onShardStart: (shard) => {
      const { checkpoint: from, pendingCheckpoint: pending } = shard
      print('started', {
        ...shardOf(shard),
        sequence: from.sequenceNumber,
        sub: from.subSequenceNumber,
        pending: pending?.sequenceNumber,
        pendingSub: pending?.subSequenceNumber,
        state: pending?.state && Buffer.from(pending.state).toString(),
      })
    },
    eachRecord: (record, context) => {
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
      return isManual ? checkpoint(record, context) : undefined
    },
  })
  print('stopped')
  process.exit(0)
} catch (error) {
  const { code, message } = error instanceof ConsumerError ? error : { code: 'none', message: String(error) }
  print('failed', { code, message })
  process.exit(1)
}
