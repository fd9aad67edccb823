import { FULL_HASH_RANGE, SHARD_END, TRIM_HORIZON } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { create } from './lease-changes.ts'
import { OwnedLeases } from './owned-leases.ts'
import type { Item, ItemKind } from './table.ts'

const LEASES = ['shardId-000000000001', 'shardId-000000000002', 'shardId-000000000003'] as const
const [FIRST, SECOND, THIRD] = LEASES

/** Counts reads; the index shows what the test says, if it says so. */
class LaggingTable extends MemoryTable {
  readonly reads: string[] = []
  shown: string[] | undefined

  override ownedKeys(workerId: string): Promise<string[]> {
    return this.shown === undefined ? super.ownedKeys(workerId) : Promise.resolve(this.shown)
  }

  override read(kind: ItemKind, key: string): Promise<Item | undefined> {
    this.reads.push(key)
    return super.read(kind, key)
  }
}

let table: LaggingTable
let owned: OwnedLeases

beforeEach(async () => {
  table = new LaggingTable()
  owned = new OwnedLeases(table, 'me')
  for (const shardId of LEASES) {
    await table.update(
      create({
        streamIdentifier: undefined,
        shardId,
        hashRange: FULL_HASH_RANGE,
        parentShardIds: [],
        checkpoint: TRIM_HORIZON,
        startMs: undefined,
      }),
    )
  }
})

const set = (shardId: string, attributes: Item): void => {
  table.items.set(shardId, { ...table.items.get(shardId), ...attributes })
}
const keys = async (isRead: (key: string) => boolean = () => false): Promise<string[]> =>
  (await owned.look(isRead)).found.map(({ leaseKey }) => leaseKey)

describe('the leases that a worker owns', () => {
  test('those of others are not even read', async () => {
    set(FIRST, { leaseOwner: { S: 'me' } })
    set(SECOND, { leaseOwner: { S: 'you' } })
    expect(await keys()).toEqual([FIRST])
    expect(table.reads).toEqual([FIRST])
  })

  test('what is read already costs nothing', async () => {
    set(FIRST, { leaseOwner: { S: 'me' } })
    expect(await keys((key) => key === FIRST)).toEqual([])
    expect(table.reads).toEqual([])
  })

  test('a finished one is read once', async () => {
    set(FIRST, { leaseOwner: { S: 'me' }, checkpoint: { S: SHARD_END.sequenceNumber } })
    expect(await keys()).toEqual([])
    expect(await keys()).toEqual([])
    expect(table.reads).toEqual([FIRST])
  })

  test('one that is on its way from another worker is looked at again', async () => {
    set(FIRST, { leaseOwner: { S: 'me' }, checkpointOwner: { S: 'you' } })
    await owned.look(() => false)
    const { found } = await owned.look(() => false)
    expect(found.map(({ checkpointOwner }) => checkpointOwner)).toEqual(['you'])
    expect(table.reads).toEqual([FIRST, FIRST])
  })

  test('one that leaves the index is told of, once', async () => {
    set(FIRST, { leaseOwner: { S: 'me' } })
    await owned.look(() => true)
    set(FIRST, { leaseOwner: { S: 'you' } })
    expect((await owned.look(() => true)).vanished).toEqual([FIRST])
    expect((await owned.look(() => true)).vanished).toEqual([])
  })

  test('one that the index still shows though it was deleted is left out', async () => {
    table.shown = [THIRD, 'shardId-000000000009']
    expect(await keys()).toEqual([THIRD])
  })
})
