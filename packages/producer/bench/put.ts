/**
 * What a `put` costs, all in: CPU time a user record of the process that puts, from `put` to acknowledgement, with the SDK,
 * HTTP and garbage collection, against a server of ready-made answers in a process of its own.
 *
 *   node --conditions=shardwise-source packages/producer/bench/put.ts [--records 500000] [--rounds 5] [--only 'distinct keys'] [--no-pin]
 *
 * Each process keeps to a processor of its own where `taskset` is there. The cases take turns, so that they can be compared
 * in one run on a machine that does other things too; a first round isn't counted.
 */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { ListShardsCommand, PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { type Kinesis, silentLogger } from '@shardwise/core'
import { splitEvenly } from '@shardwise/records'
import { Producer, type ProducerOptions } from '../src/index.ts'
import { pin, startCannedService } from './canned-service.ts'

const SHARDS = 4

interface Case {
  readonly name: string
  /** How many keys take turns; Infinity: each record has one of its own. */
  readonly keys: number
  readonly bytes: number
  /** Which part of the records that were asked for. */
  readonly share: number
  readonly options: Partial<ProducerOptions>
}

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '500000' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
    'no-pin': { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const isPinned = !values['no-pin'] && cpus().length > 1 && pin(process.pid, 0)
await using service = await startCannedService(SHARDS, isPinned ? 1 : undefined)

const { clientConfig } = service
const EVERY = Number.POSITIVE_INFINITY
const CASES: readonly Case[] = [
  { name: 'distinct keys', keys: EVERY, bytes: 100, share: 1, options: { clientConfig } },
  { name: '10,000 keys', keys: 10_000, bytes: 100, share: 1, options: { clientConfig } },
  { name: 'distinct keys, 1 KiB', keys: EVERY, bytes: 1_024, share: 0.2, options: { clientConfig } },
  {
    name: 'distinct keys, not aggregated',
    keys: EVERY,
    bytes: 100,
    share: 0.1,
    options: { clientConfig, aggregation: false },
  },
  {
    name: 'distinct keys, without SDK',
    keys: EVERY,
    bytes: 100,
    share: 1,
    options: { client: clientThatAnswersAtOnce() },
  },
]

interface Figures {
  readonly cpu: number
  readonly serverCpu: number
  readonly perSecond: number
  readonly failed: number
}

async function run({ keys, bytes, share, options }: Case): Promise<Figures> {
  const records = Math.round(Number(values.records) * share)
  const data = new Uint8Array(bytes).fill(120)
  let failed = 0
  const producer = new Producer({
    stream: 'bench',
    rateLimit: Number.POSITIVE_INFINITY,
    logger: silentLogger,
    onError: () => failed++,
    ...options,
  })
  const serverCpuBefore = await service.cpu()
  const cpuBefore = process.cpuUsage()
  const startedMs = performance.now()
  for (let index = 0; index < records; index++) {
    await producer.ready
    void producer.put({ partitionKey: `user-${index % keys}`, data })
  }
  await producer.close()
  const elapsedMs = performance.now() - startedMs
  const { user, system } = process.cpuUsage(cpuBefore)
  const serverCpu = (await service.cpu()) - serverCpuBefore
  return {
    cpu: (user + system) / records,
    serverCpu: serverCpu / records,
    perSecond: (records / elapsedMs) * 1_000,
    failed,
  }
}

/** Everything but the SDK and HTTP. */
function clientThatAnswersAtOnce(): Kinesis {
  const shards = splitEvenly(SHARDS)
  const send = async (command: object): Promise<object> => {
    if (command instanceof PutRecordsCommand) {
      const { Records = [] } = command.input
      return {
        Records: Records.map(({ ExplicitHashKey }) => ({
          ShardId: `shard-${Number((BigInt(ExplicitHashKey ?? '') * BigInt(SHARDS)) >> 128n)}`,
          SequenceNumber: '1',
        })),
      }
    }
    if (!(command instanceof ListShardsCommand)) return { StreamDescriptionSummary: { OpenShardCount: SHARDS } }
    return {
      Shards: shards.map(({ start, end }, index) => ({
        ShardId: `shard-${index}`,
        HashKeyRange: { StartingHashKey: `${start}`, EndingHashKey: `${end}` },
        SequenceNumberRange: { StartingSequenceNumber: '1' },
      })),
    }
  }
  return { send } as unknown as Kinesis
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN
}

const cases = CASES.filter(({ name }) => values.only === '' || name === values.only)
const figures = new Map(cases.map(({ name }) => [name, [] as Figures[]]))
for (let round = 0; round <= rounds; round++) {
  for (const each of cases) {
    const measured = await run(each)
    if (round > 0) figures.get(each.name)?.push(measured)
  }
}

const print = (line: string): boolean => process.stdout.write(`${line}\n`)
print(
  `Node ${process.version}, ${SHARDS} shards, no rate limit, HTTP/1.1 without TLS, median (min - max) of ${rounds} rounds`,
)
print(isPinned ? 'producer on processor 0, server on processor 1' : 'on any processor')
print(`${''.padEnd(30)} CPU µs a record        records/s  server CPU µs  failed`)
for (const [name, all] of figures) {
  const cpu = all.map((each) => each.cpu)
  const range = `${median(cpu).toFixed(2)} (${Math.min(...cpu).toFixed(2)} - ${Math.max(...cpu).toFixed(2)})`
  const perSecond = Math.round(median(all.map((each) => each.perSecond))).toLocaleString('en')
  const serverCpu = median(all.map((each) => each.serverCpu)).toFixed(2)
  const failed = all.reduce((sum, each) => sum + each.failed, 0)
  print(
    `${name.padEnd(30)} ${range.padEnd(20)} ${perSecond.padStart(11)} ${serverCpu.padStart(14)} ${String(failed).padStart(7)}`,
  )
}
const { rss, heapUsed } = process.memoryUsage()
print(`memory after: ${Math.round(rss / 2 ** 20)} MiB, heap ${Math.round(heapUsed / 2 ** 20)} MiB`)
