import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashKeyTopOf } from './hash-key.ts'
import { SeenKeys } from './seen-keys.ts'

test('the first time, the second, and ever after, it is the top of the hash key', () => {
  const seen = new SeenKeys()
  const keys = Array.from({ length: 2_000 }, (_, index) => `user-${index}`)
  for (let time = 0; time < 3; time++) {
    for (const key of keys) expect(seen.topOf(key)).toBe(hashKeyTopOf(key))
  }
})

test('whatever the keys and however they take turns', () => {
  const seen = new SeenKeys()
  const key = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 3 }),
    fc.string({ minLength: 60, maxLength: 256 }),
    // Two pairs whose FNV-1a of 32 bits is the same.
    fc.constantFrom('costarring', 'liquid', 'declinate', 'macallums', ''),
  )
  fc.assert(
    fc.property(fc.array(key, { maxLength: 20 }), (keys) => {
      for (const each of keys) expect(seen.topOf(each)).toBe(hashKeyTopOf(each))
    }),
  )
})
