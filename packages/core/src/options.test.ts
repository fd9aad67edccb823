import { describe, expect, test } from 'vitest'
import {
  boolean,
  checkOptions,
  func,
  integerFrom,
  nonEmptyString,
  numberFrom,
  OptionError,
  objectWith,
  oneOf,
} from './options.ts'

interface Options {
  readonly stream: string
  readonly recordTtl?: number
  readonly mode?: string
}

const checks = { stream: nonEmptyString, recordTtl: integerFrom(100, 1000), mode: oneOf('fast', 'slow') }
const check = (given: object): void => checkOptions<Options>('Producer', given as Options, checks, ['stream'])

function messageOf(action: () => void): string {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(OptionError)
    return (error as OptionError).message
  }
  return 'nothing was thrown'
}

describe('checkOptions', () => {
  test('accepts what is known and valid', () => {
    check({ stream: 'orders', recordTtl: 100, mode: 'fast' })
  })

  test('takes undefined for not given', () => {
    check({ stream: 'orders', recordTtl: undefined })
  })

  test('suggests the nearest name for an unknown option', () => {
    expect(messageOf(() => check({ stream: 'orders', recordTTL: 5 }))).toBe(
      'Producer: unknown option "recordTTL"; did you mean "recordTtl"?',
    )
  })

  test('lists the known options when none is near', () => {
    expect(messageOf(() => check({ stream: 'orders', colour: 'red' }))).toBe(
      'Producer: unknown option "colour"; known options: stream, recordTtl, mode',
    )
  })

  test('is not fooled by a name that every object inherits', () => {
    expect(messageOf(() => check({ stream: 'orders', toString: 1 }))).toContain('unknown option "toString"')
  })

  test('says what was expected and what came', () => {
    expect(messageOf(() => check({ stream: 'orders', recordTtl: 99 }))).toBe(
      'Producer: option "recordTtl" must be a whole number from 100 to 1000, got 99.',
    )
    expect(messageOf(() => check({ stream: ' ' }))).toContain('must be a non-empty string, got " "')
    expect(messageOf(() => check({ stream: 'orders', mode: 'medium' }))).toContain(
      'one of "fast", "slow", got "medium"',
    )
  })

  test('names a required option that is missing', () => {
    expect(messageOf(() => check({}))).toBe('Producer: option "stream" is required.')
  })

  test('refuses what is no object', () => {
    expect(messageOf(() => check(null as unknown as object))).toContain('expected an options object, got null')
  })
})

test.each([
  ['a fraction where a whole number is expected', integerFrom(1), 1.5],
  ['not a number', numberFrom(0), Number.NaN],
  ['a number below the least', numberFrom(0), -1],
  ['a string for a boolean', boolean, 'true'],
  ['an object for a function', func, {}],
  ['an object without the method', objectWith('send'), { sent: 1 }],
])('refuses %s', (_, verify, value) => {
  expect(verify(value)).toBeTypeOf('string')
})

test('infinity is a number without an upper bound', () => {
  expect(numberFrom(1)(Number.POSITIVE_INFINITY)).toBeUndefined()
})
