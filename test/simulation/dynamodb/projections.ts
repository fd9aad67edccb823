import type { Path } from './expression-trees.ts'
import { type Parsed, parseProjection } from './expressions.ts'
import { checkDisjoint, project } from './paths.ts'
import { Placeholders } from './placeholders.ts'
import type { Item } from './values.ts'

export type Cut = (item: Item) => Item

/** What is left of an item for a caller who asked for a few paths; all of it if they asked for none. */
export function projection(parsed: Parsed<readonly Path[]> | undefined, placeholders: Placeholders): Cut {
  if (parsed === undefined) return (item) => item
  const paths = parsed.tree.map((path) => placeholders.path(path))
  checkDisjoint(paths)
  return (item) => project(item, paths)
}

/** The same for a request that has no other expression. */
export function bindProjection(input: {
  readonly ProjectionExpression?: string | undefined
  readonly ExpressionAttributeNames?: Record<string, string> | undefined
}): Cut {
  const { ProjectionExpression: text } = input
  const parsed = text === undefined ? undefined : parseProjection(text)
  return projection(parsed, new Placeholders(input, parsed === undefined ? [] : [parsed]))
}
