import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hashKeyOf, hashKeyTopOf, MAX_HASH_KEY, parseHashKey, topOf, tryParseHashKey } from './hash-key.ts'

describe('hashKeyOf', () => {
  test('is the MD5 as a big-endian number: the KPL sent this one for the key a', () => {
    expect(hashKeyOf('a')).toBe(16955237001963240173058271559858726497n)
  })

  test('is taken over the UTF-8 bytes, a lone surrogate being U+FFFD', () => {
    for (const key of ['', 'é', '日本語', '😀', 'x\ud800', '\udc00x', 'x'.repeat(256)]) {
      const md5 = createHash('md5').update(Buffer.from(key)).digest()
      expect(hashKeyOf(key)).toBe((md5.readBigUInt64BE(0) << 64n) | md5.readBigUInt64BE(8))
    }
  })

  test('is the same number for short ASCII keys as for any others', () => {
    const anyKey = fc.oneof(fc.string({ maxLength: 70 }), fc.string({ unit: 'binary', maxLength: 70 }))
    fc.assert(
      fc.property(anyKey, (key) => {
        expect(hashKeyOf(key)).toBe(BigInt(`0x${createHash('md5').update(key).digest('hex')}`))
        expect(hashKeyTopOf(key)).toBe(topOf(hashKeyOf(key)))
      }),
    )
  })
})

describe('parseHashKey', () => {
  test.each([
    ['0', 0n],
    ['007', 7n],
    ['340282366920938463463374607431768211455', MAX_HASH_KEY],
    [`${'0'.repeat(100)}12`, 12n],
    ['000', 0n],
  ])('reads %s', (text, key) => {
    expect(parseHashKey(text)).toBe(key)
  })

  test.each([
    '',
    ' 1',
    '1 ',
    '-1',
    '+1',
    '1.0',
    '0x10',
    '1e3',
    'abc',
    '١',
    '1\n',
    '340282366920938463463374607431768211456',
  ])('refuses %j, saying what was expected and what came', (text) => {
    expect(() => parseHashKey(text)).toThrow(
      expect.objectContaining({ name: 'RecordsError', code: 'ERR_HASH_KEY', retryable: false }),
    )
    expect(() => parseHashKey(text)).toThrow(/decimal integer from 0 to 340282366920938463463374607431768211455/)
    expect(() => parseHashKey(text)).toThrow(JSON.stringify(text))
    expect(tryParseHashKey(text)).toBeUndefined()
  })

  test('does not repeat a huge text in its message', () => {
    expect(() => parseHashKey('9'.repeat(1e6))).toThrow(/^.{0,400}$/)
  })

  test('refuses what is no text', () => {
    expect(() => parseHashKey(7 as unknown as string)).toThrow(/type number/)
  })

  test('gives back every hash key', () => {
    fc.assert(fc.property(fc.bigInt(0n, MAX_HASH_KEY), (key) => parseHashKey(key.toString()) === key))
  })
})
