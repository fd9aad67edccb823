import type { AttributeValue, GlobalSecondaryIndexDescription } from '@aws-sdk/client-dynamodb'
import type { KeySchema } from './keys.ts'
import { OrderedRows, type Place, placeOf } from './order.ts'
import { equal, type Item, sizeOfItem } from './values.ts'

interface Shown {
  readonly item: Item
  readonly size: number
}

class IndexRow {
  readonly place: Place
  shown: Shown

  constructor(place: Place, shown: Shown) {
    this.place = place
    this.shown = shown
  }

  /** A row that is there at all is seen as it is. */
  at(): Shown {
    return this.shown
  }
}

interface News {
  readonly atMs: number
  readonly key: string
  readonly item: Item | undefined
}

/** A global secondary index: it hears of the table's writes later, of those to one item in their order. */
export class Index {
  readonly description: GlobalSecondaryIndexDescription
  readonly schema: KeySchema
  readonly activeFromMs: number
  /** Undefined: all attributes. */
  readonly #projected: ReadonlySet<string> | undefined
  readonly #rows = new OrderedRows<IndexRow>()
  readonly #rowOf = new Map<string, IndexRow>()
  /** By time. */
  readonly #news: News[] = []
  /** When the last of the news about an item comes. */
  readonly #lastNewsMs = new Map<string, number>()

  constructor(
    description: GlobalSecondaryIndexDescription,
    schema: KeySchema,
    tableSchema: KeySchema,
    activeFromMs: number,
  ) {
    this.description = description
    this.schema = schema
    this.activeFromMs = activeFromMs
    const { ProjectionType, NonKeyAttributes = [] } = description.Projection ?? {}
    if (ProjectionType !== 'ALL') {
      this.#projected = new Set([...schema.names, ...tableSchema.names, ...NonKeyAttributes])
    }
  }

  /** @param atMs when the write shows, or later if an earlier one to the same item does */
  hear(key: string, item: Item | undefined, atMs: number, nowMs: number): void {
    this.#catchUp(nowMs)
    const inOrderMs = Math.max(atMs, this.#lastNewsMs.get(key) ?? atMs)
    this.#lastNewsMs.set(key, inOrderMs)
    const behind = this.#news.findLastIndex((news) => news.atMs <= inOrderMs)
    this.#news.splice(behind + 1, 0, { atMs: inOrderMs, key, item })
  }

  rows(nowMs: number): OrderedRows<IndexRow> {
    this.#catchUp(nowMs)
    return this.#rows
  }

  #catchUp(nowMs: number): void {
    const future = this.#news.findIndex(({ atMs }) => atMs > nowMs)
    for (const { atMs, key, item } of this.#news.splice(0, future < 0 ? this.#news.length : future)) {
      if (this.#lastNewsMs.get(key) === atMs) this.#lastNewsMs.delete(key)
      this.#show(key, item)
    }
  }

  #show(key: string, item: Item | undefined): void {
    const before = this.#rowOf.get(key)
    const isIn = item !== undefined && this.schema.names.every((name) => item[name] !== undefined)
    const shown = isIn ? this.#project(item) : undefined
    if (before !== undefined && shown !== undefined && this.#isSameKey(before.shown.item, shown.item)) {
      before.shown = shown
      return
    }
    if (before !== undefined) this.#rows.remove(before)
    this.#rowOf.delete(key)
    if (shown === undefined) return
    const row = new IndexRow(placeOf(...this.schema.valuesIn(shown.item), key), shown)
    this.#rows.insert(row)
    this.#rowOf.set(key, row)
  }

  #isSameKey(a: Item, b: Item): boolean {
    return this.schema.names.every((name) => equal(a[name]!, b[name]!))
  }

  #project(item: Item): Shown {
    const projected = this.#projected
    if (projected === undefined) return { item, size: sizeOfItem(item) }
    const kept: Record<string, AttributeValue> = {}
    for (const name of projected) if (item[name] !== undefined) kept[name] = item[name]
    return { item: kept, size: sizeOfItem(kept) }
  }
}
