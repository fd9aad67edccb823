import { type KinesisClient, SplitShardCommand } from '@aws-sdk/client-kinesis'
import { listShards } from '@shardwise/core'
import { count } from './format.ts'
import type { Ledger, ShardCount } from './ledger.ts'
import { shortShardId } from './progress.ts'
import type { Milestone } from './putting.ts'
import type { Team } from './team.ts'
import { untilHolds } from './waiting.ts'

export interface DisturbancesInput {
  readonly kill: boolean
  readonly stream: string
  readonly kinesis: KinesisClient
  readonly ledger: Ledger
  readonly team: Team
  readonly onLine: (text: string) => void
  readonly onFailure: (reason: string) => void
  readonly signal: AbortSignal
}

/** Below this the job is over before anything can happen in the middle of it. */
const MIN_RECORDS = 30
const DEADLINE_MS = 30_000

/** What happens in mid-run: the hottest shard is split after a third of the records, a worker killed after two thirds. */
export function disturbances(input: DisturbancesInput): Milestone[] {
  const { kill, ledger, team, onLine, onFailure, signal } = input
  if (ledger.size < MIN_RECORDS) {
    onLine(`No split and no kill: with fewer than ${MIN_RECORDS} records there is no mid-run`)
    return []
  }
  let splitting: Promise<void> | undefined
  const splitMilestone: Milestone = {
    at: Math.floor(ledger.size / 3),
    reached: async () => {
      const what = 'a record is acknowledged'
      await untilHolds(() => ledger.acknowledged > 0, { what, deadlineMs: DEADLINE_MS, signal })
      const shardId = hottestShard(ledger.shards)
      const share = `${count(ledger.shards.get(shardId)!.acknowledged)} of ${count(ledger.acknowledged)}`
      onLine(`${shortShardId(shardId)} is split in half: it is the hottest, with ${share} acknowledged records`)
      // Putting goes on while the stream changes.
      splitting = splitInHalf(input.kinesis, input.stream, shardId).catch((error: Error) =>
        onFailure(`the split of ${shardId} failed: ${error.message}`),
      )
    },
  }
  const killMilestone: Milestone = {
    at: Math.floor((2 * ledger.size) / 3),
    reached: async () => {
      await splitting
      const victim = team.busiest()
      const atWork = (): boolean => (ledger.handled[victim.index] ?? 0) > 0
      await untilHolds(atWork, { what: `${victim.name} delivers something`, deadlineMs: DEADLINE_MS, signal })
      await team.killWorker(victim)
    },
  }
  return kill ? [splitMilestone, killMilestone] : [splitMilestone]
}

/** The shard with the most acknowledged user records. */
export function hottestShard(shards: ReadonlyMap<string, ShardCount>): string {
  const [[hottest] = ['']] = [...shards].sort(([, a], [, b]) => b.acknowledged - a.acknowledged)
  return hottest
}

async function splitInHalf(kinesis: KinesisClient, stream: string, shardId: string): Promise<void> {
  const shard = (await listShards(kinesis, stream)).find((listed) => listed.shardId === shardId)
  if (shard === undefined) throw new Error(`it is not among the shards of ${stream}`)
  const { start, end } = shard.hashRange
  await kinesis.send(
    new SplitShardCommand({
      StreamName: stream,
      ShardToSplit: shardId,
      NewStartingHashKey: ((start + end) / 2n + 1n).toString(),
    }),
  )
}
