import type { Kinesis } from '@shardwise/core'
import { TRIM_HORIZON } from '@shardwise/records'
import type { ChildShard } from '../retrieval/shard-children.ts'
import { shardsOf } from '../streams/shard-list.ts'
import { leaseKeyOf, type StreamSource } from '../streams/stream-source.ts'
import type { StreamTelemetry } from '../telemetry/telemetry.ts'
import { create } from './lease-changes.ts'
import type { Table } from './table.ts'

/**
 * Makes sure that every child of a shard that has been read to its end has a lease, before the shard itself is marked
 * finished; doing it again does no harm.
 *
 * Returns false if that has to wait: a merge's other parent is still in the stream and has no lease yet. Were the child
 * created now, it would be read before that parent. The leader's next look at the stream gives that parent its lease. A child that
 * has a lease already waits for nothing.
 *
 * Nothing is created once the shard isn't held any more: whoever has it now may have ended it, and its children may have been
 * read and cleaned up since.
 *
 * @throws if the shard is lost on the way
 */
export async function createChildLeases(
  shardId: string,
  children: readonly ChildShard[],
  {
    table,
    kinesis,
    source,
    telemetry,
    isHeld,
  }: {
    readonly table: Table
    readonly kinesis: Kinesis
    readonly source: StreamSource
    readonly telemetry?: StreamTelemetry
    readonly isHeld: () => boolean
  },
  signal: AbortSignal,
): Promise<boolean> {
  const { stream, identifier } = source
  const isLeased = async (id: string): Promise<boolean> =>
    (await table.read('lease', leaseKeyOf(identifier, id))) !== undefined
  for (const child of children) {
    for (const parent of child.parentShardIds) {
      if (parent === shardId || (await isLeased(parent)) || (await isLeased(child.shardId))) continue
      const shards = await shardsOf(kinesis, stream, { signal })
      if (shards.some((shard) => shard.shardId === parent)) return false
    }
  }
  for (const { shardId: childId, hashRange, parentShardIds } of children) {
    signal.throwIfAborted()
    if (!isHeld()) throw new Error(`${shardId} is no longer this worker's`)
    const created = await table.update(
      create({
        streamIdentifier: identifier,
        shardId: childId,
        hashRange,
        parentShardIds,
        checkpoint: TRIM_HORIZON,
        startMs: undefined,
      }),
    )
    if (created !== undefined) telemetry?.emit({ type: 'leasesCreated', shardIds: [childId] })
  }
  return true
}
