import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MAX_HASH_KEY } from './hash-key.ts'
import { contains, splitEvenly } from './hash-range.ts'
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

test('finds both ends of every shard among a thousand', () => {
  const map = ShardMap.of(splitEvenly(1000).map((hashRange, index) => ({ shardId: `shardId-${index}`, hashRange })))
  for (const each of map.shards) {
    expect(map.predict(each.hashRange.start)).toBe(each)
    expect(map.predict(each.hashRange.end)).toBe(each)
  }
})
