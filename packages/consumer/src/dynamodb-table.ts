import {
  type AttributeValue,
  CreateTableCommand,
  DeleteItemCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  GetItemCommand,
  ScanCommand,
  type TableDescription,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import { type Clock, errorCode } from '@shardwise/core'
import { ConsumerError } from './errors.ts'
import type { Condition, Item, ItemChange, Table } from './table.ts'

/** What the consumer calls on a DynamoDB client: one method, so that a test can stand in for it. */
export type DynamoDB = Pick<DynamoDBClient, 'send'>

const CREATION_POLL_MS = 200

/** The application's table in DynamoDB, in the KCL 3.5's single-table layout. */
export class DynamoDBTable implements Table {
  readonly #dynamodb: DynamoDB
  readonly #name: string
  readonly #clock: Clock

  constructor(dynamodb: DynamoDB, name: string, clock: Clock) {
    this.#dynamodb = dynamodb
    this.#name = name
    this.#clock = clock
  }

  async ensure(signal?: AbortSignal): Promise<void> {
    let table = await this.#describe(signal)
    if (table === undefined) await this.#create(signal)
    while (table?.TableStatus !== 'ACTIVE' && table?.TableStatus !== 'UPDATING') {
      await this.#clock.sleep(CREATION_POLL_MS, signal)
      table = await this.#describe(signal)
    }
    const key = table.KeySchema?.map(({ AttributeName, KeyType }) => `${AttributeName} (${KeyType})`).join(', ')
    if (key !== 'leaseKey (HASH)') {
      throw new ConsumerError(
        'ERR_TABLE',
        `Table "${this.#name}" is no lease table: expected the key leaseKey (HASH), got ${key}. ` +
          'Choose another application name, or give tableName.',
      )
    }
  }

  async #describe(signal: AbortSignal | undefined): Promise<TableDescription | undefined> {
    try {
      const { Table } = await this.#dynamodb.send(new DescribeTableCommand({ TableName: this.#name }), abort(signal))
      return Table
    } catch (error) {
      if (errorCode(error) === 'ResourceNotFoundException') return undefined
      throw error
    }
  }

  async #create(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#dynamodb.send(
        new CreateTableCommand({
          TableName: this.#name,
          BillingMode: 'PAY_PER_REQUEST',
          KeySchema: [{ AttributeName: 'leaseKey', KeyType: 'HASH' }],
          AttributeDefinitions: [
            { AttributeName: 'leaseKey', AttributeType: 'S' },
            { AttributeName: 'leaseOwner', AttributeType: 'S' },
          ],
          // Ours is a scan; the index is there for KCL workers that join.
          GlobalSecondaryIndexes: [
            {
              IndexName: 'LeaseOwnerToLeaseKeyIndex',
              KeySchema: [
                { AttributeName: 'leaseOwner', KeyType: 'HASH' },
                { AttributeName: 'leaseKey', KeyType: 'RANGE' },
              ],
              Projection: { ProjectionType: 'KEYS_ONLY' },
            },
          ],
        }),
        abort(signal),
      )
    } catch (error) {
      // Another worker was faster.
      if (errorCode(error) !== 'ResourceInUseException') throw error
    }
  }

  async scan({ consistent = false }: { readonly consistent?: boolean } = {}): Promise<Item[]> {
    const items: Item[] = []
    let start: Record<string, AttributeValue> | undefined
    do {
      const page = await this.#dynamodb
        .send(
          new ScanCommand({
            TableName: this.#name,
            ConsistentRead: consistent,
            ...(start && { ExclusiveStartKey: start }),
          }),
        )
        .catch((error: unknown) => this.#explain(error))
      items.push(...(page.Items ?? []))
      start = page.LastEvaluatedKey
    } while (start !== undefined)
    return items
  }

  #explain(error: unknown): never {
    if (errorCode(error) !== 'ResourceNotFoundException') throw error
    throw new ConsumerError('ERR_TABLE', `The table "${this.#name}" does not exist any more.`, { cause: error })
  }

  async read(key: string): Promise<Item | undefined> {
    const { Item } = await this.#dynamodb.send(
      new GetItemCommand({ TableName: this.#name, Key: { leaseKey: { S: key } }, ConsistentRead: true }),
    )
    return Item
  }

  async update({ key, when, set, remove = [] }: ItemChange): Promise<Item | undefined> {
    const expression = new Expression()
    const sets = Object.entries(set).map(([name, value]) => `${expression.name(name)} = ${expression.value(value)}`)
    const removes = remove.map((name) => expression.name(name))
    const parts = [
      ...(sets.length > 0 ? [`SET ${sets.join(', ')}`] : []),
      ...(removes.length > 0 ? [`REMOVE ${removes.join(', ')}`] : []),
    ]
    return await unlessRefused(async () => {
      const { Attributes } = await this.#dynamodb.send(
        new UpdateItemCommand({
          TableName: this.#name,
          Key: { leaseKey: { S: key } },
          UpdateExpression: parts.join(' '),
          ...expression.condition(when),
          ReturnValues: 'ALL_NEW',
        }),
      )
      return Attributes ?? {}
    })
  }

  async delete(key: string, when: readonly Condition[]): Promise<boolean> {
    const deleted = await unlessRefused(() =>
      this.#dynamodb.send(
        new DeleteItemCommand({
          TableName: this.#name,
          Key: { leaseKey: { S: key } },
          ...new Expression().condition(when),
        }),
      ),
    )
    return deleted !== undefined
  }
}

/** Collects the names and values that an expression refers to. */
class Expression {
  readonly #names: Record<string, string> = {}
  readonly #values: Record<string, AttributeValue> = {}
  #count = 0

  name(attribute: string): string {
    this.#names[`#${attribute}`] = attribute
    return `#${attribute}`
  }

  value(value: AttributeValue): string {
    const alias = `:v${this.#count++}`
    this.#values[alias] = value
    return alias
  }

  /** The request's fields: any of the conditions, and all names and values used so far. */
  condition(when: readonly Condition[]): {
    ConditionExpression?: string
    ExpressionAttributeNames?: Record<string, string>
    ExpressionAttributeValues?: Record<string, AttributeValue>
  } {
    const alternatives = when.map((condition) => {
      const terms = Object.entries(condition).map(([name, expected]) =>
        expected === undefined
          ? `attribute_not_exists(${this.name(name)})`
          : `${this.name(name)} = ${this.value(expected)}`,
      )
      return `(${terms.join(' AND ')})`
    })
    return {
      ...(alternatives.length > 0 && { ConditionExpression: alternatives.join(' OR ') }),
      ...(Object.keys(this.#names).length > 0 && { ExpressionAttributeNames: this.#names }),
      ...(Object.keys(this.#values).length > 0 && { ExpressionAttributeValues: this.#values }),
    }
  }
}

async function unlessRefused<T>(write: () => Promise<T>): Promise<T | undefined> {
  try {
    return await write()
  } catch (error) {
    if (errorCode(error) === 'ConditionalCheckFailedException') return undefined
    throw error
  }
}

function abort(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal }
}
