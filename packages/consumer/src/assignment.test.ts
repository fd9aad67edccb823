import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AssignableLease, assign, type Move } from './assignment.ts'

const lease = (leaseKey: string, owner?: string, state: AssignableLease['state'] = owner ? 'live' : 'free') => ({
  leaseKey,
  owner,
  state,
})

const WORKERS = ['a', 'b', 'c', 'd', 'e']
const workersArbitrary = fc.subarray(WORKERS, { minLength: 1 })
const leasesArbitrary = fc
  .array(
    fc.record({
      owner: fc.option(fc.constantFrom(...WORKERS, 'gone'), { nil: undefined }),
      state: fc.constantFrom('free' as const, 'live' as const, 'moving' as const),
    }),
    { maxLength: 40 },
  )
  .map((leases) =>
    leases.map(({ owner, state }, index) => lease(`shard-${index}`, owner, owner === undefined ? 'free' : state)),
  )

function apply(leases: readonly AssignableLease[], moves: readonly Move[]): AssignableLease[] {
  const to = new Map(moves.map((move) => [move.leaseKey, move.to]))
  return leases.map((each) =>
    to.has(each.leaseKey) ? { ...each, owner: to.get(each.leaseKey), state: 'live' as const } : each,
  )
}

const counts = (leases: readonly AssignableLease[], workers: readonly string[]): number[] =>
  workers.map((worker) => leases.filter(({ owner }) => owner === worker).length)

describe('assign', () => {
  test('new leases are spread at once, not all given to the first worker', () => {
    const leases = ['1', '2', '3', '4'].map((key) => lease(key))
    const moves = assign(leases, ['a', 'b'])
    expect(moves.every(({ handoff }) => !handoff)).toBe(true)
    expect(counts(apply(leases, moves), ['a', 'b'])).toEqual([2, 2])
  })

  test('one off balance moves nothing, two off moves one, by handoff', () => {
    const leases = [lease('1', 'a'), lease('2', 'a'), lease('3', 'b')]
    expect(assign(leases, ['a', 'b'])).toEqual([])
    expect(assign([...leases, lease('4', 'a')], ['a', 'b'])).toEqual([{ leaseKey: '1', to: 'b', handoff: true }])
  })

  test('a lease on its way counts for its next owner and is not moved again', () => {
    const leases = [lease('1', 'b', 'moving'), lease('2', 'a'), lease('3', 'a'), lease('4', 'b', 'moving')]
    expect(assign(leases, ['a', 'b'])).toEqual([])
    expect(assign([lease('1', 'a', 'moving'), lease('2', 'a', 'moving')], ['a', 'b'])).toEqual([])
  })

  test('live leases of a worker that is not known to take part stay where they are', () => {
    expect(assign([lease('1', 'stranger'), lease('2', 'stranger'), lease('3', 'stranger')], ['a'])).toEqual([])
  })

  test('without workers nothing moves', () => {
    expect(assign([lease('1')], [])).toEqual([])
  })

  test('every free lease gets a known worker, and no lease moves twice', () => {
    fc.assert(
      fc.property(leasesArbitrary, workersArbitrary, (leases, workers) => {
        const moves = assign(leases, workers)
        const keys = moves.map(({ leaseKey }) => leaseKey)
        expect(new Set(keys).size).toBe(keys.length)
        for (const { to } of moves) expect(workers).toContain(to)
        const free = leases.filter(({ state }) => state === 'free')
        const given = moves.filter(({ handoff }) => !handoff)
        expect(given.map(({ leaseKey }) => leaseKey).sort()).toEqual(free.map(({ leaseKey }) => leaseKey).sort())
        for (const { leaseKey } of moves.filter(({ handoff }) => handoff)) {
          expect(leases.find((each) => each.leaseKey === leaseKey)?.state).toBe('live')
        }
      }),
    )
  })

  test('afterwards the workers are even, and a second look moves nothing', () => {
    fc.assert(
      fc.property(leasesArbitrary, workersArbitrary, (drawn, workers) => {
        const leases = drawn.filter(({ state }) => state !== 'moving')
        const after = apply(leases, assign(leases, workers))
        const loads = counts(after, workers)
        expect(Math.max(...loads) - Math.min(...loads)).toBeLessThanOrEqual(1)
        expect(assign(after, workers)).toEqual([])
      }),
    )
  })

  test('it depends on what is there, not on the order in which it was seen', () => {
    fc.assert(
      fc.property(leasesArbitrary, workersArbitrary, (leases, workers) => {
        expect(assign(leases.toReversed(), workers.toReversed())).toEqual(assign(leases, workers))
      }),
    )
  })
})
