import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import type { Path } from './expression-trees.ts'
import type { Parsed } from './expressions.ts'
import { type Item, takeIn } from './values.ts'

/** What a request gives for the aliases in its expressions. */
export class Placeholders {
  readonly #names: Readonly<Record<string, string>>
  readonly #values: Record<string, AttributeValue> = {}

  /** @param given the request's fields. @param expressions all that the request has. Each alias must be both given and used. */
  constructor(
    given: {
      readonly ExpressionAttributeNames?: Record<string, string> | undefined
      readonly ExpressionAttributeValues?: Item | undefined
    },
    expressions: readonly Parsed<unknown>[],
  ) {
    const { ExpressionAttributeNames: names, ExpressionAttributeValues: values } = given
    this.#names = names ?? {}
    if (names !== undefined) checkAliases('ExpressionAttributeNames', names, '#', expressions)
    if (values !== undefined) {
      checkAliases('ExpressionAttributeValues', values, ':', expressions)
      for (const alias in values) this.#values[alias] = takeIn(values[alias]!)
    }
    for (const expression of expressions) {
      for (const alias of expression.names) this.#name(alias)
      for (const alias of expression.values) this.value(alias)
    }
    if (names !== undefined) {
      checkUsed(
        'ExpressionAttributeNames',
        names,
        expressions.map((expression) => expression.names),
      )
    }
    if (values !== undefined) {
      checkUsed(
        'ExpressionAttributeValues',
        values,
        expressions.map((expression) => expression.values),
      )
    }
  }

  value(alias: string): AttributeValue {
    const value = this.#values[alias]
    if (value !== undefined) return value
    throw invalid(
      `Invalid expression: An expression attribute value used in expression is not defined; attribute value: ${alias}`,
    )
  }

  /** A step of a path: an attribute's name, or an index. */
  step(step: string | number): string | number {
    return typeof step === 'string' && step.startsWith('#') ? this.#name(step) : step
  }

  /** The attribute of the item that a path starts from. */
  head(path: Path): string {
    return path[0].startsWith('#') ? this.#name(path[0]) : path[0]
  }

  path(path: Path): readonly (string | number)[] {
    return path.map((step) => this.step(step))
  }

  #name(alias: string): string {
    const name = this.#names[alias]
    if (name !== undefined) return name
    throw invalid(
      'Invalid expression: An expression attribute name used in the document path is not defined; ' +
        `attribute name: ${alias}`,
    )
  }
}

function checkAliases(field: string, given: object, sign: string, expressions: readonly unknown[]): void {
  if (expressions.length === 0) throw invalid(`${field} can only be specified when using expressions`)
  const aliases = Object.keys(given)
  if (aliases.length === 0) throw invalid(`${field} must not be empty`)
  for (const alias of aliases) {
    if (alias[0] === sign && /^.\w+$/.test(alias)) continue
    throw invalid(`${field} contains invalid key: Syntax error; key: "${alias}"`)
  }
}

function checkUsed(field: string, given: object, used: readonly ReadonlySet<string>[]): void {
  const unused = Object.keys(given).filter((alias) => !used.some((aliases) => aliases.has(alias)))
  if (unused.length === 0) return
  throw invalid(`Value provided in ${field} unused in expressions: keys: {${unused.join(', ')}}`)
}
