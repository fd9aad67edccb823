import type {
  AttributeDefinition,
  GlobalSecondaryIndex,
  GlobalSecondaryIndexDescription,
  KeySchemaElement,
} from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import { Index } from './index.ts'
import { KeySchema } from './keys.ts'
import { OrderedRows, placeOf } from './order.ts'
import type { Item } from './values.ts'
import { type Version, Versions } from './versions.ts'

/** What a table holds and had held, and its indexes. */
export class StoredTable {
  readonly name: string
  readonly schema: KeySchema
  readonly indexes = new Map<string, Index>()
  readonly #versionsOf = new Map<string, Versions>()
  readonly #ordered = new OrderedRows<Versions>()

  constructor(name: string, elements: readonly KeySchemaElement[], definitions: readonly AttributeDefinition[]) {
    this.name = name
    this.schema = new KeySchema(elements, definitions)
  }

  read(key: string): Item | undefined {
    return this.#versionsOf.get(key)?.latest.item
  }

  readAt(key: string, ms: number): Item | undefined {
    return this.#versionsOf.get(key)?.at(ms).item
  }

  /** All keys that a read may still find, in the order of a scan. */
  rows(nowMs: number): OrderedRows<Versions> {
    const gone = this.#ordered.all.filter((versions) => versions.isGone(nowMs))
    for (const versions of gone) {
      this.#ordered.remove(versions)
      this.#versionsOf.delete(versions.key)
    }
    return this.#ordered
  }

  get latest(): Version[] {
    return this.#ordered.all.map(({ latest }) => latest).filter(({ item }) => item !== undefined)
  }

  /** @param keyItem has the key's attributes. @param indexLagMs asked for each index */
  write(keyItem: Item, after: Item | undefined, nowMs: number, indexLagMs: () => number): void {
    const key = this.schema.textOf(keyItem)
    let versions = this.#versionsOf.get(key)
    if (versions === undefined) {
      versions = new Versions(key, placeOf(...this.schema.valuesIn(keyItem)))
      this.#versionsOf.set(key, versions)
      this.#ordered.insert(versions)
    }
    versions.write(after, nowMs)
    for (const index of this.indexes.values()) {
      index.hear(key, after, Math.max(nowMs + indexLagMs(), index.activeFromMs), nowMs)
    }
  }

  addIndex(
    given: GlobalSecondaryIndex | GlobalSecondaryIndexDescription,
    definitions: readonly AttributeDefinition[],
    activeFromMs: number,
    nowMs: number,
  ): void {
    const { IndexName: name, KeySchema: elements, Projection } = given
    if (name === undefined || this.indexes.has(name)) {
      throw invalid(`One or more parameter values were invalid: Duplicate index name: ${name}`)
    }
    if (Projection?.ProjectionType === undefined) {
      throw invalid('One or more parameter values were invalid: Unknown ProjectionType: null')
    }
    const schema = new KeySchema(elements ?? [], definitions)
    const index = new Index(structuredClone(given), schema, this.schema, activeFromMs)
    for (const { key, latest } of this.#ordered.all) {
      if (latest.item !== undefined) index.hear(key, latest.item, activeFromMs, nowMs)
    }
    this.indexes.set(name, index)
  }
}
