/**
 * One worker that owns a thousand shards, under a steady load: its memory after forced collections over the minutes, its CPU time,
 * and the TCP connections that it has to Kinesis. The servers and the writer are processes of their own.
 *
 *   node --expose-gc --conditions=shardwise-source packages/consumer/bench/thousand-shards.ts [--retrieval fanOut]
 *     [--shards 1000] [--minutes 3] [--rate 100] [--bytes 1000] [--failover 10000]
 */
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Consumer, type ConsumerOptions } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import { table } from './fleet/figures.ts'
import { startLocalProcess, startWriterProcess } from './local/local-process.ts'

const { values } = parseArgs({
  options: {
    retrieval: { type: 'string' },
    shards: { type: 'string', default: '1000' },
    minutes: { type: 'string', default: '3' },
    rate: { type: 'string', default: '100' },
    bytes: { type: 'string', default: '1000' },
    failover: { type: 'string', default: '10000' },
  },
})
const shards = Number(values.shards)
const minutes = Number(values.minutes)
const rate = Number(values.rate)
const { gc } = globalThis
if (gc === undefined) throw new Error('Expected to be run with --expose-gc.')

const STREAM = 'flights'
const WARM_UP_MS = 30_000
const SAMPLE_MS = 10_000
const MIB = 2 ** 20

type Retrieval = NonNullable<ConsumerOptions['retrieval']>

interface Memory {
  readonly atS: number
  /** What lives on the heap and in buffers, after a collection. */
  readonly liveMiB: number
  readonly residentMiB: number
}

function memory(sinceMs: number): Memory {
  // The second finds what the first one's finalizers have let go.
  gc?.()
  gc?.()
  const { heapUsed, external, rss } = process.memoryUsage()
  return {
    atS: (performance.now() - sinceMs) / 1_000,
    liveMiB: (heapUsed + external) / MIB,
    residentMiB: rss / MIB,
  }
}

/** By how much the live memory grows, in KiB a minute, by the line that fits best. */
function growth(samples: readonly Memory[]): number {
  const mean = (of: (sample: Memory) => number): number =>
    samples.reduce((sum, sample) => sum + of(sample), 0) / samples.length
  const [atS, liveMiB] = [mean((sample) => sample.atS), mean((sample) => sample.liveMiB)]
  const covariance = mean((sample) => (sample.atS - atS) * (sample.liveMiB - liveMiB))
  return (covariance / mean((sample) => (sample.atS - atS) ** 2)) * 60 * 1_024
}

/** The connections that this process makes. */
const sockets = new Set<Socket>()
subscribe('net.client.socket', (message) => {
  const { socket } = message as { readonly socket: Socket }
  sockets.add(socket)
  socket.once('close', () => sockets.delete(socket))
})

function connectionsTo(endpoint: string): number {
  const port = Number(new URL(endpoint).port)
  return [...sockets].filter(({ remotePort }) => remotePort === port).length
}

async function measure(retrieval: Retrieval): Promise<readonly string[]> {
  await using server = await startLocalProcess({ streams: { [STREAM]: shards } })
  // In another process: a thousand renewals at once take the emulator a second, in which it would serve no stream either.
  await using tables = await startLocalProcess({})
  let handled = 0
  let lost = 0
  const consumer = new Consumer({
    application: 'thousand',
    stream: STREAM,
    retrieval,
    kinesisConfig: server.kinesis,
    dynamodbConfig: tables.dynamodb,
    failoverTime: Number(values.failover),
    onEvent: ({ type }) => {
      if (type === 'leaseLost') lost++
    },
    logger: silentLogger,
  })
  const startedMs = performance.now()
  const running = consumer.run({
    eachRecord: () => {
      handled++
    },
  })
  const reading = (): number => consumer.status().shards.filter(({ state }) => state === 'reading').length
  while (reading() < shards) await Promise.race([setTimeout(100), running])
  const readyS = (performance.now() - startedMs) / 1_000
  process.stderr.write(`${retrieval}: ${shards} shards are read after ${readyS.toFixed(1)} s\n`)
  await using _writer = startWriterProcess({
    kinesis: server.kinesis,
    stream: STREAM,
    rate,
    bytes: Number(values.bytes),
  })
  await setTimeout(WARM_UP_MS)
  const sinceMs = performance.now()
  const before = handled
  const cpu = process.cpuUsage()
  const samples = [memory(sinceMs)]
  let connections = 0
  while (performance.now() - sinceMs < minutes * 60_000) {
    await setTimeout(SAMPLE_MS)
    const sample = memory(sinceMs)
    samples.push(sample)
    connections = Math.max(connections, connectionsTo(server.kinesis.endpoint))
    process.stderr.write(
      `${retrieval}: ${sample.atS.toFixed(0)} s, ${sample.liveMiB.toFixed(1)} MiB live, ${sample.residentMiB.toFixed(0)} MiB resident, ` +
        `${handled - before} records, ${connections} connections, ${lost} leases lost\n`,
    )
  }
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (performance.now() - sinceMs) / 1_000
  const records = (handled - before) / seconds
  const closedMs = performance.now()
  await consumer.close()
  await running
  const closeS = (performance.now() - closedMs) / 1_000
  const live = samples.map(({ liveMiB }) => liveMiB)
  return [
    retrieval,
    readyS.toFixed(1),
    records.toFixed(0),
    `${live[0]!.toFixed(1)} → ${live.at(-1)!.toFixed(1)} (${Math.min(...live).toFixed(1)}–${Math.max(...live).toFixed(1)})`,
    growth(samples).toFixed(0),
    Math.max(...samples.map(({ residentMiB }) => residentMiB)).toFixed(0),
    String(connections),
    `${((user + system) / 10_000 / seconds).toFixed(0)} %`,
    String(lost),
    closeS.toFixed(1),
  ]
}

const retrievals = (['fanOut', 'polling'] as const).filter((retrieval) => retrieval === (values.retrieval ?? retrieval))
const rows: (readonly string[])[] = []
for (const retrieval of retrievals) rows.push(await measure(retrieval))
process.stdout.write(
  `${shards} shards, ${rate} records of ${values.bytes} bytes a second, over ${minutes} min.\n\n${table(
    [
      'retrieval',
      'all read after, s',
      'records/s',
      'MiB live',
      'KiB more a minute',
      'MiB resident at most',
      'connections',
      'CPU',
      'leases lost',
      'closed in, s',
    ],
    rows,
  )}`,
)
process.exit(0)
