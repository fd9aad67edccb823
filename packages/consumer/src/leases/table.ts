import type { AttributeValue } from '@aws-sdk/client-dynamodb'

/** One item of the application's table, as DynamoDB types it. */
export type Item = Readonly<Record<string, AttributeValue>>

/** What attributes must be for a write to happen; `undefined` means that the attribute must be absent. */
export type Condition = Readonly<Record<string, AttributeValue | undefined>>

/** What an item is of. Applications that the KCL 3.0 to 3.4 made keep each kind in a table of its own. */
export type ItemKind = 'lease' | 'worker' | 'coordinator'

/** A write to one item, as data. Attributes it doesn't name stay as they are. */
export interface ItemChange {
  readonly kind: ItemKind
  /** The item's `leaseKey`. */
  readonly key: string
  /** The write happens if any of these holds; none at all: it always happens. */
  readonly when: readonly Condition[]
  readonly set: Item
  readonly remove?: readonly string[]
}

/**
 * What the consumer needs of the application's table. All rules about leases are in the changes (`lease-changes.ts`); this is only
 * how a change is carried out, so that a table in memory can stand in for DynamoDB.
 *
 * A rejected promise means that it is unknown whether a write was done.
 */
export interface Table {
  /**
   * All items of all kinds, each with its key as `leaseKey` and its `entityType` (absent: a lease). Eventually consistent unless
   * asked otherwise.
   */
  scan(options?: { readonly consistent?: boolean }): Promise<Item[]>
  /** The keys of the leases with this `leaseOwner`, by the index; eventually consistent, always. */
  ownedKeys(workerId: string): Promise<string[]>
  /** One item, consistently. */
  read(kind: ItemKind, key: string): Promise<Item | undefined>
  /** Returns the whole item after the change, or undefined if no condition held. Creates an item that doesn't exist. */
  update(change: ItemChange): Promise<Item | undefined>
  /** Returns false if no condition held. */
  delete(kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean>
}
