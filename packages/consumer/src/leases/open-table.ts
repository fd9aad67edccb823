import { accessDenied, ConsumerError } from '../errors.ts'
import { DynamoDBTable } from './dynamodb-table.ts'
import type { DynamoDB, TableAccess } from './items-table.ts'
import { holderOf, isFinished, type Lease } from './lease.ts'
import type { Item, Table } from './table.ts'
import { describeTable, ensureTable, hasOwnerIndex, keepBackups, type TableCreationOptions } from './table-creation.ts'
import {
  type ApplicationState,
  declareVersion,
  followsOurRules,
  inUse,
  isMigrated,
  isShared,
  leasesOf,
  movement,
  obstacleOf,
  suspendTableMigration,
  TABLE_MIGRATION_KEY,
  VERSION_KEY,
} from './table-state.ts'
import { coordinatorTable, ThreeTables, workersTable } from './three-tables.ts'

export interface OpenTableOptions extends TableCreationOptions, TableAccess {
  readonly tableName: string
  readonly tablePointInTimeRecovery: boolean
  readonly workerId: string
  readonly failoverTime: number
}

/** Leases that have stood still for so many failover times have no live holder. */
const STANDSTILL_FACTOR = 1.5
/** Theirs may be longer than ours: a KCL renews every third of it, so that this is enough for three minutes. */
const MIN_STANDSTILL_MS = 60_000
const MAX_POLL_MS = 1_000
/** A table of thousands of leases is looked at less often. */
const POLL_MS_PER_LEASE = 2

/** The application's tables as they are found, and what they say. */
interface Found {
  readonly table: Table
  readonly state: ApplicationState
  readonly versionNote: Item | undefined
  /** Where that note is, or belongs. */
  readonly versionTable: Table
  readonly migrationNote: Item | undefined
  /** Why it isn't known whether the application has three tables. */
  readonly denial?: ConsumerError | undefined
}

interface FirstLook {
  readonly leases: ReadonlyMap<string, Lease>
  readonly answeredAtMs: number
  readonly standstillMs: number
}

/**
 * Makes the application's table usable, creating what is missing, and finds out how it is laid out. A table that workers of ours
 * can share with those that use it is joined. One of older rules is only watched at first, and taken over when its
 * leases stand still. Any number of workers may do so at once, and after a crash at any point the next one goes on.
 *
 * @throws {ConsumerError} `ERR_TABLE` if it is no lease table, or in use by workers that ours can't run beside; `ERR_ACCESS`
 *   for a missing permission
 */
export async function openTable(options: OpenTableOptions, signal: AbortSignal): Promise<Table> {
  const { tableName, tablePointInTimeRecovery, clock, telemetry } = options
  const description = await ensureTable({ name: tableName, keyName: 'leaseKey' }, options, signal)
  const leaseTable = new DynamoDBTable(options, tableName, hasOwnerIndex(description))
  let first: FirstLook | undefined
  for (;;) {
    const found = await findTables(leaseTable, options, signal)
    if (isShared(found.state)) return await readyToShare(found.table, options, signal)
    const sentAtMs = clock.monotonicMs()
    const leases = leasesOf(await leaseTable.scan({ consistent: true }))
    if (leases.size > 0 && found.denial !== undefined) throw found.denial
    if (leases.size === 0 && found.state.version === undefined) {
      if (tablePointInTimeRecovery) await keepBackups(options, tableName, signal)
      await takeOver(found, options)
      continue
    }
    const seen = { table: tableName, state: obstacleOf(found.state) }
    if (first === undefined) {
      first = { leases, answeredAtMs: clock.monotonicMs(), standstillMs: standstillOf(leases, options) }
      telemetry.emit({ type: 'tableWatched', ...seen, standstillMs: first.standstillMs })
    }
    const moved = movement(first.leases, leases)
    if (moved !== undefined) {
      const now = await findTables(leaseTable, options, signal)
      // Another worker of ours may have taken the table over meanwhile, and begun.
      if (isShared(now.state)) continue
      throw inUse(tableName, now.state, moved, ownedStandstillMs(options))
    }
    if (sentAtMs - first.answeredAtMs > first.standstillMs) {
      if (await takeOver(found, options)) telemetry.emit({ type: 'tableTakenOver', ...seen })
      continue
    }
    const pollMs = Math.min(MAX_POLL_MS, options.failoverTime / 10)
    await clock.sleep(Math.max(pollMs, POLL_MS_PER_LEASE * leases.size), signal)
  }
}

/** For how long the leases must stand still. Where nobody owns any that is to be read, another look is enough. */
function standstillOf(leases: ReadonlyMap<string, Lease>, options: OpenTableOptions): number {
  const isOwned = [...leases.values()].some((lease) => holderOf(lease) !== undefined && !isFinished(lease))
  return isOwned ? ownedStandstillMs(options) : 0
}

function ownedStandstillMs({ failoverTime }: OpenTableOptions): number {
  return Math.max(STANDSTILL_FACTOR * failoverTime, MIN_STANDSTILL_MS)
}

/** One step towards a table that ours may share. Where it is refused since something has changed, the next look tells what. */
async function takeOver(found: Found, options: OpenTableOptions): Promise<boolean> {
  const { table, state, versionNote, versionTable, migrationNote } = found
  const written = followsOurRules(state)
    ? migrationNote && (await table.update(suspendTableMigration(migrationNote, options)))
    : await versionTable.update(declareVersion(versionNote, options))
  return written !== undefined
}

async function findTables(leaseTable: DynamoDBTable, options: OpenTableOptions, signal: AbortSignal): Promise<Found> {
  const { dynamodb, tableName } = options
  const [versionNote, migrationNote] = await readNotes(leaseTable)
  const single = {
    table: leaseTable,
    state: { version: versionNote?.cv?.S, tableMigration: undefined },
    versionNote,
    versionTable: leaseTable,
    migrationNote: undefined,
  }
  if (isMigrated(migrationNote)) return single
  const coordinator = coordinatorTable(options, tableName)
  const exists = await knownToExist(dynamodb, coordinator.name, signal)
  // A policy for a single table allows nothing on others, and with one there is nothing to ask for.
  if (exists !== true) {
    return { ...single, denial: exists === false || versionNote !== undefined ? undefined : exists }
  }
  await ensureTable({ name: coordinator.name, keyName: 'key' }, options, signal)
  const table = new ThreeTables(leaseTable, coordinator, workersTable(options, tableName))
  const [oldVersionNote, oldMigrationNote] = await readNotes(table)
  if (isMigrated(oldMigrationNote)) return single
  // The KCL moves it to the lease table a while before the tables count as one.
  const isVersionMoved = oldVersionNote === undefined && versionNote !== undefined
  return {
    table,
    state: { version: (oldVersionNote ?? versionNote)?.cv?.S, tableMigration: oldMigrationNote?.tm?.S },
    versionNote: oldVersionNote ?? versionNote,
    versionTable: isVersionMoved ? leaseTable : table,
    migrationNote: oldMigrationNote,
  }
}

async function readNotes(table: Table): Promise<[version: Item | undefined, tableMigration: Item | undefined]> {
  return await Promise.all([table.read('coordinator', VERSION_KEY), table.read('coordinator', TABLE_MIGRATION_KEY)])
}

/** Resolves to an error if the worker may not know. */
async function knownToExist(dynamodb: DynamoDB, name: string, signal: AbortSignal): Promise<boolean | ConsumerError> {
  try {
    return (await describeTable(dynamodb, name, signal)) !== undefined
  } catch (error) {
    if (!(error instanceof ConsumerError) || error.code !== 'ERR_ACCESS') throw error
    return accessDenied(
      'DescribeTable',
      name,
      error.cause,
      'the application was not started by a KCL 3.5 or Shardwise, so it may have this table too; if it has none, it is enough to see that',
    )
  }
}

/** A worker's entry may be written from now on. */
async function readyToShare(table: Table, options: OpenTableOptions, signal: AbortSignal): Promise<Table> {
  if (table instanceof ThreeTables) {
    const { name } = workersTable(options, options.tableName)
    await ensureTable({ name, keyName: 'wid' }, options, signal)
  }
  return table
}
