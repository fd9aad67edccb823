import type { Clock } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'
import { holderOf, type Lease, leaseFromItem } from './lease.ts'
import type { Item, ItemChange } from './table.ts'

/** The KCL's notes of by whose rules the application runs, and of which tables it uses. */
export const VERSION_KEY = 'Migration3.0'
export const TABLE_MIGRATION_KEY = 'TableMigration3.5'

const VERSION_3X = 'CLIENT_VERSION_3X'
const MIGRATION_PENDING = 'TABLE_MIGRATION_STATUS_PENDING'
const MIGRATION_DEPLOYED = 'TABLE_MIGRATION_STATUS_DEPLOYED'
const MIGRATION_COMPLETE = 'TABLE_MIGRATION_STATUS_COMPLETE'
/** The KCL keeps so many earlier values in a note. */
const MAX_HISTORY = 10

/** What an application's tables say of themselves; either is undefined where nothing is noted. */
export interface ApplicationState {
  readonly version: string | undefined
  readonly tableMigration: string | undefined
}

/** Whether everything is in the lease table, since a KCL 3.5 has moved it there. */
export function isMigrated(note: Item | undefined): boolean {
  return note?.tm?.S === MIGRATION_COMPLETE
}

/** Whether its workers elect their leader and assign leases as ours do. */
export function followsOurRules({ version }: ApplicationState): boolean {
  return version === VERSION_3X
}

/**
 * Whether workers of ours may run beside those that are there. As long as a move from three tables to one is only prepared,
 * which may last for good, all use the three.
 */
export function isShared(state: ApplicationState): boolean {
  return followsOurRules(state) && state.tableMigration !== MIGRATION_PENDING
}

/** Who writes a note, and when. */
interface Author {
  readonly workerId: string
  readonly clock: Clock
}

/** Makes the application one of the KCL 3.x's rules, as a KCL 3.x does at its first start. */
export function declareVersion(seen: Item | undefined, author: Author): ItemChange {
  return writeNote(VERSION_KEY, 'cv', VERSION_3X, seen, 'CLIENT_VERSION_INIT', 'CLIENT_VERSION_MIGRATION', author)
}

/** Takes back the last step but one of a move to a single table, as a KCL 3.5 does when it finds entries in the old tables. */
export function suspendTableMigration(seen: Item, author: Author): ItemChange {
  return writeNote(TABLE_MIGRATION_KEY, 'tm', MIGRATION_DEPLOYED, seen, MIGRATION_PENDING, 'TABLE_MIGRATION', author)
}

function writeNote(
  key: string,
  attribute: 'cv' | 'tm',
  value: string,
  seen: Item | undefined,
  initial: string,
  entityType: string,
  { workerId, clock }: Author,
): ItemChange {
  const mb = { S: workerId }
  const mts = { N: String(Math.floor(clock.wallMs())) }
  const before = { [attribute]: seen?.[attribute] ?? { S: initial }, mb: seen?.mb ?? mb, mts: seen?.mts ?? mts }
  return {
    kind: 'coordinator',
    key,
    when: [{ [attribute]: seen?.[attribute] }],
    set: {
      [attribute]: { S: value },
      mb,
      mts,
      h: { L: [{ M: before }, ...(seen?.h?.L ?? [])].slice(0, MAX_HISTORY) },
      entityType: { S: entityType },
    },
  }
}

/** The leases among the items, by key. */
export function leasesOf(items: readonly Item[]): Map<string, Lease> {
  return new Map(
    items.flatMap((item) => {
      const lease = (item.entityType?.S ?? 'LEASE') === 'LEASE' ? leaseFromItem(item) : undefined
      return lease === undefined ? [] : [[lease.leaseKey, lease]]
    }),
  )
}

/** Says of one thing that was done to the leases between two looks at them; undefined if nothing was. */
export function movement(before: ReadonlyMap<string, Lease>, now: ReadonlyMap<string, Lease>): string | undefined {
  for (const [key, lease] of now) {
    const earlier = before.get(key)
    if (earlier === undefined) return `the lease "${key}" was created`
    if (holderOf(earlier) !== holderOf(lease)) {
      return `the lease "${key}" went from ${workerOf(earlier)} to ${workerOf(lease)}`
    }
    if (earlier.counter !== lease.counter) {
      return `the lease "${key}" of ${workerOf(lease)} was renewed (its leaseCounter went from ${earlier.counter} to ${lease.counter})`
    }
  }
  const deleted = [...before.keys()].find((key) => !now.has(key))
  return deleted === undefined ? undefined : `the lease "${deleted}" was deleted`
}

function workerOf(lease: Lease): string {
  const holder = holderOf(lease)
  return holder === undefined ? 'nobody' : `the worker "${holder}"`
}

/** What keeps ours from sharing the table, as the KCL calls it. */
export function obstacleOf({ version, tableMigration }: ApplicationState): string {
  if (version === undefined) return 'KCL 1.x or 2.x'
  return version === VERSION_3X ? String(tableMigration) : version
}

/**
 * @param moved from {@link movement}
 * @param standstillMs for how long the leases must stand still
 */
export function inUse(table: string, state: ApplicationState, moved: string, standstillMs: number): ConsumerError {
  const obstacle = obstacleOf(state)
  const reason =
    state.version === undefined
      ? `nothing in it says that they follow the rules of the KCL 3.x, so they are of a ${obstacle}`
      : followsOurRules(state)
        ? `they are moving the application to a single table (${obstacle})`
        : `they follow the rules of ${obstacle}`
  return new ConsumerError(
    'ERR_TABLE',
    `Table "${table}" is in use by workers that Shardwise can't run beside: ${moved} while this worker watched, and ${reason}. ` +
      `Stop all of them and start this worker again: when their leases have stood still for ${standstillMs / 1_000} s, it goes on ` +
      'from their checkpoints. Nothing was written to the table. ' +
      'To run both at once, complete the upgrade of the others first, until they run with CLIENT_VERSION_3X.',
  )
}
