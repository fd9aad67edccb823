import { type AttributeValue, QueryCommand } from '@aws-sdk/client-dynamodb'
import { errorCode } from '@shardwise/core'
import { explained } from '../errors.ts'
import { askForPage, ItemsTable, type TableAccess } from './items-table.ts'
import type { Condition, Item, ItemChange, ItemKind, Table } from './table.ts'
import { describeTable, hasOwnerIndex, OWNER_INDEX } from './table-creation.ts'

/** How often a table without the owner index is asked whether it has one by now. */
const INDEX_CHECK_MS = 60_000

/** The application's table in DynamoDB, in the KCL 3.5's single-table layout: one table for items of all kinds. */
export class DynamoDBTable implements Table {
  readonly #items: ItemsTable
  readonly #access: TableAccess
  #hasIndex: boolean
  #askAgainAtMs = Number.NEGATIVE_INFINITY

  /** @param hasIndex whether the owner index is known to be usable; otherwise it is found out when it is needed */
  constructor(access: TableAccess, name: string, hasIndex = false) {
    this.#items = new ItemsTable(access, name, 'leaseKey')
    this.#access = access
    this.#hasIndex = hasIndex
  }

  scan(options: { readonly consistent?: boolean } = {}): Promise<Item[]> {
    return this.#items.scan(options)
  }

  async ownedKeys(workerId: string): Promise<string[]> {
    const items = await ((await this.#indexIsUsable())
      ? this.#query(workerId)
      : // Tables of the KCL 1.x and 2.x have no index.
        this.#items.scan({ ownedBy: workerId }))
    return items.flatMap(({ leaseKey }) => leaseKey?.S ?? [])
  }

  read(_kind: ItemKind, key: string): Promise<Item | undefined> {
    return this.#items.read(key)
  }

  update(change: ItemChange): Promise<Item | undefined> {
    return this.#items.update(change)
  }

  delete(_kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean> {
    return this.#items.delete(key, when)
  }

  async #indexIsUsable(): Promise<boolean> {
    const { dynamodb, clock } = this.#access
    const now = clock.monotonicMs()
    if (!this.#hasIndex && now >= this.#askAgainAtMs) {
      this.#hasIndex = hasOwnerIndex(await describeTable(dynamodb, this.#items.name))
      this.#askAgainAtMs = now + INDEX_CHECK_MS
    }
    return this.#hasIndex
  }

  async #query(workerId: string): Promise<Item[]> {
    const items: Item[] = []
    let start: Record<string, AttributeValue> | undefined
    do {
      try {
        const command = new QueryCommand({
          TableName: this.#items.name,
          IndexName: OWNER_INDEX,
          KeyConditionExpression: 'leaseOwner = :worker',
          ExpressionAttributeValues: { ':worker': { S: workerId } },
          ...(start && { ExclusiveStartKey: start }),
        })
        const page = await explained('Query', `${this.#items.name}/index/${OWNER_INDEX}`, () =>
          askForPage(() => this.#access.dynamodb.send(command), this.#access),
        )
        items.push(...(page.Items ?? []))
        start = page.LastEvaluatedKey
      } catch (error) {
        // Somebody has deleted the index.
        if (errorCode(error) !== 'ValidationException') throw error
        this.#hasIndex = false
        return this.#items.scan({ ownedBy: workerId })
      }
    } while (start !== undefined)
    return items
  }
}
