import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashKeyOf, MAX_HASH_KEY } from './hash-key.ts'
import { contains, overlaps, splitEvenly } from './hash-range.ts'
import { ShardMap, type ShardRange } from './shard-map.ts'

const shard = (shardId: string, start: bigint, end: bigint): ShardRange => ({ shardId, hashRange: { start, end } })

test('predicts the shard whose range holds the hash key, both ends included', () => {
  const map = ShardMap.of([shard('b', 10n, 19n), shard('c', 20n, MAX_HASH_KEY), shard('a', 0n, 9n)])
  expect([0n, 9n, 10n, 19n, 20n, MAX_HASH_KEY].map((key) => map.predict(key)?.shardId)).toEqual([
    'a',
    'a',
    'b',
    'b',
    'c',
    'c',
  ])
  expect(map.shards.map(({ shardId }) => shardId)).toEqual(['a', 'b', 'c'])
  expect(map.holes).toEqual([])
  expect(map.overlaps).toEqual([])
})

test('predicts nothing in a hole, and lists it', () => {
  const map = ShardMap.of([shard('a', 5n, 9n), shard('c', 20n, MAX_HASH_KEY)])
  expect([0n, 4n, 10n, 19n].map((key) => map.predict(key))).toEqual([undefined, undefined, undefined, undefined])
  expect(map.holes).toEqual([
    { start: 0n, end: 4n },
    { start: 10n, end: 19n },
  ])
})

test('an empty map is one hole', () => {
  const map = ShardMap.of([])
  expect(map.predict(0n)).toBeUndefined()
  expect(map.get('a')).toBeUndefined()
  expect(map.holes).toEqual([{ start: 0n, end: MAX_HASH_KEY }])
})

test('where shards overlap it predicts the one that starts last, and lists the overlap', () => {
  const map = ShardMap.of([shard('parent', 0n, MAX_HASH_KEY), shard('child', 10n, 19n), shard('small', 12n, 13n)])
  expect([9n, 10n, 12n, 14n, 20n].map((key) => map.predict(key)?.shardId)).toEqual([
    'parent',
    'child',
    'small',
    'child',
    'parent',
  ])
  expect(map.overlaps).toEqual([{ start: 10n, end: 19n }])
})

test('gives back the very shards it was made of, with all their fields', () => {
  const parent = { ...shard('a', 0n, MAX_HASH_KEY), parentShardIds: ['p'] }
  const map = ShardMap.of([parent])
  expect(map.get('a')).toBe(parent)
  expect(map.predict(7n)?.parentShardIds).toEqual(['p'])
})

test('refuses a shard that comes twice, and a range that is none', () => {
  expect(() => ShardMap.of([shard('a', 0n, 1n), shard('a', 2n, 3n)])).toThrow(
    expect.objectContaining({ code: 'ERR_SHARD_MAP' }),
  )
  expect(() => ShardMap.of([shard('a', 2n, 1n)])).toThrow(expect.objectContaining({ code: 'ERR_HASH_RANGE' }))
})

test('agrees with looking at every shard, for any shards', () => {
  const key = fc.bigInt(0n, 40n)
  fc.assert(
    fc.property(fc.array(fc.tuple(key, key), { maxLength: 8 }), fc.array(key, { maxLength: 20 }), (ends, keys) => {
      const shards = ends.map(([a, b], index) => (a < b ? shard(`${index}`, a, b) : shard(`${index}`, b, a)))
      const map = ShardMap.of(shards)
      for (const each of keys) {
        const candidates = shards.filter(({ hashRange }) => contains(hashRange, each))
        const predicted = map.predict(each)
        if (candidates.length === 0) expect(predicted).toBeUndefined()
        else expect(candidates).toContain(predicted)
      }
    }),
  )
})

test('predicts for a partition key what it predicts for its hash key, however the shards lie about it', () => {
  const anyKey = fc.bigInt(0n, MAX_HASH_KEY)
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 70 }),
      fc.array(anyKey),
      (partitionKey, keys) => {
        const key = hashKeyOf(partitionKey)
        // Starts that share their first bits with the key, just before it, at it and behind it.
        const near = [key - 1n, key, key + 1n, key ^ 1n, (key >> 96n) << 96n].filter((each) => each <= MAX_HASH_KEY)
        for (const chosen of [keys, near, [...keys, ...near]]) {
          const starts = [...new Set([0n, ...chosen.filter((each) => each > 0n)])].sort((a, b) => (a < b ? -1 : 1))
          const shards = starts.map((start, index) => shard(`${index}`, start, (starts[index + 1] ?? 2n ** 128n) - 1n))
          for (const some of [shards, shards.filter((_, index) => index % 2 === 0), [...shards, shard('x', 0n, key)]]) {
            const map = ShardMap.of(some)
            expect(map.predictKey(partitionKey)).toBe(map.predict(key))
          }
        }
      },
    ),
  )
})

test('finds both ends of every shard among a thousand', () => {
  const map = ShardMap.of(splitEvenly(1000).map((hashRange, index) => ({ shardId: `shardId-${index}`, hashRange })))
  for (const each of map.shards) {
    expect(map.predict(each.hashRange.start)).toBe(each)
    expect(map.predict(each.hashRange.end)).toBe(each)
  }
})

test('gives the shards that share hash keys with a range, both ends included', () => {
  const map = ShardMap.of([shard('b', 10n, 19n), shard('c', 20n, MAX_HASH_KEY), shard('a', 0n, 9n)])
  const ids = (start: bigint, end: bigint): string =>
    map
      .overlapping({ start, end })
      .map((each) => each.shardId)
      .join('')
  expect([ids(0n, 9n), ids(9n, 10n), ids(10n, 19n), ids(9n, 20n), ids(30n, 30n)]).toEqual(['a', 'ab', 'b', 'abc', 'c'])
})

test('agrees with asking every shard whether it overlaps a range, for shards with holes and with overlaps', () => {
  const key = fc.bigInt(0n, 40n)
  const range = fc.tuple(key, key).map(([a, b]) => (a < b ? { start: a, end: b } : { start: b, end: a }))
  const disjoint = fc.uniqueArray(key, { maxLength: 16 }).map((ends) => {
    const sorted = ends.sort((a, b) => Number(a - b))
    return Array.from({ length: sorted.length >> 1 }, (_, index) => ({
      start: sorted[2 * index] as bigint,
      end: sorted[2 * index + 1] as bigint,
    }))
  })
  fc.assert(
    fc.property(fc.oneof(disjoint, fc.array(range, { maxLength: 8 })), range, (ranges, asked) => {
      const map = ShardMap.of(ranges.map((hashRange, index) => ({ shardId: `${index}`, hashRange })))
      expect(map.overlapping(asked)).toEqual(map.shards.filter(({ hashRange }) => overlaps(hashRange, asked)))
    }),
  )
})
