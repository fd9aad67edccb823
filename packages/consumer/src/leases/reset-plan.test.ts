import type { Shard } from '@shardwise/core'
import { type HashRange, overlaps, type Position, SHARD_END, splitEvenly, TRIM_HORIZON } from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TREE_A, TREE_B } from '../../test/shard-trees.ts'
import { compareShardIds, isFinished, type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import { planOfAll, planOfSome, type ResetPlan } from './reset-plan.ts'
import { deletableLeases, firstLeases, type MissingLease, missingLeases } from './shard-sync.ts'

const NOW = 1_000

function leaseOf(
  { shardId, hashRange, parentShardIds }: Omit<MissingLease, 'checkpoint' | 'startMs'>,
  at: Position,
): Lease {
  const { set } = create({
    streamIdentifier: undefined,
    shardId,
    hashRange,
    parentShardIds,
    checkpoint: at,
    startMs: undefined,
  })
  return leaseFromItem({ ...set, leaseKey: { S: shardId } })!
}

const number = (sequenceNumber: string): Position => ({ sequenceNumber, subSequenceNumber: 0 })
const ids = (of: readonly { readonly shardId: string }[]): string[] =>
  of.map(({ shardId }) => shardId.replace('shardId-', ''))
const leased = (tree: readonly Shard[], at: Readonly<Record<number, Position>>): Lease[] =>
  Object.entries(at).map(([id, position]) =>
    leaseOf(tree.find(({ shardId }) => shardId === `shardId-${id}`)!, position),
  )

describe('the whole stream', () => {
  test('gets the leases of a new application, and all others go, oldest first', () => {
    const leases = leased(TREE_A, {
      8: number('300'),
      5: SHARD_END,
      4: number('20'),
      9: number('210'),
      10: number('210'),
    })
    const plan = planOfAll(TREE_A.slice(0, 6), leases, 'TRIM_HORIZON', NOW)
    expect(ids(plan.starts)).toEqual(['0', '1', '2', '3', '4', '5'])
    expect(new Set(plan.starts.map(({ checkpoint }) => checkpoint))).toEqual(new Set([TRIM_HORIZON]))
    expect(ids(plan.surplus)).toEqual(['8', '9', '10'])
    expect(plan.finished).toEqual([])
  })

  test('at the tip unfinished shards above it go, too', () => {
    const open = TREE_A.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined)
    const plan = planOfAll(open, leased(TREE_A, { 5: number('100'), 4: number('20') }), 'LATEST', NOW)
    expect(ids(plan.starts).toSorted()).toEqual(['10', '4', '8', '9'])
    expect(plan.starts.every(({ startMs }) => startMs === NOW)).toBe(true)
    expect(ids(plan.surplus)).toEqual(['5'])
  })
})

describe('some shards', () => {
  const leases = leased(TREE_A, { 8: number('300'), 4: number('20'), 9: number('210'), 10: number('210') })

  test('start anew, those below them go, and the others are left alone', () => {
    const plan = planOfSome(['shardId-5'], TREE_A, leases, 'TRIM_HORIZON', NOW)
    expect([ids(plan.starts), ids(plan.surplus), ids(plan.finished)]).toEqual([['5'], ['9', '10'], []])
  })

  test('where one is below another, it comes again by the other’s end', () => {
    const plan = planOfSome(['shardId-8', 'shardId-6', 'shardId-4'], TREE_A, leases, { timestamp: 5 }, NOW)
    expect(plan.starts).toMatchObject([
      { shardId: 'shardId-4', checkpoint: { sequenceNumber: 'AT_TIMESTAMP' }, startMs: 5 },
      { shardId: 'shardId-6', startMs: 5 },
    ])
    expect(ids(plan.surplus)).toEqual(['8'])
  })

  test('the other parent of a merge below stays finished', () => {
    const plan = planOfSome(['shardId-0'], TREE_A, leases, 'TRIM_HORIZON', NOW)
    expect(ids(plan.surplus)).toEqual(['8'])
    expect(plan.finished).toMatchObject([
      { shardId: 'shardId-1', checkpoint: SHARD_END, childShardIds: ['shardId-6'] },
      { shardId: 'shardId-7', checkpoint: SHARD_END, childShardIds: ['shardId-8'] },
    ])
    const afterwards = applied(plan, leases)
    expect(missingLeases(TREE_A, afterwards, 'TRIM_HORIZON', NOW)).toEqual([])
    expect(deletableLeases(afterwards, TREE_A)).toEqual([])
  })

  test('a position is the checkpoint, of a record that the shard may have', () => {
    const to = { shardId: 'shardId-6', sequenceNumber: '150', subSequenceNumber: 7 }
    const [start] = planOfSome(['shardId-6'], TREE_A, leases, to, NOW).starts
    expect(start).toMatchObject({ checkpoint: { sequenceNumber: '150', subSequenceNumber: 7 }, startMs: undefined })
    for (const sequenceNumber of ['102', '206']) {
      const wrong = (): unknown => planOfSome(['shardId-6'], TREE_A, leases, { ...to, sequenceNumber }, NOW)
      expect(wrong).toThrow(/Expected a sequence number of shardId-6, which are those from 103 to 205, got/)
    }
  })

  test('that are not in the stream, or have no tip, are refused', () => {
    const refused = (id: string, to: 'LATEST' | 'TRIM_HORIZON') => () => planOfSome([id], TREE_A, leases, to, NOW)
    expect(refused('shardId-11', 'TRIM_HORIZON')).toThrow(/shardId-11 is not, or no longer; it has shardId-0,/)
    expect(refused('shardId-5', 'LATEST')).toThrow(/shardId-5 is closed/)
    expect(ids(refused('shardId-9', 'LATEST')().starts)).toEqual(['9'])
  })

  test('of a line of merges and splits every finished side stays so', () => {
    const tips = leased(TREE_B, { 9: number('1301'), 10: number('1301') })
    const plan = planOfSome(['shardId-3'], TREE_B, tips, 'TRIM_HORIZON', NOW)
    expect([ids(plan.starts), ids(plan.finished), ids(plan.surplus)]).toEqual([['3'], ['4'], ['9', '10']])
    expect(missingLeases(TREE_B, applied(plan, tips), 'LATEST', NOW)).toEqual([])
  })
})

function applied({ finished, starts, surplus }: ResetPlan, leases: readonly Lease[]): Lease[] {
  const all = new Map(leases.map((lease) => [lease.shardId, lease]))
  for (const lease of finished)
    all.set(lease.shardId, { ...leaseOf(lease, SHARD_END), childShardIds: lease.childShardIds })
  for (const lease of starts) all.set(lease.shardId, { ...leaseOf(lease, lease.checkpoint), startMs: lease.startMs })
  for (const { shardId } of surplus) all.delete(shardId)
  return [...all.values()]
}

const RECORDS = 4

interface ModelShard extends Shard {
  readonly born: number
  closed: boolean
}

/** A stream of which each shard has four records a life long, and an application that reads it as the real one does. */
class World {
  readonly shards: ModelShard[] = []
  leases: Map<string, Lease> = new Map()
  /** How often each record was handled since it was last asked for. */
  handled: Map<string, number> = new Map()
  finishedEver: Set<string> = new Set()

  constructor() {
    for (const range of splitEvenly(3)) this.#add(range, [])
    for (const lease of firstLeases(this.listing(), 'TRIM_HORIZON', NOW))
      this.leases.set(lease.shardId, leaseOf(lease, lease.checkpoint))
  }

  #add(hashRange: HashRange, parents: readonly ModelShard[]): void {
    const born = this.shards.length
    this.shards.push({
      shardId: `s${born}`,
      hashRange,
      parentShardIds: parents.map(({ shardId }) => shardId),
      startingSequenceNumber: String(100 * (born + 1)),
      endingSequenceNumber: undefined,
      born,
      closed: false,
    })
  }

  listing(): Shard[] {
    return this.shards.map((shard) => ({
      ...shard,
      endingSequenceNumber: shard.closed ? String(100 * (shard.born + 1) + 99) : undefined,
    }))
  }

  step({ act, pick }: Step): void {
    const open = this.shards
      .filter(({ closed }) => !closed)
      .sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
    const at = pick % open.length
    if (act === 'split') this.#reshard([open[at]!])
    else if (act === 'merge' && open.length > at + 1) this.#reshard([open[at]!, open[at + 1]!])
    else if (act === 'sync') this.sync()
    else if (act === 'clean') this.#clean()
    else this.#read(pick)
  }

  #reshard(parents: readonly ModelShard[]): void {
    const range = { start: parents[0]!.hashRange.start, end: parents.at(-1)!.hashRange.end }
    for (const parent of parents) parent.closed = true
    for (const part of parents.length === 1 ? splitEvenly(2, range) : [range]) this.#add(part, parents)
  }

  sync(): void {
    for (const lease of missingLeases(this.listing(), [...this.leases.values()], 'TRIM_HORIZON', NOW))
      this.#create(lease)
  }

  #create(lease: MissingLease): void {
    if (!this.leases.has(lease.shardId)) this.leases.set(lease.shardId, leaseOf(lease, lease.checkpoint))
  }

  #clean(): void {
    this.sync()
    for (const { lease } of deletableLeases([...this.leases.values()], this.listing()))
      this.leases.delete(lease.shardId)
  }

  #read(pick: number): void {
    const readable = [...this.leases.values()].filter((lease) => !isFinished(lease) && this.#mayBeRead(lease))
    if (readable.length > 0) this.#handle(readable[pick % readable.length]!, 1 + (pick % RECORDS))
  }

  #mayBeRead({ shardId, parentShardIds, checkpoint, hashRange }: Lease): boolean {
    const parents = parentShardIds.map((id) => this.leases.get(id))
    if (parents.some((parent) => parent !== undefined && !isFinished(parent))) return false
    if (!parents.includes(undefined) || /^\d/.test(checkpoint.sequenceNumber)) return true
    return ![...this.leases.values()].some(
      (other) =>
        !isFinished(other) && compareShardIds(other.shardId, shardId) < 0 && overlaps(other.hashRange!, hashRange!),
    )
  }

  /** Whether anything came of it. */
  #handle(lease: Lease, count: number): boolean {
    const shard = this.shards.find(({ shardId }) => shardId === lease.shardId)!
    const first = Number(shard.startingSequenceNumber) + 1
    const from = /^\d/.test(lease.checkpoint.sequenceNumber) ? Number(lease.checkpoint.sequenceNumber) + 1 : first
    const until = Math.min(from + count, first + RECORDS)
    for (let at = from; at < until; at++) this.handled.set(String(at), (this.handled.get(String(at)) ?? 0) + 1)
    if (until > from) this.leases.set(shard.shardId, { ...lease, checkpoint: number(String(until - 1)) })
    if (until < first + RECORDS || !shard.closed) return until > from
    const children = this.shards.filter(({ parentShardIds }) => parentShardIds.includes(shard.shardId))
    const isDeferred = children.some(
      (child) =>
        !this.leases.has(child.shardId) &&
        child.parentShardIds.some((id) => id !== shard.shardId && !this.leases.has(id)),
    )
    if (isDeferred) return until > from
    for (const child of children) this.#create({ ...child, checkpoint: TRIM_HORIZON, startMs: undefined })
    this.leases.set(shard.shardId, {
      ...lease,
      checkpoint: SHARD_END,
      childShardIds: children.map(({ shardId }) => shardId),
    })
    return true
  }

  /** Reads on until nothing is left, with a leader that looks on. */
  settle(): void {
    for (let moves = true; moves; ) {
      this.sync()
      moves = false
      for (const lease of [...this.leases.values()]) {
        if (!isFinished(lease) && this.#mayBeRead(lease)) moves = this.#handle(lease, RECORDS) || moves
      }
      this.#clean()
    }
  }

  plan(named: readonly string[]): ResetPlan {
    const leases = [...this.leases.values()]
    if (named.length > 0) return planOfSome(named, this.listing(), leases, 'TRIM_HORIZON', NOW)
    return planOfAll(
      this.listing().filter(({ parentShardIds }) => parentShardIds.length === 0),
      leases,
      'TRIM_HORIZON',
      NOW,
    )
  }

  /** As much of the plan as is done before a crash. */
  carryOut({ finished, starts, surplus }: ResetPlan, writes: number): void {
    const all: (() => void)[] = [
      ...finished.map((lease) => () => {
        if (!this.leases.has(lease.shardId))
          this.leases.set(lease.shardId, { ...leaseOf(lease, SHARD_END), childShardIds: lease.childShardIds })
      }),
      ...starts.map((lease) => () => this.leases.set(lease.shardId, leaseOf(lease, lease.checkpoint))),
      ...surplus.map(
        ({ shardId }) =>
          () =>
            this.leases.delete(shardId),
      ),
    ]
    for (const write of all.slice(0, writes)) write()
  }

  records(shards: readonly ModelShard[]): string[] {
    return shards.flatMap(({ born }) =>
      Array.from({ length: RECORDS }, (_, index) => String(100 * (born + 1) + 1 + index)),
    )
  }

  below(named: readonly string[]): ModelShard[] {
    const found = new Set(named.length > 0 ? named : this.shards.map(({ shardId }) => shardId))
    for (const { shardId, parentShardIds } of this.shards)
      if (parentShardIds.some((id) => found.has(id))) found.add(shardId)
    return this.shards.filter(({ shardId }) => found.has(shardId))
  }
}

interface Step {
  readonly act: 'split' | 'merge' | 'read' | 'sync' | 'clean'
  readonly pick: number
}

const steps = (maxLength: number): fc.Arbitrary<Step[]> =>
  fc.array(
    fc.record({
      act: fc.constantFrom<Step['act'][]>('split', 'merge', 'merge', 'read', 'read', 'read', 'read', 'sync', 'clean'),
      pick: fc.nat(),
    }),
    { maxLength },
  )

describe('at any moment of an application’s life, through splits and merges', () => {
  const anything = [steps(50), fc.array(fc.nat(), { maxLength: 3 }), fc.nat(20), steps(15)] as const

  function livedWorld(before: readonly Step[], picks: readonly number[]): { world: World; named: string[] } {
    const world = new World()
    for (const step of before) world.step(step)
    return { world, named: [...new Set(picks.map((pick) => world.shards[pick % world.shards.length]!.shardId))] }
  }

  test('everything comes again from there, once, and nothing else does, also if it was done half before', () => {
    fc.assert(
      fc.property(...anything, (before, picks, writes, between) => {
        const { world, named } = livedWorld(before, picks)
        world.carryOut(world.plan(named), writes)
        for (const step of between) world.step(step)
        world.carryOut(world.plan(named), Number.POSITIVE_INFINITY)
        const due = new Set(world.records(world.below(named)))
        const others = world.records(world.shards).filter((record) => !due.has(record))
        const handledBefore = new Map(world.handled)
        for (const record of due) world.handled.delete(record)
        world.settle()
        expect([...due].filter((record) => world.handled.get(record) !== 1)).toEqual([])
        const again = others.filter(
          (record) => handledBefore.has(record) && world.handled.get(record) !== handledBefore.get(record),
        )
        expect(again).toEqual([])
        expect(others.filter((record) => !world.handled.has(record))).toEqual([])
      }),
      { numRuns: 500 },
    )
  })

  test('half of it, and never completed, skips nothing', () => {
    fc.assert(
      fc.property(...anything, (before, picks, writes, between) => {
        const { world, named } = livedWorld(before, picks)
        world.carryOut(world.plan(named), writes)
        for (const step of between) world.step(step)
        world.settle()
        expect(world.records(world.shards).filter((record) => !world.handled.has(record))).toEqual([])
      }),
      { numRuns: 500 },
    )
  })
})
