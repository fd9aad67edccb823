import { expect, test } from 'vitest'
import type { Assign, AssignableLease, Move } from './assignment.ts'
import { checkedMoves } from './checked-moves.ts'

const LEASES: AssignableLease[] = [
  { leaseKey: 'free', owner: undefined, state: 'free', cameFrom: undefined },
  { leaseKey: 'live', owner: 'a', state: 'live', cameFrom: undefined },
  { leaseKey: 'moving', owner: 'a', state: 'moving', cameFrom: undefined },
]
const WORKERS = ['a', 'b'].map((workerId) => ({ workerId, maxLeases: Number.POSITIVE_INFINITY }))

const check = (decided: unknown): Move[] => checkedMoves((() => decided) as Assign, LEASES, WORKERS)

test('what can be carried out is passed on', () => {
  const moves = [
    { leaseKey: 'free', to: 'a' },
    { leaseKey: 'live', to: 'b' },
  ]
  expect(check(moves)).toEqual(moves)
})

test('what changes nothing is no move, and a lease that is on its way arrives first', () => {
  expect(
    check([
      { leaseKey: 'live', to: 'a' },
      { leaseKey: 'moving', to: 'b' },
    ]),
  ).toEqual([])
})

test.each([
  ['an unknown lease', [{ leaseKey: 'x', to: 'a' }], /a leaseKey among the leases it was given, got "x"/],
  ['an unknown worker', [{ leaseKey: 'free', to: 'c' }], /workerId of one of the workers .* for free, got "c"/],
  ['a lease moved twice', Array(2).fill({ leaseKey: 'free', to: 'a' }), /one move for each lease, got two for free/],
  ['a move without a worker', [{ leaseKey: 'free' }], /moves \{ leaseKey, to \}, got \{"leaseKey":"free"\}/],
  ['no move at all', [undefined], /moves \{ leaseKey, to \}, got undefined/],
  ['no array', undefined, /an array of moves, got undefined/],
  ['a promise', Promise.resolve([]), /must not be async/],
])('%s is refused, with all the rest', (_, decided, message) => {
  expect(() => check(decided)).toThrow(message)
})
