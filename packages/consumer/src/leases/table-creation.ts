import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DescribeTableCommand,
  type TableDescription,
  UpdateContinuousBackupsCommand,
} from '@aws-sdk/client-dynamodb'
import { type Clock, errorCode } from '@shardwise/core'
import { ConsumerError, explained } from '../errors.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { DynamoDB } from './items-table.ts'

/** The KCL's index by owner, in which a worker finds its leases without reading the whole table. */
export const OWNER_INDEX = 'LeaseOwnerToLeaseKeyIndex'

export interface TableCreationOptions {
  readonly dynamodb: DynamoDB
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly tableBillingMode: 'PAY_PER_REQUEST' | 'PROVISIONED'
  readonly tableReadCapacity: number
  readonly tableWriteCapacity: number
  readonly tableTags: Readonly<Record<string, string>>
  readonly tableDeletionProtection: boolean
}

/** A table as it must be: its name, and that of its key, a string. */
interface TableSchema {
  readonly name: string
  readonly keyName: 'leaseKey' | 'key' | 'wid'
}

const POLL_MS = 200
const BACKUPS_POLL_MS = 1_000
/** The service takes seconds after a table's creation until its backups can be turned on. */
const BACKUPS_ATTEMPTS = 60

/** Creates the table unless it exists, and waits until it can be used. Any number of workers may do so at once. */
export async function ensureTable(
  schema: TableSchema,
  options: TableCreationOptions,
  signal: AbortSignal,
): Promise<TableDescription> {
  const { dynamodb, clock } = options
  for (;;) {
    const table = await describeTable(dynamodb, schema.name, signal)
    if (table === undefined) {
      if (await createTable(schema, options, signal)) continue
    } else if (isUsable(table)) {
      checkKey(table, schema)
      return table
    }
    await clock.sleep(POLL_MS, signal)
  }
}

/** Resolves to undefined for a table that doesn't exist. */
export async function describeTable(
  dynamodb: DynamoDB,
  name: string,
  signal?: AbortSignal,
): Promise<TableDescription | undefined> {
  return await explained('DescribeTable', name, async () => {
    try {
      const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName: name }), abort(signal))
      return Table
    } catch (error) {
      if (errorCode(error) === 'ResourceNotFoundException') return undefined
      throw error
    }
  })
}

export function hasOwnerIndex(table: TableDescription | undefined): boolean {
  return (table?.GlobalSecondaryIndexes ?? []).some(
    ({ IndexName, IndexStatus = 'ACTIVE' }) =>
      IndexName === OWNER_INDEX && (IndexStatus === 'ACTIVE' || IndexStatus === 'UPDATING'),
  )
}

/** Turns point-in-time recovery on. Done again it changes nothing. */
export async function keepBackups(
  { dynamodb, clock }: TableCreationOptions,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await explained('UpdateContinuousBackups', name, () =>
        dynamodb.send(
          new UpdateContinuousBackupsCommand({
            TableName: name,
            PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
          }),
          abort(signal),
        ),
      )
      return
    } catch (error) {
      const isTooEarly = errorCode(error) === 'ContinuousBackupsUnavailableException'
      if (!isTooEarly || attempt === BACKUPS_ATTEMPTS) throw error
    }
    await clock.sleep(BACKUPS_POLL_MS, signal)
  }
}

/** Resolves to whether it was this worker that did. */
async function createTable(schema: TableSchema, options: TableCreationOptions, signal: AbortSignal): Promise<boolean> {
  const { dynamodb, telemetry } = options
  const created = await explained('CreateTable', schema.name, async () => {
    try {
      await dynamodb.send(new CreateTableCommand(creationOf(schema, options)), abort(signal))
      return true
    } catch (error) {
      // Another worker was faster.
      if (errorCode(error) === 'ResourceInUseException') return false
      throw error
    }
  })
  if (created) telemetry.emit({ type: 'tableCreated', table: schema.name })
  return created
}

function creationOf({ name, keyName }: TableSchema, options: TableCreationOptions): CreateTableCommandInput {
  const { tableBillingMode, tableReadCapacity, tableWriteCapacity, tableTags, tableDeletionProtection } = options
  const capacity = tableBillingMode === 'PROVISIONED' && {
    ProvisionedThroughput: { ReadCapacityUnits: tableReadCapacity, WriteCapacityUnits: tableWriteCapacity },
  }
  const tags = Object.entries(tableTags).map(([Key, Value]) => ({ Key, Value }))
  const hasLeases = keyName === 'leaseKey'
  return {
    TableName: name,
    BillingMode: tableBillingMode,
    ...capacity,
    KeySchema: [{ AttributeName: keyName, KeyType: 'HASH' }],
    AttributeDefinitions: [
      { AttributeName: keyName, AttributeType: 'S' },
      ...(hasLeases ? [{ AttributeName: 'leaseOwner', AttributeType: 'S' as const }] : []),
    ],
    ...(hasLeases && {
      GlobalSecondaryIndexes: [
        {
          IndexName: OWNER_INDEX,
          KeySchema: [
            { AttributeName: 'leaseOwner', KeyType: 'HASH' },
            { AttributeName: 'leaseKey', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'KEYS_ONLY' },
          ...capacity,
        },
      ],
    }),
    ...(tags.length > 0 && { Tags: tags }),
    ...(tableDeletionProtection && { DeletionProtectionEnabled: true }),
  }
}

/** @throws {ConsumerError} if it never will be */
function isUsable({ TableName, TableStatus }: TableDescription): boolean {
  switch (TableStatus) {
    case 'ACTIVE':
    case 'UPDATING':
      return true
    case 'ARCHIVED':
    case 'ARCHIVING':
    case 'INACCESSIBLE_ENCRYPTION_CREDENTIALS':
      throw new ConsumerError(
        'ERR_TABLE',
        `Table "${TableName}" can't be used: expected it to be ACTIVE, got ${TableStatus}. ` +
          'Give DynamoDB access to its encryption key again, or restore the table.',
      )
    default:
      return false
  }
}

function checkKey({ KeySchema, AttributeDefinitions }: TableDescription, { name, keyName }: TableSchema): void {
  const typeOf = (attribute: string | undefined): string =>
    AttributeDefinitions?.find(({ AttributeName }) => AttributeName === attribute)?.AttributeType ?? 'S'
  const key = KeySchema?.map(({ AttributeName, KeyType }) => `${AttributeName} (${KeyType}, ${typeOf(AttributeName)})`)
  const expected = `${keyName} (HASH, S)`
  if (key?.join(', ') === expected) return
  throw new ConsumerError(
    'ERR_TABLE',
    `Table "${name}" is no table of this application: expected the key ${expected}, got ${key?.join(', ')}. ` +
      'Choose another application name, or give tableName.',
  )
}

function abort(signal: AbortSignal | undefined): { abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal }
}
