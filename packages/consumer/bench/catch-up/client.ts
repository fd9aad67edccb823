/** The process whose CPU time is measured: a consumer with the SDK and HTTP, or a part of what it does. */
import { GetRecordsCommand } from '@aws-sdk/client-kinesis'
import { Consumer } from '@shardwise/consumer'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { deaggregate } from '@shardwise/records'
import { type ClientConfig, type Figures, STREAM } from './messages.ts'

const { depth, shards, userRecords, kinesis, dynamodb, application } = JSON.parse(process.argv[2] ?? '') as ClientConfig

const stop = new AbortController()
let seen = 0
let startedAt = Number.NaN
let cpuBefore = process.cpuUsage()
let figures: Figures | undefined

/** Called when the first answer is there. What comes before, a lease for each shard, is no matter of the user records. */
function start(): void {
  if (startedAt > 0) return
  startedAt = performance.now()
  cpuBefore = process.cpuUsage()
}

function count(records: number): void {
  seen += records
  if (seen < userRecords) return
  const { user, system } = process.cpuUsage(cpuBefore)
  figures = {
    userRecords: seen,
    cpuUser: user,
    cpuSystem: system,
    seconds: (performance.now() - startedAt) / 1_000,
    peakRssMiB: process.resourceUsage().maxRSS / 1_024,
  }
  stop.abort()
}

/** A MiB, as a consumer asks for. */
const LIMIT = 40

async function readAlone(): Promise<void> {
  const client = createKinesisClient(kinesis)
  let records = 0
  const read = async (shard: number): Promise<void> => {
    for (let iterator = `${shard}:0`; ; ) {
      const answer = await client.send(new GetRecordsCommand({ ShardIterator: iterator, Limit: LIMIT }))
      start()
      for (const { Data } of answer.Records ?? []) records += depth === 'read' ? 0 : countOf(Data!)
      if (answer.MillisBehindLatest === 0) return
      iterator = answer.NextShardIterator!
    }
  }
  await Promise.all(Array.from({ length: shards }, (_, shard) => read(shard)))
  count(depth === 'read' ? userRecords : records)
  client.destroy()
}

function countOf(data: Uint8Array): number {
  const content = deaggregate(data)
  return content.kind === 'aggregate' ? content.records.length : 0
}

async function consume(): Promise<void> {
  const consumer = new Consumer({
    application,
    stream: STREAM,
    kinesisConfig: kinesis,
    dynamodbConfig: dynamodb,
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
