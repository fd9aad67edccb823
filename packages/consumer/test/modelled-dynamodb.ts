import { readFileSync } from 'node:fs'
import type { AttributeValue, CreateTableInput } from '@aws-sdk/client-dynamodb'
import { silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom } from '@shardwise/core/testing'
import { DynamoDBModel } from '../../../test/simulation/dynamodb/model.ts'
import type { DynamoDB } from '../src/leases/items-table.ts'
import { type OpenTableOptions, openTable } from '../src/leases/open-table.ts'
import type { Item, Table } from '../src/leases/table.ts'
import { type ConsumerEvent, Telemetry } from '../src/telemetry/telemetry.ts'

/** One call as it arrived. */
export interface Call {
  readonly operation: string
  readonly table: string
  readonly input: Record<string, unknown>
}

type Act = (call: Call, execute: () => object) => object

export const NAME = 'billing'
const FAILOVER_MS = 10_000
const WRITES = new Set(['UpdateItem', 'PutItem', 'DeleteItem', 'TransactWriteItems', 'BatchWriteItem'])
const CHANGES = new Set(['CreateTable', 'UpdateTable', 'UpdateContinuousBackups', 'TagResource'])
const STEP_MS = 100
const PATIENCE_MS = 120_000

interface LoadedTable {
  readonly label: string
  readonly name: string
  readonly describe: Pick<CreateTableInput, 'AttributeDefinitions' | 'KeySchema' | 'GlobalSecondaryIndexes'>
  readonly items: readonly Item[]
}

/** Tables as real KCLs wrote them. */
export const KCL_TABLES: readonly LoadedTable[] = JSON.parse(
  readFileSync(new URL('../test-vectors/kcl-lease-tables.json', import.meta.url), 'utf8'),
).tables

/** The model of DynamoDB behind a client, in time that only the test moves. */
export class ModelledDynamoDB {
  readonly clock: ManualClock = new ManualClock()
  readonly model: DynamoDBModel
  readonly calls: Call[] = []
  readonly events: ConsumerEvent[] = []

  constructor(createMs = 300) {
    this.model = new DynamoDBModel({ nowMs: () => this.clock.monotonicMs(), random: seededRandom(1), createMs })
  }

  /** @param act carries the call out, or fails as it likes */
  client(act: Act = (_, execute) => execute()): DynamoDB {
    const send = async (command: object, { abortSignal }: { abortSignal?: AbortSignal } = {}): Promise<object> => {
      await Promise.resolve()
      abortSignal?.throwIfAborted()
      const operation = command.constructor.name.replace(/Command$/, '')
      const { input } = command as { input: Record<string, unknown> }
      const call = { operation, table: String(input.TableName), input }
      this.calls.push(call)
      return act(call, () => this.model.execute(operation, input))
    }
    return { send } as unknown as DynamoDB
  }

  open(options: Partial<OpenTableOptions> = {}, signal: AbortSignal = new AbortController().signal): Promise<Table> {
    return openTable(
      {
        dynamodb: this.client(),
        tableName: NAME,
        tableBillingMode: 'PAY_PER_REQUEST',
        tableReadCapacity: 10,
        tableWriteCapacity: 10,
        tableTags: {},
        tableDeletionProtection: false,
        tablePointInTimeRecovery: false,
        workerId: 'ours',
        failoverTime: FAILOVER_MS,
        clock: this.clock,
        random: () => 0.5,
        telemetry: new Telemetry(silentLogger, (event) => this.events.push(event), {}),
        ...options,
      },
      signal,
    )
  }

  /** Lets time pass until it is done. */
  async done<T>(work: Promise<T>): Promise<T> {
    let isOver = false
    const over = (): void => {
      isOver = true
    }
    work.then(over, over)
    for (let passed = 0; !isOver && passed < PATIENCE_MS; passed += STEP_MS) await this.clock.advance(STEP_MS)
    if (!isOver) throw new Error(`Not done after ${PATIENCE_MS} ms`)
    return await work
  }

  opened(options: Partial<OpenTableOptions> = {}): Promise<Table> {
    return this.done(this.open(options))
  }

  /** Calls by which anything in DynamoDB becomes another. */
  get changes(): Call[] {
    return this.calls.filter(({ operation }) => WRITES.has(operation) || CHANGES.has(operation))
  }

  /** Makes a table with what is in it, not through a client. */
  async load(name: string, keyName: string, items: readonly Item[], hasIndex = keyName === 'leaseKey'): Promise<void> {
    this.model.execute('CreateTable', {
      TableName: name,
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: [{ AttributeName: keyName, KeyType: 'HASH' }],
      AttributeDefinitions: [
        { AttributeName: keyName, AttributeType: 'S' },
        ...(hasIndex ? [{ AttributeName: 'leaseOwner', AttributeType: 'S' }] : []),
      ],
      ...(hasIndex && { GlobalSecondaryIndexes: [INDEX] }),
    })
    await this.clock.advance(1_000)
    for (const item of items) this.put(name, item)
  }

  /** The tables of one dump of a KCL, as those of the application. */
  async loadKcl(label: string): Promise<void> {
    const tables = KCL_TABLES.filter((table) => table.label.startsWith(label))
    const application = tables[0]!.name
    for (const { name, describe, items } of tables) {
      const keyName = describe.KeySchema![0]!.AttributeName!
      await this.load(NAME + name.slice(application.length), keyName, items)
    }
  }

  put(table: string, item: Item): void {
    this.model.execute('PutItem', { TableName: table, Item: item })
  }

  items(table: string = NAME): Item[] {
    return (this.model.execute('Scan', { TableName: table, ConsistentRead: true }) as { Items: Item[] }).Items
  }

  item(key: Record<string, AttributeValue>, table: string = NAME): Item | undefined {
    return (this.model.execute('GetItem', { TableName: table, Key: key, ConsistentRead: true }) as { Item?: Item }).Item
  }

  describe(table: string = NAME): Record<string, unknown> {
    return (this.model.execute('DescribeTable', { TableName: table }) as { Table: Record<string, unknown> }).Table
  }

  /** Renews a lease as any KCL does. */
  renew(leaseKey: string, by = 1): void {
    this.model.execute('UpdateItem', {
      TableName: NAME,
      Key: { leaseKey: { S: leaseKey } },
      UpdateExpression: 'SET leaseCounter = leaseCounter + :by',
      ExpressionAttributeValues: { ':by': { N: String(by) } },
    })
  }

  /** Every lease with an owner is renewed again and again, as the workers of another fleet do it, until told to stop. */
  keepRenewing(leaseKey: string, everyMs = 3_308): () => void {
    const stop = new AbortController()
    const loop = async (): Promise<void> => {
      for (;;) {
        await this.clock.sleep(everyMs, stop.signal)
        this.renew(leaseKey)
      }
    }
    loop().catch((error: unknown) => {
      if (!stop.signal.aborted) throw error
    })
    return () => stop.abort()
  }
}

const INDEX = {
  IndexName: 'LeaseOwnerToLeaseKeyIndex',
  KeySchema: [
    { AttributeName: 'leaseOwner', KeyType: 'HASH' },
    { AttributeName: 'leaseKey', KeyType: 'RANGE' },
  ],
  Projection: { ProjectionType: 'KEYS_ONLY' },
} as const

export function leaseItem(shard: number, { owner, counter = 5 }: { owner?: string; counter?: number } = {}): Item {
  return {
    leaseKey: { S: `shardId-00000000000${shard}` },
    ...(owner !== undefined && { leaseOwner: { S: owner } }),
    leaseCounter: { N: String(counter) },
    checkpoint: { S: '49680422015644342302385935567386433800278181574327926802' },
    checkpointSubSequenceNumber: { N: '0' },
    ownerSwitchesSinceCheckpoint: { N: '0' },
  }
}

/** As AWS words it. */
export function denial(action: string, resource: string): Error {
  const message =
    `User: arn:aws:sts::123456789012:assumed-role/worker/i-1 is not authorized to perform: ${action} on resource: ` +
    `arn:aws:dynamodb:eu-west-1:123456789012:table/${resource} because no identity-based policy allows the ${action} action`
  return Object.assign(new Error(message), { name: 'AccessDeniedException', $metadata: { httpStatusCode: 400 } })
}

/** Lets only calls to these tables through. */
export function onlyOn(...tables: string[]): Act {
  return ({ operation, table }, execute) => {
    if (tables.includes(table)) return execute()
    throw denial(`dynamodb:${operation}`, table)
  }
}
