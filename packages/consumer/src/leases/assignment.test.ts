import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type AssignableLease, type AssignableWorker, assignByCount, type Move } from './assignment.ts'

const lease = (
  leaseKey: string,
  owner?: string,
  state: AssignableLease['state'] = owner ? 'live' : 'free',
  cameFrom?: string,
): AssignableLease => ({ leaseKey, owner, state, cameFrom })

const worker = (workerId: string, maxLeases = Number.POSITIVE_INFINITY): AssignableWorker => ({ workerId, maxLeases })
const workersOf = (ids: string): AssignableWorker[] => [...ids].map((id) => worker(id))
/** `held('aab')`: two leases of a and one of b. */
const held = (owners: string): AssignableLease[] => [...owners].map((owner, index) => lease(`s${index}`, owner))
const said = (moves: readonly Move[]): string[] => moves.map(({ leaseKey, to }) => `${leaseKey} → ${to}`)

const WORKERS = ['a', 'b', 'c', 'd', 'e']
const uncapped = fc.subarray(WORKERS, { minLength: 1 }).map((ids) => ids.map((id) => worker(id)))
const capped = fc
  .subarray(WORKERS, { minLength: 1 })
  .chain((ids) =>
    fc.tuple(
      ...ids.map((id) =>
        fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat({ max: 12 })).map((max) => worker(id, max)),
      ),
    ),
  )
const leasesIn = (...states: AssignableLease['state'][]): fc.Arbitrary<AssignableLease[]> =>
  fc
    .array(
      fc.record({
        owner: fc.option(fc.constantFrom(...WORKERS, 'gone'), { nil: undefined }),
        state: fc.constantFrom(...states),
        cameFrom: fc.option(fc.constantFrom(...WORKERS), { nil: undefined, freq: 2 }),
      }),
      { maxLength: 60 },
    )
    .map((drawn) =>
      drawn
        .map((each, index) => ({ ...each, leaseKey: `shard-${index}` }))
        .map((each) =>
          each.owner === undefined
            ? { ...each, state: 'free' as const }
            : each.cameFrom === each.owner
              ? { ...each, cameFrom: undefined }
              : each,
        ),
    )
const anyLeases = leasesIn('free', 'live', 'moving')
const unmoved = (leases: AssignableLease[]): AssignableLease[] =>
  leases.map((each) => ({ ...each, cameFrom: undefined }))
const settledLeases = leasesIn('free', 'live').map(unmoved)

/** What the leader sees once the moves are written: free leases are held, live ones on their way. */
function written(leases: readonly AssignableLease[], moves: readonly Move[]): AssignableLease[] {
  const to = new Map(moves.map((move) => [move.leaseKey, move.to]))
  return leases.map((each) =>
    to.has(each.leaseKey)
      ? {
          ...each,
          owner: to.get(each.leaseKey),
          ...(each.state === 'free' ? { state: 'live' } : { state: 'moving', cameFrom: each.owner }),
        }
      : each,
  )
}

/** The same when everything has arrived. */
const arrived = (leases: readonly AssignableLease[]): AssignableLease[] =>
  leases.map((each) => (each.state === 'moving' ? { ...each, state: 'live' } : each))

const countsOf = (leases: readonly AssignableLease[], workers: readonly AssignableWorker[]): number[] =>
  workers.map(({ workerId }) => leases.filter(({ owner, state }) => owner === workerId && state !== 'free').length)

const spreadOf = (counts: readonly number[]): number => Math.max(...counts) - Math.min(...counts)

describe('the assignment by count', () => {
  test('deals free leases out evenly, all at once', () => {
    const free = Array.from({ length: 8 }, (_, index) => lease(`s${index}`))
    expect(countsOf(written(free, assignByCount(free, workersOf('abc'))), workersOf('abc'))).toEqual([3, 3, 2])
  })

  test('gives what is free to those with the fewest', () => {
    expect(said(assignByCount([...held('aab'), lease('x'), lease('y', 'gone', 'free')], workersOf('abc')))).toEqual([
      'x → c',
      'y → b',
    ])
  })

  test('leaves a difference of one alone, and moves one lease for a difference of two', () => {
    expect(assignByCount(held('aab'), workersOf('ab'))).toEqual([])
    expect(said(assignByCount(held('aaab'), workersOf('ab')))).toEqual(['s0 → b'])
  })

  test('counts what is on its way as there already, and does not turn it round', () => {
    const leases = [...held('aa'), lease('x', 'b', 'moving'), lease('y', 'b', 'moving')]
    expect(assignByCount(leases, workersOf('ab'))).toEqual([])
    expect(said(assignByCount(leases.slice(2), workersOf('ab')))).toEqual([])
  })

  test('leaves live leases of workers it was not told of where they are', () => {
    expect(assignByCount(held('zzzz'), workersOf('ab'))).toEqual([])
  })

  test('moves nothing if there is nobody', () => {
    expect(assignByCount([lease('x')], [])).toEqual([])
  })

  test('never moves a lease back to where it came from a short while ago, but another one', () => {
    const leases = [lease('s0', 'a', 'live', 'b'), lease('s1', 'a'), lease('s2', 'a', 'live', 'b')]
    expect(said(assignByCount(leases, workersOf('ab')))).toEqual(['s1 → b'])
    const all = leases.map((each) => ({ ...each, cameFrom: 'b' }))
    expect(assignByCount(all, workersOf('ab'))).toEqual([])
    expect(said(assignByCount(all, workersOf('abc')))).toEqual(['s0 → c'])
  })

  test('moves a lease on rather that was not moved lately', () => {
    const leases = [lease('s0', 'a', 'live', 'b'), lease('s1', 'a'), ...['s2', 's3'].map((key) => lease(key, 'b'))]
    expect(said(assignByCount([...leases, lease('s4', 'a')], workersOf('abc')))).toEqual(['s1 → c'])
  })

  test('gives nobody more than it takes; the unowned go before those whose holder is gone', () => {
    const leases = [lease('s0', 'gone', 'free'), lease('s1'), lease('s2', 'gone', 'free'), lease('s3'), lease('s4')]
    expect(said(assignByCount(leases, [worker('a', 3), worker('b', 1)]))).toEqual([
      's1 → a',
      's3 → b',
      's4 → a',
      's0 → a',
    ])
  })

  test('moves what a worker has above its limit to those with room, however even they are', () => {
    expect(said(assignByCount(held('aaabbb'), [worker('a', 2), worker('b')]))).toEqual(['s0 → b'])
    expect(assignByCount(held('aaabbb'), [worker('a', 2), worker('b', 3)])).toEqual([])
  })

  test('gives every free lease to a known worker, moves none twice, and none that is on its way', () => {
    fc.assert(
      fc.property(anyLeases, uncapped, (leases, workers) => {
        const moves = assignByCount(leases, workers)
        const byKey = new Map(leases.map((each) => [each.leaseKey, each]))
        expect(new Set(moves.map(({ leaseKey }) => leaseKey)).size).toBe(moves.length)
        for (const { leaseKey, to } of moves) {
          expect(workers.map(({ workerId }) => workerId)).toContain(to)
          expect(byKey.get(leaseKey)?.state).not.toBe('moving')
        }
        expect(written(leases, moves).filter(({ state }) => state === 'free')).toEqual([])
      }),
    )
  })

  test('is even afterwards, if nothing is on its way or came a short while ago', () => {
    fc.assert(
      fc.property(settledLeases, uncapped, (leases, workers) => {
        const after = written(leases, assignByCount(leases, workers))
        expect(spreadOf(countsOf(after, workers))).toBeLessThanOrEqual(1)
        expect(assignByCount(after, workers)).toEqual([])
        expect(assignByCount(arrived(after), workers)).toEqual([])
      }),
    )
  })

  test('hands off no more leases than it takes to be even, and none if it is even', () => {
    fc.assert(
      fc.property(settledLeases, uncapped, (drawn, workers) => {
        const leases = drawn.filter(({ state }) => state === 'live')
        const counts = countsOf(leases, workers).sort((a, b) => b - a)
        const total = counts.reduce((sum, count) => sum + count, 0)
        const share = Math.floor(total / workers.length)
        const surplus = counts.map((count, index) => count - share - Number(index < total % workers.length))
        const fewest = surplus.reduce((sum, each) => sum + Math.max(0, each), 0)
        expect(assignByCount(leases, workers)).toHaveLength(fewest)
      }),
    )
  })

  test('moves a live lease only for a difference of two or a limit, never back, and gives nobody more than it takes', () => {
    fc.assert(
      fc.property(anyLeases, capped, (leases, workers) => {
        const byKey = new Map(leases.map((each) => [each.leaseKey, each]))
        const limits = new Map(workers.map(({ workerId, maxLeases }) => [workerId, maxLeases]))
        const counts = new Map(workers.map(({ workerId }, index) => [workerId, countsOf(leases, workers)[index]!]))
        for (const { leaseKey, to } of assignByCount(leases, workers)) {
          const { state, owner, cameFrom } = byKey.get(leaseKey)!
          if (state === 'live') {
            const had = counts.get(owner!)!
            expect(had - counts.get(to)! >= 2 || had > limits.get(owner!)!).toBe(true)
            expect(to).not.toBe(cameFrom)
            counts.set(owner!, had - 1)
          }
          counts.set(to, counts.get(to)! + 1)
          expect(counts.get(to)).toBeLessThanOrEqual(limits.get(to)!)
        }
      }),
    )
  })

  test('comes to rest: what it has moved, it moves no further', () => {
    fc.assert(
      fc.property(anyLeases.map(unmoved), capped, (leases, workers) => {
        const after = written(leases, assignByCount(leases, workers))
        expect(assignByCount(after, workers)).toEqual([])
      }),
    )
  })

  test('depends on what is there, not on the order in which it was seen', () => {
    fc.assert(
      fc.property(anyLeases, capped, (leases, workers) => {
        expect(assignByCount(leases.toReversed(), workers.toReversed())).toEqual(assignByCount(leases, workers))
      }),
    )
  })

  test('decides over 10,000 leases and 1,000 workers in well under a second', () => {
    const workers = Array.from({ length: 1_000 }, (_, index) => worker(`w${index}`))
    const onOne = Array.from({ length: 10_000 }, (_, index) => lease(`s${index}`, `w${index % 2}`))
    const startedAt = performance.now()
    const moves = assignByCount(onOne, workers)
    expect(performance.now() - startedAt).toBeLessThan(1_000)
    expect(moves).toHaveLength(9_980)
    expect(countsOf(written(onOne, moves), workers.slice(0, 5))).toEqual([10, 10, 10, 10, 10])
  })
})
