import type {
  BatchGetItemInput,
  CreateTableInput,
  DeleteItemInput,
  DeleteTableInput,
  DescribeContinuousBackupsInput,
  DescribeTableInput,
  DescribeTimeToLiveInput,
  GetItemInput,
  ListTablesInput,
  ListTagsOfResourceInput,
  PutItemInput,
  QueryInput,
  ScanInput,
  TagResourceInput,
  TransactWriteItemsInput,
  UntagResourceInput,
  UpdateContinuousBackupsInput,
  UpdateItemInput,
  UpdateTableInput,
  UpdateTimeToLiveInput,
} from '@aws-sdk/client-dynamodb'
import { notModelled } from './errors.ts'
import { batchGetItem, getItem } from './gets.ts'
import { query, scan } from './pages.ts'
import { Tables } from './tables.ts'
import { Transactions } from './transactions.ts'
import { type DynamoDBModelOptions, type World, worldOf } from './world.ts'
import { commit, decide, type PlannedWrite, planDelete, planPut, planUpdate } from './writes.ts'

export type { Item } from './values.ts'
export type { DynamoDBModelOptions, DynamoDBWrite } from './world.ts'

interface Operation {
  /** The fields of its input that mean something here. */
  readonly fields: ReadonlySet<string>
  readonly run: (input: object, context: unknown) => object
}

const ALIASES = ['ExpressionAttributeNames', 'ExpressionAttributeValues'] as const
const CONDITION = [...ALIASES, 'TableName', 'ConditionExpression', 'ReturnValuesOnConditionCheckFailure'] as const
const WRITE = [...CONDITION, 'ReturnValues'] as const
const GET = ['TableName', 'Key', 'ConsistentRead', 'ProjectionExpression', 'ExpressionAttributeNames'] as const
const PAGE = [
  ...ALIASES,
  'TableName',
  'IndexName',
  'ConsistentRead',
  'Limit',
  'Select',
  'ExclusiveStartKey',
  'FilterExpression',
  'ProjectionExpression',
] as const
const CHANGE_TABLE = [
  'TableName',
  'AttributeDefinitions',
  'BillingMode',
  'ProvisionedThroughput',
  'DeletionProtectionEnabled',
] as const

/**
 * DynamoDB as plain state that only its caller moves: no timers, no clock, no I/O, and the same answers for the same calls.
 *
 * Each call happens at one moment. What is asked for and isn't modelled, be it an operation or one field of it, is refused
 * with a plain Error that says so.
 */
export class DynamoDBModel {
  readonly #operations: ReadonlyMap<string, Operation>
  readonly #world: World

  constructor(options: DynamoDBModelOptions) {
    this.#world = worldOf(options)
    this.#operations = operationsOn(this.#world)
  }

  /**
   * Answers as the SDK's client would, without `$metadata`.
   *
   * @param operation e.g. `UpdateItem`
   * @param input of the SDK's command. What is stored is a copy
   * @param context whatever the caller wants onWrite to know, e.g. which process wrote
   * @throws what the client would: `name`, `message`, `$metadata.httpStatusCode`, `$fault`
   */
  execute(operation: string, input: object, context?: unknown): object {
    const known = this.#operations.get(operation)
    if (known === undefined) throw notModelled(`operation ${operation}`)
    for (const [field, value] of Object.entries(input)) {
      if (value !== undefined && !known.fields.has(field)) throw notModelled(`${field} in ${operation}`)
    }
    return known.run(input, context)
  }
}

function operationsOn(world: World): ReadonlyMap<string, Operation> {
  const tables = new Tables(world)
  const findTable = tables.usable.bind(tables)
  const transactions = new Transactions(world, findTable)
  const write = (plan: PlannedWrite, context: unknown): object => {
    const decided = decide(plan)
    const answer = plan.answer(decided.before, decided.after)
    commit([decided], world, context)
    return answer
  }
  return new Map<string, Operation>([
    ['GetItem', operation<GetItemInput>(GET, (input) => getItem(input, world, findTable))],
    ['BatchGetItem', operation<BatchGetItemInput>(['RequestItems'], (input) => batchGetItem(input, world, findTable))],
    ['PutItem', operation<PutItemInput>([...WRITE, 'Item'], (input, by) => write(planPut(input, findTable), by))],
    [
      'DeleteItem',
      operation<DeleteItemInput>([...WRITE, 'Key'], (input, by) => write(planDelete(input, findTable), by)),
    ],
    [
      'UpdateItem',
      operation<UpdateItemInput>([...WRITE, 'Key', 'UpdateExpression'], (input, by) =>
        write(planUpdate(input, findTable), by),
      ),
    ],
    [
      'TransactWriteItems',
      operation<TransactWriteItemsInput>(['TransactItems', 'ClientRequestToken'], (input, by) =>
        transactions.write(input, by),
      ),
    ],
    ['Scan', operation<ScanInput>([...PAGE, 'Segment', 'TotalSegments'], (input) => scan(input, world, findTable))],
    [
      'Query',
      operation<QueryInput>([...PAGE, 'KeyConditionExpression', 'ScanIndexForward'], (input) =>
        query(input, world, findTable),
      ),
    ],
    [
      'CreateTable',
      operation<CreateTableInput>([...CHANGE_TABLE, 'KeySchema', 'GlobalSecondaryIndexes', 'Tags'], (input) =>
        tables.create(input),
      ),
    ],
    [
      'UpdateTable',
      operation<UpdateTableInput>([...CHANGE_TABLE, 'GlobalSecondaryIndexUpdates'], (input) => tables.update(input)),
    ],
    ['DescribeTable', operation<DescribeTableInput>(['TableName'], (input) => tables.describe(input))],
    ['DeleteTable', operation<DeleteTableInput>(['TableName'], (input) => tables.delete(input))],
    ['ListTables', operation<ListTablesInput>(['ExclusiveStartTableName', 'Limit'], (input) => tables.list(input))],
    [
      'UpdateTimeToLive',
      operation<UpdateTimeToLiveInput>(['TableName', 'TimeToLiveSpecification'], (input) =>
        tables.updateTimeToLive(input),
      ),
    ],
    [
      'DescribeTimeToLive',
      operation<DescribeTimeToLiveInput>(['TableName'], (input) => tables.describeTimeToLive(input)),
    ],
    [
      'UpdateContinuousBackups',
      operation<UpdateContinuousBackupsInput>(['TableName', 'PointInTimeRecoverySpecification'], (input) =>
        tables.updateBackups(input),
      ),
    ],
    [
      'DescribeContinuousBackups',
      operation<DescribeContinuousBackupsInput>(['TableName'], (input) => tables.describeBackups(input)),
    ],
    ['TagResource', operation<TagResourceInput>(['ResourceArn', 'Tags'], (input) => tables.tag(input))],
    ['UntagResource', operation<UntagResourceInput>(['ResourceArn', 'TagKeys'], (input) => tables.untag(input))],
    ['ListTagsOfResource', operation<ListTagsOfResourceInput>(['ResourceArn'], (input) => tables.tags(input))],
  ])
}

/** One line of the table above: a field that the SDK doesn't know fails to compile. */
function operation<Input extends object>(
  fields: readonly (keyof Input & string)[],
  run: (input: Input, context: unknown) => object,
): Operation {
  return { fields: new Set(fields), run: (input, context) => run(input as Input, context) }
}
