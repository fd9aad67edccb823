import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import type { Random } from '@shardwise/core'
import { type DynamoDBService, TABLE, TABLE_CREATION_MS } from './dynamodb-service.ts'
import type { KinesisService } from './kinesis-service.ts'
import type { FormerTable } from './plan.ts'
import { FOREIGN } from './process.ts'
import { chance, integer } from './randomness.ts'
import type { StoredShard, StoredStream, StoredUserRecord } from './stored-stream.ts'
import type { VirtualTime } from './virtual-time.ts'

type Item = Readonly<Record<string, AttributeValue>>

export interface FormerTableSurroundings {
  readonly time: VirtualTime
  readonly random: Random
  readonly failoverTime: number
  readonly dynamodb: DynamoDBService
  readonly kinesis: KinesisService
  readonly stored: StoredStream
  /** What was handled before the table was left. */
  readonly onHandled: (record: StoredUserRecord) => void
}

const OWNERS = [`${FOREIGN}gone-0`, `${FOREIGN}gone-1`]

/**
 * Makes the table that workers of a KCL have left: their leases are somewhere in the stream, and still theirs. They are gone, or
 * live on for a while without reading any further.
 */
export function leaveTable(former: FormerTable, surroundings: FormerTableSurroundings): void {
  const { time, dynamodb } = surroundings
  time.at(former.leftAtMs - TABLE_CREATION_MS, () => dynamodb.operate('CreateTable', tableOf(former)))
  time.at(former.leftAtMs, () => {
    for (const Item of itemsOf(former, surroundings)) dynamodb.operate('PutItem', { TableName: TABLE, Item })
    if (former.livesUntilMs !== undefined) renewAll(former.livesUntilMs, surroundings)
  })
}

function renewAll(untilMs: number, surroundings: FormerTableSurroundings): void {
  const { time, dynamodb, failoverTime } = surroundings
  if (time.nowMs > untilMs) return
  for (const { leaseKey } of dynamodb.items()) {
    dynamodb.operate('UpdateItem', {
      TableName: TABLE,
      Key: { leaseKey },
      UpdateExpression: 'ADD leaseCounter :one',
      ExpressionAttributeValues: { ':one': { N: '1' } },
    })
  }
  time.after(failoverTime / 3, () => renewAll(untilMs, surroundings))
}

function tableOf({ hasIndex }: FormerTable): object {
  const index = {
    IndexName: 'LeaseOwnerToLeaseKeyIndex',
    KeySchema: [
      { AttributeName: 'leaseOwner', KeyType: 'HASH' },
      { AttributeName: 'leaseKey', KeyType: 'RANGE' },
    ],
    Projection: { ProjectionType: 'KEYS_ONLY' },
  }
  const names = hasIndex ? ['leaseKey', 'leaseOwner'] : ['leaseKey']
  return {
    TableName: TABLE,
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [{ AttributeName: 'leaseKey', KeyType: 'HASH' }],
    AttributeDefinitions: names.map((AttributeName) => ({ AttributeName, AttributeType: 'S' })),
    ...(hasIndex && { GlobalSecondaryIndexes: [index] }),
  }
}

function itemsOf(former: FormerTable, { random, kinesis, stored, onHandled }: FormerTableSurroundings): Item[] {
  const open = new Set(kinesis.openShardIds())
  const ended = new Set<StoredShard>()
  const items: Item[] = []
  for (const shard of stored.shards) {
    if (shard.parents.length > 0 && !shard.parents.some((parent) => ended.has(parent))) continue
    const mayRead = shard.parents.every((parent) => ended.has(parent))
    const handled = shard.records.slice(0, mayRead ? integer(random, 0, shard.records.length) : 0)
    const isEnded =
      mayRead && handled.length === shard.records.length && !open.has(shard.shardId) && chance(random, 0.7)
    if (isEnded) ended.add(shard)
    shard.checkpointed = handled.length
    for (const record of handled) onHandled(record)
    const children = [...stored.shards].filter(({ parents }) => parents.includes(shard))
    items.push({
      leaseKey: { S: shard.shardId },
      leaseOwner: { S: OWNERS[integer(random, 0, 1)]! },
      leaseCounter: { N: String(integer(random, 1, 1_000)) },
      ownerSwitchesSinceCheckpoint: { N: '0' },
      ...checkpointOf(isEnded, handled.at(-1)),
      ...(isEnded && children.length > 0 && { childShardIds: { SS: children.map(({ shardId }) => shardId) } }),
      ...(shard.parents.length > 0 && { parentShardId: { SS: shard.parents.map(({ shardId }) => shardId) } }),
      ...(former.hasTypes && { entityType: { S: 'LEASE' } }),
      ...(former.hasRanges && {
        startingHashKey: { S: String(shard.hashRange.start) },
        endingHashKey: { S: String(shard.hashRange.end) },
      }),
    })
  }
  if (former.isOf3x) items.push(...notesOf3x(former.leftAtMs))
  return items
}

function checkpointOf(isEnded: boolean, last: StoredUserRecord | undefined): Item {
  return {
    checkpoint: { S: isEnded ? 'SHARD_END' : (last?.sequenceNumber ?? 'TRIM_HORIZON') },
    checkpointSubSequenceNumber: { N: String(isEnded ? 0 : (last?.subSequenceNumber ?? 0)) },
  }
}

/** Of who led, and by whose rules. */
function notesOf3x(leftAtMs: number): Item[] {
  return [
    {
      leaseKey: { S: 'Migration3.0' },
      entityType: { S: 'CLIENT_VERSION_MIGRATION' },
      cv: { S: 'CLIENT_VERSION_3X' },
      mb: { S: OWNERS[0]! },
      mts: { N: String(leftAtMs) },
    },
    {
      leaseKey: { S: 'Leader' },
      entityType: { S: 'LEADER' },
      ownerName: { S: OWNERS[0]! },
      recordVersionNumber: { S: 'e7624e39-35b5-4520-9dba-f627f3d09a14' },
      leaseDuration: { S: '20000' },
    },
  ]
}
