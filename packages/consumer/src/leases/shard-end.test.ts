import type { Kinesis } from '@shardwise/core'
import { beforeEach, expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { leaseFromItem } from './lease.ts'
import { createChildLeases } from './shard-end.ts'

const hashRange = { start: 0n, end: 9n }
const source = { stream: 'flights', identifier: undefined, initialPosition: 'TRIM_HORIZON' } as const
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
  return createChildLeases('p', children, { table, kinesis, source, isHeld: () => true }, new AbortController().signal)
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

test('a child that has a lease already waits for no parent', async () => {
  listed = ['p', 'q', 'm']
  await create(child('m'))
  expect(await create(child('m', 'p', 'q'))).toBe(true)
})

test('a parent that is no longer in the stream is not waited for', async () => {
  listed = ['p', 'm']
  expect(await create(child('m', 'p', 'q'))).toBe(true)
})

test('of one of several streams they carry its identifier', async () => {
  const kinesis = { send: async () => ({ Shards: [] }) } as unknown as Kinesis
  const context = { table, kinesis, source: { ...source, identifier: '1:flights:7' }, isHeld: () => true }
  const signal = new AbortController().signal
  expect(await createChildLeases('p', [child('a', 'p')], context, signal)).toBe(true)
  expect(leaseFromItem(table.items.get('1:flights:7:a')!)).toMatchObject({
    streamIdentifier: '1:flights:7',
    shardId: 'a',
    parentShardIds: ['p'],
  })
})

test('a holder that has lost its shard on the way creates nothing more', async () => {
  const kinesis = { send: async () => ({ Shards: [] }) } as unknown as Kinesis
  let held = 2
  const context = { table, kinesis, source, isHeld: () => --held > 0 }
  const result = createChildLeases('p', [child('a', 'p'), child('b', 'p')], context, new AbortController().signal)
  await expect(result).rejects.toThrow('no longer')
  expect([...table.items.keys()]).toEqual(['a'])
})

test('a stream that was deleted meanwhile is an error that says so', async () => {
  const send = async (): Promise<never> => {
    throw Object.assign(new Error('not found'), { name: 'ResourceNotFoundException' })
  }
  const context = { table, kinesis: { send } as unknown as Kinesis, source, isHeld: () => true }
  const result = createChildLeases('p', [child('m', 'p', 'q')], context, new AbortController().signal)
  await expect(result).rejects.toMatchObject({ code: 'ERR_STREAM' })
})
