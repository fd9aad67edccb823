import type { QueryInput, ScanInput } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import type { Index } from './index.ts'
import type { KeySchema } from './keys.ts'
import { type OrderedRows, type Place, placeOf } from './order.ts'
import type { StoredTable } from './stored-table.ts'
import type { Item } from './values.ts'
import type { World } from './world.ts'

/** One key of a table or index; an item may be there or not, depending on when one looks. */
export interface Row {
  readonly place: Place
  at(ms: number): { readonly item: Item | undefined; readonly size: number }
}

/** What is scanned or queried: a table, or an index of it. */
export interface Source {
  readonly schema: KeySchema
  readonly rows: OrderedRows<Row>
  /** As of when this read finds a row; to be asked for each. */
  readonly asOfMs: () => number
  /** What a page ends with, and the next one starts from. */
  keyOf(item: Item): Item
  placeOf(startKey: Item): Place
}

export function sourceOf(input: ScanInput | QueryInput, table: StoredTable, world: World): Source {
  const { IndexName: name, ConsistentRead: consistent = false } = input
  if (name === undefined) return tableSource(table, consistent, world)
  const index = table.indexes.get(name)
  if (index === undefined) throw invalid(`The table does not have the specified index: ${name}`)
  if (consistent) throw invalid('Consistent reads are not supported on global secondary indexes')
  if (world.nowMs() < index.activeFromMs) {
    throw invalid(`Cannot read from backfilling global secondary index: ${name}`)
  }
  return indexSource(table, index, world)
}

function tableSource(table: StoredTable, consistent: boolean, world: World): Source {
  const nowMs = world.nowMs()
  const { schema } = table
  return {
    schema,
    rows: table.rows(nowMs),
    asOfMs: consistent ? () => nowMs : () => nowMs - world.readLagMs(),
    keyOf: (item) => schema.keyOf(item),
    placeOf: (startKey) => placeOf(...schema.valuesIn(schema.takeInKey(startKey))),
  }
}

function indexSource(table: StoredTable, index: Index, world: World): Source {
  const nowMs = world.nowMs()
  const names = new Set([...index.schema.names, ...table.schema.names])
  return {
    schema: index.schema,
    rows: index.rows(nowMs),
    asOfMs: () => nowMs,
    keyOf: (item) => Object.fromEntries([...names].map((name) => [name, item[name]!])),
    placeOf: (startKey) => {
      if (Object.keys(startKey).length !== names.size) throw invalid('The provided starting key is invalid')
      const key = index.schema.takeInKey(only(startKey, index.schema))
      return placeOf(
        ...index.schema.valuesIn(key),
        table.schema.textOf(table.schema.takeInKey(only(startKey, table.schema))),
      )
    },
  }
}

function only(item: Item, { names }: KeySchema): Item {
  return Object.fromEntries(Object.entries(item).filter(([name]) => names.includes(name)))
}
