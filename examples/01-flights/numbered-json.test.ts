import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bytesWithoutNumber, withNumber } from './numbered-json.ts'

test('the number goes in front and the rest of the text stays to the letter', () => {
  expect(withNumber('{"id": 12345678901234567890 }', 7)).toBe('{"#":7,"id": 12345678901234567890 }')
  expect(withNumber('{}', 7)).toBe('{"#":7}')
})

test('any object comes back from it, with its number and its length', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(10_000_000), (object, number) => {
      const { '#': _taken, ...rest } = JSON.parse(JSON.stringify(object)) as Record<string, unknown>
      const json = JSON.stringify(rest)
      const numbered = withNumber(json, number)
      expect(JSON.parse(numbered)).toEqual({ '#': number, ...rest })
      expect(bytesWithoutNumber(Buffer.byteLength(numbered), number)).toBe(Buffer.byteLength(json))
    }),
  )
})
