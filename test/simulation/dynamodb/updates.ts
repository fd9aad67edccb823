import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { Draft } from './draft.ts'
import { invalid } from './errors.ts'
import type { Action, NewValue } from './expression-trees.ts'
import { addNumbers, subtractNumbers } from './numbers.ts'
import { checkDisjoint, type Steps, stepTo, valueAt } from './paths.ts'
import type { Placeholders } from './placeholders.ts'
import { type Item, typeOf, type ValueType } from './values.ts'

/** An update bound to its placeholders: applied to an item it gives another. */
export interface Update {
  /** Every path the update writes to, in the order of the text. */
  readonly paths: readonly Steps[]
  /** For each path the type that will be there, where that can be told without the item. */
  readonly types: readonly (ValueType | undefined)[]
  /** It only takes away, and so doesn't create an item. */
  readonly onlyRemoves: boolean
  apply(item: Item): Item
}

/** Refuses what is wrong with the update whatever the item. */
export function bindUpdate(actions: readonly Action[], placeholders: Placeholders): Update {
  const paths = actions.map((action) => placeholders.path(action.path))
  checkDisjoint(paths)
  for (const action of actions) checkAction(action, placeholders)
  return {
    paths,
    types: actions.map((action) => assignedType(action, placeholders)),
    onlyRemoves: actions.every(({ kind }) => kind === 'REMOVE' || kind === 'DELETE'),
    apply: (item) => {
      // All are computed from the item as it was before any is carried out.
      const values = actions.map((action, index) => newContent(action, paths[index]!, item, placeholders))
      const draft = new Draft(item)
      for (const [index, path] of paths.entries()) draft.write(path, values[index])
      return draft.finish()
    },
  }
}

/** What is afterwards where the action's path leads; undefined: nothing. */
function newContent(action: Action, path: Steps, item: Item, placeholders: Placeholders): AttributeValue | undefined {
  if (action.kind === 'REMOVE') return undefined
  if (action.kind === 'SET') return newValue(action.value, item, placeholders)
  const before = stepTo(path, item)
  const given = placeholders.value(action.alias)
  if (before === undefined) return action.kind === 'ADD' ? given : undefined
  if (typeOf(before) !== typeOf(given)) throw wrongOperand()
  if (given.N !== undefined) return Object.freeze({ N: addNumbers(before.N!, given.N) })
  return action.kind === 'ADD' ? union(before, given) : difference(before, given)
}

function newValue(value: NewValue, item: Item, placeholders: Placeholders): AttributeValue {
  switch (value.kind) {
    case 'value':
      return placeholders.value(value.alias)
    case 'path': {
      const found = valueAt(value.path, item, placeholders)
      if (found !== undefined) return found
      throw invalid('The provided expression refers to an attribute that does not exist in the item')
    }
    case 'if_not_exists':
      return valueAt(value.path, item, placeholders) ?? newValue(value.otherwise, item, placeholders)
    case 'list_append': {
      const { L: left } = newValue(value.left, item, placeholders)
      const { L: right } = newValue(value.right, item, placeholders)
      if (left === undefined || right === undefined) throw wrongOperand()
      return Object.freeze({ L: Object.freeze([...left, ...right]) as AttributeValue[] })
    }
    default: {
      const { N: left } = newValue(value.left, item, placeholders)
      const { N: right } = newValue(value.right, item, placeholders)
      if (left === undefined || right === undefined) throw wrongOperand()
      return Object.freeze({ N: value.kind === '+' ? addNumbers(left, right) : subtractNumbers(left, right) })
    }
  }
}

function union(set: AttributeValue, given: AttributeValue): AttributeValue {
  return frozenSet(set, (members, others, has) => [...members, ...others.filter((one) => !has(members, one))], given)
}

/** Undefined where nothing is left: there are no empty sets. */
function difference(set: AttributeValue, given: AttributeValue): AttributeValue | undefined {
  const left = frozenSet(set, (members, others, has) => members.filter((one) => !has(others, one)), given)
  return (left.SS ?? left.NS ?? left.BS)?.length === 0 ? undefined : left
}

type Combine = <T>(members: readonly T[], others: readonly T[], has: (all: readonly T[], one: T) => boolean) => T[]

function frozenSet(set: AttributeValue, combine: Combine, given: AttributeValue): AttributeValue {
  const includes = <T>(all: readonly T[], one: T): boolean => all.includes(one)
  if (set.SS !== undefined) return Object.freeze({ SS: combine(set.SS, given.SS!, includes) })
  if (set.NS !== undefined) return Object.freeze({ NS: combine(set.NS, given.NS!, includes) })
  const hasBytes = (all: readonly Uint8Array[], one: Uint8Array): boolean =>
    all.some((other) => Buffer.compare(other, one) === 0)
  return Object.freeze({ BS: combine(set.BS!, given.BS!, hasBytes) })
}

function wrongOperand(): Error {
  return invalid('An operand in the update expression has an incorrect data type')
}

const SETS: readonly ValueType[] = ['SS', 'NS', 'BS']

function assignedType(action: Action, placeholders: Placeholders): ValueType | undefined {
  if (action.kind === 'REMOVE') return undefined
  return action.kind === 'SET' ? newType(action.value, placeholders) : typeOf(placeholders.value(action.alias))
}

function newType(value: NewValue, placeholders: Placeholders): ValueType | undefined {
  if (value.kind === 'path') return undefined
  if (value.kind === 'value') return typeOf(placeholders.value(value.alias))
  if (value.kind === 'if_not_exists') return newType(value.otherwise, placeholders)
  return value.kind === 'list_append' ? 'L' : 'N'
}

function checkAction(action: Action, placeholders: Placeholders): void {
  if (action.kind === 'SET') checkNewValue(action.value, placeholders)
  if (action.kind === 'SET' || action.kind === 'REMOVE') return
  const type = typeOf(placeholders.value(action.alias))
  if (SETS.includes(type) || (type === 'N' && action.kind === 'ADD')) return
  throw wrongType(action.kind, type)
}

function checkNewValue(value: NewValue, placeholders: Placeholders): void {
  if (value.kind === 'if_not_exists') checkNewValue(value.otherwise, placeholders)
  if (!('left' in value)) return
  const expected = value.kind === 'list_append' ? 'L' : 'N'
  for (const side of [value.left, value.right]) {
    const type = side.kind === 'value' ? typeOf(placeholders.value(side.alias)) : expected
    if (type !== expected) throw wrongType(value.kind, type)
    checkNewValue(side, placeholders)
  }
}

function wrongType(operator: string, type: ValueType): Error {
  return invalid(
    'Invalid UpdateExpression: Incorrect operand type for operator or function; ' +
      `operator: ${operator}, operand type: ${type}`,
  )
}
