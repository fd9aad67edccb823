import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import type { Comparator, Condition, Operand } from './expression-trees.ts'
import { valueAt } from './paths.ts'
import type { Placeholders } from './placeholders.ts'
import { compareValues, equal, type Item, membersOf, typeOf, VALUE_TYPES, type ValueType } from './values.ts'

/** Whether an item fulfils a condition. An item that doesn't exist is like one without attributes. */
export function holds(condition: Condition, item: Item | undefined, placeholders: Placeholders): boolean {
  const read = (operand: Operand): AttributeValue | undefined => readOperand(operand, item, placeholders)
  switch (condition.kind) {
    case 'and':
      return holds(condition.left, item, placeholders) && holds(condition.right, item, placeholders)
    case 'or':
      return holds(condition.left, item, placeholders) || holds(condition.right, item, placeholders)
    case 'not':
      return !holds(condition.of, item, placeholders)
    case 'attribute_exists':
      return valueAt(condition.path, item, placeholders) !== undefined
    case 'attribute_not_exists':
      return valueAt(condition.path, item, placeholders) === undefined
    case 'compare':
      return compare(condition.by, read(condition.left), read(condition.right))
    case 'between': {
      const value = read(condition.of)
      return compare('>=', value, read(condition.low)) && compare('<=', value, read(condition.high))
    }
    case 'in': {
      const value = read(condition.of)
      return condition.among.some((one) => compare('=', value, read(one)))
    }
    case 'attribute_type': {
      const value = read(condition.of)
      return value !== undefined && typeOf(value) === read(condition.argument)?.S
    }
    case 'begins_with':
      return beginsWith(read(condition.of), read(condition.argument))
    case 'contains':
      return contains(read(condition.of), read(condition.argument))
  }
}

function readOperand(operand: Operand, item: Item | undefined, placeholders: Placeholders): AttributeValue | undefined {
  if (operand.kind === 'value') return placeholders.value(operand.alias)
  if (operand.kind === 'path') return valueAt(operand.path, item, placeholders)
  const size = sizeOperand(readOperand(operand.of, item, placeholders))
  return size === undefined ? undefined : { N: String(size) }
}

function sizeOperand(value: AttributeValue | undefined): number | undefined {
  // UTF-16 units, unlike the bytes that an item's size counts.
  if (value?.S !== undefined) return value.S.length
  if (value?.M !== undefined) return Object.keys(value.M).length
  return (value?.B ?? value?.L ?? value?.SS ?? value?.NS ?? value?.BS)?.length
}

/** Where either side is missing nothing holds but `<>`. */
export function compare(by: Comparator, left: AttributeValue | undefined, right: AttributeValue | undefined): boolean {
  if (left === undefined || right === undefined) return by === '<>'
  if (by === '=') return equal(left, right)
  if (by === '<>') return !equal(left, right)
  const order = compareValues(left, right)
  if (order === undefined) return false
  if (by === '<') return order < 0
  if (by === '<=') return order <= 0
  return by === '>' ? order > 0 : order >= 0
}

export function beginsWith(value: AttributeValue | undefined, prefix: AttributeValue | undefined): boolean {
  if (value?.S !== undefined && prefix?.S !== undefined) return value.S.startsWith(prefix.S)
  if (value?.B === undefined || prefix?.B === undefined) return false
  return Buffer.compare(value.B.subarray(0, prefix.B.length), prefix.B) === 0
}

function contains(value: AttributeValue | undefined, part: AttributeValue | undefined): boolean {
  if (value === undefined || part === undefined) return false
  if (value.S !== undefined) return part.S !== undefined && value.S.includes(part.S)
  if (value.B !== undefined) return part.B !== undefined && Buffer.from(value.B).includes(Buffer.from(part.B))
  if (value.L !== undefined) return value.L.some((one) => equal(one, part))
  if (value.SS !== undefined) return part.S !== undefined && value.SS.includes(part.S)
  if (value.NS !== undefined) return part.N !== undefined && value.NS.includes(part.N)
  return part.B !== undefined && membersOf(value).has(Buffer.from(part.B).toString('latin1'))
}

const ORDERED: readonly ValueType[] = ['S', 'N', 'B']
const SIZELESS: readonly ValueType[] = ['N', 'BOOL', 'NULL']

/** What is wrong with a condition whatever the item: the service refuses it before it looks at one. */
export function checkCondition(condition: Condition, placeholders: Placeholders): void {
  const given = (operand: Operand): ValueType | undefined => givenType(operand, placeholders)
  switch (condition.kind) {
    case 'and':
    case 'or':
      checkCondition(condition.left, placeholders)
      checkCondition(condition.right, placeholders)
      return
    case 'not':
      checkCondition(condition.of, placeholders)
      return
    case 'compare':
      checkDistinct(condition.by, condition.left, condition.right, placeholders)
      for (const side of [condition.left, condition.right]) {
        expectType(condition.by, given(side), condition.by === '=' || condition.by === '<>' ? VALUE_TYPES : ORDERED)
      }
      return
    case 'between':
      for (const operand of [condition.of, condition.low, condition.high]) {
        expectType('BETWEEN', given(operand), ORDERED)
      }
      checkBounds(condition.low, condition.high, placeholders)
      return
    case 'in':
      for (const operand of [condition.of, ...condition.among]) given(operand)
      return
    case 'begins_with':
      for (const side of [condition.of, condition.argument]) expectType(condition.kind, given(side), ['S', 'B'])
      return
    case 'contains':
      checkDistinct(condition.kind, condition.of, condition.argument, placeholders)
      return
    case 'attribute_type': {
      const type = condition.argument.kind === 'value' ? placeholders.value(condition.argument.alias).S : undefined
      if ((VALUE_TYPES as readonly (string | undefined)[]).includes(type)) return
      throw invalid(`Invalid expression: Invalid attribute type name found; type: ${type}`)
    }
  }
}

/** The type of an operand that doesn't depend on an item. */
function givenType(operand: Operand, placeholders: Placeholders): ValueType | undefined {
  if (operand.kind === 'path') return undefined
  if (operand.kind === 'value') return typeOf(placeholders.value(operand.alias))
  const type = givenType(operand.of, placeholders)
  if (type !== undefined && SIZELESS.includes(type)) throw wrongType('size', type)
  return 'N'
}

function expectType(operator: string, type: ValueType | undefined, types: readonly ValueType[]): void {
  if (type !== undefined && !types.includes(type)) throw wrongType(operator, type)
}

function wrongType(operator: string, type: ValueType): Error {
  return invalid(
    'Invalid expression: Incorrect operand type for operator or function; ' +
      `operator or function: ${operator}, operand type: ${type}`,
  )
}

function checkDistinct(operator: string, left: Operand, right: Operand, placeholders: Placeholders): void {
  if (left.kind !== 'path' || right.kind !== 'path' || left.path.length !== right.path.length) return
  const others = placeholders.path(right.path)
  if (!placeholders.path(left.path).every((step, index) => step === others[index])) return
  throw invalid(
    'Invalid expression: The first operand must be distinct from the remaining operands for this operator or function; ' +
      `operator: ${operator}, first operand: [${others.join(', ')}]`,
  )
}

function checkBounds(low: Operand, high: Operand, placeholders: Placeholders): void {
  if (low.kind !== 'value' || high.kind !== 'value') return
  const order = compareValues(placeholders.value(low.alias), placeholders.value(high.alias))
  if (order === undefined) {
    throw invalid('Invalid expression: The BETWEEN operator requires same data type for lower and upper bounds')
  }
  if (order > 0) {
    throw invalid(
      'Invalid expression: The BETWEEN operator requires upper bound to be greater than or equal to lower bound',
    )
  }
}
