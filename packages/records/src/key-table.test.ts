import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PARTITION_KEY_TABLE_TAG } from './aggregate-format.ts'
import { KeyTable } from './key-table.ts'

function bytesOf(table: KeyTable): Buffer {
  const bytes = Buffer.alloc(table.size)
  table.copyTo(bytes, 0)
  return bytes
}

/** For keys of fewer than 128 bytes. */
function serialized(keys: Iterable<string>): Buffer {
  return Buffer.concat(
    [...keys].flatMap((key) => [Buffer.from([PARTITION_KEY_TABLE_TAG, Buffer.byteLength(key)]), Buffer.from(key)]),
  )
}

/** Which of 1,024 slots a key of ASCII characters belongs to: FNV-1a, its high bits folded into the low ones. */
function slotOf(key: string): number {
  let hash = 0x811c9dc5
  for (const character of key) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
  return (hash ^ (hash >>> 15)) & 0x3ff
}

test('has every key once, in order of first appearance, and says before how much it will grow', () => {
  const key = fc.oneof(fc.string({ maxLength: 2 }), fc.string({ unit: 'grapheme', maxLength: 10 }))
  const ops = fc.array(fc.record({ key, asked: key }), { maxLength: 60 })
  const table = new KeyTable(PARTITION_KEY_TABLE_TAG)
  fc.assert(
    fc.property(ops, (keys) => {
      table.clear()
      const indexes = new Map<string, number>()
      for (const { key: each, asked } of keys) {
        const expected = indexes.get(each) ?? indexes.size
        const size = table.size + table.growthWith(each)
        // Asking for another in between changes nothing.
        expect(table.indexOf(asked)).toBe(indexes.get(asked) ?? indexes.size)
        expect(table.indexOf(each)).toBe(expected)
        expect(table.add(each)).toBe(expected)
        expect(table.size).toBe(size)
        indexes.set(each, expected)
      }
      expect(bytesOf(table)).toEqual(serialized(indexes.keys()))
    }),
  )
})

test('knows ten thousand keys again, and none of them after it was cleared', () => {
  const table = new KeyTable(PARTITION_KEY_TABLE_TAG)
  for (const round of ['a', 'b']) {
    const keys = Array.from({ length: 10_000 }, (_, index) => `user-${round}-${index}`)
    for (const pass of ['first', 'second']) {
      const added = keys.map((key) => table.add(key))
      expect(added, `${pass} pass`).toEqual(keys.map((_, index) => index))
    }
    expect(bytesOf(table)).toEqual(serialized(keys))
    table.clear()
    expect(table.size).toBe(0)
  }
})

test('keys chosen to collide may be in it twice, and nothing worse', () => {
  const keys: string[] = []
  for (let candidate = 0; keys.length < 100; candidate++) if (slotOf(`${candidate}`) === 7) keys.push(`${candidate}`)
  const table = new KeyTable(PARTITION_KEY_TABLE_TAG)
  const written: string[] = []
  for (const key of [...keys, ...keys]) {
    const size = table.size + table.growthWith(key)
    const expected = table.indexOf(key)
    expect(table.add(key)).toBe(expected)
    expect(table.size).toBe(size)
    if (expected === written.length) written.push(key)
    expect(written[expected]).toBe(key)
  }
  expect(written.length).toBeGreaterThan(keys.length)
  expect(bytesOf(table)).toEqual(serialized(written))
})
