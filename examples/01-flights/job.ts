import { createKinesisClient, orAborted } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { Producer, type ProducerError, type ProducerOptions } from '@shardwise/producer'
import type { CliOptions } from './cli.ts'
import type { Display } from './display.ts'
import { disturbances } from './disturbances.ts'
import { count } from './format.ts'
import { Ledger } from './ledger.ts'
import { type Progress, shortShardId } from './progress.ts'
import { putAll } from './putting.ts'
import type { Source } from './source.ts'
import { printSummary } from './summary.ts'
import { Team } from './team.ts'
import { Ticker } from './ticker.ts'
import { judge } from './verdict.ts'
import { JobError, untilHolds, whileRising } from './waiting.ts'
import type { WorkerConfig } from './worker-process.ts'

const STREAM = 'flights'
const APPLICATION = 'delays-by-origin'
const WORKERS = 2
/** Short, so that the other worker takes over while there is something to see; the library's default is 10 s. */
const FAILOVER_MS = 3_000
/** Four times what may be put and not yet delivered: the worker that takes over reads some of it again. */
const RETENTION_BYTES = 2 ** 30
const START_DEADLINE_MS = 30_000
const NO_PROGRESS_MS = 30_000

export interface JobInput {
  readonly source: Source
  readonly options: CliOptions
  readonly display: Display
  /** Ends the job early; what it started is stopped before `runJob` rejects with the signal's reason. */
  readonly signal: AbortSignal
}

/** Runs the job from nothing to its verdict, which it prints. Resolves with whether everything held. */
export async function runJob({ source, options, display, signal: interrupted }: JobInput): Promise<boolean> {
  const { words } = source
  display.line(`${count(source.total)} ${source.title}, ${options.shards} shards, ${WORKERS} workers`, 'bold')
  display.line(
    options.limits
      ? "With the service's limits: 1 MiB/s in and 2 MiB/s out per shard"
      : "Without the shards' rate limits, so as fast as this machine goes (--limits runs with them)",
  )
  const failure = new AbortController()
  const signal = AbortSignal.any([interrupted, failure.signal])
  const onFailure = (reason: string): void => failure.abort(new JobError(reason))
  const ledger = new Ledger(source.total)

  await using started = new AsyncDisposableStack()
  const local = started.use(
    await startLocal({
      streams: { [STREAM]: options.shards },
      limits: options.limits,
      retentionBytes: RETENTION_BYTES,
    }),
  )
  const kinesis = started.adopt(createKinesisClient(local.kinesis), (client) => client.destroy())
  const team = started.use(
    new Team(workerConfigs(local, source, options), {
      onDelivery: (delivery, worker) => ledger.noteDelivery(delivery, worker),
      onLine: (text, kind) => display.line(text, kind === 'event' ? 'bold' : 'yellow'),
      onFailure,
    }),
  )
  const what = 'the workers share the shards'
  await untilHolds(() => team.hasShared(options.shards), { what, deadlineMs: START_DEADLINE_MS, signal })
  for (const { name, shardIds } of team.workers) {
    display.line(`${name} holds ${[...shardIds].sort().map(shortShardId).join(', ') || 'no shard'}`)
  }

  // Dropped at once if the job ends early; after its own close() below this does nothing.
  const producer = started.adopt(new Producer(producerOptions(local, options, display)), drop)
  const milestones = disturbances({
    kill: options.kill,
    stream: STREAM,
    kinesis,
    ledger,
    team,
    onLine: (text) => display.line(text, 'bold'),
    onFailure,
    signal,
  })
  const onRejected = (number: number, error: unknown): void =>
    onFailure(`record number ${number} was rejected: ${(error as Error).message}`)
  const startedAt = performance.now()
  const ticker = started.use(new Ticker(display, () => snapshot(ledger, team, performance.now() - startedAt)))
  await orAborted(putAll({ source, producer, ledger, milestones, onRejected, signal }), signal)
  await orAborted(producer.close({ signal }), signal)
  // Not until all are delivered, but from where they belong: misplaced copies may have come first.
  await whileRising(() => ledger.confirmed, { goal: source.total, patienceMs: NO_PROGRESS_MS, signal })
  const elapsedMs = performance.now() - startedAt
  await orAborted(team.stop(), signal)
  ticker[Symbol.dispose]()

  const verdict = judge({ ledger, expected: await source.totals(), kill: team.kill, words })
  printSummary(display, { ledger, words, elapsedMs, verdict })
  return verdict.holds
}

function workerConfigs(local: Local, source: Source, { limits }: CliOptions): WorkerConfig[] {
  return Array.from({ length: WORKERS }, (_, index) => ({
    valueField: source.valueField,
    consumer: {
      application: APPLICATION,
      stream: STREAM,
      workerId: `worker-${index + 1}`,
      initialPosition: 'TRIM_HORIZON',
      failoverTime: FAILOVER_MS,
      // The service allows five reads a second and shard; without limits there is no reason to wait that long.
      ...(limits ? {} : { idleTimeBetweenReads: 10 }),
      kinesisConfig: local.kinesis,
      dynamodbConfig: local.dynamodb,
    },
  }))
}

function producerOptions(local: Local, { limits }: CliOptions, display: Display): ProducerOptions {
  const warn = (_fields: object, message: string): void => display.line(`producer: ${message}`, 'yellow')
  return {
    stream: STREAM,
    clientConfig: local.kinesis,
    logger: { debug() {}, info() {}, warn, error: warn },
    // With limits, all that waits may be for one shard, and has to get through it, at 1 MiB/s, within recordTtl (30 s).
    ...(limits
      ? { maxOutstandingBytes: 8 * 2 ** 20 }
      : { maxOutstandingBytes: 16 * 2 ** 20, rateLimit: Number.POSITIVE_INFINITY }),
  }
}

/** Closes the producer without waiting for what it still has. */
async function drop(producer: Producer): Promise<void> {
  await producer.close({ signal: AbortSignal.abort() }).catch((error: unknown) => {
    if ((error as Partial<ProducerError>).code !== 'ERR_UNDELIVERED') throw error
  })
}

function snapshot(ledger: Ledger, team: Team, elapsedMs: number): Progress {
  const owners = team.owners()
  const shards = [...new Set([...ledger.shards.keys(), ...owners.keys()])].sort().map((shardId) => {
    return { shardId, owner: owners.get(shardId), recordsBehind: ledger.shards.get(shardId)?.behind ?? 0 }
  })
  return {
    elapsedMs,
    total: ledger.size,
    put: ledger.put,
    acknowledged: ledger.acknowledged,
    delivered: ledger.delivered,
    deliveredBytes: ledger.deliveredBytes,
    userRecordsPerKinesisRecord: ledger.userRecordsPerKinesisRecord,
    // A shard that was split and read to its end is history.
    shards: shards.filter(({ owner, recordsBehind }) => owner !== undefined || recordsBehind > 0),
  }
}
