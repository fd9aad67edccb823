import {
  type AttributeValue,
  BatchGetItemCommand,
  CreateTableCommand,
  type CreateTableInput,
  DeleteItemCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  UpdateItemCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDynamoDBServer } from '../../../packages/local/src/dynamodb-server.ts'
import { type Operation, operation, plainItem, plainPut } from './arbitraries.ts'
import { DynamoDBModel } from './model.ts'

/**
 * The model against dynalite, an independent implementation of DynamoDB. Left out is what dynalite lacks (transactions,
 * ReturnValuesOnConditionCheckFailure) or does differently from the service: updates that only remove from an item that
 * doesn't exist, several changes to one list, comparing maps, lists or two paths,
 * and values that JavaScript takes for false.
 */

const COMMANDS = {
  BatchGetItem: BatchGetItemCommand,
  DeleteItem: DeleteItemCommand,
  GetItem: GetItemCommand,
  PutItem: PutItemCommand,
  Query: QueryCommand,
  Scan: ScanCommand,
  UpdateItem: UpdateItemCommand,
}

const TABLES: readonly CreateTableInput[] = [
  {
    TableName: 'plain',
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
    AttributeDefinitions: [
      { AttributeName: 'id', AttributeType: 'S' },
      { AttributeName: 'owner', AttributeType: 'S' },
    ],
    GlobalSecondaryIndexes: [
      {
        IndexName: 'by-owner',
        KeySchema: [
          { AttributeName: 'owner', KeyType: 'HASH' },
          { AttributeName: 'id', KeyType: 'RANGE' },
        ],
        Projection: { ProjectionType: 'INCLUDE', NonKeyAttributes: ['n'] },
      },
    ],
  },
  {
    TableName: 'ranged',
    BillingMode: 'PAY_PER_REQUEST',
    KeySchema: [
      { AttributeName: 'id', KeyType: 'HASH' },
      { AttributeName: 'at', KeyType: 'RANGE' },
    ],
    AttributeDefinitions: [
      { AttributeName: 'id', AttributeType: 'S' },
      { AttributeName: 'at', AttributeType: 'N' },
    ],
  },
]

type Send = (name: Operation['name'], input: object) => Promise<Record<string, unknown>>

let server: Awaited<ReturnType<typeof startDynamoDBServer>>
let client: DynamoDBClient
let runs = 0

beforeAll(async () => {
  server = await startDynamoDBServer(0)
  client = new DynamoDBClient({
    endpoint: `http://127.0.0.1:${server.port}`,
    region: 'us-east-1',
    credentials: { accessKeyId: 'any', secretAccessKey: 'any' },
  })
})
afterAll(async () => {
  client.destroy()
  await server.close()
})

test('it answers random operations as dynalite does', async () => {
  const dynalite: Send = (name, input) =>
    client.send(new (COMMANDS[name] as typeof GetItemCommand)(input as never)) as never
  const sequences = fc.tuple(
    fc.array(plainPut, { minLength: 6, maxLength: 6 }),
    fc.array(operation, { minLength: 40, maxLength: 40 }),
  )
  await fc.assert(
    fc.asyncProperty(sequences, async ([puts, operations]) => {
      const suffix = `-${++runs}`
      const model = new DynamoDBModel({ nowMs: () => 0, random: () => 0.5 })
      await createTables(model, suffix)
      for (const { name, input } of [...puts, ...operations]) {
        const given = withTables(input, suffix)
        const unchanged = structuredClone(given)
        const ours = await answer(async (name, input) => ({ ...model.execute(name, input) }), name, given)
        expect(given).toEqual(unchanged)
        expect(ours, `${name} ${JSON.stringify(input)}`).toEqual(await answer(dynalite, name, given))
      }
    }),
    { numRuns: 12 },
  )
})

async function createTables(model: DynamoDBModel, suffix: string): Promise<void> {
  for (const table of TABLES) {
    const input = { ...table, TableName: table.TableName + suffix }
    model.execute('CreateTable', input)
    await client.send(new CreateTableCommand(input))
    await waitUntilTableExists({ client, maxWaitTime: 5, minDelay: 0.01, maxDelay: 0.01 }, input)
  }
}

function withTables({ TableName, RequestItems, ...rest }: Operation['input'], suffix: string): object {
  if (TableName !== undefined) return { ...rest, TableName: `${TableName}${suffix}` }
  const items = Object.entries(RequestItems as object).map(([table, request]) => [table + suffix, request])
  return { ...rest, RequestItems: Object.fromEntries(items) }
}

/** What says the same in both; of a scan or query all pages, where the order means nothing sorted. */
async function answer(send: Send, name: Operation['name'], input: object): Promise<unknown> {
  try {
    if (name === 'Scan' || name === 'Query') return await allPages(send, name, input)
    const { Attributes = {}, Item = {}, Responses = {} } = await send(name, input)
    const several = Object.values(Responses as Record<string, Record<string, AttributeValue>[]>).flat()
    return {
      one: plainItem({ ...(Attributes as object), ...(Item as object) }),
      several: several.map((item) => JSON.stringify(plainItem(item))).toSorted(),
    }
  } catch (error) {
    return { error: (error as Error).name }
  }
}

async function allPages(send: Send, name: 'Scan' | 'Query', input: object): Promise<object> {
  const items: string[] = []
  const counts: unknown[] = []
  let start: unknown
  do {
    const page = await send(name, { ...input, ...(start !== undefined && { ExclusiveStartKey: start }) })
    const { Items, ScannedCount, Count, LastEvaluatedKey } = page
    items.push(...(Items as Record<string, AttributeValue>[]).map((item) => JSON.stringify(plainItem(item))))
    counts.push(ScannedCount, name === 'Query' && Count)
    start = LastEvaluatedKey
  } while (start !== undefined)
  return { items: name === 'Scan' ? items.toSorted() : items, counts }
}
