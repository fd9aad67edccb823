import {
  type AttributeValue,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  ScanCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import { type Clock, errorCode, type Random } from '@shardwise/core'
import { askAgain } from '../ask-again.ts'
import { explained } from '../errors.ts'
import type { Condition, Item, ItemChange } from './table.ts'

/** What the consumer calls on a DynamoDB client: one method, so that a test can stand in for it. */
export type DynamoDB = Pick<DynamoDBClient, 'send'>

/** By what tables are reached. */
export interface TableAccess {
  readonly dynamodb: DynamoDB
  readonly clock: Clock
  readonly random: Random
}

interface ScanOptions {
  readonly consistent?: boolean
  /** Only the leases with this `leaseOwner`, and only their keys. */
  readonly ownedBy?: string
}

/** What the items' key attribute is called above, whatever it is called in the table. */
const KEY = 'leaseKey'
const PAGE_BACKOFF = { baseMs: 100, maxMs: 1_000 }

/** Asks for one page of a Scan or Query. */
export function askForPage<T>(ask: () => Promise<T>, { clock, random }: TableAccess): Promise<T> {
  return askAgain(ask, { clock, random, backoff: PAGE_BACKOFF })
}

/** One DynamoDB table whose items have one string as their key. */
export class ItemsTable {
  readonly name: string
  readonly #access: TableAccess
  readonly #keyName: string
  readonly #purpose: string | undefined

  /** @param purpose what it is to the application, for error messages, if that isn't plain */
  constructor(access: TableAccess, name: string, keyName: string, purpose?: string) {
    this.name = name
    this.#access = access
    this.#keyName = keyName
    this.#purpose = purpose
  }

  async scan({ consistent = false, ownedBy }: ScanOptions = {}): Promise<Item[]> {
    const items: Item[] = []
    let start: Record<string, AttributeValue> | undefined
    do {
      const command = new ScanCommand({
        TableName: this.name,
        ConsistentRead: consistent,
        ...(ownedBy !== undefined && {
          FilterExpression: 'leaseOwner = :worker',
          ProjectionExpression: this.#keyName,
          ExpressionAttributeValues: { ':worker': { S: ownedBy } },
        }),
        ...(start && { ExclusiveStartKey: start }),
      })
      const page = await this.#call('Scan', () => askForPage(() => this.#access.dynamodb.send(command), this.#access))
      items.push(...(page.Items ?? []).map((item) => this.#withLeaseKey(item)))
      start = page.LastEvaluatedKey
    } while (start !== undefined)
    return items
  }

  async read(key: string): Promise<Item | undefined> {
    const { Item } = await this.#call('GetItem', () =>
      this.#access.dynamodb.send(
        new GetItemCommand({ TableName: this.name, Key: this.#key(key), ConsistentRead: true }),
      ),
    )
    return Item && this.#withLeaseKey(Item)
  }

  async update({ key, when, set, remove = [] }: Omit<ItemChange, 'kind'>): Promise<Item | undefined> {
    const expression = new Expression()
    const sets = Object.entries(set).map(([name, value]) => `${expression.name(name)} = ${expression.value(value)}`)
    const removes = remove.map((name) => expression.name(name))
    const parts = [
      ...(sets.length > 0 ? [`SET ${sets.join(', ')}`] : []),
      ...(removes.length > 0 ? [`REMOVE ${removes.join(', ')}`] : []),
    ]
    const updated = await unlessRefused(() =>
      this.#call('UpdateItem', () =>
        this.#access.dynamodb.send(
          new UpdateItemCommand({
            TableName: this.name,
            Key: this.#key(key),
            UpdateExpression: parts.join(' '),
            ...expression.condition(this.#inTable(when)),
            ReturnValues: 'ALL_NEW',
          }),
        ),
      ),
    )
    return updated && this.#withLeaseKey(updated.Attributes ?? {})
  }

  async delete(key: string, when: readonly Condition[]): Promise<boolean> {
    const deleted = await unlessRefused(() =>
      this.#call('DeleteItem', () =>
        this.#access.dynamodb.send(
          new DeleteItemCommand({
            TableName: this.name,
            Key: this.#key(key),
            ...new Expression().condition(this.#inTable(when)),
          }),
        ),
      ),
    )
    return deleted !== undefined
  }

  #call<T>(action: string, call: () => Promise<T>): Promise<T> {
    return explained(action, this.name, call, this.#purpose)
  }

  #key(key: string): Record<string, AttributeValue> {
    return { [this.#keyName]: { S: key } }
  }

  #withLeaseKey(item: Record<string, AttributeValue>): Item {
    if (this.#keyName === KEY) return item
    const { [this.#keyName]: key, ...rest } = item
    return key === undefined ? rest : { [KEY]: key, ...rest }
  }

  #inTable(when: readonly Condition[]): readonly Condition[] {
    if (this.#keyName === KEY) return when
    return when.map((condition) =>
      Object.fromEntries(
        Object.entries(condition).map(([name, value]) => [name === KEY ? this.#keyName : name, value]),
      ),
    )
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
