/**
 * How many MB/s go into and come out of the local Kinesis, with the SDK's client beside it.
 *
 *   node --conditions=shardwise-source packages/local/bench/throughput.ts
 */
import { GetRecordsCommand, GetShardIteratorCommand, KinesisClient, PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { startLocal } from '@shardwise/local'
import { NodeHttpHandler } from '@smithy/node-http-handler'

const RECORD_BYTES = 50_000
const RECORDS_A_CALL = 100
const CALLS_A_WINDOW = 80
const WINDOWS = 8
const CALLS_AT_ONCE = 4
const SHARDS = 4
const MB = 1e6

await using local = await startLocal({ streams: { bench: SHARDS }, limits: false, retentionBytes: 2 ** 30 })
const kinesis = new KinesisClient({ ...local.kinesis, requestHandler: new NodeHttpHandler() })
const data = Buffer.alloc(RECORD_BYTES, 'x')
const windowMB = (CALLS_A_WINDOW * RECORDS_A_CALL * RECORD_BYTES) / MB

async function putWindow(): Promise<void> {
  let left = CALLS_A_WINDOW
  const put = async (): Promise<void> => {
    while (left-- > 0) {
      const Records = Array.from({ length: RECORDS_A_CALL }, (_, index) => ({
        PartitionKey: `key-${index}`,
        Data: data,
      }))
      await kinesis.send(new PutRecordsCommand({ StreamName: 'bench', Records }))
    }
  }
  await Promise.all(Array.from({ length: CALLS_AT_ONCE }, put))
}

async function readAll(): Promise<number> {
  const read = async (shard: number): Promise<number> => {
    const ShardId = `shardId-${String(shard).padStart(12, '0')}`
    let { ShardIterator: iterator } = await kinesis.send(
      new GetShardIteratorCommand({ StreamName: 'bench', ShardId, ShardIteratorType: 'TRIM_HORIZON' }),
    )
    let bytes = 0
    for (;;) {
      const answer = await kinesis.send(new GetRecordsCommand({ ShardIterator: iterator }))
      for (const { Data } of answer.Records ?? []) bytes += Data?.length ?? 0
      if (answer.MillisBehindLatest === 0) return bytes
      iterator = answer.NextShardIterator
    }
  }
  const bytes = await Promise.all(Array.from({ length: SHARDS }, (_, shard) => read(shard)))
  return bytes.reduce((sum, each) => sum + each, 0)
}

async function timed<T>(action: () => Promise<T>): Promise<[T, seconds: number]> {
  const startedAt = performance.now()
  const result = await action()
  return [result, (performance.now() - startedAt) / 1000]
}

const memory = (): string => `${Math.round(process.memoryUsage.rss() / MB)} MB resident`
for (let window = 1; window <= WINDOWS; window++) {
  const [, seconds] = await timed(putWindow)
  process.stdout.write(
    `in  ${(window * windowMB).toFixed(0).padStart(5)} MB put: ${(windowMB / seconds).toFixed(0)} MB/s, ${memory()}\n`,
  )
}
for (let pass = 1; pass <= 3; pass++) {
  const [bytes, seconds] = await timed(readAll)
  process.stdout.write(
    `out ${(bytes / MB).toFixed(0).padStart(5)} MB read: ${(bytes / MB / seconds).toFixed(0)} MB/s, ${memory()}\n`,
  )
}
kinesis.destroy()
