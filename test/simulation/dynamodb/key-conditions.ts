import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { beginsWith, compare } from './conditions.ts'
import { invalid } from './errors.ts'
import type { Comparator, Condition, Operand } from './expression-trees.ts'
import type { KeySchema } from './keys.ts'
import type { Placeholders } from './placeholders.ts'

/** What a query looks for: one partition, and maybe only some of its range keys. */
export interface KeyCondition {
  readonly partition: AttributeValue
  readonly isInRange: (range: AttributeValue | undefined) => boolean
}

interface Term {
  readonly name: string
  readonly by: Comparator | 'between' | 'begins_with'
  readonly values: readonly AttributeValue[]
}

const MIRRORED: Readonly<Record<Comparator, Comparator>> = {
  '=': '=',
  '<>': '<>',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
}

export function bindKeyCondition(tree: Condition, schema: KeySchema, placeholders: Placeholders): KeyCondition {
  const terms = termsOf(tree, placeholders)
  if (terms.length > 2) throw wrong('Conditions can be of length 1 or 2 only')
  const [partitionName, rangeName] = schema.names
  const partition = terms.find(({ name }) => name === partitionName)
  const range = terms.find((term) => term !== partition)
  if (partition === undefined) throw invalid(`Query condition missed key schema element: ${partitionName}`)
  if (partition.by !== '=') throw invalid('Query key condition not supported')
  if (range !== undefined && range.name === partitionName) {
    throw wrong('KeyConditionExpressions must only contain one condition per key')
  }
  if (range !== undefined && range.name !== rangeName) {
    throw invalid(
      rangeName ? `Query condition missed key schema element: ${rangeName}` : 'Query key condition not supported',
    )
  }
  for (const { name, values } of terms) for (const value of values) schema.checkType(name, value)
  return { partition: partition.values[0]!, isInRange: (value) => range === undefined || isMet(range, value) }
}

function isMet({ by, values }: Term, value: AttributeValue | undefined): boolean {
  if (by === 'begins_with') return beginsWith(value, values[0])
  if (by === 'between') return compare('>=', value, values[0]) && compare('<=', value, values[1])
  return compare(by, value, values[0])
}

function termsOf(tree: Condition, placeholders: Placeholders): Term[] {
  switch (tree.kind) {
    case 'and':
      return [...termsOf(tree.left, placeholders), ...termsOf(tree.right, placeholders)]
    case 'compare':
      if (tree.by === '<>') throw wrong('Invalid operator used in KeyConditionExpression: <>')
      return [
        tree.left.kind === 'path'
          ? term(tree.left, tree.by, [tree.right], placeholders)
          : term(tree.right, MIRRORED[tree.by], [tree.left], placeholders),
      ]
    case 'between':
      return [term(tree.of, 'between', [tree.low, tree.high], placeholders)]
    case 'begins_with':
      return [term(tree.of, 'begins_with', [tree.argument], placeholders)]
    default:
      throw wrong(`Invalid operator used in KeyConditionExpression: ${tree.kind.toUpperCase()}`)
  }
}

function term(of: Operand, by: Term['by'], operands: readonly Operand[], placeholders: Placeholders): Term {
  if (of.kind !== 'path' || of.path.length > 1) {
    throw wrong('Invalid condition in KeyConditionExpression: No key attribute specified')
  }
  const values = operands.map((operand) => {
    if (operand.kind === 'value') return placeholders.value(operand.alias)
    throw wrong('KeyConditionExpressions cannot contain nested operations')
  })
  return { name: placeholders.head(of.path), by, values }
}

function wrong(message: string): Error {
  return invalid(`Invalid KeyConditionExpression: ${message}`)
}
