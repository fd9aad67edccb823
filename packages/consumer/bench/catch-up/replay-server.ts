/**
 * A Kinesis that gives the same aggregates again and again over real HTTP, to be forked: everything is encoded beforehand, so
 * that it costs little beside what is measured. Its shards never end.
 *
 * Tells its parent its port.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { splitEvenly } from '@shardwise/records'
import { aggregatesOf } from './aggregates.ts'
import type { Listening, Replay } from './messages.ts'

const { shards: shardCount, load, repeats } = JSON.parse(process.argv[2] ?? '') as Replay

const ranges = splitEvenly(shardCount)
const shardIds = ranges.map((_, index) => `shardId-${String(index).padStart(12, '0')}`)
const shards = JSON.stringify({
  Shards: ranges.map(({ start, end }, index) => ({
    ShardId: shardIds[index],
    HashKeyRange: { StartingHashKey: `${start}`, EndingHashKey: `${end}` },
    SequenceNumberRange: { StartingSequenceNumber: sequenceNumberOf(index, 0) },
  })),
})
const description = JSON.stringify({
  StreamDescriptionSummary: {
    StreamName: 'bench',
    StreamARN: 'arn:aws:kinesis:us-east-1:000000000000:stream/bench',
    StreamStatus: 'ACTIVE',
    RetentionPeriodHours: 24,
    StreamCreationTimestamp: 1,
    EnhancedMonitoring: [],
    OpenShardCount: ranges.length,
  },
})

/** The service's limit of an answer. */
const MAX_ANSWER_BYTES = 10 * 2 ** 20
const BEFORE_DATA = '","ApproximateArrivalTimestamp":1.763760000123E9,"Data":"'
const AFTER_DATA = '","PartitionKey":"a"}'

const encoded = aggregatesOf(ranges, load).map((aggregates) =>
  aggregates.map((data) => ({ base64: Buffer.from(Buffer.from(data).toString('base64')), bytes: data.length })),
)

function sequenceNumberOf(shard: number, number: number): string {
  return `495903382714902566${String(shard).padStart(6, '0')}${String(number).padStart(32, '0')}`
}

interface GetRecords {
  readonly ShardIterator: string
  readonly Limit: number
}

function getRecords(response: ServerResponse, { ShardIterator, Limit }: GetRecords): void {
  const [shard, first] = ShardIterator.split(':').map(Number) as [number, number]
  const ofShard = encoded[shard]!
  const tip = ofShard.length * repeats
  const parts: (string | Buffer)[] = ['{"Records":[']
  let number = first
  for (let bytes = 0; number < Math.min(first + Limit, tip); number++) {
    const { base64, bytes: size } = ofShard[number % ofShard.length]!
    if (bytes + size > MAX_ANSWER_BYTES) break
    bytes += size
    const comma = number === first ? '' : ','
    parts.push(`${comma}{"SequenceNumber":"${sequenceNumberOf(shard, number)}${BEFORE_DATA}`, base64, AFTER_DATA)
  }
  const millisBehindLatest = number < tip ? 86_000_000 : 0
  parts.push(`],"NextShardIterator":"${shard}:${number}","MillisBehindLatest":${millisBehindLatest}}`)
  response.writeHead(200, {
    'Content-Type': 'application/x-amz-json-1.1',
    'Content-Length': parts.reduce((sum, { length }) => sum + length, 0),
  })
  response.cork()
  for (const part of parts) response.write(part, 'latin1')
  response.end()
}

function answer(request: IncomingMessage, response: ServerResponse, body: string): void {
  const operation = String(request.headers['x-amz-target']).split('.')[1]
  const fields = JSON.parse(body)
  if (operation === 'GetRecords') {
    getRecords(response, fields)
    return
  }
  const answered =
    operation === 'ListShards'
      ? shards
      : operation === 'GetShardIterator'
        ? `{"ShardIterator":"${shardIds.indexOf(fields.ShardId)}:0"}`
        : description
  response.writeHead(200, { 'Content-Type': 'application/x-amz-json-1.1', 'Content-Length': answered.length })
  response.end(answered)
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => answer(request, response, Buffer.concat(chunks).toString()))
})
server.keepAliveTimeout = 0
process.on('disconnect', () => process.exit())
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo
  process.send?.({ port } satisfies Listening)
})
