/**
 * What one key whose handler hangs does to a worker: how far the others go on, and what memory it costs, while records keep coming.
 * The key's shard goes on up to `maxAheadRecords` beyond the stuck record and waits there; the other shards don't notice. At the end
 * the handler lets go, and everything must come.
 *
 *   node --expose-gc --conditions=shardwise-source packages/consumer/bench/stuck-key.ts [--minutes 10] [--rate 800] [--bytes 500] [--buffer-mib 16]
 *
 * The stream and who writes it are processes of their own.
 */
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { PutRecordCommand } from '@aws-sdk/client-kinesis'
import { Consumer } from '@shardwise/consumer'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { table } from './fleet/figures.ts'
import { startLocalProcess, startWriterProcess } from './local/local-process.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    rate: { type: 'string', default: '800' },
    bytes: { type: 'string', default: '500' },
    // Little, so that it is reached.
    'buffer-mib': { type: 'string', default: '16' },
  },
})
const minutes = Number(values.minutes)
const rate = Number(values.rate)
const bytes = Number(values.bytes)
const bufferMiB = Number(values['buffer-mib'])
const collectGarbage = globalThis.gc
if (collectGarbage === undefined) throw new Error('run it with --expose-gc')

const STREAM = 'flights'
const STUCK_KEY = 'stuck'
const SHARDS = 4
const MIB = 2 ** 20
const SAMPLE_MS = 5_000
/** More of the stuck key, which wait for its first. */
const MORE_OF_IT_MS = 1_000
const CATCH_UP_MS = 120_000

const local = await startLocalProcess({ streams: { [STREAM]: SHARDS }, retentionBytes: 2 ** 30 })
const kinesis = createKinesisClient(local.kinesis)
const hold = Promise.withResolvers<void>()
const handled = new Map<string, number>()
let handledStuck = 0
let disorder = 0
const consumer = new Consumer({
  application: 'stuck-key',
  stream: STREAM,
  maxBufferedBytes: bufferMiB * MIB,
  kinesisConfig: local.kinesis,
  dynamodbConfig: local.dynamodb,
  logger: silentLogger,
})
const running = consumer.run({
  eachRecord: async (record) => {
    if (record.partitionKey === STUCK_KEY) {
      await hold.promise
      if (record.text() !== String(handledStuck++)) disorder++
    }
    handled.set(record.shardId, (handled.get(record.shardId) ?? 0) + 1)
  },
})

let putStuck = 0
const putStuckRecord = (): Promise<{ ShardId: string | undefined }> =>
  kinesis.send(
    new PutRecordCommand({ StreamName: STREAM, PartitionKey: STUCK_KEY, Data: Buffer.from(String(putStuck++)) }),
  )
while (consumer.status().shards.filter(({ state }) => state === 'reading').length < SHARDS) await setTimeout(100)
const { ShardId: stuckShard } = await putStuckRecord()
const writer = startWriterProcess({ kinesis: local.kinesis, stream: STREAM, rate, bytes })

const rows: string[][] = []
const startedMs = performance.now()
const minutesPassed = (): number => (performance.now() - startedMs) / 60_000
let boundAtMinutes: number | undefined
let mostLiveMiB = 0
let last = { minute: 0, others: 0, own: 0 }
const count = (): { others: number; own: number } => {
  const own = handled.get(stuckShard!) ?? 0
  return { own, others: [...handled.values()].reduce((sum, each) => sum + each, 0) - own }
}
const putting = new AbortController()
const puttingMore = (async () => {
  while (!putting.signal.aborted) {
    await putStuckRecord()
    await setTimeout(MORE_OF_IT_MS)
  }
})()
while (minutesPassed() < minutes) {
  await setTimeout(SAMPLE_MS)
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  const liveMiB = (heapUsed + external) / MIB
  mostLiveMiB = Math.max(mostLiveMiB, liveMiB)
  const shard = consumer.status().shards.find(({ shardId }) => shardId === stuckShard)!
  if (shard.isAheadFull) boundAtMinutes ??= minutesPassed()
  if (Math.floor(minutesPassed()) === last.minute) continue
  const now = { minute: Math.floor(minutesPassed()), ...count() }
  rows.push([
    String(now.minute),
    liveMiB.toFixed(1),
    (process.memoryUsage().rss / MIB).toFixed(0),
    String(now.others - last.others),
    String(now.own - last.own),
    String(shard.aheadRecords),
    (shard.aheadBytes / MIB).toFixed(1),
    (shard.bufferedBytes / MIB).toFixed(1),
    `${shard.oldestUnfinished?.partitionKey} for ${((shard.oldestUnfinished?.ageMs ?? 0) / 60_000).toFixed(1)} min`,
  ])
  process.stderr.write(`${rows.at(-1)!.join(' | ')}\n`)
  last = now
}
putting.abort()
await puttingMore
await writer[Symbol.asyncDispose]()
hold.resolve()
const freedMs = performance.now()
const isCaughtUp = (): boolean =>
  handledStuck === putStuck &&
  consumer
    .status()
    .shards.every(({ millisBehindLatest, bufferedRecords }) => millisBehindLatest === 0 && bufferedRecords === 0)
while (!isCaughtUp() && performance.now() - freedMs < CATCH_UP_MS) await setTimeout(100)
const caughtUp = isCaughtUp() ? `${((performance.now() - freedMs) / 1_000).toFixed(1)} s` : 'never'
await consumer.close()
await running
kinesis.destroy()
await local[Symbol.asyncDispose]()
process.stdout.write(
  `Node ${process.version}, ${rate} records/s of ${bytes} bytes in ${SHARDS} shards, maxBufferedBytes ${bufferMiB} MiB; at most ${mostLiveMiB.toFixed(1)} MiB live\n` +
    `The stuck key's shard reached its bound after ${boundAtMinutes === undefined ? 'the end' : `${boundAtMinutes.toFixed(1)} min`}; ` +
    `once let go, all was handled after ${caughtUp}, ${handledStuck} of ${putStuck} of the key, ${disorder} out of order\n\n` +
    table(
      [
        'minute',
        'live MiB',
        'RSS',
        'others handled',
        'its shard handled',
        'ahead',
        'ahead MiB',
        'buffered MiB',
        'oldest unfinished',
      ],
      rows,
    ),
)
