import { setTimeout } from 'node:timers/promises'
import {
  type KinesisClient,
  LimitExceededException,
  MergeShardsCommand,
  SplitShardCommand,
  UpdateShardCountCommand,
} from '@aws-sdk/client-kinesis'
import { listShards, type Random } from '@shardwise/core'
import type { FaultRule, LocalFaults } from '@shardwise/local'

/** One after the other, each for a while, with quiet in between. A delay of more than 10 s is longer than a producer waits. */
const FAULTS: readonly FaultRule[] = [
  { fault: 'throttle', operation: 'PutRecords', probability: 0.1 },
  { fault: 'lostAnswer', operation: 'PutRecords', probability: 0.2 },
  { fault: 'partialFailure', operation: 'PutRecords', probability: 0.3, share: 0.3 },
  { fault: 'internalError', operation: 'PutRecords', probability: 0.3 },
  { fault: 'delay', operation: 'PutRecords', probability: 0.5, delayMs: 1_500 },
  { fault: 'reset', operation: 'PutRecords', probability: 0.3 },
  { fault: 'internalError', operation: 'ListShards', probability: 0.7 },
  { fault: 'delay', operation: 'PutRecords', probability: 0.02, delayMs: 12_000 },
]
const FAULT_MS = 2_000
const QUIET_MS = 3_000

const FEWEST_SHARDS = 2
const MOST_SHARDS = 6

/** How often each thing happened. */
export type Counts = Map<string, number>

function count(counts: Counts, what: string, times = 1): void {
  counts.set(what, (counts.get(what) ?? 0) + times)
}

/** Sets faults until the signal is aborted, and then removes them. */
export async function disturb(faults: LocalFaults, counts: Counts, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; turn++) {
    const rule = FAULTS[turn % FAULTS.length]!
    const fault = await faults.add(rule)
    await pause(FAULT_MS, signal)
    count(counts, `${rule.fault} of ${rule.operation}`, await fault.hits())
    await fault.remove()
    await pause(QUIET_MS, signal)
  }
}

/** Splits, merges and resizes the stream in turn until the signal is aborted. */
export async function reshard(
  kinesis: KinesisClient,
  { stream, everyMs, random }: { readonly stream: string; readonly everyMs: number; readonly random: Random },
  counts: Counts,
  signal: AbortSignal,
): Promise<void> {
  const kinds = ['split', 'merge', 'resize'] as const
  for (let turn = 0; ; turn++) {
    await pause(turn === 0 ? everyMs / 2 : everyMs, signal)
    if (signal.aborted) return
    for (let done: string | undefined; done === undefined && !signal.aborted; ) {
      done = await reshardOnce(kinesis, stream, kinds[turn % kinds.length]!, random).catch(() => undefined)
      if (done === undefined) await pause(500, signal)
      else count(counts, done)
    }
  }
}

/** Returns what it did: another thing where the wanted one would leave too few shards, or too many. */
async function reshardOnce(
  kinesis: KinesisClient,
  stream: string,
  wanted: 'split' | 'merge' | 'resize',
  random: Random,
): Promise<string> {
  const shards = (await listShards(kinesis, stream, { filter: { Type: 'AT_LATEST' } })).sort((a, b) =>
    a.hashRange.start < b.hashRange.start ? -1 : 1,
  )
  if (wanted === 'resize') {
    const target = shards.length === 4 ? 3 : 4
    try {
      await kinesis.send(
        new UpdateShardCountCommand({
          StreamName: stream,
          TargetShardCount: target,
          ScalingType: 'UNIFORM_SCALING',
        }),
      )
      return 'UpdateShardCount'
    } catch (error) {
      // A stream may be resized ten times a day.
      if (!(error instanceof LimitExceededException)) throw error
    }
  }
  if (shards.length <= FEWEST_SHARDS || (wanted !== 'merge' && shards.length < MOST_SHARDS)) {
    const { shardId, hashRange } = shards[Math.floor(random() * shards.length)]!
    const middle = (hashRange.start + hashRange.end) / 2n
    await kinesis.send(
      new SplitShardCommand({ StreamName: stream, ShardToSplit: shardId, NewStartingHashKey: `${middle}` }),
    )
    return 'SplitShard'
  }
  const at = Math.floor(random() * (shards.length - 1))
  await kinesis.send(
    new MergeShardsCommand({
      StreamName: stream,
      ShardToMerge: shards[at]!.shardId,
      AdjacentShardToMerge: shards[at + 1]!.shardId,
    }),
  )
  return 'MergeShards'
}

/** Ends early, without an error, when the signal is aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error
  })
}
