import { Consumer, ConsumerError, type ConsumerOptions } from '@shardwise/consumer'
import { silentLogger } from '@shardwise/core'
import { type DynamoDBService, TABLE } from './dynamodb-service.ts'
import type { Fault } from './faults.ts'
import { type KinesisService, STREAM } from './kinesis-service.ts'
import type { SimulatedProcess } from './process.ts'
import type { StoredStream, StoredUserRecord } from './stored-stream.ts'
import type { Trace } from './trace.ts'
import { Violation } from './violation.ts'
import type { WatchedStreams } from './watched-streams.ts'

export interface ResetSurroundings {
  readonly kinesis: KinesisService
  readonly dynamodb: DynamoDBService
  readonly streams: WatchedStreams
  readonly trace: Trace
  readonly failoverTime: number
  readonly nowMs: () => number
  /** How the application comes by its streams. */
  readonly selection: Pick<ConsumerOptions, 'stream' | 'streams' | 'formerStreamWaitMs'>
  readonly report: (violation: Violation) => void
}

/** Workers live, or what they were to go on behind is not there any more; or the stream is none of theirs. */
const REFUSED: ReadonlySet<string> = new Set(['ERR_STATE', 'ERR_STREAM', 'ERR_RECORD'])

/** A program that has the application go on at another place; or dies over it. */
export async function resetApplication(
  process: SimulatedProcess,
  fault: Extract<Fault, { kind: 'reset' }>,
  { kinesis, dynamodb, streams, trace, failoverTime, nowMs, selection, report }: ResetSurroundings,
): Promise<void> {
  const { stored } = streams.main
  const record = fault.to === 'record' ? recordAt(stored, fault.where, nowMs()) : undefined
  const consumer = new Consumer({
    application: TABLE,
    ...selection,
    failoverTime,
    kinesis: kinesis.clientOf(process),
    dynamodb: dynamodb.clientOf(process),
    clock: process,
    random: process.random,
    logger: silentLogger,
  })
  const killed = Promise.withResolvers<'killed'>()
  if (fault.afterSends > 0) {
    process.afterSends(fault.afterSends, () => {
      process.kill()
      killed.resolve('killed')
    })
  }
  const to = record === undefined ? 'TRIM_HORIZON' : { ...placeOf(record), stream: STREAM }
  try {
    const outcome = await Promise.race([consumer.reset({ to }), killed.promise])
    trace.add(process.name, outcome === 'killed' ? 'dies' : `has reset the application to ${record?.text ?? to}`)
    if (outcome !== 'killed') reopen(streams, record)
  } catch (error) {
    const isRefused = error instanceof ConsumerError && REFUSED.has(error.code)
    if (!isRefused && !isUnreachable(error)) {
      report(new Violation('keeps going', `${process.name} could not reset: ${String(error)}`))
    }
    trace.add(process.name, `could not reset: ${(error as Error).message}`)
  }
}

/** It was tried again, and then given up: for somebody to do it again. */
function isUnreachable(error: unknown): boolean {
  const { $metadata, code, name } = Object(error) as { $metadata?: unknown; code?: unknown; name?: unknown }
  return $metadata !== undefined || code === 'ECONNRESET' || name === 'TimeoutError'
}

/** Whatever it has written: all of that has to come again. */
function reopen(streams: WatchedStreams, record: StoredUserRecord | undefined): void {
  if (record === undefined) {
    for (const { stored, leaseWitness } of streams.read) {
      for (const shard of stored.shards) {
        stored.reopen(shard)
        leaseWitness.forget(shard)
      }
    }
    return
  }
  const { stored, leaseWitness } = streams.main
  for (const shard of stored.descendants(record.shard)) {
    stored.reopen(shard, shard === record.shard ? record : undefined)
    if (shard !== record.shard) leaseWitness.forget(shard)
  }
}

/** Of a shard whose turn has come: before, nobody could say that what is above it is to be left out. */
function recordAt(stored: StoredStream, where: number, nowMs: number): StoredUserRecord | undefined {
  const records = [...stored.shards]
    .filter(({ parents }) => parents.every((parent) => stored.firstOpen(parent, nowMs) === undefined))
    .flatMap((shard) => shard.records)
  return records[Math.floor(where * records.length)]
}

function placeOf({ shard, sequenceNumber, subSequenceNumber }: StoredUserRecord): {
  readonly shardId: string
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
} {
  return { shardId: shard.shardId, sequenceNumber, subSequenceNumber }
}
