import { isDeepStrictEqual } from 'node:util'
import {
  type AttributeValue,
  DeleteItemCommand,
  DescribeTableCommand,
  GetItemCommand,
  QueryCommand,
  ScanCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import type { DynamoDB } from '../leases/items-table.ts'
import type { Item } from '../leases/table.ts'
import { OWNER_INDEX } from '../leases/table-creation.ts'

/** What a conditional request says. */
interface Expressions {
  readonly ConditionExpression?: string | undefined
  readonly UpdateExpression?: string | undefined
  readonly ExpressionAttributeNames?: Record<string, string> | undefined
  readonly ExpressionAttributeValues?: Record<string, AttributeValue> | undefined
}

const KEY = 'leaseKey'

/** The application's one table, as far as a consumer asks for it: expressions in the form in which it writes them. */
export class MemoryDynamoDB implements DynamoDB {
  readonly #tableName: string
  readonly #items = new Map<string, Item>()

  constructor(tableName: string) {
    this.#tableName = tableName
  }

  get items(): Item[] {
    return [...this.#items.values()]
  }

  /** Changes an item from outside, as another worker does. */
  change(key: string, set: Item, remove: readonly string[] = []): void {
    const item: Record<string, AttributeValue> = { ...this.#items.get(key), ...set, [KEY]: { S: key } }
    for (const name of remove) delete item[name]
    this.#items.set(key, item)
  }

  readonly send: DynamoDB['send'] = (async (command: unknown) => {
    if (command instanceof DescribeTableCommand) return this.#describe(command.input.TableName)
    if (command instanceof ScanCommand) return { Items: this.items }
    if (command instanceof QueryCommand) {
      const owner = command.input.ExpressionAttributeValues?.[':worker']?.S
      return {
        Items: this.items.filter(({ leaseOwner }) => leaseOwner?.S === owner).map(({ leaseKey }) => ({ leaseKey })),
      }
    }
    if (command instanceof GetItemCommand) return { Item: this.#items.get(keyOf(command.input.Key)) }
    if (command instanceof UpdateItemCommand) return this.#update(keyOf(command.input.Key), command.input)
    if (command instanceof DeleteItemCommand) return this.#delete(keyOf(command.input.Key), command.input)
    throw new TypeError(`The table in memory isn't made for ${String(Object(command).constructor.name)}.`)
  }) as DynamoDB['send']

  #describe(name: string | undefined): object {
    if (name !== this.#tableName) throw refusal('ResourceNotFoundException', `There is no table "${name}".`)
    return {
      Table: {
        TableName: name,
        TableStatus: 'ACTIVE',
        KeySchema: [{ AttributeName: KEY, KeyType: 'HASH' }],
        GlobalSecondaryIndexes: [{ IndexName: OWNER_INDEX, IndexStatus: 'ACTIVE' }],
      },
    }
  }

  #update(key: string, request: Expressions): object {
    this.#check(key, request)
    const { sets, removes } = changesOf(request)
    this.change(key, sets, removes)
    return { Attributes: this.#items.get(key) }
  }

  #delete(key: string, request: Expressions): object {
    this.#check(key, request)
    this.#items.delete(key)
    return {}
  }

  #check(key: string, { ConditionExpression: condition, ...names }: Expressions): void {
    const item = this.#items.get(key) ?? {}
    const holds = (term: string): boolean => {
      const match = /^attribute_not_exists\((\S+)\)$|^(\S+) = (\S+)$/.exec(term)
      if (match === null) throw new TypeError(`The table in memory isn't made for the condition ${term}.`)
      const [, absent, attribute, value] = match
      if (absent !== undefined) return item[nameOf(absent, names)] === undefined
      return isSame(item[nameOf(attribute, names)], names.ExpressionAttributeValues?.[value ?? ''])
    }
    const alternatives = condition?.split(' OR ').map((text) => text.slice(1, -1).split(' AND '))
    if (alternatives === undefined || alternatives.some((terms) => terms.every(holds))) return
    throw refusal('ConditionalCheckFailedException', 'The conditional request failed')
  }
}

function changesOf({ UpdateExpression = '', ...names }: Expressions): {
  readonly sets: Item
  readonly removes: string[]
} {
  const match = /^(?:SET (.*?))?(?: ?REMOVE (.*))?$/.exec(UpdateExpression)
  if (match === null) throw new TypeError(`The table in memory isn't made for the update ${UpdateExpression}.`)
  const [, set, remove] = match
  const sets: Record<string, AttributeValue> = {}
  for (const part of set?.split(', ') ?? []) {
    const [attribute, value = ''] = part.split(' = ')
    sets[nameOf(attribute, names)] = names.ExpressionAttributeValues![value]!
  }
  return { sets, removes: (remove?.split(', ') ?? []).map((alias) => nameOf(alias, names)) }
}

function nameOf(alias: string | undefined, { ExpressionAttributeNames: names }: Expressions): string {
  return names?.[alias ?? ''] ?? ''
}

/** A number is the same in any form. */
function isSame(a: AttributeValue | undefined, b: AttributeValue | undefined): boolean {
  return isDeepStrictEqual(a, b) || (a?.N !== undefined && b?.N !== undefined && Number(a.N) === Number(b.N))
}

function keyOf(key: Record<string, AttributeValue> | undefined): string {
  return key?.[KEY]?.S ?? ''
}

function refusal(name: string, message: string): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode: 400 } })
}
