/**
 * A Kinesis of ready-made answers over real HTTP, to be forked: it reads of a request only what it can't answer without,
 * so that it costs little beside what is measured. Takes any number of records, and keeps none.
 *
 * Tells its parent its port, and takes from it what it is to do: {@link Order}.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { splitEvenly } from '@shardwise/records'

/** To answer, to take requests and never answer, to take no connections, or to say what CPU time it has had. */
export type Order = 'answer' | 'hang' | 'refuse' | 'cpu'

/** What it tells its parent, in the order of the orders; the port first. */
export type Report = { readonly port: number } | { readonly cpuMicroseconds: number } | { readonly done: Order }

const ranges = splitEvenly(Number(process.argv[2] ?? 4))
const starts = ranges.map(({ start }) => `${start}`.padStart(39, '0'))
const results = ranges.map(
  (_, index) =>
    `{"SequenceNumber":"49590338271490256608559692538361571095921575989136588898","ShardId":"${idOf(index)}"}`,
)
const shards = JSON.stringify({
  Shards: ranges.map(({ start, end }, index) => ({
    ShardId: idOf(index),
    HashKeyRange: { StartingHashKey: `${start}`, EndingHashKey: `${end}` },
    SequenceNumberRange: { StartingSequenceNumber: '1' },
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

const EXPLICIT_HASH_KEY = Buffer.from('"ExplicitHashKey":"')
const QUOTE = 0x22

let isHanging = false
let port = 0
const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    if (!isHanging) answer(request, response, chunks)
  })
})
// The producer's connections stay open over a pause.
server.keepAliveTimeout = 0

function answer(request: IncomingMessage, response: ServerResponse, chunks: readonly Buffer[]): void {
  const operation = String(request.headers['x-amz-target']).split('.')[1]
  const body =
    operation === 'PutRecords' ? putRecords(Buffer.concat(chunks)) : operation === 'ListShards' ? shards : description
  response.writeHead(200, { 'Content-Type': 'application/x-amz-json-1.1', 'Content-Length': body.length })
  response.end(body)
}

function putRecords(body: Buffer): string {
  const entries: string[] = []
  for (let at = body.indexOf(EXPLICIT_HASH_KEY); at >= 0; at = body.indexOf(EXPLICIT_HASH_KEY, at)) {
    at += EXPLICIT_HASH_KEY.length
    const hashKey = body.toString('latin1', at, body.indexOf(QUOTE, at)).padStart(39, '0')
    let shard = starts.length - 1
    while ((starts[shard] as string) > hashKey) shard--
    entries.push(results[shard] as string)
  }
  return `{"FailedRecordCount":0,"Records":[${entries.join(',')}]}`
}

function idOf(index: number): string {
  return `shardId-${String(index).padStart(12, '0')}`
}

function tell(report: Report): void {
  process.send?.(report)
}

function listen(then: () => void): void {
  server.listen(port, '127.0.0.1', () => {
    port = (server.address() as { port: number }).port
    then()
  })
}

process.on('message', (order: Order) => {
  if (order === 'cpu') {
    const { user, system } = process.cpuUsage()
    tell({ cpuMicroseconds: user + system })
    return
  }
  isHanging = order === 'hang'
  const done = (): void => tell({ done: order })
  if (order === 'refuse') {
    server.close(done)
    server.closeAllConnections()
  } else {
    // What was held back is never answered: those connections go.
    server.closeAllConnections()
    if (server.listening) done()
    else listen(done)
  }
})
process.on('disconnect', () => process.exit())
listen(() => tell({ port }))
