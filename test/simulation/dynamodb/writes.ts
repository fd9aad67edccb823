import type {
  AttributeValue,
  ConditionCheck,
  DeleteItemInput,
  PutItemInput,
  ReturnValue,
  UpdateItemInput,
} from '@aws-sdk/client-dynamodb'
import { checkCondition, holds } from './conditions.ts'
import { conditionFailed, invalid } from './errors.ts'
import { parseCondition, parseUpdate } from './expressions.ts'
import { project } from './paths.ts'
import { Placeholders } from './placeholders.ts'
import type { StoredTable } from './stored-table.ts'
import { bindUpdate, type Update } from './updates.ts'
import { handOut, type Item, sizeOfItem, takeInItem } from './values.ts'
import type { World } from './world.ts'

const MAX_ITEM_BYTES = 400 * 1024

type FindTable = (name: string | undefined) => StoredTable

/** A request to write one item that is in order as far as that can be told without the item. */
export interface PlannedWrite {
  readonly table: StoredTable
  /** The key's attributes. */
  readonly key: Item
  readonly keyText: string
  readonly isMet: (before: Item | undefined) => boolean
  readonly returnsItemIfUnmet: boolean
  /** Undefined: only the condition counts. Refuses what can't be done to this item. */
  readonly change: ((before: Item | undefined) => Item | undefined) | undefined
  /** The attributes that ReturnValues asks for. */
  readonly answer: (before: Item | undefined, after: Item | undefined) => object
}

export function planPut(input: PutItemInput, findTable: FindTable): PlannedWrite {
  checkReturnValues(input.ReturnValues)
  const item = takeInItem(input.Item ?? {})
  const condition = planCondition(input)
  const table = findTable(input.TableName)
  table.schema.checkItem(item)
  checkWhole(table, item, 'Item size has exceeded the maximum allowed size')
  return {
    ...condition,
    ...located(table, table.schema.keyOf(item)),
    change: () => item,
    answer: (before) => (input.ReturnValues === 'ALL_OLD' ? attributes(before) : {}),
  }
}

export function planDelete(input: DeleteItemInput, findTable: FindTable): PlannedWrite {
  checkReturnValues(input.ReturnValues)
  const condition = planCondition(input)
  const table = findTable(input.TableName)
  return {
    ...condition,
    ...located(table, table.schema.takeInKey(input.Key)),
    change: () => undefined,
    answer: (before) => (input.ReturnValues === 'ALL_OLD' ? attributes(before) : {}),
  }
}

export function planCheck(input: Partial<ConditionCheck>, findTable: FindTable): PlannedWrite {
  if (input.ConditionExpression === undefined) throw invalid('Expected a ConditionExpression in a ConditionCheck')
  const condition = planCondition(input)
  const table = findTable(input.TableName)
  return { ...condition, ...located(table, table.schema.takeInKey(input.Key)), change: undefined, answer: () => ({}) }
}

export function planUpdate(input: UpdateItemInput, findTable: FindTable): PlannedWrite {
  const updates = input.UpdateExpression === undefined ? undefined : parseUpdate(input.UpdateExpression)
  const conditions = input.ConditionExpression === undefined ? undefined : parseCondition(input.ConditionExpression)
  const placeholders = new Placeholders(
    input,
    [updates, conditions].filter((parsed) => parsed !== undefined),
  )
  if (conditions !== undefined) checkCondition(conditions.tree, placeholders)
  const update = updates && bindUpdate(updates.tree, placeholders)
  const table = findTable(input.TableName)
  const key = table.schema.takeInKey(input.Key)
  if (update !== undefined) checkUpdate(table, update)
  return {
    ...located(table, key),
    isMet: (before) => conditions === undefined || holds(conditions.tree, before, placeholders),
    returnsItemIfUnmet: input.ReturnValuesOnConditionCheckFailure === 'ALL_OLD',
    change: (before) => changed(table, key, before, update),
    answer: (before, after) => updateAnswer(input.ReturnValues, update, before, after),
  }
}

function checkUpdate(table: StoredTable, { paths, types }: Update): void {
  for (const [index, path] of paths.entries()) {
    const name = String(path[0])
    if (table.schema.names.includes(name)) {
      throw invalid(
        `One or more parameter values were invalid: Cannot update attribute ${name}. This attribute is part of the key`,
      )
    }
    const type = types[index]
    if (path.length > 1 || type === undefined) continue
    for (const [indexName, { schema }] of table.indexes) schema.checkIndexedType(name, type, indexName)
  }
}

function changed(
  table: StoredTable,
  key: Item,
  before: Item | undefined,
  update: Update | undefined,
): Item | undefined {
  if (update === undefined) return before ?? Object.freeze({ ...key })
  if (before === undefined && update.onlyRemoves) {
    update.apply(key)
    return undefined
  }
  const after = update.apply(before ?? key)
  checkWhole(table, after, 'Item size to update has exceeded the maximum allowed size')
  return after
}

function updateAnswer(
  returned: ReturnValue | undefined,
  update: Update | undefined,
  before: Item | undefined,
  after: Item | undefined,
): object {
  switch (returned) {
    case undefined:
    case 'NONE':
      return {}
    case 'ALL_OLD':
      return attributes(before)
    case 'ALL_NEW':
      return attributes(after)
    case 'UPDATED_OLD':
      return attributes(before && project(before, update?.paths ?? []))
    case 'UPDATED_NEW':
      return attributes(after && project(after, update?.paths ?? []))
    default:
      throw invalid(`Value '${returned}' at 'returnValues' failed to satisfy constraint`)
  }
}

function planCondition(
  input: Pick<PutItemInput, 'ConditionExpression' | 'ReturnValuesOnConditionCheckFailure'> & {
    ExpressionAttributeNames?: Record<string, string> | undefined
    ExpressionAttributeValues?: Record<string, AttributeValue> | undefined
  },
): Pick<PlannedWrite, 'isMet' | 'returnsItemIfUnmet'> {
  const { ConditionExpression: text } = input
  const parsed = text === undefined ? undefined : parseCondition(text)
  const placeholders = new Placeholders(input, parsed === undefined ? [] : [parsed])
  if (parsed !== undefined) checkCondition(parsed.tree, placeholders)
  return {
    isMet: (before) => parsed === undefined || holds(parsed.tree, before, placeholders),
    returnsItemIfUnmet: input.ReturnValuesOnConditionCheckFailure === 'ALL_OLD',
  }
}

function located(table: StoredTable, key: Item): Pick<PlannedWrite, 'table' | 'key' | 'keyText'> {
  return { table, key, keyText: table.schema.textOf(key) }
}

function checkReturnValues(returned: ReturnValue | undefined): void {
  if (returned === undefined || returned === 'NONE' || returned === 'ALL_OLD') return
  throw invalid('ReturnValues can only be ALL_OLD or NONE')
}

function checkWhole(table: StoredTable, item: Item, ifTooLarge: string): void {
  for (const [name, index] of table.indexes) index.schema.checkIndexed(item, name)
  if (sizeOfItem(item) > MAX_ITEM_BYTES) throw invalid(ifTooLarge)
}

function attributes(item: Item | undefined): object {
  if (item === undefined) return {}
  const Attributes = handOut(item)
  return Object.keys(Attributes).length > 0 ? { Attributes } : {}
}

export interface DecidedWrite {
  readonly plan: PlannedWrite
  readonly before: Item | undefined
  readonly after: Item | undefined
}

/** Looks at the item as it is, without changing it. Throws if the condition isn't met or the change can't be made. */
export function decide(plan: PlannedWrite): DecidedWrite {
  const before = plan.table.read(plan.keyText)
  if (!plan.isMet(before)) {
    throw conditionFailed(plan.returnsItemIfUnmet && before !== undefined ? { Item: handOut(before) } : {})
  }
  return { plan, before, after: plan.change === undefined ? before : plan.change(before) }
}

/** Carries out all writes at one moment, then tells of them. */
export function commit(writes: readonly DecidedWrite[], world: World, context: unknown): void {
  const nowMs = world.nowMs()
  const effective = writes.filter(
    ({ plan, before, after }) => plan.change !== undefined && (before !== undefined || after !== undefined),
  )
  for (const { plan, after } of effective) plan.table.write(plan.key, after, nowMs, world.indexLagMs)
  for (const { plan, before, after } of effective) {
    world.onWrite({ table: plan.table.name, key: plan.keyText, before, after, context })
  }
}
