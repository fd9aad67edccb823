import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { invalid } from './errors.ts'
import type { Path } from './expression-trees.ts'
import type { Placeholders } from './placeholders.ts'
import type { Item } from './values.ts'

/** A path without aliases. */
export type Steps = readonly (string | number)[]

export function valueAt(path: Path, item: Item | undefined, placeholders: Placeholders): AttributeValue | undefined {
  let value = item?.[placeholders.head(path)]
  for (let depth = 1; depth < path.length && value !== undefined; depth++) {
    value = below(value, placeholders.step(path[depth]!))
  }
  return value
}

export function stepTo(steps: Steps, item: Item): AttributeValue | undefined {
  let value = item[steps[0]!]
  for (const step of steps.slice(1)) value = value && below(value, step)
  return value
}

/** What a map or list holds at one place. */
export function below(value: AttributeValue, step: string | number): AttributeValue | undefined {
  return typeof step === 'number' ? value.L?.[step] : value.M?.[step]
}

/** The item cut down to some paths. Of a list the elements that remain move together. */
export function project(item: Item, paths: readonly Steps[]): Item {
  const cut: Cut = new Map()
  for (const path of paths) {
    const value = stepTo(path, item)
    if (value !== undefined) keep(cut, path, value)
  }
  return mapOf(cut)
}

/** What remains of a map or list: whole values, and again parts of maps and lists. */
type Cut = Map<string | number, AttributeValue | Cut>

function keep(cut: Cut, path: Steps, value: AttributeValue): void {
  let at = cut
  for (const step of path.slice(0, -1)) {
    const next = at.get(step)
    const deeper: Cut = next instanceof Map ? next : new Map()
    at.set(step, deeper)
    at = deeper
  }
  at.set(path.at(-1)!, value)
}

function mapOf(cut: Cut): Record<string, AttributeValue> {
  return Object.fromEntries([...cut].map(([step, part]) => [step, whole(part)]))
}

function whole(part: AttributeValue | Cut): AttributeValue {
  if (!(part instanceof Map)) return part
  const steps = [...part.keys()]
  if (steps.every((step) => typeof step === 'string')) return { M: mapOf(part) }
  const inOrder = [...part].toSorted(([a], [b]) => Number(a) - Number(b))
  return { L: inOrder.map(([, element]) => whole(element)) }
}

/** Refuses paths of which one leads through another, or one takes for a map what another takes for a list. */
export function checkDisjoint(paths: readonly Steps[]): void {
  if (paths.every((path) => path.length === 1) && new Set(paths.map((path) => path[0])).size === paths.length) return
  for (const [index, path] of paths.entries()) {
    for (const other of paths.slice(index + 1)) {
      const differs = path.findIndex((step, depth) => step !== other[depth])
      const apart = differs >= 0 && differs < other.length
      if (apart && typeof path[differs] === typeof other[differs]) continue
      throw invalid(
        `Invalid expression: Two document paths ${apart ? 'conflict' : 'overlap'} with each other; ` +
          'must remove or rewrite one of these paths; ' +
          `path one: [${path.join(', ')}], path two: [${other.join(', ')}]`,
      )
    }
  }
}
