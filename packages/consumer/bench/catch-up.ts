/**
 * What catching up costs: CPU time a user record of the process that consumes, with the SDK and HTTP, aggregates as the
 * KPL makes them (50 KB, user records of 100 bytes) coming from another process without limits. And what parts of it cost: GetRecords alone,
 * and with taking the aggregates apart.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/catch-up.ts [--records 4000000] [--rounds 3] [--shards 64] [--only handled] [--no-pin]
 *
 * Polling reads over HTTP/1.1 what a server replays that has everything encoded beforehand; fan-out reads over HTTP/2 from the
 * local Kinesis, each record once. The client keeps to one processor and the server to another where `taskset` is there. CPU time is what
 * counts: readers pace themselves as the service's limits ask for.
 */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient } from '@shardwise/core'
import { startLocal } from '@shardwise/local'
import { splitEvenly } from '@shardwise/records'
import { aggregatesOf } from './catch-up/aggregates.ts'
import {
  type ClientConfig,
  type Depth,
  type Figures,
  type Listening,
  type Load,
  type Replay,
  STREAM,
} from './catch-up/messages.ts'
import { spread, table } from './fleet/figures.ts'

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '4000000' },
    rounds: { type: 'string', default: '3' },
    shards: { type: 'string', default: '64' },
    only: { type: 'string', default: '' },
    'no-pin': { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const shards = Number(values.shards)
const isPinned = !values['no-pin'] && availableParallelism() > 1

/** So many the server makes; then they come again under other sequence numbers. */
const MADE = 1_000_000
const repeats = Math.ceil(Number(values.records) / MADE)
const FEW_KEYS = 10_000

interface Case {
  readonly what: string
  readonly depth: Depth
  readonly retrieval: ClientConfig['retrieval']
  readonly keys: number
}

const CASES: readonly Case[] = [
  { what: 'GetRecords alone', depth: 'read', retrieval: 'polling', keys: FEW_KEYS },
  { what: 'GetRecords, deaggregated', depth: 'deaggregated', retrieval: 'polling', keys: FEW_KEYS },
  { what: 'polling, synchronous handler', depth: 'handled', retrieval: 'polling', keys: FEW_KEYS },
  { what: 'polling, asynchronous handler', depth: 'awaited', retrieval: 'polling', keys: FEW_KEYS },
  { what: 'polling, synchronous handler, a key each', depth: 'handled', retrieval: 'polling', keys: MADE },
  { what: 'fan-out, synchronous handler', depth: 'handled', retrieval: 'fanOut', keys: FEW_KEYS },
]

function start(file: string, argument: unknown, processor: number): ReturnType<typeof fork> {
  const child = fork(new URL(file, import.meta.url), [JSON.stringify(argument)], {
    execArgv: ['--conditions=shardwise-source'],
  })
  if (isPinned) pin(child.pid, processor)
  return child
}

/** Keeps a process, with all its threads, to one processor. */
function pin(pid: number | undefined, processor: number): void {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', `${processor}`, `${pid}`], { stdio: 'ignore' })
  } catch {
    process.stderr.write('not kept to a processor: taskset is missing\n')
  }
}

async function message<T>(child: ReturnType<typeof fork>): Promise<T> {
  const exited = once(child, 'exit').then(([code]) => Promise.reject(new Error(`a process ended with ${code}`)))
  const [first] = await Promise.race([once(child, 'message'), exited])
  return first as T
}

let runs = 0

async function measure(config: Omit<ClientConfig, 'shards' | 'application'>): Promise<Figures> {
  const client = start('catch-up/client.ts', { ...config, shards, application: `catch-up-${++runs}` }, 0)
  const exited = once(client, 'exit')
  const figures = await message<Figures>(client)
  await exited
  return figures
}

async function poll({ keys, ...config }: Case): Promise<Figures> {
  const replay: Replay = { shards, repeats, load: { keys, userRecords: MADE } }
  const server = start('catch-up/replay-server.ts', replay, 1)
  try {
    const { port } = await message<Listening>(server)
    await using local = await startLocal({ streams: {} })
    const kinesis = { ...local.kinesis, endpoint: `http://127.0.0.1:${port}` }
    return await measure({ ...config, userRecords: repeats * MADE, kinesis, dynamodb: local.dynamodb })
  } finally {
    server.disconnect()
  }
}

async function subscribe({ keys, ...config }: Case): Promise<Figures> {
  await using local = await startLocal({ streams: { [STREAM]: shards }, limits: false })
  const load: Load = { keys, userRecords: repeats * MADE }
  await fill(createKinesisClient(local.kinesis), load)
  if (isPinned) pin(process.pid, 1)
  return await measure({ ...config, userRecords: load.userRecords, kinesis: local.kinesis, dynamodb: local.dynamodb })
}

async function fill(kinesis: ReturnType<typeof createKinesisClient>, load: Load): Promise<void> {
  const ranges = splitEvenly(shards)
  const byShard = aggregatesOf(ranges, load)
  const entries = byShard.flatMap((aggregates, shard) =>
    aggregates.map((Data) => ({ PartitionKey: 'a', ExplicitHashKey: `${ranges[shard]!.start}`, Data })),
  )
  for (let at = 0; at < entries.length; at += 100) {
    const Records = entries.slice(at, at + 100)
    const { FailedRecordCount } = await kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records }))
    if (FailedRecordCount) throw new Error(`${FailedRecordCount} records were refused`)
  }
  kinesis.destroy()
}

const cases = CASES.filter(({ what }) => what.includes(values.only))
const all = new Map(cases.map((each) => [each, [] as Figures[]]))
for (let round = 1; round <= rounds; round++) {
  for (const [each, figures] of all) {
    const measured = await (each.retrieval === 'polling' ? poll(each) : subscribe(each))
    figures.push(measured)
    process.stderr.write(`${round}: ${each.what}: ${JSON.stringify(measured)}\n`)
  }
}

const rows = [...all].map(([{ what }, figures]) => [
  what,
  spread(
    figures.map(({ cpuUser, cpuSystem }) => cpuUser + cpuSystem),
    2,
  ),
  spread(
    figures.map(({ cpuSystem }) => cpuSystem),
    2,
  ),
  spread(
    figures.map(({ perSecond }) => perSecond),
    0,
  ),
  spread(
    figures.map(({ peakMiB }) => peakMiB),
    0,
  ),
])
process.stdout.write(
  `Node ${process.version}, ${shards} shards, ${repeats} million user records of ${FEW_KEYS} keys where not said otherwise, ` +
    `medians (least–greatest) of ${rounds} rounds; ` +
    `${isPinned ? 'client and server on a processor each' : 'on any processor'}; load ${loadavg()[0]!.toFixed(1)}\n\n` +
    table(['', 'CPU µs a user record', 'of it system', 'user records/s', 'peak MiB'], rows),
)
