import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import fc from 'fast-check'
import { membersOf } from './values.ts'

/**
 * Random operations on two tables, `plain` (key id, index by-owner) and `ranged` (key id, at). Most are in order, some are
 * not, in every way that a service checks.
 */
export interface Operation {
  readonly name: 'BatchGetItem' | 'DeleteItem' | 'GetItem' | 'PutItem' | 'Query' | 'Scan' | 'UpdateItem'
  readonly input: Readonly<Record<string, unknown>>
}

/** A text with aliases in it, and what they stand for. */
interface Expression {
  readonly text: string
  readonly names: Readonly<Record<string, string>>
  readonly values: Readonly<Record<string, AttributeValue>>
}

type Key = Record<'id' | 'at', AttributeValue>

const S = (value: string): AttributeValue => ({ S: value })
const N = (value: string): AttributeValue => ({ N: value })
const maybe = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(one, { nil: undefined, freq: 2 })
const rarely = <T>(usual: fc.Arbitrary<T>, rare: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ arbitrary: usual, weight: 12 }, { arbitrary: rare, weight: 1 })

const text = fc.constantFrom('x', 'xy', 'y', 'yx', 'z').map(S)
const number = fc.constantFrom('0', '1', '-1', '2.50', '1e2', '99999999999999999999', '-0.001', '007').map(N)
const binary = fc.constantFrom('x', 'xy').map((bytes): AttributeValue => ({ B: new TextEncoder().encode(bytes) }))
const ordered = fc.oneof(text, number, binary)
const texts = fc.subarray(['x', 'y', 'z'], { minLength: 1 }).map((SS): AttributeValue => ({ SS }))
const numbers = fc.subarray(['1', '2.5', '100'], { minLength: 1 }).map((NS): AttributeValue => ({ NS }))
const flat = fc.oneof(ordered, texts, numbers, fc.constantFrom<AttributeValue>({ BOOL: true }, { NULL: true }))
const list = fc.array(flat, { maxLength: 3 }).map((L): AttributeValue => ({ L }))
const map = fc.dictionary(fc.constantFrom('x', 'y'), flat, { maxKeys: 2 }).map((M): AttributeValue => ({ M }))
const attributes = fc.record(
  { a: flat, b: flat, n: number, s: texts, l: list, m: map, owner: rarely(text, number) },
  { requiredKeys: ['n', 'm'] },
)
const path = fc.constantFrom('id', 'a', 'b', 'n', 's', 'l', 'm', 'owner', 'none', 'm.x', 'm.y', 'l[0]', 'l[1]', 'a.x')

const key = fc.record({
  id: fc.constantFrom('p1', 'p2').map(S),
  at: fc.constantFrom('-12', '-1.5', '0', '3', '20').map(N),
})
const table = fc.constantFrom<'plain' | 'ranged'>('plain', 'ranged')

const NOTHING: Expression = { text: '', names: {}, values: {} }

/** Reads as the expression does; a path or value in braces gets aliases. */
function express(
  strings: TemplateStringsArray,
  ...operands: readonly (string | AttributeValue | Expression)[]
): Expression {
  const parts = operands.map((operand): Expression => {
    if (typeof operand === 'string') return aliased(operand)
    if ('text' in operand) return operand
    const alias = `:${JSON.stringify(plainValue(operand)).replace(/\W/g, '_')}`
    return { text: alias, names: {}, values: { [alias]: operand } }
  })
  return {
    text: String.raw({ raw: strings }, ...parts.map((part) => part.text)),
    names: Object.assign({}, ...parts.map(({ names }) => names)),
    values: Object.assign({}, ...parts.map(({ values }) => values)),
  }
}

function aliased(path: string): Expression {
  const names: Record<string, string> = {}
  const text = path.replace(/[a-z]+/g, (name) => {
    names[`#${name}`] = name
    return `#${name}`
  })
  return { text, names, values: {} }
}

function word(text: string): Expression {
  return { ...NOTHING, text }
}

function joined(parts: readonly Expression[], glue: string): Expression {
  return parts.slice(1).reduce((left, right) => express`${left}${word(glue)}${right}`, parts[0] ?? NOTHING)
}

const comparator = fc.constantFrom('=', '<>', '<', '<=', '>', '>=').map(word)
const bounds = rarely(
  fc.constantFrom([S('x'), S('y')] as const, [N('-0.5'), N('2.5')] as const, [N('1'), N('1e2')] as const),
  fc.constantFrom([S('y'), S('x')] as const, [N('1'), S('x')] as const),
)
const comparison: fc.Arbitrary<Expression> = fc.oneof(
  fc.tuple(path, comparator, ordered).map(([p, by, value]) => express`${p} ${by} ${value}`),
  fc.tuple(path, fc.constantFrom('=', '<>').map(word), flat).map(([p, by, value]) => express`${p} ${by} ${value}`),
  fc.tuple(path, flat, flat).map(([p, x, y]) => express`${p} IN (${x}, ${y})`),
  fc.tuple(path, bounds).map(([p, [low, high]]) => express`${p} BETWEEN ${low} AND ${high}`),
  path.map((p) => express`attribute_exists(${p})`),
  path.map((p) => express`attribute_not_exists(${p})`),
  fc
    .tuple(path, rarely(fc.constantFrom('S', 'N', 'SS', 'L', 'M', 'BOOL'), fc.constant('X')))
    .map(([p, type]) => express`attribute_type(${p}, ${S(type)})`),
  fc.tuple(path, rarely(fc.oneof(text, binary), number)).map(([p, value]) => express`begins_with(${p}, ${value})`),
  fc.tuple(path, fc.oneof(text, number)).map(([p, value]) => express`contains(${p}, ${value})`),
  fc.tuple(path, comparator, number).map(([p, by, value]) => express`size(${p}) ${by} ${value}`),
  path.map((p) => express`(attribute_exists(${p}))`),
)
const spoiltComparison: fc.Arbitrary<Expression> = fc.oneof(
  path.map((p) => express`((attribute_exists(${p})))`),
  path.map((p) => express`${p} = ${p}`),
  text.map((value) => express`size = ${value}`),
  path.map((p) => express`${p}`),
  path.map((p) => express`attribute_exists(${p}) AND`),
  number.map((value) => express`size(${value}) = ${value}`),
)
const condition: fc.Arbitrary<Expression> = fc.letrec<{ any: Expression }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    {
      arbitrary: fc.oneof({ arbitrary: comparison, weight: 40 }, { arbitrary: spoiltComparison, weight: 1 }),
      weight: 3,
    },
    { arbitrary: fc.tuple(tie('any'), tie('any')).map(([x, y]) => express`(${x}) AND NOT (${y})`), weight: 1 },
    { arbitrary: fc.tuple(tie('any'), tie('any')).map(([x, y]) => express`(${x}) or (${y})`), weight: 1 },
    {
      arbitrary: fc.tuple(comparison, comparison, comparison).map(([x, y, z]) => express`${x} OR ${y} AND ${z}`),
      weight: 1,
    },
  ),
})).any

/** What it writes to, and the text. */
type Assignment = readonly [path: string, text: Expression]

const soundAssignment = fc.oneof(
  fc
    .tuple(fc.constantFrom('a', 'b', 'l[0]', 'l[7]', 'm.x'), flat)
    .map(([p, value]): Assignment => [p, express`${p} = ${value}`]),
  fc
    .tuple(fc.constantFrom('a', 'b'), fc.oneof(list, map))
    .map(([p, value]): Assignment => [p, express`${p} = ${value}`]),
  fc
    .tuple(fc.constantFrom(' + ', ' - ').map(word), number)
    .map(([sign, value]): Assignment => ['n', express`n = n${sign}${value}`]),
  fc.tuple(number, number).map(([x, y]): Assignment => ['n', express`n = if_not_exists(n, ${x}) + ${y}`]),
  list.map((value): Assignment => ['l', express`l = list_append(l, ${value})`]),
  map.map((value): Assignment => ['m', express`m = ${value}`]),
  text.map((value): Assignment => ['owner', express`${'owner'} = ${value}`]),
  fc.constantFrom('b', 'm.x').map((from): Assignment => ['a', express`a = ${from}`]),
)
const spoiltAssignment = fc.oneof(
  text.map((value): Assignment => ['id', express`id = ${value}`]),
  flat.map((value): Assignment => ['none.x', express`none.x = ${value}`]),
  number.map((value): Assignment => ['owner', express`${'owner'} = ${value}`]),
  text.map((value): Assignment => ['a', express`a = n + ${value}`]),
  number.map((value): Assignment => ['b', express`b = s + ${value}`]),
  fc.constant<Assignment>(['b', express`b = unknown(b)`]),
)
const assignments = fc.uniqueArray(rarely(soundAssignment, spoiltAssignment), {
  selector: ([p]) => p,
  minLength: 1,
  maxLength: 2,
})
const otherAction: fc.Arbitrary<Expression> = fc.oneof(
  fc.constantFrom('owner', 'm.y', 'none', 'b', 'l[1]').map((p) => express` REMOVE ${p}`),
  rarely(number, texts).map((value) => express` ADD n ${value}`),
  rarely(texts, numbers).map((value) => express` ADD s ${value}`),
  rarely(texts, fc.oneof(numbers, number)).map((value) => express` DELETE s ${value}`),
)
/** Never does it only remove, nor change one list several times. */
const update: fc.Arbitrary<Expression> = fc
  .tuple(assignments, maybe(otherAction))
  .filter(([sets, other]) => !(other?.text.includes('[') && sets.some(([p]) => p.startsWith('l'))))
  .map(
    ([sets, other]) =>
      express`SET ${joined(
        sets.map(([, set]) => set),
        ', ',
      )}${other ?? NOTHING}`,
  )

type Spoilt = 'name' | 'value' | 'undefined' | undefined

const spoilt: fc.Arbitrary<Spoilt> = fc.oneof(
  { arbitrary: fc.constant(undefined), weight: 30 },
  { arbitrary: fc.constantFrom('name', 'value', 'undefined'), weight: 1 },
)

/** The request's fields for its expressions. */
function fields(expressions: Readonly<Record<string, Expression | undefined>>, spoilt?: Spoilt): object {
  const given = Object.entries(expressions).filter((entry): entry is [string, Expression] => entry[1] !== undefined)
  const names: Record<string, string> = Object.assign({}, ...given.map(([, { names }]) => names))
  const values: Record<string, AttributeValue> = Object.assign({}, ...given.map(([, { values }]) => values))
  if (spoilt === 'name') names['#unused'] = 'unused'
  if (spoilt === 'value') values[':unused'] = S('unused')
  if (spoilt === 'undefined') delete names[Object.keys(names)[0] ?? '']
  return {
    ...Object.fromEntries(given.map(([field, { text }]) => [field, text])),
    ...(Object.keys(names).length > 0 && { ExpressionAttributeNames: names }),
    ...(Object.keys(values).length > 0 && { ExpressionAttributeValues: values }),
  }
}

function keyIn(table: string, { id, at }: Key): Readonly<Record<string, AttributeValue>> {
  return table === 'plain' ? { id } : { id, at }
}

/** Puts something to begin with. */
export const plainPut: fc.Arbitrary<Operation> = fc
  .record({ TableName: table, key, attributes })
  .map(({ TableName, key, attributes }) => ({
    name: 'PutItem',
    input: { TableName, Item: { ...attributes, ...keyIn(TableName, key) } },
  }))

const put: fc.Arbitrary<Operation> = fc
  .record({
    put: plainPut,
    when: maybe(condition),
    ReturnValues: rarely(fc.constantFrom('NONE', 'ALL_OLD'), fc.constant('ALL_NEW')),
    spoilt,
  })
  .map(({ put, when, ReturnValues, spoilt }) => ({
    name: 'PutItem',
    input: { ...put.input, ReturnValues, ...fields({ ConditionExpression: when }, spoilt) },
  }))

const change: fc.Arbitrary<Operation> = fc
  .record({
    TableName: table,
    key,
    update,
    when: maybe(condition),
    ReturnValues: fc.constantFrom('NONE', 'ALL_OLD', 'ALL_NEW', 'UPDATED_OLD', 'UPDATED_NEW'),
    spoilt,
  })
  .map(({ TableName, key, update, when, ReturnValues, spoilt }) => ({
    name: 'UpdateItem',
    input: {
      TableName,
      Key: keyIn(TableName, key),
      ReturnValues,
      ...fields({ UpdateExpression: update, ConditionExpression: when }, spoilt),
    },
  }))

const remove: fc.Arbitrary<Operation> = fc
  .record({ TableName: table, key, when: maybe(condition), ReturnValues: fc.constantFrom('NONE', 'ALL_OLD'), spoilt })
  .map(({ TableName, key, when, ReturnValues, spoilt }) => ({
    name: 'DeleteItem',
    input: { TableName, Key: keyIn(TableName, key), ReturnValues, ...fields({ ConditionExpression: when }, spoilt) },
  }))

const get: fc.Arbitrary<Operation> = fc
  .record({
    TableName: rarely(table, fc.constantFrom('absent')),
    key,
    paths: maybe(fc.uniqueArray(path, { minLength: 1, maxLength: 3 })),
  })
  .map(({ TableName, key, paths }) => ({
    name: 'GetItem',
    input: {
      TableName,
      Key: keyIn(TableName, key),
      ConsistentRead: true,
      ...fields({ ProjectionExpression: paths && joined(paths.map(aliased), ', ') }),
    },
  }))

const getSeveral: fc.Arbitrary<Operation> = fc.array(key, { maxLength: 3 }).map((keys) => ({
  name: 'BatchGetItem',
  input: { RequestItems: { ranged: { Keys: keys.map((one) => keyIn('ranged', one)), ConsistentRead: true } } },
}))

const limit = maybe(fc.integer({ min: 1, max: 3 }))

const scan: fc.Arbitrary<Operation> = fc
  .record({ TableName: table, filter: maybe(condition), Limit: limit, spoilt })
  .map(({ TableName, filter, Limit, spoilt }) => ({
    name: 'Scan',
    input: { TableName, ConsistentRead: true, Limit, ...fields({ FilterExpression: filter }, spoilt) },
  }))

const inRange: fc.Arbitrary<Expression> = fc.oneof(
  fc.tuple(comparator, number).map(([by, value]) => express`${'at'} ${by} ${value}`),
  fc.tuple(comparator, number).map(([by, value]) => express`${value} ${by} ${'at'}`),
  bounds.map(([low, high]) => express`${'at'} BETWEEN ${low} AND ${high}`),
)
const query: fc.Arbitrary<Operation> = fc
  .record({
    key,
    range: maybe(inRange),
    filter: maybe(condition),
    Limit: limit,
    ScanIndexForward: fc.boolean(),
    spoilt,
  })
  .map(({ key, range, filter, Limit, ScanIndexForward, spoilt }) => ({
    name: 'Query',
    input: {
      TableName: 'ranged',
      ConsistentRead: true,
      ScanIndexForward,
      Limit,
      ...fields(
        {
          KeyConditionExpression: range ? express`id = ${key.id} AND ${range}` : express`id = ${key.id}`,
          FilterExpression: filter,
        },
        spoilt,
      ),
    },
  }))

const queryIndex: fc.Arbitrary<Operation> = fc
  .record({
    owner: text,
    prefix: maybe(fc.constantFrom('p', 'p1').map(S)),
    ConsistentRead: rarely(fc.constant(false), fc.constant(true)),
  })
  .map(({ owner, prefix, ConsistentRead }) => ({
    name: 'Query',
    input: {
      TableName: 'plain',
      IndexName: 'by-owner',
      ConsistentRead,
      ...fields({
        KeyConditionExpression: prefix
          ? express`${'owner'} = ${owner} AND begins_with(id, ${prefix})`
          : express`${'owner'} = ${owner}`,
      }),
    },
  }))

export const operation: fc.Arbitrary<Operation> = fc.oneof(
  { arbitrary: put, weight: 4 },
  { arbitrary: change, weight: 9 },
  { arbitrary: remove, weight: 1 },
  { arbitrary: get, weight: 2 },
  { arbitrary: getSeveral, weight: 1 },
  { arbitrary: scan, weight: 3 },
  { arbitrary: query, weight: 3 },
  { arbitrary: queryIndex, weight: 2 },
)

/** The same for equal values: sets sorted, bytes in hex. */
function plainValue(value: AttributeValue): unknown {
  if (value.L !== undefined) return { L: value.L.map(plainValue) }
  if (value.M !== undefined) return { M: plainItem(value.M) }
  if (value.B !== undefined) return { B: Buffer.from(value.B).toString('hex') }
  const members = [...membersOf(value)].toSorted()
  return members.length > 0 ? { [Object.keys(value)[0]!]: members } : { ...value }
}

/** The same for equal items. */
export function plainItem(item: Readonly<Record<string, AttributeValue>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(item)
      .toSorted()
      .map(([name, value]) => [name, plainValue(value)]),
  )
}
