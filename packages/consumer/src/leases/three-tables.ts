import type { DynamoDBTable } from './dynamodb-table.ts'
import { ItemsTable, type TableAccess } from './items-table.ts'
import { LEADER_KEY } from './leader-lock.ts'
import type { Condition, Item, ItemChange, ItemKind, Table } from './table.ts'
import { isMigrated, TABLE_MIGRATION_KEY, VERSION_KEY } from './table-state.ts'

const COORDINATOR_PURPOSE =
  'where an application of the KCL 3.0 to 3.4 keeps its leader lock and its state, and every worker of it must look'
const WORKERS_PURPOSE = 'where the workers of an application of the KCL 3.0 to 3.4 show that they live'

/** @param name the application's table */
export function coordinatorTable(access: TableAccess, name: string): ItemsTable {
  return new ItemsTable(access, `${name}-CoordinatorState`, 'key', COORDINATOR_PURPOSE)
}

/** @param name the application's table */
export function workersTable(access: TableAccess, name: string): ItemsTable {
  return new ItemsTable(access, `${name}-WorkerMetricStats`, 'wid', WORKERS_PURPOSE)
}

/** The type that each of the KCL's notes has in a single table; in a table of their own they have none. */
const ENTITY_TYPES: Readonly<Record<string, string>> = {
  [LEADER_KEY]: 'LEADER',
  [VERSION_KEY]: 'CLIENT_VERSION_MIGRATION',
  [TABLE_MIGRATION_KEY]: 'TABLE_MIGRATION',
}

/**
 * The attributes of a single table's items that are left out here. By `sup` a worker says that it can move to a single table
 * when a KCL 3.5 that leads asks for it; ours follow when it is done, and until they stop it is not begun.
 */
const LEFT_OUT = new Set(['entityType', 'sup', 'slu'])

/**
 * The tables of an application that the KCL 3.0 to 3.4 made: its notes and its workers' entries have tables of their own. When
 * a KCL 3.5 has moved all to the lease table, that is seen at the next scan.
 */
export class ThreeTables implements Table {
  readonly #leases: DynamoDBTable
  readonly #coordinator: ItemsTable
  readonly #workers: ItemsTable
  #isMigrated = false

  constructor(leases: DynamoDBTable, coordinator: ItemsTable, workers: ItemsTable) {
    this.#leases = leases
    this.#coordinator = coordinator
    this.#workers = workers
  }

  async scan(options: { readonly consistent?: boolean } = {}): Promise<Item[]> {
    if (this.#isMigrated) return await this.#leases.scan(options)
    const [inLeases, notes, entries] = await Promise.all([
      this.#leases.scan(options),
      this.#coordinator.scan(options),
      this.#workers.scan(options),
    ])
    this.#isMigrated = notes.some((note) => note.leaseKey?.S === TABLE_MIGRATION_KEY && isMigrated(note))
    if (this.#isMigrated) return inLeases
    const byKey = new Map<string, Item>()
    for (const item of [...inLeases, ...notes.map(asNote)]) byKey.set(item.leaseKey?.S ?? '', item)
    for (const entry of entries.map(asEntry)) {
      const key = entry.leaseKey?.S ?? ''
      const moved = byKey.get(key)
      // While a KCL 3.5 moves to a single table, its workers write their entries there; the older one is left behind.
      if (moved === undefined || Number(moved.lut?.N ?? 0) <= Number(entry.lut?.N ?? 0)) byKey.set(key, entry)
    }
    return [...byKey.values()]
  }

  ownedKeys(workerId: string): Promise<string[]> {
    return this.#leases.ownedKeys(workerId)
  }

  async read(kind: ItemKind, key: string): Promise<Item | undefined> {
    const own = this.#ownTable(kind)
    if (own === undefined) return await this.#leases.read(kind, key)
    const item = await own.read(key)
    return item && (kind === 'worker' ? asEntry(item) : asNote(item))
  }

  async update(change: ItemChange): Promise<Item | undefined> {
    const own = this.#ownTable(change.kind)
    if (own === undefined) return await this.#leases.update(change)
    const set = Object.fromEntries(Object.entries(change.set).filter(([name]) => !LEFT_OUT.has(name)))
    const item = await own.update({ ...change, set })
    return item && (change.kind === 'worker' ? asEntry(item) : asNote(item))
  }

  async delete(kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean> {
    const own = this.#ownTable(kind)
    return own === undefined ? await this.#leases.delete(kind, key, when) : await own.delete(key, when)
  }

  #ownTable(kind: ItemKind): ItemsTable | undefined {
    if (kind === 'lease' || this.#isMigrated) return undefined
    return kind === 'worker' ? this.#workers : this.#coordinator
  }
}

function asEntry(item: Item): Item {
  return { ...item, entityType: { S: 'WORKER_METRIC_STATS' } }
}

function asNote(item: Item): Item {
  return { ...item, entityType: item.entityType ?? { S: ENTITY_TYPES[item.leaseKey?.S ?? ''] ?? 'STREAM' } }
}
