/**
 * What a `put` costs: CPU time a user record from `put` to acknowledgement, over a client that answers at once, so that
 * everything but the SDK and the network is counted.
 *
 *   node --conditions=shardwise-source packages/producer/bench/put.ts [records] [data bytes]
 */
import { ListShardsCommand, type PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { type Kinesis, silentLogger } from '@shardwise/core'
import { splitEvenly } from '@shardwise/records'
import { Producer } from '../src/index.ts'

const records = Number(process.argv[2] ?? 1_000_000)
const data = new Uint8Array(Number(process.argv[3] ?? 100)).fill(120)
const SHARDS = splitEvenly(4)
const KEYS = Array.from({ length: 10_000 }, (_, index) => `key-${index}`)

const client = {
  send: async (command: object): Promise<object> => {
    if (command instanceof ListShardsCommand) {
      return {
        Shards: SHARDS.map(({ start, end }, index) => ({
          ShardId: `shard-${index}`,
          HashKeyRange: { StartingHashKey: `${start}`, EndingHashKey: `${end}` },
          SequenceNumberRange: { StartingSequenceNumber: '1' },
        })),
      }
    }
    const { Records = [] } = (command as PutRecordsCommand).input
    return {
      Records: Records.map(({ ExplicitHashKey }) => ({
        ShardId: `shard-${Number((BigInt(ExplicitHashKey ?? '') * 4n) >> 128n)}`,
        SequenceNumber: '1',
      })),
    }
  },
}

async function run(aggregation: boolean): Promise<void> {
  const producer = new Producer({
    stream: 'bench',
    client: client as unknown as Kinesis,
    aggregation,
    rateLimit: Number.POSITIVE_INFINITY,
    logger: silentLogger,
  })
  let failed = 0
  const onFailure = (): void => {
    failed++
  }
  const cpuBefore = process.cpuUsage()
  const startedMs = performance.now()
  for (let index = 0; index < records; index++) {
    await producer.ready
    producer.put({ partitionKey: KEYS[index % KEYS.length] as string, data }).catch(onFailure)
  }
  await producer.close()
  const { user, system } = process.cpuUsage(cpuBefore)
  const seconds = (performance.now() - startedMs) / 1_000
  const rate = Math.round(records / seconds).toLocaleString('en')
  const rss = Math.round(process.memoryUsage().rss / 2 ** 20)
  process.stdout.write(
    `${aggregation ? 'aggregated' : 'plain     '}  ${((user + system) / records).toFixed(2)} µs CPU a record, ${rate} records/s, ${failed} failed, RSS ${rss} MiB\n`,
  )
}

for (const aggregation of [true, true, false]) await run(aggregation)
