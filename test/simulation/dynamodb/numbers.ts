import { invalid } from './errors.ts'

/** Decimal numbers as DynamoDB keeps them: up to 38 significant digits, 1e-130 to 9.9…e125, told apart by value. */

const PLAIN_INTEGER = /^(?:0|-?[1-9]\d{0,14})$/
const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/

const MAX_DIGITS = 38
const MAX_MAGNITUDE = 125
const MIN_MAGNITUDE = -130

/** The value is digits * 10 ** exponent. */
interface Decimal {
  readonly digits: bigint
  readonly exponent: number
}

/** The one text of a number: without exponent, leading or trailing zeros. */
export function canonicalNumber(text: string): string {
  return PLAIN_INTEGER.test(text) ? text : write(read(text))
}

/** Negative, zero or positive, as a - b. Both canonical. */
export function compareNumbers(a: string, b: string): number {
  if (a === b) return 0
  if (PLAIN_INTEGER.test(a) && PLAIN_INTEGER.test(b)) return Number(a) - Number(b)
  const [left, right] = aligned(read(a), read(b))
  return left < right ? -1 : left > right ? 1 : 0
}

export function addNumbers(a: string, b: string): string {
  if (PLAIN_INTEGER.test(a) && PLAIN_INTEGER.test(b)) return String(Number(a) + Number(b))
  const [left, right, exponent] = aligned(read(a), read(b))
  return write({ digits: left + right, exponent })
}

export function subtractNumbers(a: string, b: string): string {
  if (b === '0') return a
  return addNumbers(a, b.startsWith('-') ? b.slice(1) : `-${b}`)
}

function read(text: string): Decimal {
  const [, sign, whole = '', fraction = '', power = '0'] = DECIMAL.exec(text) ?? []
  if (whole + fraction === '') {
    throw invalid(
      text === ''
        ? 'The parameter cannot be converted to a numeric value'
        : `The parameter cannot be converted to a numeric value: ${text}`,
    )
  }
  const digits = BigInt(whole + fraction)
  return { digits: sign === '-' ? -digits : digits, exponent: Number(power) - fraction.length }
}

function write({ digits, exponent }: Decimal): string {
  if (digits === 0n) return '0'
  const negative = digits < 0n
  const all = (negative ? -digits : digits).toString()
  const significant = all.replace(/0+$/, '')
  const point = all.length + exponent
  checkRange(point - 1, significant.length)
  const text =
    point <= 0
      ? `0.${'0'.repeat(-point)}${significant}`
      : significant.length <= point
        ? significant.padEnd(point, '0')
        : `${significant.slice(0, point)}.${significant.slice(point)}`
  return negative ? `-${text}` : text
}

function checkRange(magnitude: number, significantDigits: number): void {
  if (magnitude > MAX_MAGNITUDE) {
    throw invalid('Number overflow. Attempting to store a number with magnitude larger than supported range')
  }
  if (magnitude < MIN_MAGNITUDE) {
    throw invalid('Number underflow. Attempting to store a number with magnitude smaller than supported range')
  }
  if (significantDigits > MAX_DIGITS) {
    throw invalid('Attempting to store more than 38 significant digits in a Number')
  }
}

function aligned(a: Decimal, b: Decimal): [bigint, bigint, number] {
  const exponent = Math.min(a.exponent, b.exponent)
  return [a.digits * 10n ** BigInt(a.exponent - exponent), b.digits * 10n ** BigInt(b.exponent - exponent), exponent]
}
