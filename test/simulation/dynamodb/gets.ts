import type { AttributeValue, BatchGetItemInput, GetItemInput, KeysAndAttributes } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import { bindProjection } from './projections.ts'
import type { StoredTable } from './stored-table.ts'
import { handOut, type Item } from './values.ts'
import type { World } from './world.ts'

const MAX_BATCH = 100

type FindTable = (name: string | undefined) => StoredTable
type Output = Record<string, AttributeValue>

export function getItem(input: GetItemInput, world: World, findTable: FindTable): object {
  const cut = bindProjection(input)
  const table = findTable(input.TableName)
  const found = find(table, table.schema.takeInKey(input.Key), input.ConsistentRead, world)
  return found === undefined ? {} : { Item: handOut(cut(found)) }
}

/** In no order that could be relied on. */
export function batchGetItem({ RequestItems = {} }: BatchGetItemInput, world: World, findTable: FindTable): object {
  const requests = Object.entries(RequestItems)
  const count = requests.reduce((total, [, { Keys = [] }]) => total + Keys.length, 0)
  if (count === 0 || count > MAX_BATCH) throw invalid(`Expected 1 to ${MAX_BATCH} keys in RequestItems, got ${count}`)
  const responses = requests.map(([name, request]) => [name, getKeys(name, request, world, findTable)] as const)
  return { Responses: Object.fromEntries(responses), UnprocessedKeys: {} }
}

function getKeys(name: string, request: KeysAndAttributes, world: World, findTable: FindTable): Output[] {
  const cut = bindProjection(request)
  const table = findTable(name)
  const keys = (request.Keys ?? []).map((key) => table.schema.takeInKey(key))
  if (new Set(keys.map((key) => table.schema.textOf(key))).size < keys.length) {
    throw invalid('Provided list of item keys contains duplicates')
  }
  const shuffled = keys.map((key) => ({ key, rank: world.random() })).toSorted((a, b) => a.rank - b.rank)
  return shuffled
    .map(({ key }) => find(table, key, request.ConsistentRead, world))
    .filter((item) => item !== undefined)
    .map((item) => handOut(cut(item)))
}

function find(table: StoredTable, key: Item, consistent: boolean | undefined, world: World): Item | undefined {
  const text = table.schema.textOf(key)
  return consistent === true ? table.read(text) : table.readAt(text, world.nowMs() - world.readLagMs())
}
