import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashKeyTopOf } from './hash-key.ts'
import { SeenKeys } from './seen-keys.ts'

/** Read from the midst of other bytes. */
function read(seen: SeenKeys, key: string | Uint8Array): { text: string; top: number } {
  const bytes = Buffer.concat([Buffer.from('<'), typeof key === 'string' ? Buffer.from(key) : key, Buffer.from('>')])
  return { text: seen.read(bytes, 1, bytes.length - 1, true), top: seen.top }
}

test('the first time, the second, and ever after, it is the text and the top of its hash key', () => {
  const seen = new SeenKeys()
  const keys = Array.from({ length: 2_000 }, (_, index) => `user-${index}`)
  for (let time = 0; time < 3; time++) {
    for (const key of keys) expect(read(seen, key)).toEqual({ text: key, top: hashKeyTopOf(key) })
  }
})

test('whatever the keys and however they take turns', () => {
  const seen = new SeenKeys()
  const key = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 3 }),
    fc.string({ minLength: 60, maxLength: 256 }),
    // Two pairs whose FNV-1a of 32 bits is the same.
    fc.constantFrom('costarring', 'liquid', 'declinate', 'macallums', ''),
    fc.uint8Array({ maxLength: 4 }),
  )
  fc.assert(
    fc.property(fc.array(key, { maxLength: 20 }), (keys) => {
      for (const each of keys) {
        const text = typeof each === 'string' ? Buffer.from(each).toString() : Buffer.from(each).toString()
        expect(read(seen, each)).toEqual({ text, top: hashKeyTopOf(text) })
      }
    }),
  )
})

test('more keys than there is room for take turns, and each comes out right', () => {
  const seen = new SeenKeys()
  for (let time = 0; time < 2; time++) {
    for (let index = 0; index < 100_000; index++) {
      const key = `k${index}`
      const { text, top } = read(seen, key)
      if (text !== key) expect(text).toBe(key)
      if (index % 1_000 === 0) expect(top).toBe(hashKeyTopOf(key))
    }
  }
})
