import { UpdateItemCommand } from '@aws-sdk/client-dynamodb'
import { ManualClock } from '@shardwise/core/testing'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { DynamoDBTable } from '../leases/dynamodb-table.ts'
import type { Condition, Item, Table } from '../leases/table.ts'
import { MemoryDynamoDB } from './memory-dynamodb.ts'

const tableOn = (dynamodb: MemoryDynamoDB): Table =>
  new DynamoDBTable({ dynamodb, clock: new ManualClock(), random: () => 0.5 }, 'billing', true)

const value = fc.oneof(
  fc.constantFrom('1', '2').map((N) => ({ N })),
  fc.constantFrom('a', 'b').map((S) => ({ S })),
)
const name = fc.constantFrom('leaseOwner', 'counter', 'checkpoint')
const conditions = fc.array(fc.dictionary(name, fc.option(value, { nil: undefined }), { minKeys: 1 }), { maxLength: 2 })
const writes = fc.array(
  fc.record({
    act: fc.constantFrom('update', 'update', 'update', 'delete'),
    key: fc.constantFrom('s0', 's1'),
    when: conditions as fc.Arbitrary<Condition[]>,
    set: fc.dictionary(name, value, { minKeys: 1 }) as fc.Arbitrary<Item>,
    remove: fc.uniqueArray(fc.constantFrom('other', 'another')),
  }),
  { maxLength: 30 },
)

test('every write does what it does in the other table in memory', async () => {
  await fc.assert(
    fc.asyncProperty(writes, async (all) => {
      const dynamodb = new MemoryDynamoDB('billing')
      const table = tableOn(dynamodb)
      const other = new MemoryTable()
      for (const { act, key, when, set, remove } of all) {
        if (act === 'delete') {
          expect(await table.delete('lease', key, when)).toBe(await other.delete('lease', key, when))
        } else {
          const change = { kind: 'lease', key, when, set: { ...set, other: { S: 'x' } }, remove } as const
          expect(await table.update(change)).toEqual(await other.update(change))
        }
        expect(await table.read('lease', key)).toEqual(await other.read('lease', key))
      }
      expect(await table.scan()).toEqual(await other.scan())
      expect(await table.ownedKeys('a')).toEqual(await other.ownedKeys('a'))
    }),
    { numRuns: 200 },
  )
})

test('what a consumer does not ask for is refused', async () => {
  await expect(new MemoryDynamoDB('billing').send({} as never)).rejects.toThrow(/isn't made for Object/)
  const ask = (UpdateExpression: string, ConditionExpression?: string): Promise<unknown> =>
    new MemoryDynamoDB('billing').send(
      new UpdateItemCommand({
        TableName: 'billing',
        Key: { leaseKey: { S: 's0' } },
        UpdateExpression,
        ConditionExpression,
        ExpressionAttributeNames: { '#0': 'counter' },
        ExpressionAttributeValues: { ':0': { N: '1' } },
      }),
    )
  await expect(ask('ADD #0 :0')).rejects.toThrow(/the update ADD/)
  await expect(ask('SET #0 = :0', '(#0 > :0)')).rejects.toThrow(/the condition #0 > :0/)
})
