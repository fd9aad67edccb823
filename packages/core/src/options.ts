import { ShardwiseError } from './errors.ts'

/** Thrown at construction when an option is unknown, missing or out of range. */
export class OptionError extends ShardwiseError<'ERR_OPTION'> {
  override readonly name = 'OptionError'
  /** The option's name, as the caller wrote it. */
  readonly option: string

  constructor(option: string, message: string) {
    super('ERR_OPTION', message)
    this.option = option
  }
}

/** Checks one option's value. Returns what was expected when the value is not it. */
export type OptionCheck = (value: unknown) => string | undefined

/** One check for each option that exists. */
export type OptionChecks<Options> = { readonly [Name in keyof Required<Options>]: OptionCheck }

/**
 * Checks options once, at the door: every given option must be known and valid. `undefined` counts as not given.
 *
 * @param owner whose options these are, for the message, such as `Producer`
 * @param required the options that must be given
 * @throws {OptionError} with what was expected, what came, and for an unknown name the nearest known one
 */
export function checkOptions<Options extends object>(
  owner: string,
  given: Options,
  checks: OptionChecks<Options>,
  required: readonly (keyof Options & string)[] = [],
): void {
  if (typeof given !== 'object' || given === null) {
    throw new OptionError('', `${owner}: expected an options object, got ${describe(given)}.`)
  }
  for (const name of Object.keys(given)) {
    const check = Object.hasOwn(checks, name) ? (checks as Record<string, OptionCheck>)[name] : undefined
    if (check === undefined) {
      const near = nearest(name, Object.keys(checks))
      const hint = near === undefined ? `known options: ${Object.keys(checks).join(', ')}` : `did you mean "${near}"?`
      throw new OptionError(name, `${owner}: unknown option "${name}"; ${hint}`)
    }
    const value = (given as Record<string, unknown>)[name]
    if (value === undefined) continue
    const expected = check(value)
    if (expected !== undefined) {
      throw new OptionError(name, `${owner}: option "${name}" must be ${expected}, got ${describe(value)}.`)
    }
  }
  for (const name of required) {
    if (given[name] === undefined) throw new OptionError(name, `${owner}: option "${name}" is required.`)
  }
}

/** A number from `min` to `max`, both included. */
export function numberFrom(min: number, max: number = Number.POSITIVE_INFINITY): OptionCheck {
  const expected = max === Number.POSITIVE_INFINITY ? `a number of at least ${min}` : `a number from ${min} to ${max}`
  return (value) => (typeof value === 'number' && value >= min && value <= max ? undefined : expected)
}

/** A whole number from `min` to `max`, both included. */
export function integerFrom(min: number, max: number = Number.MAX_SAFE_INTEGER): OptionCheck {
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`
  return (value) => (Number.isInteger(value) && Number(value) >= min && Number(value) <= max ? undefined : expected)
}

export const nonEmptyString: OptionCheck = (value) =>
  typeof value === 'string' && value.trim() !== '' ? undefined : 'a non-empty string'

export const boolean: OptionCheck = (value) => (typeof value === 'boolean' ? undefined : 'true or false')

export const func: OptionCheck = (value) => (typeof value === 'function' ? undefined : 'a function')

/** An object that has the named methods. */
export function objectWith(...methods: readonly string[]): OptionCheck {
  return (value) =>
    typeof value === 'object' &&
    value !== null &&
    methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function')
      ? undefined
      : methods.length === 0
        ? 'an object'
        : `an object with ${methods.join(', ')}`
}

/** One of the given strings. */
export function oneOf(...values: readonly string[]): OptionCheck {
  const expected = `one of ${values.map((value) => `"${value}"`).join(', ')}`
  return (value) => (typeof value === 'string' && values.includes(value) ? undefined : expected)
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  if (typeof value === 'function') return 'a function'
  return String(value)
}

function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, substitution))
    }
    row = next
  }
  return row[b.length]!
}
