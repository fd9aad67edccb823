/**
 * What catching up costs: CPU time a user record of the process that consumes, with the SDK and HTTP/1.1, aggregates as the
 * KPL makes them (50 KB, user records of 100 bytes) coming from a process that replays them without limits. And what parts of
 * it cost: GetRecords alone, and with taking the aggregates apart.
 *
 *   node --conditions=shardwise-source packages/consumer/bench/catch-up.ts [--records 4000000] [--rounds 3] [--shards 64] [--only handled] [--no-pin]
 *
 * The client keeps to one processor and the server to another where `taskset` is there. CPU time is what counts: readers
 * pace themselves as the service's limits ask for.
 */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { startLocal } from '@shardwise/local'
import type { ClientConfig, Depth, Figures, Replay, ServerReport } from './catch-up/messages.ts'
import { spread, table } from './fleet/figures.ts'

const { values } = parseArgs({
  options: {
    records: { type: 'string', default: '4000000' },
    rounds: { type: 'string', default: '3' },
    shards: { type: 'string', default: '64' },
    only: { type: 'string', default: '' },
    profile: { type: 'boolean', default: false },
    'no-pin': { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const shards = Number(values.shards)
const isPinned = !values['no-pin'] && availableParallelism() > 1

const FEW_KEYS = 10_000
/** Each user record that the server makes has its own. */
const MANY_KEYS = 1_000_000

interface Case {
  readonly what: string
  readonly depth: Depth
  readonly keys: number
}

const CASES: readonly Case[] = [
  { what: 'GetRecords alone', depth: 'read', keys: FEW_KEYS },
  { what: 'GetRecords, deaggregated', depth: 'deaggregated', keys: FEW_KEYS },
  { what: 'handled, synchronous handler', depth: 'handled', keys: FEW_KEYS },
  { what: 'handled, asynchronous handler', depth: 'awaited', keys: FEW_KEYS },
  { what: 'handled, synchronous handler', depth: 'handled', keys: MANY_KEYS },
].filter(({ what }) => what.includes(values.only)) as Case[]

function start(file: string, argument: unknown, processor: number, execArgv: readonly string[] = []) {
  const child = fork(new URL(file, import.meta.url), [JSON.stringify(argument)], {
    execArgv: ['--conditions=shardwise-source', ...execArgv],
  })
  if (isPinned) pin(child.pid, processor)
  return child
}

/** Keeps a process, with all its threads, to one processor, if that can be done. */
function pin(pid: number | undefined, processor: number): void {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', `${processor}`, `${pid}`], { stdio: 'ignore' })
  } catch {
    process.stderr.write('not pinned: taskset is missing\n')
  }
}

async function message<T>(child: ReturnType<typeof fork>): Promise<T> {
  const exited = once(child, 'exit').then(([code]) => Promise.reject(new Error(`a process ended with ${code}`)))
  const [first] = await Promise.race([once(child, 'message'), exited])
  return first as T
}

let runs = 0

async function run({ depth, keys }: Case): Promise<Figures> {
  const replay: Replay = { shards, keys, userRecords: MANY_KEYS, repeats: Number(values.records) / MANY_KEYS }
  const server = start('catch-up/replay-server.ts', replay, 1)
  try {
    const report = await message<ServerReport>(server)
    if (!('port' in report)) throw new Error('expected the server to tell its port first')
    const config: ClientConfig = {
      depth,
      shards,
      userRecords: Number(values.records),
      kinesis: { ...local.kinesis, endpoint: `http://127.0.0.1:${report.port}` },
      dynamodb: local.dynamodb,
      application: `catch-up-${++runs}`,
    }
    const client = start(
      'catch-up/client.ts',
      config,
      0,
      values.profile ? ['--cpu-prof', '--cpu-prof-dir=/tmp/catch-up'] : [],
    )
    const exited = once(client, 'exit')
    const figures = await message<Figures>(client)
    await exited
    return figures
  } finally {
    server.disconnect()
  }
}

await using local = await startLocal({ streams: {} })
const all = new Map<Case, Figures[]>(CASES.map((each) => [each, []]))
for (let round = 1; round <= rounds; round++) {
  for (const [each, figures] of all) {
    const measured = await run(each)
    figures.push(measured)
    process.stderr.write(`${round}: ${each.what}, ${each.keys} keys: ${JSON.stringify(measured)}\n`)
  }
}

const rows = [...all].map(([{ what, keys }, figures]) => [
  `${what}, ${keys.toLocaleString('en')} keys`,
  spread(
    figures.map(({ cpuUser, cpuSystem, userRecords }) => (cpuUser + cpuSystem) / userRecords),
    2,
  ),
  spread(
    figures.map(({ cpuSystem, userRecords }) => cpuSystem / userRecords),
    2,
  ),
  spread(
    figures.map(({ userRecords, seconds }) => userRecords / seconds),
    0,
  ),
  spread(
    figures.map(({ peakRssMiB }) => peakRssMiB),
    0,
  ),
])
process.stdout.write(
  `Node ${process.version}, ${shards} shards, ${values.records} user records, medians (least–greatest) of ${rounds} rounds; ` +
    `${isPinned ? 'client and server on a processor each' : 'on any processor'}; load ${loadavg()[0]!.toFixed(1)}\n\n` +
    table(['', 'CPU µs a user record', 'of it system', 'user records/s', 'peak MiB'], rows),
)
