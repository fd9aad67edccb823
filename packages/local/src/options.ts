import type { LocalOptions } from './local.ts'

/** What an option must be, when its value is not it. */
type Check = (value: unknown) => string | undefined

const boolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'true or false')
const above0: Check = (value) => (typeof value === 'number' && value > 0 ? undefined : 'a number above 0')
const durationMs: Check = (value) =>
  typeof value === 'number' && value >= 0 && Number.isFinite(value) ? undefined : 'milliseconds, at least 0'
const port: Check = (value) =>
  Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65_535 ? undefined : 'a port from 0 to 65535'
const clock: Check = (value) => (value === 'real' || value === 'manual' ? undefined : '"real" or "manual"')

const seed: Check = (value) => (Number.isInteger(value) ? undefined : 'an integer')

const CHECKS: Readonly<Record<keyof LocalOptions, Check>> = {
  streams,
  limits: boolean,
  retentionBytes: above0,
  retentionMs: above0,
  createMs: durationMs,
  reshardMs: durationMs,
  registerMs: durationMs,
  seed,
  clock,
  tls: boolean,
  dynamodb: boolean,
  kinesisPort: port,
  kinesisTlsPort: port,
  dynamodbPort: port,
}

/**
 * Checks options once, at the door; what is `undefined` counts as not given and is left out.
 *
 * @throws {TypeError} with what was expected and what came, and for an unknown name the nearest known one
 */
export function checkedOptions(options: LocalOptions): LocalOptions {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`startLocal: expected an object of options, got ${String(options)}`)
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  for (const [name, value] of Object.entries(given)) {
    const check = Object.hasOwn(CHECKS, name) ? CHECKS[name as keyof LocalOptions] : undefined
    if (check === undefined) {
      throw new TypeError(
        `startLocal: unknown option "${name}"; did you mean "${nearest(name, Object.keys(CHECKS))}"? ` +
          `Known options: ${Object.keys(CHECKS).join(', ')}`,
      )
    }
    const expected = check(value)
    if (expected !== undefined) {
      throw new TypeError(`startLocal: "${name}" must be ${expected}, got ${JSON.stringify(value) ?? String(value)}`)
    }
  }
  return given
}

function streams(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 'an object with a number of shards for each stream, such as { orders: 4 }'
  }
  for (const [name, shards] of Object.entries(value)) {
    if (!/^[a-zA-Z0-9_.-]{1,128}$/.test(name)) {
      return `an object whose names are of 1 to 128 letters, digits, "_", "." and "-", which ${JSON.stringify(name)} is not`
    }
    if (!Number.isInteger(shards) || shards < 1) {
      return `an object with a number of shards of at least 1 for stream "${name}"`
    }
  }
  return undefined
}

/** The known name that takes the fewest edits. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const distances = known.map((candidate) => editDistance(name.toLowerCase(), candidate.toLowerCase()))
  return known[distances.indexOf(Math.min(...distances))]
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
