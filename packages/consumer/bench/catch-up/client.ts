/** The process whose CPU time is measured: a consumer with the SDK and HTTP, or a part of what it does. */
import { GetRecordsCommand } from '@aws-sdk/client-kinesis'
import { Consumer } from '@shardwise/consumer'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { openAggregate } from '@shardwise/records'
import { type ClientConfig, type Figures, STREAM } from './messages.ts'

const config = JSON.parse(process.argv[2] ?? '') as ClientConfig
const { depth, userRecords } = config

const stop = new AbortController()
let seen = 0
let startedAt: number | undefined
let cpuBefore = process.cpuUsage()
let figures: Figures | undefined

/** Called when an answer has come. What comes before the first, a lease for each shard, is no matter of the user records. */
function start(): void {
  if (startedAt !== undefined) return
  startedAt = performance.now()
  cpuBefore = process.cpuUsage()
}

function count(records: number): void {
  seen += records
  if (seen < userRecords || figures !== undefined) return
  const { user, system } = process.cpuUsage(cpuBefore)
  figures = {
    cpuUser: user / seen,
    cpuSystem: system / seen,
    perSecond: (seen / (performance.now() - startedAt!)) * 1_000,
    peakMiB: process.resourceUsage().maxRSS / 1_024,
  }
  stop.abort()
}

/** 2 MB, what a shard gives in a second. */
const LIMIT = 40

async function readAlone(): Promise<void> {
  const client = createKinesisClient(config.kinesis)
  let records = 0
  const read = async (shard: number): Promise<void> => {
    for (let iterator = `${shard}:0`; ; ) {
      const answer = await client.send(new GetRecordsCommand({ ShardIterator: iterator, Limit: LIMIT }))
      start()
      for (const { Data } of answer.Records ?? []) records += depth === 'read' ? 0 : countIn(Data!)
      if (answer.MillisBehindLatest === 0) return
      iterator = answer.NextShardIterator!
    }
  }
  await Promise.all(Array.from({ length: config.shards }, (_, shard) => read(shard)))
  count(depth === 'read' ? userRecords : records)
  client.destroy()
}

function countIn(data: Uint8Array): number {
  const opened = openAggregate(data)
  if (opened.kind !== 'aggregate') return 0
  while (opened.reader.next());
  return opened.reader.subSequenceNumber + 1
}

async function consume(): Promise<void> {
  const consumer = new Consumer({
    application: config.application,
    stream: STREAM,
    retrieval: config.retrieval,
    kinesisConfig: config.kinesis,
    dynamodbConfig: config.dynamodb,
    logger: silentLogger,
    onEvent: ({ type }) => {
      if (type === 'recordsRead') start()
    },
  })
  await consumer.run({
    eachRecord: depth === 'handled' ? () => count(1) : async () => count(1),
    signal: stop.signal,
  })
}

await (depth === 'read' || depth === 'deaggregated' ? readAlone() : consume())
process.send?.(figures)
process.disconnect?.()
