import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { DynamoDBModelError, invalid } from './errors.ts'
import { canonicalNumber, compareNumbers } from './numbers.ts'

/** An item as the SDK types it. Inside the model it is frozen and never changes. */
export type Item = Readonly<Record<string, AttributeValue>>

export const VALUE_TYPES = ['S', 'N', 'B', 'SS', 'NS', 'BS', 'M', 'L', 'NULL', 'BOOL'] as const
export type ValueType = (typeof VALUE_TYPES)[number]

const MAX_DEPTH = 32

export function typeOf(value: AttributeValue): ValueType {
  for (const type in value) return type as ValueType
  throw new TypeError('Expected a value that has been taken in, got one without a type.')
}

/** Checks a value of a request, and copies it: numbers canonical, frozen throughout (bytes excepted, which can't be). */
export function takeIn(given: AttributeValue, depth = 1): AttributeValue {
  const type = onlyType(given)
  if (depth > MAX_DEPTH) throw invalid('Nesting Levels have exceeded supported limits')
  const value: unknown = { [type]: takeInContent(type, given[type as keyof typeof given], depth) }
  return Object.freeze(value as AttributeValue)
}

export function takeInItem(given: Item): Item {
  const item: Record<string, AttributeValue> = {}
  for (const name in given) {
    const value = given[name]
    if (value !== undefined) item[name] = takeIn(value)
  }
  return Object.freeze(item)
}

function onlyType(given: AttributeValue): ValueType {
  let found: ValueType | undefined
  for (const type in given) {
    if (given[type as keyof AttributeValue] === undefined) continue
    if (!(VALUE_TYPES as readonly string[]).includes(type)) throw malformed(`a value of the type ${type}`)
    if (found !== undefined) {
      throw invalid(
        'Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes',
      )
    }
    found = type as ValueType
  }
  if (found === undefined) {
    throw invalid('Supplied AttributeValue is empty, must contain exactly one of the supported datatypes')
  }
  return found
}

function takeInContent(type: ValueType, content: unknown, depth: number): unknown {
  switch (type) {
    case 'S':
      return text(content)
    case 'N':
      return canonicalNumber(text(content))
    case 'B':
      return bytes(content)
    case 'BOOL':
      if (typeof content !== 'boolean') throw malformed('a BOOL that is no boolean')
      return content
    case 'NULL':
      if (content !== true) throw parameter('Null attribute value types must have the value of true')
      return content
    case 'SS':
      return set(list(content).map(text), (one) => one, 'An string set  may not be empty')
    case 'NS':
      return set(
        list(content).map((one) => canonicalNumber(text(one))),
        (one) => one,
        'An number set  may not be empty',
      )
    case 'BS':
      return set(list(content).map(bytes), (one) => one.toString('latin1'), 'Binary sets should not be empty')
    case 'L':
      return Object.freeze(list(content).map((value) => takeIn(value as AttributeValue, depth + 1)))
    case 'M': {
      const map: Record<string, AttributeValue> = {}
      for (const [name, value] of Object.entries(content as Item)) map[name] = takeIn(value, depth + 1)
      return Object.freeze(map)
    }
  }
}

function text(content: unknown): string {
  if (typeof content !== 'string') throw malformed(`${typeof content} where a string must be`)
  return content
}

function bytes(content: unknown): Buffer {
  if (!(content instanceof Uint8Array)) throw malformed(`${typeof content} where bytes must be`)
  return Buffer.from(content)
}

function list(content: unknown): unknown[] {
  if (!Array.isArray(content)) throw malformed(`${typeof content} where a list must be`)
  return content
}

function set<T>(members: T[], identity: (member: T) => string, ifEmpty: string): readonly T[] {
  if (members.length === 0) throw parameter(ifEmpty)
  if (new Set(members.map(identity)).size < members.length) throw parameter('Input collection contains duplicates')
  return Object.freeze(members)
}

function parameter(message: string): Error {
  return invalid(`One or more parameter values were invalid: ${message}`)
}

function malformed(what: string): Error {
  return new DynamoDBModelError('SerializationException', `Expected an attribute value, got ${what}`)
}

/** A copy for a caller. Scalars are frozen and so can be shared. */
export function handOut(item: Item): Record<string, AttributeValue> {
  const copy: Record<string, AttributeValue> = {}
  for (const name in item) copy[name] = copyOf(item[name]!)
  return copy
}

function copyOf(value: AttributeValue): AttributeValue {
  if (value.B !== undefined) return { B: Uint8Array.from(value.B) }
  if (value.SS !== undefined) return { SS: [...value.SS] }
  if (value.NS !== undefined) return { NS: [...value.NS] }
  if (value.BS !== undefined) return { BS: value.BS.map((one) => Uint8Array.from(one)) }
  if (value.L !== undefined) return { L: value.L.map(copyOf) }
  if (value.M !== undefined) return { M: handOut(value.M) }
  return value
}

/** Equal in type and content; sets in any order. */
export function equal(a: AttributeValue, b: AttributeValue): boolean {
  if (a === b) return true
  if (a.S !== undefined) return a.S === b.S
  if (a.N !== undefined) return a.N === b.N
  if (a.BOOL !== undefined) return a.BOOL === b.BOOL
  if (a.NULL !== undefined) return a.NULL === b.NULL
  if (a.B !== undefined) return b.B !== undefined && Buffer.compare(a.B, b.B) === 0
  if (a.L !== undefined) return b.L?.length === a.L.length && a.L.every((value, index) => equal(value, b.L![index]!))
  if (a.M !== undefined) return b.M !== undefined && equalMaps(a.M, b.M)
  const members = membersOf(a)
  const others = membersOf(b)
  return typeOf(a) === typeOf(b) && members.size === others.size && [...members].every((one) => others.has(one))
}

function equalMaps(a: Item, b: Item): boolean {
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length && names.every((name) => b[name] !== undefined && equal(a[name]!, b[name]))
  )
}

/** What a set holds, as texts that are the same where the members are; empty for anything else. */
export function membersOf(value: AttributeValue): Set<string> {
  return new Set(value.SS ?? value.NS ?? value.BS?.map((one) => Buffer.from(one).toString('latin1')) ?? [])
}

/** As a - b for two strings, numbers or binaries; undefined where there is no order. */
export function compareValues(a: AttributeValue, b: AttributeValue): number | undefined {
  if (a.S !== undefined && b.S !== undefined) return compareTexts(a.S, b.S)
  if (a.N !== undefined && b.N !== undefined) return compareNumbers(a.N, b.N)
  if (a.B !== undefined && b.B !== undefined) return Buffer.compare(a.B, b.B)
  return undefined
}

/** By UTF-8 bytes, which differs from the order of UTF-16 units where a surrogate meets U+E000 and above. */
export function compareTexts(a: string, b: string): number {
  if (a === b) return 0
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index)
    const right = b.charCodeAt(index)
    if (left !== right) return byteRank(left) - byteRank(right)
  }
  return a.length - b.length
}

function byteRank(unit: number): number {
  if (unit < 0xd800) return unit
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000
}

/** Bytes an item counts for, after "Item sizes and formats" in DynamoDB's developer guide. */
export function sizeOfItem(item: Item): number {
  let size = 0
  for (const name in item) size += Buffer.byteLength(name) + sizeOf(item[name]!)
  return size
}

function sizeOf(value: AttributeValue): number {
  if (value.S !== undefined) return Buffer.byteLength(value.S)
  if (value.N !== undefined) return sizeOfNumber(value.N)
  if (value.B !== undefined) return value.B.length
  if (value.SS !== undefined) return sum(value.SS, (one) => Buffer.byteLength(one))
  if (value.NS !== undefined) return sum(value.NS, sizeOfNumber)
  if (value.BS !== undefined) return sum(value.BS, (one) => one.length)
  if (value.L !== undefined) return 3 + sum(value.L, (one) => 1 + sizeOf(one))
  if (value.M !== undefined) return 3 + Object.keys(value.M).length + sizeOfItem(value.M)
  return 1
}

function sizeOfNumber(number: string): number {
  const digits = number
    .replace(/^-/, '')
    .replace('.', '')
    .replace(/^0+|0+$/g, '').length
  return Math.ceil(digits / 2) + 1 + (number.startsWith('-') ? 1 : 0)
}

function sum<T>(all: readonly T[], size: (one: T) => number): number {
  return all.reduce((total, one) => total + size(one), 0)
}
