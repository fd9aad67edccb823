import { FULL_HASH_RANGE, TRIM_HORIZON } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { oneStream } from '../streams/streams.ts'
import type { AssignableLease } from './assignment.ts'
import { FleetView, type FleetViewOptions } from './fleet-view.ts'
import { assignTo, create, handOff } from './lease-changes.ts'
import type { Item } from './table.ts'

const F = 1_000
const NOON = Date.UTC(2026, 0, 1, 12)

function lease(counter: number, owner?: string, checkpointOwner?: string, key = 'shardId-0'): Item {
  const { set } = create({
    streamIdentifier: undefined,
    shardId: key,
    hashRange: FULL_HASH_RANGE,
    parentShardIds: [],
    checkpoint: TRIM_HORIZON,
    startMs: undefined,
  })
  return {
    ...set,
    leaseKey: { S: key },
    leaseCounter: { N: String(counter) },
    ...(owner && { leaseOwner: { S: owner } }),
    ...(checkpointOwner && { checkpointOwner: { S: checkpointOwner } }),
  }
}

const streamLease = (identifier: string): Item => ({
  ...lease(1, 'a', undefined, `${identifier}:shardId-0`),
  streamName: { S: identifier },
  shardId: { S: 'shardId-0' },
})

/** As a worker that reports every half failover time writes it. */
function entry(workerId: string, beat: number, wallMs = NOON, run = 'only'): Item {
  return {
    leaseKey: { S: workerId },
    entityType: { S: 'WORKER_METRIC_STATS' },
    lut: { N: String(wallMs / 1_000) },
    shardwisePeriodMs: { N: String(F / 2) },
    shardwiseBeat: { N: String(beat) },
    shardwiseRun: { S: run },
  }
}

const java = (seconds: number): Item => ({
  leaseKey: { S: 'java' },
  entityType: { S: 'WORKER_METRIC_STATS' },
  lut: { N: String(NOON / 1_000 + seconds) },
})

interface Seen {
  readonly leases: AssignableLease[]
  readonly states: string[]
  readonly workers: string[]
  readonly view: FleetView
}

interface Viewer {
  readonly look: (atMs: number, ...items: Item[]) => Seen
  readonly lookFor: (sentAtMs: number, nowMs: number, ...items: Item[]) => Seen
  readonly skipped: string[]
}

/** Looks at the table at the given moments; tells what it makes of it. */
function viewer(options: Partial<FleetViewOptions> = {}): Viewer {
  const skipped: string[] = []
  const view = new FleetView({
    workerId: 'me',
    maxLeases: Number.POSITIVE_INFINITY,
    failoverTime: F,
    closeTimeout: 10_000,
    streams: oneStream('orders', 'TRIM_HORIZON'),
    isOurs: ({ streamIdentifier }) => streamIdentifier === undefined,
    onSkipped: (key, reason) => skipped.push(`${key}: ${reason}`),
    ...options,
  })
  const lookFor = (sentAtMs: number, nowMs: number, ...items: Item[]): Seen => {
    view.observe(items, { sentAtMs, nowMs, wallMs: NOON + nowMs })
    const leases = view.assignable()
    return {
      leases,
      states: leases.map(({ state }) => state),
      workers: view.workers().map(({ workerId }) => workerId),
      view,
    }
  }
  return { look: (atMs, ...items) => lookFor(atMs, atMs, ...items), lookFor, skipped }
}

describe('a lease', () => {
  test('without an owner is free at once', () => {
    expect(viewer().look(0, lease(0)).states).toEqual(['free'])
  })

  test('expires when its counter has stood still for longer than failoverTime since it was first seen so', () => {
    const { look } = viewer()
    expect(look(50_000, lease(7, 'a')).states).toEqual(['moving'])
    expect(look(50_000 + F, lease(7, 'a')).states).toEqual(['moving'])
    expect(look(50_001 + F, lease(7, 'a')).states).toEqual(['free'])
  })

  test('that is renewed stays live', () => {
    const { look } = viewer()
    look(0, lease(-1, 'a'))
    for (let beat = 0; beat < 10; beat++) expect(look(beat * 900, lease(beat, 'a')).states).toEqual(['live'])
  })

  test('in a handoff lives as long as its old owner renews it', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'))
    expect(look(100, lease(1, 'b', 'a')).states).toEqual(['moving'])
    expect(look(900, lease(2, 'b', 'a')).states).toEqual(['moving'])
    expect(look(901 + F, lease(2, 'b', 'a')).states).toEqual(['free'])
  })

  test('just given to a worker that lives has three times as long for its first renewal', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), entry('b', 1))
    look(100, lease(2, 'b'), entry('b', 2))
    expect(look(1_200, lease(2, 'b'), entry('b', 3)).states).toEqual(['moving'])
    expect(look(2_200, lease(2, 'b'), entry('b', 4)).states).toEqual(['moving'])
    expect(look(3_101, lease(2, 'b'), entry('b', 5)).states).toEqual(['free'])
  })

  test('is on its way until its holder is seen to write, so that nobody is asked for what it has not found yet', () => {
    const { look } = viewer()
    expect(look(0, lease(1, 'a')).states).toEqual(['moving'])
    expect(look(100, lease(2, 'a')).states).toEqual(['live'])
    expect(look(200, lease(3, 'b')).states).toEqual(['moving'])
    expect(look(300, lease(4, 'b')).states).toEqual(['live'])
  })

  test('that changed hands and was taken up from one look to the next is live', () => {
    const { look } = viewer()
    const acquired = (counter: number, owner: string): Item => ({
      ...lease(counter, owner),
      shardwiseToken: { S: `of ${owner}` },
    })
    look(0, acquired(1, 'a'), entry('b', 1))
    expect(look(100, acquired(4, 'b'), entry('b', 2)).states).toEqual(['live'])
    expect(look(1_101, acquired(4, 'b'), entry('b', 3)).states).toEqual(['free'])
  })

  test('just given to a worker that is gone has no more than any other', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'))
    look(100, lease(2, 'b'))
    expect(look(1_101, lease(2, 'b')).states).toEqual(['free'])
  })

  test('just given to a worker that left before it found it is free at once; one that it took up is not', () => {
    const { look } = viewer()
    const other = (counter: number, owner: string): Item => lease(counter, owner, undefined, 'shardId-1')
    look(0, lease(1, 'a'), other(1, 'b'), entry('b', 1))
    look(100, lease(2, 'b'), other(2, 'b'), entry('b', 2))
    expect(look(200, lease(2, 'b'), other(2, 'b')).states).toEqual(['free', 'live'])
  })

  test('renewed once by its new owner, has no more than any other', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), entry('b', 1))
    look(100, lease(2, 'b'), entry('b', 2))
    look(400, lease(3, 'b'), entry('b', 3))
    expect(look(1_401, lease(3, 'b'), entry('b', 4)).states).toEqual(['free'])
  })
})

describe('a worker', () => {
  test('that looks is always among those that may get leases', () => {
    expect(viewer().look(0).workers).toEqual(['me'])
  })

  test('that left is forgotten: an entry of its name from long ago is judged anew', () => {
    const { look } = viewer()
    look(0, entry('a', 1))
    look(500, entry('a', 2))
    look(1_000)
    expect(look(1_500, entry('a', 3, NOON - 3_600_000)).workers).toEqual(['me'])
  })

  test('lives while its entry changes within three of its periods', () => {
    const { look } = viewer()
    look(0, entry('a', 1))
    look(500, entry('a', 2))
    expect(look(2_000, entry('a', 2)).workers).toEqual(['me', 'a'])
    expect(look(2_001, entry('a', 2)).workers).toEqual(['me'])
    expect(look(2_100, entry('a', 3)).workers).toEqual(['me', 'a'])
  })

  test('whose entry is old by its own time does not count until it is seen to change, however the clocks differ', () => {
    const { look } = viewer()
    const wrong = NOON - 3_600_000
    expect(look(0, entry('a', 1, wrong)).workers).toEqual(['me'])
    expect(look(500, entry('a', 2, wrong)).workers).toEqual(['me', 'a'])
  })

  test('that has not renewed a lease in time is gone, whatever its entry says, so it does not get that lease back', () => {
    const { look } = viewer()
    const other = (counter: number): Item => lease(counter, 'a', undefined, 'shardId-1')
    look(0, lease(1, 'a'), other(1), entry('a', 1))
    look(900, lease(1, 'a'), other(1), entry('a', 2))
    const seen = look(1_100, lease(1, 'a'), other(2), entry('a', 3))
    expect(seen).toMatchObject({ states: ['free', 'live'], workers: ['me'] })
    expect(look(1_200, lease(2, 'me'), other(2), entry('a', 3)).workers).toEqual(['me'])
    expect(look(1_300, lease(2, 'me'), other(2), entry('a', 4)).workers).toEqual(['me', 'a'])
  })

  test('that let its leases expire stays gone after others have taken them, until its entry changes', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), entry('a', 1))
    look(500, lease(1, 'a'), entry('a', 2))
    expect(look(1_100, lease(1, 'a'), entry('a', 2)).workers).toEqual(['me'])
    expect(look(1_200, lease(2, 'me'), entry('a', 2)).workers).toEqual(['me'])
    expect(look(1_300, lease(3, 'me'), entry('a', 3)).workers).toEqual(['me', 'a'])
  })

  test('is not taken for alive because its entry has changed between two looks that lie far apart', () => {
    const { look } = viewer()
    look(0, entry('a', 1))
    expect(look(100 * F, entry('a', 99)).workers).toEqual(['me'])
    expect(look(101 * F, entry('a', 100)).workers).toEqual(['me', 'a'])
  })

  test('of the KCL lives for a minute after its entry has changed', () => {
    const { look } = viewer()
    look(0, java(0))
    expect(look(30_000, java(30)).workers).toEqual(['me', 'java'])
    expect(look(90_000, java(30)).workers).toEqual(['me', 'java'])
    expect(look(90_001, java(30)).workers).toEqual(['me'])
  })

  test('of the KCL that stopped and left its entry behind is given a lease once, not again and again', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'), java(-1))
    expect(look(100, lease(2, 'java'), java(0)).workers).toEqual(['me', 'java'])
    const { states, workers } = look(101 + 3 * F, lease(2, 'java'), java(0))
    expect(states).toEqual(['free'])
    expect(workers).toEqual(['me'])
    expect(look(200 + 3 * F, lease(3, 'me'), java(0)).workers).toEqual(['me'])
    expect(look(102 + 6 * F, lease(4, 'me'), java(0)).workers).toEqual(['me'])
    expect(look(200 + 6 * F, lease(5, 'me'), java(6)).workers).toEqual(['me', 'java'])
  })

  describe('that does not take up what it is given', () => {
    const LATER = 3 * F + 1

    /** The lease is given to b and expires in its name, however well b beats; `me` has it from then on. */
    function waste(view: Viewer, atMs: number, counter: number, run?: string): Seen {
      view.look(atMs, lease(counter, 'me'), entry('b', atMs, NOON, run))
      view.look(atMs, lease(counter + 1, 'b'), entry('b', atMs, NOON, run))
      view.look(atMs + F, lease(counter + 1, 'b'), entry('b', atMs + 1, NOON, run))
      const seen = view.look(atMs + F + LATER, lease(counter + 1, 'b'), entry('b', atMs + 2, NOON, run))
      view.look(atMs + F + LATER, lease(counter + 2, 'me'), entry('b', atMs + 3, NOON, run))
      return seen
    }

    /** When it may get leases again, after the given time, looking every tenth of a failover time. */
    function pausedUntil(view: Viewer, fromMs: number, counter: number): number {
      for (let atMs = fromMs; ; atMs += F / 10) {
        const { workers } = view.look(atMs, lease(counter + atMs, 'me'), entry('b', 10 + atMs))
        if (workers.includes('b')) return atMs - fromMs
      }
    }

    test('gets nothing for a while, twice as long each time, however well it beats', () => {
      const view = viewer()
      const { states, workers, view: seen } = waste(view, 0, 1)
      expect([states, workers]).toEqual([['free'], ['me']])
      expect(seen.takeUntaken()).toEqual([{ leaseKey: 'shardId-0', to: 'b', againInMs: 3 * F }])
      expect(pausedUntil(view, F + LATER, 10)).toBe(3 * F)
      expect(waste(view, 20_000, 30_000).view.takeUntaken()).toMatchObject([{ againInMs: 6 * F }])
      expect(pausedUntil(view, 20_000 + F + LATER, 40_000)).toBe(6 * F)
    })

    test('is told once, also if nobody else has room for the lease', () => {
      const view = viewer()
      const { view: seen } = waste(view, 0, 1)
      expect(seen.takeUntaken()).toHaveLength(1)
      const other = viewer()
      other.look(0, lease(1), entry('b', 1))
      other.look(0, lease(2, 'b'), entry('b', 2))
      for (let atMs = 0; atMs < 5 * F; atMs += F / 10) other.look(atMs, lease(2, 'b'), entry('b', 10 + atMs))
      expect(other.look(5 * F, lease(2, 'b'), entry('b', 9_999)).view.takeUntaken()).toHaveLength(1)
    })

    test('gets the same if it gives the lease back as it was', () => {
      const { look } = viewer()
      look(0, lease(1), entry('b', 1))
      look(100, lease(2, 'b'), entry('b', 2))
      const { states, workers, view } = look(200, lease(3), entry('b', 3))
      expect([states, workers]).toEqual([['free'], ['me']])
      expect(view.takeUntaken()).toEqual([{ leaseKey: 'shardId-0', to: 'b', againInMs: 3 * F }])
    })

    test('is another matter than giving back what it had taken up', () => {
      const { look } = viewer()
      const acquired = (item: Item): Item => ({ ...item, shardwiseToken: { S: 'of b' } })
      look(0, lease(1), entry('b', 1))
      look(100, lease(2, 'b'), entry('b', 2))
      expect(look(200, acquired(lease(4)), entry('b', 3)).workers).toEqual(['me', 'b'])
      look(300, acquired(lease(5, 'b')), entry('b', 4))
      look(400, acquired(lease(6, 'b')), entry('b', 5))
      const { workers, view } = look(500, acquired(lease(7)), entry('b', 6))
      expect([workers, view.takeUntaken()]).toEqual([['me', 'b'], []])
    })

    test('is not made worse by others that it was given at the same time', () => {
      const { look } = viewer()
      const other = (counter: number, owner?: string): Item => lease(counter, owner, undefined, 'shardId-1')
      look(0, lease(1), other(1), entry('b', 1))
      look(100, lease(2, 'b'), other(2, 'b'), entry('b', 2))
      look(200, lease(3), other(2, 'b'), entry('b', 3))
      const { view } = look(700, lease(3), other(3), entry('b', 4))
      expect(view.takeUntaken()).toMatchObject([
        { leaseKey: 'shardId-0', againInMs: 3 * F },
        { leaseKey: 'shardId-1', againInMs: 3 * F - 500 },
      ])
      look(2 * F, lease(3), other(3), entry('b', 5))
      expect(look(200 + 3 * F, lease(3), other(3), entry('b', 6)).workers).toEqual(['me', 'b'])
    })

    test('starts anew when it takes up one', () => {
      const { look } = viewer()
      look(0, lease(1), entry('b', 1))
      look(100, lease(2, 'b'), entry('b', 2))
      look(200, lease(3), entry('b', 3))
      look(300 + 3 * F, lease(4, 'b'), entry('b', 4))
      look(400 + 3 * F, { ...lease(5, 'b'), shardwiseToken: { S: 'of b' } }, entry('b', 5))
      look(500 + 3 * F, lease(6, 'me'), entry('b', 6))
      look(600 + 3 * F, lease(7, 'b'), entry('b', 7))
      const { view } = look(700 + 3 * F, lease(8), entry('b', 8))
      expect(view.takeUntaken().map(({ againInMs }) => againInMs)).toEqual([3 * F, 3 * F])
    })

    test('is not put right by renewing what it had before', () => {
      const { look } = viewer()
      const other = (counter: number): Item => lease(counter, 'b', undefined, 'shardId-1')
      look(0, lease(1), other(1), entry('b', 1))
      look(100, lease(2, 'b'), other(2), entry('b', 2))
      look(200, lease(3), other(3), entry('b', 3))
      expect(look(600, lease(3), other(4), entry('b', 4)).workers).toEqual(['me'])
    })

    test('starts clean as another run under its name', () => {
      const view = viewer()
      const { workers } = waste(view, 0, 1, 'first')
      expect(workers).toEqual(['me'])
      const again = (beat: number, run: string): string[] =>
        view.look(F + LATER + beat, lease(10 + beat, 'me'), entry('b', beat, NOON, run)).workers
      expect(again(5, 'first')).toEqual(['me'])
      expect(again(6, 'second')).toEqual(['me', 'b'])
    })

    test('because it has left in good order has done nothing wrong', () => {
      const { look } = viewer()
      look(0, lease(1), entry('b', 1))
      look(100, lease(2, 'b'), entry('b', 2))
      const { view } = look(200, lease(3))
      expect(view.takeUntaken()).toEqual([])
      expect(look(300, lease(3), entry('b', 3)).workers).toEqual(['me', 'b'])
    })

    test('and looks at the table itself goes on as the one that is left', () => {
      const { look } = viewer()
      look(0, lease(1), entry('me', 1))
      look(100, lease(2, 'me'), entry('me', 2))
      const { workers, view } = look(200 + LATER, lease(2, 'me'), entry('me', 3))
      expect([workers, view.takeUntaken()]).toEqual([['me'], []])
    })
  })

  test('of the KCL may have left its entry behind: it does not count until that changes, or it renews a lease', () => {
    const { look } = viewer()
    expect(look(0, java(0)).workers).toEqual(['me'])
    expect(look(1_000, java(1)).workers).toEqual(['me', 'java'])
    const { look: renewed } = viewer()
    expect(renewed(0, java(0), lease(1, 'java')).workers).toEqual(['me'])
    expect(renewed(900, java(0), lease(2, 'java')).workers).toEqual(['me', 'java'])
  })

  test('of the KCL with a metric that fails gets nothing until it is measured again', () => {
    const { look } = viewer()
    const measured = (seconds: number, sample: number): Item => ({
      ...java(seconds),
      sts: { M: { C: { L: [{ N: '40' }, { N: String(sample) }] } } },
    })
    expect(look(0, measured(0, -1)).workers).toEqual(['me'])
    expect(look(30_000, measured(30, 35)).workers).toEqual(['me', 'java'])
  })

  test('says how many leases it takes', () => {
    const { look } = viewer({ maxLeases: 3 })
    const a = { ...entry('a', 1), shardwiseMaxLeases: { N: '7' } }
    look(0, a, java(0))
    const { view } = look(1_000, a, java(1))
    expect(view.workers()).toEqual([
      { workerId: 'me', maxLeases: 3 },
      { workerId: 'a', maxLeases: 7 },
      { workerId: 'java', maxLeases: Number.POSITIVE_INFINITY },
    ])
  })

  test('long gone leaves an entry to be deleted; one of the KCL after a day, as the KCL does', () => {
    const { look } = viewer()
    const stale = (view: FleetView): string[] => view.staleEntries().map(({ workerId }) => workerId)
    look(0, entry('a', 1), java(0))
    expect(stale(look(30_000, entry('a', 1), java(0)).view)).toEqual([])
    expect(stale(look(30_001, entry('a', 1), java(0)).view)).toEqual(['a'])
    expect(stale(look(86_400_001, entry('a', 1), java(0)).view)).toEqual(['a', 'java'])
  })
})

describe('a pause', () => {
  test('of the own process within a look is not taken for a standstill of anybody', () => {
    const { look, lookFor } = viewer()
    look(0, lease(1, 'a'), entry('a', 1))
    look(500, lease(2, 'a'), entry('a', 2))
    const seen = lookFor(900, 60_000, lease(2, 'a'), entry('a', 2))
    expect(seen).toMatchObject({ states: ['live'], workers: ['me', 'a'] })
    expect(look(60_100, lease(2, 'a'), entry('a', 2)).states).toEqual(['free'])
  })

  test('within the look that shows something first does not count either', () => {
    const { look, lookFor } = viewer()
    lookFor(0, 5_000, lease(1, 'a'))
    expect(look(5_000 + F, lease(1, 'a')).states).toEqual(['moving'])
    expect(look(5_001 + F, lease(1, 'a')).states).toEqual(['free'])
  })
})

describe('what this worker has written itself', () => {
  test('is known at once: a lease given to a live worker has three times as long', () => {
    const { look } = viewer()
    const { view } = look(0, lease(1), entry('b', 1))
    look(100, lease(1), entry('b', 2))
    const { set } = assignTo(view.lease('shardId-0')!, 'b')
    const item = { ...lease(2), ...set }
    view.update(item, 150)
    expect(look(1_300, item, entry('b', 3)).states).toEqual(['moving'])
    look(2_300, item, entry('b', 4))
    expect(look(3_150, item, entry('b', 5)).states).toEqual(['moving'])
    expect(look(3_151, item, entry('b', 6)).states).toEqual(['free'])
  })

  test('a lease given to the one that had it is not taken up yet: what it has of it is void', () => {
    const { look } = viewer()
    look(0, lease(1, 'b'), entry('b', 1))
    const { view } = look(100, lease(2, 'b'), entry('b', 2))
    expect(view.assignable()).toMatchObject([{ state: 'live' }])
    look(1_200, lease(2, 'b'), entry('b', 3))
    const item = { ...lease(2), ...assignTo(view.lease('shardId-0')!, 'b').set }
    view.update(item, 1_200)
    expect(view.assignable()).toMatchObject([{ state: 'moving' }])
    expect(look(1_300, item, entry('b', 4)).states).toEqual(['moving'])
    expect(look(1_400, lease(4, 'b'), entry('b', 5)).states).toEqual(['live'])
  })

  test('a handoff that was asked for is under way, and gives its holder no more time', () => {
    const { look } = viewer()
    const { view } = look(0, lease(1, 'a'), entry('a', 1), entry('b', 1))
    const item = { ...lease(1), ...handOff(view.lease('shardId-0')!, 'b').set }
    view.update(item, 50)
    expect(view.assignable()).toMatchObject([{ owner: 'b', state: 'moving', cameFrom: 'a' }])
    expect(look(F + 1, item, entry('a', 2), entry('b', 2)).states).toEqual(['free'])
  })
})

describe('a handoff', () => {
  const A_TO_B = (counter: number): Item => lease(counter, 'b', 'a')
  /** Looks every tenth of a failover time while the old owner goes on renewing. */
  function wait(look: (atMs: number, ...items: Item[]) => Seen, fromMs: number, untilMs: number): Seen {
    let seen = look(fromMs, A_TO_B(fromMs))
    for (let atMs = fromMs + 100; atMs <= untilMs; atMs += 100) seen = look(atMs, A_TO_B(atMs))
    return seen
  }

  test('that stands for longer than it may is stuck, however well the old owner renews', () => {
    const { look } = viewer()
    expect(wait(look, 0, 30_000 + F).states).toEqual(['moving'])
    const { view, states } = wait(look, 31_100, 31_100)
    expect(states).toEqual(['free'])
    expect(view.freeReason(view.lease('shardId-0')!)).toBe('stuck')
  })

  test('may take as long as a close may', () => {
    const { look } = viewer({ closeTimeout: 40_000 })
    expect(wait(look, 0, 40_000 + F).states).toEqual(['moving'])
    expect(wait(look, 41_100, 41_100).states).toEqual(['free'])
  })

  test('is remembered for three failover times, so that the lease is not moved back', () => {
    const { look } = viewer()
    look(0, lease(1, 'a'))
    look(100, A_TO_B(1))
    look(500, lease(500, 'b'))
    for (const atMs of [900, 1_800, 2_700, 3_100]) {
      expect(look(atMs, lease(atMs, 'b')).leases).toMatchObject([{ owner: 'b', cameFrom: 'a', state: 'live' }])
    }
    expect(look(3_101, lease(3_101, 'b')).leases).toMatchObject([{ cameFrom: undefined }])
  })

  test('that came to nothing leaves no trace where the lease stayed', () => {
    const { look } = viewer()
    look(0, A_TO_B(1))
    expect(look(100, lease(2, 'a')).leases).toMatchObject([{ owner: 'a', cameFrom: undefined }])
  })
})

describe('why a lease is free', () => {
  const reasonOf = ({ view }: Seen): string | undefined => view.freeReason(view.lease('shardId-0')!)

  test('nobody holds it', () => {
    expect(reasonOf(viewer().look(0, lease(1)))).toBe('unowned')
  })

  test('its holder has not renewed it', () => {
    const { look } = viewer()
    expect(reasonOf(look(0, lease(1, 'a')))).toBeUndefined()
    expect(reasonOf(look(F + 1, lease(1, 'a')))).toBe('expired')
  })
})

describe('the streams of the application', () => {
  const ORDERS = '123456789012:orders:1700000000'
  const TAXES = '123456789012:taxes:1700000000'
  const several: Partial<FleetViewOptions> = {
    isOurs: ({ streamIdentifier }) => streamIdentifier !== undefined,
    streams: {
      find: (identifier) =>
        identifier === ORDERS ? { stream: 'orders', identifier, initialPosition: 'LATEST' } : undefined,
    },
  }

  test('leases of other streams are seen and left where they are', () => {
    const { view, leases } = viewer(several).look(0, streamLease(ORDERS), streamLease(TAXES))
    expect(leases.map(({ leaseKey }) => leaseKey)).toEqual([`${ORDERS}:shardId-0`])
    expect(view.streamIdentifiers).toEqual([ORDERS, TAXES])
    expect(view.leasesOf(TAXES)).toHaveLength(1)
  })

  test('who gives back a lease of a stream that was removed has done nothing wrong', () => {
    const { look } = viewer(several)
    const given = (identifier: string, counter: number, owner?: string): Item => {
      const { leaseOwner: _, ...item } = streamLease(identifier)
      return { ...item, leaseCounter: { N: String(counter) }, ...(owner && { leaseOwner: { S: owner } }) }
    }
    for (const [identifier, workers] of [
      [TAXES, ['me', 'b']],
      [ORDERS, ['me']],
    ] as const) {
      look(0, given(identifier, 1, 'a'), entry('b', 1))
      look(100, given(identifier, 2, 'b'), entry('b', 2))
      expect(look(200, given(identifier, 3), entry('b', 3)).workers).toEqual(workers)
    }
  })

  test('with one stream, leases that name theirs are skipped; with several, those that do not', () => {
    const one = viewer()
    expect(one.look(0, streamLease(ORDERS), lease(1)).view.leases).toHaveLength(1)
    expect(one.skipped).toEqual([`${ORDERS}:shardId-0: a lease of an application with several streams`])
    const more = viewer(several)
    expect(more.look(0, streamLease(ORDERS), lease(1)).view.leases).toHaveLength(1)
    expect(more.skipped).toEqual(['shardId-0: a lease of an application with one stream'])
  })
})

describe('an item that is no lease', () => {
  test.each([
    ['of an unknown type', { ...lease(1), entityType: { S: 'ZEBRA' } }],
    ['without a checkpoint', (({ checkpoint, ...rest }) => rest)(lease(1))],
    ['with a checkpoint that is none', { ...lease(1), checkpoint: { S: 'banana' } }],
    ['without a counter', (({ leaseCounter, ...rest }) => rest)(lease(1))],
    ['with a counter of the wrong type', { ...lease(1), leaseCounter: { S: '1' } }],
    ['a worker entry without its time', { leaseKey: { S: 'shardId-0' }, entityType: { S: 'WORKER_METRIC_STATS' } }],
  ] as [string, Item][])('%s is skipped, told once, and the others work', (_, item) => {
    const { look, skipped } = viewer()
    const other = lease(1, 'a', undefined, 'shardId-1')
    look(0, item, other)
    const { states } = look(100, item, lease(2, 'a', undefined, 'shardId-1'))
    expect(states).toEqual(['live'])
    expect(skipped).toEqual([expect.stringMatching(/^shardId-0: /)])
  })

  test.each(['Migration3.0 CLIENT_VERSION_MIGRATION', 'TableMigration3.5 TABLE_MIGRATION', 'x STREAM', 'y LEADER'])(
    'but a note of the KCL, %s, is passed over in silence',
    (text) => {
      const [key = '', type = ''] = text.split(' ')
      const { look, skipped } = viewer()
      const { view } = look(0, { leaseKey: { S: key }, entityType: { S: type } })
      expect([view.leases, view.leaderItem, skipped]).toEqual([[], undefined, []])
    },
  )
})
