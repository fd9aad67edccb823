import { FULL_HASH_RANGE, type HashRange, splitEvenly } from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChildShard } from '../retrieval/shard-children.ts'
import { ReadingOrder } from './reading-order.ts'

const [LOW, HIGH] = splitEvenly(2) as [HashRange, HashRange]

function shard(id: number, hashRange: HashRange, ...parents: number[]): ChildShard {
  return { shardId: idOf(id), hashRange, parentShardIds: parents.map(idOf) }
}

const idOf = (id: number): string => `shardId-${String(id).padStart(12, '0')}`
const taken = (order: ReadingOrder): number[] => order.take().map(({ shardId }) => Number(shardId.slice(8)))

const WHOLE = shard(0, FULL_HASH_RANGE)
const SPLIT = [shard(1, LOW, 0), shard(2, HIGH, 0)]
const MERGED = shard(3, FULL_HASH_RANGE, 1, 2)

describe('the first shards', () => {
  test('of all are those whose parents have expired', () => {
    const order = new ReadingOrder([MERGED, ...SPLIT])
    expect(order.isIncomplete).toBe(false)
    expect(order.take()).toEqual(SPLIT.map((one) => ({ ...one, isAtStart: true })))
    expect(taken(order)).toEqual([])
  })

  test('at a time are those that were open then, and what was over by then is not read', () => {
    const order = new ReadingOrder([WHOLE, ...SPLIT, MERGED], SPLIT)
    expect(taken(order)).toEqual([1, 2])
    order.ended(idOf(1), [MERGED])
    expect(taken(order)).toEqual([])
    order.ended(idOf(2), [MERGED])
    expect(order.take()).toEqual([{ ...MERGED, isAtStart: false }])
    order.listed([WHOLE, ...SPLIT, MERGED])
    expect(taken(order)).toEqual([])
  })

  test('of which one is below another wait for it, and start at the time too', () => {
    const order = new ReadingOrder([WHOLE, ...SPLIT], [WHOLE, ...SPLIT])
    expect(taken(order)).toEqual([0])
    order.ended(idOf(0), SPLIT)
    expect(order.take().map(({ isAtStart }) => isAtStart)).toEqual([true, true])
  })

  test('are known even if only the second listing shows them', () => {
    expect(taken(new ReadingOrder([SPLIT[0]!], SPLIT))).toEqual([1, 2])
  })

  test('that leave hash keys out are not all', () => {
    expect(new ReadingOrder([SPLIT[0]!]).isIncomplete).toBe(true)
    expect(new ReadingOrder([]).isIncomplete).toBe(true)
  })
})

describe('a parent that is not known', () => {
  // 0 is split into 1 and 2, and 1 merged with 4, which comes from 3.
  const [A, B, C] = splitEvenly(3) as [HashRange, HashRange, HashRange]
  const first = [shard(0, A), shard(1, { start: B.start, end: C.end })]
  const other = [shard(2, B, 1), shard(3, C, 1)]
  const merged = shard(4, { start: A.start, end: B.end }, 0, 2)

  test('holds its child up, and is asked for', () => {
    const order = new ReadingOrder(first)
    taken(order)
    order.ended(idOf(0), [merged])
    expect(taken(order)).toEqual([])
    expect(order.isIncomplete).toBe(true)
    order.listed([...first, ...other, merged])
    expect(order.isIncomplete).toBe(false)
    expect(taken(order)).toEqual([])
    order.ended(idOf(1), other)
    expect(taken(order)).toEqual([2, 3])
    order.ended(idOf(2), [merged])
    expect(taken(order)).toEqual([4])
  })

  test('has expired if the stream lists the child without it', () => {
    const order = new ReadingOrder(first)
    taken(order)
    order.ended(idOf(0), [merged])
    order.listed([first[1]!, other[1]!, merged])
    expect(taken(order)).toEqual([4])
  })

  test('may still come if the listing is from before the child', () => {
    const order = new ReadingOrder(first)
    taken(order)
    order.ended(idOf(0), [merged])
    order.listed(first)
    expect(order.isIncomplete).toBe(true)
    expect(taken(order)).toEqual([])
  })
})

test('a line that has expired in the middle goes on where the stream lists it again', () => {
  const order = new ReadingOrder([WHOLE])
  taken(order)
  // 1 expired with 0; 4 is its child.
  order.ended(idOf(0), [SPLIT[1]!])
  expect(order.isIncomplete).toBe(true)
  order.listed([SPLIT[1]!, shard(4, LOW, 1)])
  expect(order.isIncomplete).toBe(false)
  expect(taken(order)).toEqual([2, 4])
})

test('a shard that ended comes no more, whatever a late listing shows', () => {
  const order = new ReadingOrder([WHOLE])
  taken(order)
  order.ended(idOf(0), SPLIT)
  taken(order)
  order.ended(idOf(1), [MERGED])
  order.listed([WHOLE])
  order.listed([WHOLE, ...SPLIT])
  expect(taken(order)).toEqual([])
})

test('whatever is split and merged, every shard is read once, after its parents, and none is missed', () => {
  const reshard = fc.record({ isSplit: fc.boolean(), at: fc.nat(), endsBetween: fc.array(fc.nat(), { maxLength: 4 }) })
  fc.assert(
    fc.property(fc.array(reshard, { maxLength: 25 }), fc.boolean(), (reshards, isListedAgain) => {
      const all = splitEvenly(3).map((range, id) => shard(id, range))
      let open = [...all]
      const childrenOf = new Map<string, ChildShard[]>()
      const order = new ReadingOrder(all)
      const reading: string[] = []
      const ended = new Set<string>()
      const begun = new Set<string>()
      const begin = (): void => {
        for (const { shardId } of order.take()) {
          expect(begun).not.toContain(shardId)
          begun.add(shardId)
          const { parentShardIds } = all.find((one) => one.shardId === shardId)!
          expect(parentShardIds.every((id) => ended.has(id))).toBe(true)
          reading.push(shardId)
        }
      }
      const end = (at: number): void => {
        const closed = reading.filter((id) => childrenOf.has(id))
        const shardId = closed[at % closed.length]
        if (shardId === undefined) return
        reading.splice(reading.indexOf(shardId), 1)
        ended.add(shardId)
        order.ended(shardId, childrenOf.get(shardId)!)
        if (isListedAgain || order.isIncomplete) order.listed(all)
        expect(order.isIncomplete).toBe(false)
        begin()
      }
      begin()
      for (const { isSplit, at, endsBetween } of reshards) {
        const index = at % (isSplit ? open.length : Math.max(1, open.length - 1))
        const old = open.slice(index, isSplit ? index + 1 : index + 2)
        if (old.length < (isSplit ? 1 : 2)) continue
        const whole = { start: old[0]!.hashRange.start, end: old.at(-1)!.hashRange.end }
        const parents = old.map(({ shardId }) => Number(shardId.slice(8)))
        const children = splitEvenly(isSplit ? 2 : 1, whole).map((range, nth) =>
          shard(all.length + nth, range, ...parents),
        )
        all.push(...children)
        open = open.toSpliced(index, old.length, ...children)
        for (const { shardId } of old) childrenOf.set(shardId, children)
        for (const which of endsBetween) end(which)
      }
      while (reading.some((id) => childrenOf.has(id))) end(0)
      expect(begun.size).toBe(all.length)
      expect(reading.toSorted()).toEqual(open.map(({ shardId }) => shardId).toSorted())
    }),
    { numRuns: 300 },
  )
})
