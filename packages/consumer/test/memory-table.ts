import { isDeepStrictEqual } from 'node:util'
import type { Condition, Item, ItemChange, ItemKind, Table } from '../src/leases/table.ts'

/** A {@link Table} in memory, with DynamoDB's meaning of conditions. Several workers can share one. */
export class MemoryTable implements Table {
  readonly items: Map<string, Item> = new Map()

  scan(): Promise<Item[]> {
    return Promise.resolve([...this.items.values()])
  }

  ownedKeys(workerId: string): Promise<string[]> {
    const owned = [...this.items].filter(([, { leaseOwner }]) => leaseOwner?.S === workerId)
    return Promise.resolve(owned.map(([key]) => key))
  }

  read(_kind: ItemKind, key: string): Promise<Item | undefined> {
    return Promise.resolve(this.items.get(key))
  }

  update({ key, when, set, remove = [] }: ItemChange): Promise<Item | undefined> {
    if (!this.#holds(key, when)) return Promise.resolve(undefined)
    const item: Record<string, Item[string]> = { ...this.items.get(key), ...set, leaseKey: { S: key } }
    for (const name of remove) delete item[name]
    this.items.set(key, item)
    return Promise.resolve(item)
  }

  delete(_kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean> {
    if (!this.#holds(key, when)) return Promise.resolve(false)
    this.items.delete(key)
    return Promise.resolve(true)
  }

  #holds(key: string, when: readonly Condition[]): boolean {
    const item = this.items.get(key) ?? {}
    return (
      when.length === 0 ||
      when.some((condition) =>
        Object.entries(condition).every(([name, expected]) => isDeepStrictEqual(item[name], expected)),
      )
    )
  }
}
