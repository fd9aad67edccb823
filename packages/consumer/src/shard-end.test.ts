import type { Kinesis } from '@shardwise/core'
import { beforeEach, expect, test } from 'vitest'
import { MemoryTable } from '../test/memory-table.ts'
import { leaseFromItem } from './lease.ts'
import { createChildLeases } from './shard-end.ts'

const hashRange = { start: 0n, end: 9n }
const child = (shardId: string, ...parentShardIds: string[]) => ({ shardId, hashRange, parentShardIds })

let table: MemoryTable
let listed: string[]

beforeEach(() => {
  table = new MemoryTable()
  listed = []
})

const create = (...children: ReturnType<typeof child>[]): Promise<boolean> => {
  const Shards = (): object[] =>
    listed.map((ShardId) => ({ ShardId, HashKeyRange: { StartingHashKey: '0', EndingHashKey: '9' } }))
  const kinesis = { send: async () => ({ Shards: Shards() }) } as unknown as Kinesis
  return createChildLeases('p', children, { table, kinesis, stream: 'flights' }, new AbortController().signal)
}

test('both children of a split get leases at the oldest record, and doing it again changes nothing', async () => {
  expect(await create(child('a', 'p'), child('b', 'p'))).toBe(true)
  const before = new Map(table.items)
  expect([...before.keys()]).toEqual(['a', 'b'])
  expect(leaseFromItem(before.get('a')!)).toMatchObject({
    counter: 0,
    owner: undefined,
    checkpoint: { sequenceNumber: 'TRIM_HORIZON', subSequenceNumber: 0 },
    parentShardIds: ['p'],
    hashRange,
  })
  expect(await create(child('a', 'p'), child('b', 'p'))).toBe(true)
  expect(table.items).toEqual(before)
})

test('half done by one that crashed, it is completed', async () => {
  await create(child('a', 'p'))
  expect(await create(child('a', 'p'), child('b', 'p'))).toBe(true)
  expect([...table.items.keys()]).toEqual(['a', 'b'])
})

test('the child of a merge waits while the other parent is in the stream and has no lease', async () => {
  listed = ['p', 'q', 'm']
  expect(await create(child('m', 'p', 'q'))).toBe(false)
  expect(table.items.size).toBe(0)
  await create(child('q'))
  expect(await create(child('m', 'p', 'q'))).toBe(true)
  expect([...table.items.keys()]).toEqual(['q', 'm'])
})

test('a parent that is no longer in the stream is not waited for', async () => {
  listed = ['p', 'm']
  expect(await create(child('m', 'p', 'q'))).toBe(true)
})
