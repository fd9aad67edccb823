/**
 * One worker process whose handler does with each record what is written in it, and tells the log what it does, what it
 * learns, and what it writes to the table.
 */
import { openSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import {
  Consumer,
  type ConsumerOptions,
  type ConsumerRecord,
  fileDeadLetter,
  type HandlerContext,
  type Handlers,
} from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import { type Payload, tell } from './worker-log.ts'

export interface ProcessingWorkerConfig {
  readonly workerId: string
  readonly logFile: string
  /** Where records go that are given up. Without one their shard stops. */
  readonly letterFile?: string
  readonly handles: 'records' | 'batches'
  /** For how long a record blocks the event loop that is to; 0: not at all. */
  readonly blockMs?: number
  readonly kinesis: object
  readonly dynamodb: object
  readonly options: Pick<ConsumerOptions, 'application' | 'stream'> & Partial<ConsumerOptions>
}

const config = JSON.parse(process.argv[2] ?? '') as ProcessingWorkerConfig
const { workerId, letterFile, blockMs = 0 } = config
const log = openSync(config.logFile, 'a')
const dynamodb = new DynamoDBClient({ ...config.dynamodb, maxAttempts: 1 })
dynamodb.middlewareStack.add(
  (next, { commandName }) =>
    (args) => {
      const { Key } = args.input as { readonly Key?: { readonly leaseKey?: { readonly S: string } } }
      const leaseKey = Key?.leaseKey?.S
      if (commandName === 'UpdateItemCommand' && leaseKey?.startsWith('shardId-')) {
        tell(log, workerId, { told: 'writing', shardId: leaseKey })
      }
      return next(args)
    },
  { step: 'initialize' },
)

const consumer = new Consumer({
  workerId,
  idleTimeBetweenReads: 50,
  kinesisConfig: config.kinesis,
  dynamodb,
  logger: silentLogger,
  ...(letterFile !== undefined && { deadLetter: fileDeadLetter(letterFile) }),
  onEvent: (event) => {
    if (event.type === 'recordsRead' || event.type === 'shardProgress') return
    const shardId = 'shardId' in event ? event.shardId : undefined
    const blocker = event.type === 'eventLoopBlocked' && { blocker: `${event.handler} ${event.partitionKey}` }
    tell(log, workerId, { told: 'event', type: event.type, shardId, ...blocker })
  },
  ...config.options,
})

process.on('disconnect', () => process.exit(1))
process.on('SIGTERM', () => {
  tell(log, workerId, { told: 'stopping' })
  void consumer.close()
})
// From now on it can be stopped gracefully.
process.send?.('ready')

const about = (record: ConsumerRecord): { key: string; number: number; shardId: string } => ({
  key: record.partitionKey,
  number: record.json<Payload>().number,
  shardId: record.shardId,
})

async function handle(all: readonly ConsumerRecord[], context: HandlerContext): Promise<void> {
  // A misplaced copy is one too many: the producer has sent its record again, and order is not promised for it.
  const records = all.filter(({ misplaced }) => !misplaced)
  for (const record of records) tell(log, workerId, { told: 'delivered', ...about(record) })
  for (const record of records) await work(record, context)
  for (const record of records) tell(log, workerId, { told: 'finished', ...about(record) })
  if (config.options.checkpointing === 'manual') context.checkpoint()
}

async function work(record: ConsumerRecord, { attempt }: HandlerContext): Promise<void> {
  const { does, number } = record.json<Payload>()
  if (does === 'block' && blockMs > 0) {
    tell(log, workerId, { told: 'blocking' })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockMs)
    tell(log, workerId, { told: 'unblocked' })
  }
  // Long enough that a kill finds handlers at work.
  await setTimeout(does === 'slow' ? 40 : Math.random() * 3)
  if (does === 'bad' || (does === 'flaky' && attempt === 1)) throw new Error(`number ${number} is ${does}`)
  if (does === 'hang') await new Promise(() => {})
}

const handlers: Handlers =
  config.handles === 'records'
    ? { eachRecord: (record, context) => handle([record], context), onShardEnd: () => {} }
    : { eachBatch: handle, maxRecords: 20, maxWaitMs: 20, onShardEnd: () => {} }
await consumer.run(handlers)
dynamodb.destroy()
process.removeAllListeners('disconnect')
process.disconnect()
