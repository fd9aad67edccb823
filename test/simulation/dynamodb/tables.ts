import { createHash } from 'node:crypto'
import type {
  AttributeDefinition,
  CreateTableInput,
  DeleteTableInput,
  DescribeContinuousBackupsInput,
  DescribeTableInput,
  DescribeTimeToLiveInput,
  GlobalSecondaryIndexDescription,
  ListTablesInput,
  ListTagsOfResourceInput,
  PointInTimeRecoverySpecification,
  TableDescription,
  TagResourceInput,
  TimeToLiveSpecification,
  UntagResourceInput,
  UpdateContinuousBackupsInput,
  UpdateTableInput,
  UpdateTimeToLiveInput,
} from '@aws-sdk/client-dynamodb'
import { DynamoDBModelError, invalid, notModelled } from './errors.ts'
import { StoredTable } from './stored-table.ts'
import { notFound, type World } from './world.ts'

const ARN_PREFIX = 'arn:aws:dynamodb:us-east-1:000000000000:table/'
const MAX_LISTED = 100

interface KnownTable {
  readonly stored: StoredTable
  readonly id: string
  readonly createdMs: number
  readonly activeFromMs: number
  readonly keySchema: NonNullable<CreateTableInput['KeySchema']>
  definitions: readonly AttributeDefinition[]
  billing: Pick<CreateTableInput, 'BillingMode' | 'ProvisionedThroughput'>
  isProtected: boolean
  timeToLive: TimeToLiveSpecification | undefined
  recovery: PointInTimeRecoverySpecification | undefined
  readonly tags: Map<string, string>
}

/** Which tables there are, and what is set about them. */
export class Tables {
  readonly #world: World
  readonly #tables = new Map<string, KnownTable>()
  #created = 0

  constructor(world: World) {
    this.#world = world
  }

  /** The table to read from or write to. */
  usable(name: string | undefined): StoredTable {
    const table = this.#tables.get(checkName(name))
    if (table === undefined || this.#world.nowMs() < table.activeFromMs) throw notFound()
    return table.stored
  }

  create(input: CreateTableInput): object {
    const name = checkName(input.TableName)
    const { AttributeDefinitions: definitions = [], GlobalSecondaryIndexes: indexes } = input
    checkBilling(input)
    const stored = new StoredTable(name, input.KeySchema ?? [], definitions)
    if (indexes?.length === 0) {
      throw invalid('One or more parameter values were invalid: List of GlobalSecondaryIndexes is empty')
    }
    const nowMs = this.#world.nowMs()
    const activeFromMs = nowMs + this.#world.createMs
    for (const index of indexes ?? []) stored.addIndex(index, definitions, activeFromMs, nowMs)
    checkDefinitions(stored, definitions)
    if (this.#tables.has(name)) throw inUse(`Table already exists: ${name}`)
    const table: KnownTable = {
      stored,
      id: createHash('md5')
        .update(`${name} ${this.#created++}`)
        .digest('hex'),
      createdMs: nowMs,
      activeFromMs,
      keySchema: structuredClone(input.KeySchema ?? []),
      definitions: structuredClone(definitions),
      billing: billingOf(input),
      isProtected: input.DeletionProtectionEnabled ?? false,
      timeToLive: undefined,
      recovery: undefined,
      tags: new Map(input.Tags?.map(({ Key, Value }) => [Key!, Value!])),
    }
    this.#tables.set(name, table)
    return { TableDescription: this.#describe(table) }
  }

  describe({ TableName }: DescribeTableInput): object {
    return { Table: this.#describe(this.#known(TableName)) }
  }

  update(input: UpdateTableInput): object {
    const table = this.#known(input.TableName)
    const { GlobalSecondaryIndexUpdates: updates = [] } = input
    this.#checkActive(table)
    if (updates.length > 1) {
      throw new DynamoDBModelError(
        'LimitExceededException',
        'Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table',
      )
    }
    const definitions = structuredClone(input.AttributeDefinitions ?? table.definitions)
    const nowMs = this.#world.nowMs()
    for (const { Create, Delete, Update } of updates) {
      if (Update !== undefined) throw notModelled('update of an index')
      if (Create !== undefined) table.stored.addIndex(Create, definitions, nowMs + this.#world.createMs, nowMs)
      if (Delete !== undefined && !table.stored.indexes.delete(Delete.IndexName!)) {
        throw notFound('Requested resource not found: Index not found')
      }
    }
    table.definitions = definitions
    if (input.BillingMode !== undefined || input.ProvisionedThroughput !== undefined) {
      const billing = { BillingMode: table.billing.BillingMode, ...input }
      checkBilling(billing)
      table.billing = billingOf(billing)
    }
    table.isProtected = input.DeletionProtectionEnabled ?? table.isProtected
    return { TableDescription: this.#describe(table) }
  }

  delete({ TableName }: DeleteTableInput): object {
    const table = this.#known(TableName)
    this.#checkActive(table)
    if (table.isProtected) {
      throw invalid(
        `Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection first.`,
      )
    }
    this.#tables.delete(table.stored.name)
    return { TableDescription: { ...this.#describe(table), TableStatus: 'DELETING' } }
  }

  list(input: ListTablesInput): object {
    const { ExclusiveStartTableName: start = '', Limit: limit = MAX_LISTED } = input
    const names = [...this.#tables.keys()].toSorted().filter((name) => name > start)
    const listed = names.slice(0, limit)
    return { TableNames: listed, ...(names.length > limit && { LastEvaluatedTableName: listed.at(-1) }) }
  }

  updateTimeToLive(input: UpdateTimeToLiveInput): object {
    const table = this.#known(input.TableName)
    const { AttributeName, Enabled } = input.TimeToLiveSpecification ?? {}
    if (AttributeName === undefined || Enabled === undefined) throw invalid('Expected a whole TimeToLiveSpecification')
    if (Enabled === (table.timeToLive !== undefined)) {
      throw invalid(`TimeToLive is already ${Enabled ? 'enabled' : 'disabled'}`)
    }
    table.timeToLive = Enabled ? { AttributeName, Enabled } : undefined
    return { TimeToLiveSpecification: { AttributeName, Enabled } }
  }

  describeTimeToLive({ TableName }: DescribeTimeToLiveInput): object {
    const { timeToLive } = this.#known(TableName)
    return {
      TimeToLiveDescription: timeToLive
        ? { TimeToLiveStatus: 'ENABLED', AttributeName: timeToLive.AttributeName }
        : { TimeToLiveStatus: 'DISABLED' },
    }
  }

  updateBackups(input: UpdateContinuousBackupsInput): object {
    this.#backedUp(input.TableName).recovery = structuredClone(input.PointInTimeRecoverySpecification)
    return this.describeBackups(input)
  }

  describeBackups({ TableName }: DescribeContinuousBackupsInput): object {
    const { recovery } = this.#backedUp(TableName)
    const enabled = recovery?.PointInTimeRecoveryEnabled === true
    return {
      ContinuousBackupsDescription: {
        ContinuousBackupsStatus: 'ENABLED',
        PointInTimeRecoveryDescription: {
          PointInTimeRecoveryStatus: enabled ? 'ENABLED' : 'DISABLED',
          ...(enabled && { RecoveryPeriodInDays: recovery?.RecoveryPeriodInDays ?? 35 }),
        },
      },
    }
  }

  tag({ ResourceArn, Tags = [] }: TagResourceInput): object {
    const { tags } = this.#withArn(ResourceArn)
    for (const { Key, Value } of Tags) tags.set(Key!, Value!)
    return {}
  }

  untag({ ResourceArn, TagKeys = [] }: UntagResourceInput): object {
    const { tags } = this.#withArn(ResourceArn)
    for (const key of TagKeys) tags.delete(key)
    return {}
  }

  tags({ ResourceArn }: ListTagsOfResourceInput): object {
    return { Tags: [...this.#withArn(ResourceArn).tags].map(([Key, Value]) => ({ Key, Value })) }
  }

  #known(name: string | undefined): KnownTable {
    const table = this.#tables.get(checkName(name))
    if (table === undefined) throw notFound(`Requested resource not found: Table: ${name} not found`)
    return table
  }

  #backedUp(name: string | undefined): KnownTable {
    const table = this.#tables.get(checkName(name))
    if (table === undefined) throw new DynamoDBModelError('TableNotFoundException', `Table not found: ${name}`)
    return table
  }

  #withArn(arn = ''): KnownTable {
    const table = arn.startsWith(ARN_PREFIX) ? this.#tables.get(arn.slice(ARN_PREFIX.length)) : undefined
    if (table === undefined) throw notFound(`Requested resource not found: ResourcArn: ${arn} not found`)
    return table
  }

  #checkActive(table: KnownTable): void {
    if (this.#world.nowMs() >= table.activeFromMs) return
    throw inUse(`Attempt to change a resource which is still in use: Table is being created: ${table.stored.name}`)
  }

  #describe({
    stored,
    id,
    createdMs,
    activeFromMs,
    keySchema,
    definitions,
    billing,
    isProtected,
  }: KnownTable): TableDescription {
    const nowMs = this.#world.nowMs()
    const { latest } = stored
    const { ReadCapacityUnits = 0, WriteCapacityUnits = 0 } = billing.ProvisionedThroughput ?? {}
    const indexes = [...stored.indexes].map(([indexName, index]): GlobalSecondaryIndexDescription => {
      const rows = index.rows(nowMs).all
      return {
        ...structuredClone(index.description),
        IndexArn: `${ARN_PREFIX}${stored.name}/index/${indexName}`,
        IndexStatus: nowMs < index.activeFromMs ? 'CREATING' : 'ACTIVE',
        ItemCount: rows.length,
        IndexSizeBytes: rows.reduce((bytes, { shown }) => bytes + shown.size, 0),
      }
    })
    const isUpdating = indexes.some(({ IndexStatus }) => IndexStatus !== 'ACTIVE')
    return {
      TableName: stored.name,
      TableArn: ARN_PREFIX + stored.name,
      TableId: id,
      TableStatus: nowMs < activeFromMs ? 'CREATING' : isUpdating ? 'UPDATING' : 'ACTIVE',
      CreationDateTime: new Date(createdMs),
      KeySchema: structuredClone(keySchema),
      AttributeDefinitions: structuredClone([...definitions]),
      ItemCount: latest.length,
      TableSizeBytes: latest.reduce((bytes, { size }) => bytes + size, 0),
      ProvisionedThroughput: { ReadCapacityUnits, WriteCapacityUnits, NumberOfDecreasesToday: 0 },
      ...(billing.BillingMode === 'PAY_PER_REQUEST' && { BillingModeSummary: { BillingMode: 'PAY_PER_REQUEST' } }),
      DeletionProtectionEnabled: isProtected,
      ...(indexes.length > 0 && { GlobalSecondaryIndexes: indexes }),
    }
  }
}

function checkName(name: string | undefined): string {
  if (name !== undefined && /^[a-zA-Z0-9_.-]{3,255}$/.test(name)) return name
  throw invalid(`Value '${name}' at 'tableName' failed to satisfy constraint: 3 to 255 of a-z, A-Z, 0-9, _, ., -`)
}

function checkBilling({ BillingMode: mode, ProvisionedThroughput: throughput }: KnownTable['billing']): void {
  if (mode === 'PAY_PER_REQUEST' && throughput !== undefined) {
    throw invalid(
      'One or more parameter values were invalid: ' +
        'Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST',
    )
  }
  if (mode !== 'PAY_PER_REQUEST' && !(throughput?.ReadCapacityUnits && throughput.WriteCapacityUnits)) {
    throw invalid(
      'One or more parameter values were invalid: ' +
        'ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED',
    )
  }
}

function billingOf({ BillingMode, ProvisionedThroughput }: KnownTable['billing']): KnownTable['billing'] {
  return { BillingMode, ...(ProvisionedThroughput && { ProvisionedThroughput: { ...ProvisionedThroughput } }) }
}

function checkDefinitions(stored: StoredTable, definitions: readonly AttributeDefinition[]): void {
  const used = new Set(
    [stored.schema, ...[...stored.indexes.values()].map(({ schema }) => schema)].flatMap((s) => s.names),
  )
  if (used.size === definitions.length) return
  throw invalid(
    'One or more parameter values were invalid: ' +
      'Some AttributeDefinitions are not used. ' +
      `AttributeDefinitions: [${definitions.map(({ AttributeName }) => AttributeName).join(', ')}], ` +
      `keys used: [${[...used].join(', ')}]`,
  )
}

function inUse(message: string): Error {
  return new DynamoDBModelError('ResourceInUseException', message)
}
