/**
 * How many MB/s go into and come out of the local Kinesis.
 *
 *   node --conditions=shardwise-source packages/local/bench/throughput.ts
 */
import { Agent, request } from 'node:http'
import {
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  KinesisClient,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
} from '@aws-sdk/client-kinesis'
import { startLocal } from '@shardwise/local'
import { cbor } from '@smithy/core/cbor'
import { NodeHttpHandler } from '@smithy/node-http-handler'

const RECORD_BYTES = 50_000
const RECORDS_A_CALL = 100
const CALLS_A_WINDOW = 80
const WINDOWS = 4
const CALLS_AT_ONCE = 4
const SHARDS = 4
const MB = 1e6
const STREAM = 'bench'

await using local = await startLocal({ streams: { [STREAM]: SHARDS }, limits: false, dynamodb: false })
const data = Buffer.alloc(RECORD_BYTES, 'x')
const records = Array.from({ length: RECORDS_A_CALL }, (_, index) => ({ PartitionKey: `key-${index}`, Data: data }))
const windowMB = (CALLS_A_WINDOW * RECORDS_A_CALL * RECORD_BYTES) / MB
const shardIds = Array.from({ length: SHARDS }, (_, shard) => `shardId-${String(shard).padStart(12, '0')}`)

const http1 = new KinesisClient({ ...local.kinesis, requestHandler: new NodeHttpHandler() })
const http2 = new KinesisClient(local.kinesis)

/** Requests without an SDK, so that the server's own cost shows. */
const agent = new Agent({ keepAlive: true })
function post(operation: string, contentType: string, body: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': contentType,
      'content-length': body.length,
      'x-amz-target': `Kinesis_20131202.${operation}`,
    }
    const sent = request(local.kinesisEndpoint, { method: 'POST', agent, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve(Buffer.concat(chunks)))
    })
    sent.on('error', reject)
    sent.end(body)
  })
}

const wires = {
  JSON: {
    type: 'application/x-amz-json-1.1',
    encode: (value: object) =>
      Buffer.from(JSON.stringify(value, (_, field) => (field?.type === 'Buffer' ? data.toString('base64') : field))),
  },
  CBOR: { type: 'application/x-amz-cbor-1.1', encode: (value: object) => cbor.serialize(value) },
}

async function inWindow(put: () => Promise<unknown>): Promise<number> {
  let left = CALLS_A_WINDOW
  const putAll = async (): Promise<void> => {
    while (left-- > 0) await put()
  }
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, putAll))
  return windowMB
}

async function iteratorOf(ShardId: string): Promise<string | undefined> {
  const start = new GetShardIteratorCommand({ StreamName: STREAM, ShardId, ShardIteratorType: 'TRIM_HORIZON' })
  return (await http1.send(start)).ShardIterator
}

async function readShard(kinesis: KinesisClient, shardId: string): Promise<number> {
  let ShardIterator = await iteratorOf(shardId)
  let bytes = 0
  for (;;) {
    const answer = await kinesis.send(new GetRecordsCommand({ ShardIterator }))
    for (const { Data } of answer.Records ?? []) bytes += Data?.length ?? 0
    if (answer.MillisBehindLatest === 0) return bytes / MB
    ShardIterator = answer.NextShardIterator
  }
}

/** The same first answer of a shard again and again, not decoded. */
async function readFirst(wire: (typeof wires)[keyof typeof wires], shardId: string): Promise<number> {
  const body = wire.encode({ ShardIterator: await iteratorOf(shardId) })
  const recordsInAnswer = Math.floor((10 * 2 ** 20) / (RECORD_BYTES + 6))
  for (let call = 0; call < 20; call++) await post('GetRecords', wire.type, body)
  return (20 * recordsInAnswer * RECORD_BYTES) / MB
}

let consumers = 0
async function consumerArn(): Promise<string | undefined> {
  const { StreamDescriptionSummary } = await http1.send(new DescribeStreamSummaryCommand({ StreamName: STREAM }))
  const { Consumer } = await http1.send(
    new RegisterStreamConsumerCommand({
      StreamARN: StreamDescriptionSummary?.StreamARN,
      ConsumerName: `consumer-${consumers++}`,
    }),
  )
  return Consumer?.ConsumerARN
}

async function subscribeTo(kinesis: KinesisClient, ConsumerARN: string | undefined, ShardId: string): Promise<number> {
  const leaving = new AbortController()
  const { EventStream } = await kinesis.send(
    new SubscribeToShardCommand({ ConsumerARN, ShardId, StartingPosition: { Type: 'TRIM_HORIZON' } }),
    { abortSignal: leaving.signal },
  )
  let bytes = 0
  for await (const { SubscribeToShardEvent: event } of EventStream ?? []) {
    for (const { Data } of event?.Records ?? []) bytes += Data?.length ?? 0
    if (event?.MillisBehindLatest === 0) break
  }
  leaving.abort()
  return bytes / MB
}

const ofAllShards = async (read: (shardId: string) => Promise<number>): Promise<number> =>
  (await Promise.all(shardIds.map(read))).reduce((sum, each) => sum + each, 0)

async function report(what: string, action: () => Promise<number>): Promise<void> {
  const startedAt = performance.now()
  const megabytes = await action()
  const rate = (megabytes / (performance.now() - startedAt)) * 1000
  const resident = process.memoryUsage.rss() / MB
  process.stdout.write(`${what.padEnd(38)}${rate.toFixed(0).padStart(5)} MB/s, ${resident.toFixed(0)} MB resident\n`)
}

const put = new PutRecordsCommand({ StreamName: STREAM, Records: records })
for (let window = 1; window <= WINDOWS; window++) {
  await report('in,  SDK, HTTP/1.1, JSON', () => inWindow(() => http1.send(put)))
}
await report('in,  SDK, HTTP/2, JSON', () => inWindow(() => http2.send(put)))
for (const [name, { type, encode }] of Object.entries(wires)) {
  const body = encode({ StreamName: STREAM, Records: records })
  for (let window = 1; window <= WINDOWS / 2; window++) {
    await report(`in,  ready-made requests, ${name}`, () => inWindow(() => post('PutRecords', type, body)))
  }
}
for (let pass = 1; pass <= 2; pass++) {
  await report('out, SDK, HTTP/1.1, JSON', () => ofAllShards((shardId) => readShard(http1, shardId)))
}
await report('out, SDK, HTTP/2, JSON', () => ofAllShards((shardId) => readShard(http2, shardId)))
for (const [name, wire] of Object.entries(wires)) {
  await report(`out, answers not decoded, ${name}`, () => ofAllShards((shardId) => readFirst(wire, shardId)))
}
for (const [name, kinesis] of [
  ['HTTP/2', http2],
  ['HTTP/1.1', http1],
] as const) {
  const arn = await consumerArn()
  await report(`out, SDK, fan-out over ${name}`, () => ofAllShards((shardId) => subscribeTo(kinesis, arn, shardId)))
}
agent.destroy()
http1.destroy()
http2.destroy()
