import { beforeEach, expect, test } from 'vitest'
import { DynamoDBModel } from './model.ts'

const TableName = 'accounts'
let nowMs = 0
let writes: string[] = []
let model: DynamoDBModel

beforeEach(() => {
  nowMs = 0
  writes = []
  model = new DynamoDBModel({ nowMs: () => nowMs, random: () => 0.5, onWrite: ({ key }) => writes.push(key) })
  model.execute('CreateTable', {
    TableName,
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
    AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  })
})

const put = (id: string, total: string): object => ({
  Put: { TableName, Item: { id: { S: id }, total: { N: total } } },
})
const add = (id: string, amount: string, fields: object = {}): object => ({
  Update: {
    TableName,
    Key: { id: { S: id } },
    UpdateExpression: 'SET #total = #total + :amount',
    ExpressionAttributeNames: { '#total': 'total' },
    ExpressionAttributeValues: { ':amount': { N: amount } },
    ...fields,
  },
})
const absent = (id: string): object => ({
  ConditionCheck: { TableName, Key: { id: { S: id } }, ConditionExpression: 'attribute_not_exists(id)' },
})
const write = (...TransactItems: object[]): object => model.execute('TransactWriteItems', { TransactItems })

function totals(): Record<string, string> {
  const { Items } = model.execute('Scan', { TableName, ConsistentRead: true }) as {
    Items: { id: { S: string }; total: { N: string } }[]
  }
  return Object.fromEntries(Items.map(({ id, total }) => [id.S, total.N]))
}

function errorOf(act: () => unknown): unknown {
  try {
    act()
  } catch (error) {
    return error
  }
  return undefined
}

test('all of a transaction happens at once', () => {
  write(put('a', '10'), put('b', '0'), absent('c'))
  write(add('a', '-3'), add('b', '3'), { Delete: { TableName, Key: { id: { S: 'c' } } } })
  expect(totals()).toEqual({ a: '7', b: '3' })
  expect(writes).toEqual(['a', 'b', 'a', 'b'])
})

test('or none of it, with the reason for each item', () => {
  write(put('a', '10'))
  const unmet = { ConditionExpression: 'attribute_not_exists(id)', ReturnValuesOnConditionCheckFailure: 'ALL_OLD' }
  expect(errorOf(() => write(put('b', '1'), add('a', '1', unmet), add('missing', '1')))).toMatchObject({
    name: 'TransactionCanceledException',
    message: expect.stringContaining('[None, ConditionalCheckFailed, ValidationError]'),
    $metadata: { httpStatusCode: 400 },
    CancellationReasons: [
      { Code: 'None' },
      { Code: 'ConditionalCheckFailed', Item: { id: { S: 'a' }, total: { N: '10' } } },
      { Code: 'ValidationError' },
    ],
  })
  expect(totals()).toEqual({ a: '10' })
  expect(writes).toEqual(['a'])
})

test('one item is in it once', () => {
  expect(errorOf(() => write(put('a', '1'), absent('a')))).toMatchObject({ name: 'ValidationException' })
})

test('the same token does nothing again for ten minutes, and refuses another content', () => {
  write(put('a', '0'))
  const again = (amount: string): object =>
    model.execute('TransactWriteItems', { TransactItems: [add('a', amount)], ClientRequestToken: 'token' })
  again('1')
  nowMs = 9 * 60_000
  again('1')
  expect(totals()).toEqual({ a: '1' })
  expect(errorOf(() => again('2'))).toMatchObject({ name: 'IdempotentParameterMismatchException' })
  nowMs = 10 * 60_000
  again('1')
  expect(totals()).toEqual({ a: '2' })
})
