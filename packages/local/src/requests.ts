import { invalidArgument, ServiceError, validation } from './service-error.ts'

/** The fields of a request as the AWS SDK has them: bytes are `Uint8Array`, timestamps are `Date`. */
export interface Request {
  readonly [field: string]: unknown
}

export function requiredString(request: Request, field: string): string {
  const value = optionalString(request, field)
  if (value === undefined) throw nullValue(field)
  return value
}

export function optionalString(request: Request, field: string): string | undefined {
  const value = request[field]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'string') throw mistyped(field, 'a string', value)
  return value
}

export function requiredInteger(request: Request, field: string, min: number, max: number): number {
  const value = optionalInteger(request, field, min, max)
  if (value === undefined) throw nullValue(field)
  return value
}

export function optionalInteger(request: Request, field: string, min: number, max: number): number | undefined {
  const value = request[field]
  if (value === undefined || value === null) return undefined
  if (!Number.isInteger(value)) throw mistyped(field, 'an integer', value)
  if ((value as number) < min) throw outOfBounds(field, value, `have value greater than or equal to ${min}`)
  if ((value as number) > max) throw outOfBounds(field, value, `have value less than or equal to ${max}`)
  return value as number
}

export function optionalBoolean(request: Request, field: string): boolean {
  const value = request[field]
  if (value === undefined || value === null) return false
  if (typeof value !== 'boolean') throw mistyped(field, 'true or false', value)
  return value
}

/** Milliseconds since 1970 of a timestamp. */
export function optionalTimeMs(request: Request, field: string): number | undefined {
  const value = request[field]
  if (value === undefined || value === null) return undefined
  if (!(value instanceof Date) || Number.isNaN(value.getTime())) throw mistyped(field, 'a timestamp', value)
  return value.getTime()
}

export function requiredStrings(request: Request, field: string): readonly string[] {
  const value = request[field]
  if (value === undefined || value === null) throw nullValue(field)
  if (!Array.isArray(value) || value.some((each) => typeof each !== 'string')) {
    throw mistyped(field, 'a list of strings', value)
  }
  return value
}

/** A string that is one of a fixed few. */
export function oneOf<T extends string>(field: string, value: string | undefined, allowed: readonly T[]): T {
  if (value === undefined) throw nullValue(field)
  const found = allowed.find((each) => each === value)
  if (found === undefined) {
    throw outOfBounds(field, value, `satisfy enum value set: [${allowed.join(', ')}]`)
  }
  return found
}

/** A structure inside a request; without one, none of its fields is there. */
export function structure(request: Request, field: string): Request {
  const value = request[field]
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object') throw mistyped(field, 'a structure', value)
  return value as Request
}

export function nullValue(field: string): ServiceError {
  return outOfBounds(field, null, 'not be null')
}

export function outOfBounds(field: string, value: unknown, bound: string): ServiceError {
  const shown = value === null ? 'null' : `'${String(value)}'`
  const name = field.charAt(0).toLowerCase() + field.slice(1)
  return validation(`Value ${shown} at '${name}' failed to satisfy constraint: Member must ${bound}`)
}

export function checkPattern(field: string, value: string, pattern: RegExp): void {
  if (pattern.test(value)) return
  throw outOfBounds(field, value, `satisfy regular expression pattern: ${pattern.source.slice(1, -1)}`)
}

function mistyped(field: string, expected: string, value: unknown): ServiceError {
  return new ServiceError('SerializationException', `${field}: expected ${expected}, got ${shortly(value)}`)
}

function shortly(value: unknown): string {
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : typeof value
}

/** A parameter that only asks whether the request would succeed. */
export function refuseDryRun(request: Request): void {
  if (!optionalBoolean(request, 'DryRun')) return
  throw new ServiceError('DryRunOperationException', 'Request would have succeeded, but DryRun flag is set.')
}

/** The same text in two fields, or an error when they contradict each other. */
export function agreeing(a: string | undefined, b: string | undefined, message: string): string | undefined {
  if (a !== undefined && b !== undefined && a !== b) throw invalidArgument(message)
  return a ?? b
}
