import { contains, type HashRange, hashKeyOf, MAX_HASH_KEY, ShardMap, splitEvenly } from '@shardwise/records'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pendingOf } from '../test/pending.ts'
import { collect, type InFlight } from './collector.ts'
import type { Lane } from './lane.ts'
import { Lanes, type LanesSettings, UNKNOWN_SHARD } from './lanes.ts'
import { type SealedRecord, unseal } from './sealed-record.ts'
import { type CheckedRecord, hashKeyOfRecord } from './user-record.ts'

const SETTINGS: LanesSettings = {
  aggregation: true,
  ordering: 'key',
  rateLimit: 150,
  aggregationMaxSize: 51_200,
  aggregationMaxCount: 1_000,
  recordMaxBufferedTime: 100,
  recordTtl: 30_000,
}
const REQUEST = { collectionMaxCount: 500, collectionMaxSize: 10 * 2 ** 20 }

/** A map of shards named by the place where each starts, in sixteenths of the hash keys: a shard of the same name and size is the same. */
function mapOf(...starts: number[]): ShardMap {
  return ShardMap.of(
    starts.map((start, index) => {
      const end = starts[index + 1] ?? 16
      return { shardId: `${start}-${end}`, hashRange: rangeOf(start, end) }
    }),
  )
}

function rangeOf(start: number, end: number): HashRange {
  return { start: keyAt(start), end: end === 16 ? MAX_HASH_KEY : keyAt(end) - 1n }
}

function keyAt(sixteenth: number): bigint {
  return BigInt(Math.round(sixteenth * 1_000)) * (2n ** 124n / 1_000n)
}

/** Lanes whose records have their text as data, and its first word as partition key. */
class Yard {
  readonly lanes: Lanes

  constructor(settings: Partial<LanesSettings> = {}, map: ShardMap | undefined = undefined) {
    this.lanes = new Lanes({ ...SETTINGS, ...settings })
    this.lanes.replaceMap(map, 0)
  }

  /** @param place in sixteenths of the hash keys; default: where the partition key belongs */
  add(text: string, place?: number, nowMs = 0): void {
    const [partitionKey = ''] = text.split(' ')
    const hashKey = place === undefined ? hashKeyOf(partitionKey) : keyAt(place)
    const explicitHashKey = place === undefined ? undefined : `${hashKey}`
    this.#add({ partitionKey, explicitHashKey, hashKey, data: Buffer.from(text) }, nowMs)
  }

  addKeyless(text: string): void {
    this.#add({ partitionKey: undefined, explicitHashKey: undefined, hashKey: 0n, data: Buffer.from(text) }, 0)
  }

  #add(record: Omit<CheckedRecord, 'bytes'>, nowMs: number): void {
    const bytes = record.data.length
    this.lanes.add({ ...record, bytes }, pendingOf(nowMs, bytes), nowMs, true)
  }

  /** What one request takes, were it sent now and nothing to wait for company. */
  send(nowMs = 0): InFlight[] {
    return collect(this.lanes, nowMs, true, REQUEST)
  }

  settle(...all: InFlight[]): void {
    for (const { lane, sealed } of all) this.lanes.settle(lane, sealed)
  }

  /** The lanes that have something waiting, by their shards. */
  get active(): Map<string, Lane> {
    return new Map([...this.lanes.active].map((lane) => [lane.shardId, lane]))
  }

  lane(shardId: string): Lane {
    const lane = this.active.get(shardId)
    if (lane === undefined) throw new Error(`nothing waits for ${shardId}, only for ${[...this.active.keys()]}`)
    return lane
  }
}

const textsIn = (sealed: SealedRecord): string[] =>
  unseal(sealed).map(({ record }) => Buffer.from(record.data).toString())

const textsOf = (batch: readonly InFlight[]): string[][] => batch.map(({ sealed }) => textsIn(sealed))

describe('without a map', () => {
  test('all goes by one lane, plain, and one record of each hash key at a time', () => {
    const yard = new Yard()
    for (const text of ['a 1', 'a 2', 'b 1', 'a 3']) yard.add(text)
    expect([yard.lanes.map, yard.lanes.aggregates, [...yard.active.keys()]]).toEqual([
      undefined,
      false,
      [UNKNOWN_SHARD],
    ])
    const first = yard.send()
    expect(textsOf(first)).toEqual([['a 1'], ['b 1']])
    expect(yard.send()).toEqual([])
    yard.settle(first[0]!)
    const second = yard.send()
    expect(textsOf(second)).toEqual([['a 2']])
    yard.settle(...second)
    expect(textsOf(yard.send())).toEqual([['a 3']])
  })

  test('the lane has no limit: how many shards share it is unknown', () => {
    const yard = new Yard({ rateLimit: 1 })
    for (let index = 0; index < 3_000; index++) yard.add(`k${index}`)
    let sent = 0
    for (let batch = yard.send(); batch.length > 0; batch = yard.send()) sent += batch.length
    expect(sent).toBe(3_000)
  })

  test('a map takes over: what waits goes to its lanes, and shares records, once the one in flight has settled', () => {
    const yard = new Yard()
    yard.add('a 1', 1)
    const [first] = yard.send()
    for (const text of ['a 2', 'b 1']) yard.add(text, 1)
    yard.add('c 1', 15)
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    expect(yard.lanes.aggregates).toBe(true)
    yard.add('a 3', 1)
    expect(yard.send()).toEqual([])
    yard.settle(first!)
    expect(textsOf(yard.send())).toEqual([['a 2', 'b 1', 'a 3'], ['c 1']])
  })

  test('and when a map is lost, the one lane takes over in the same way', () => {
    const yard = new Yard({}, mapOf(0, 8))
    yard.add('a 1', 1)
    const [first] = yard.send()
    yard.add('a 2', 1)
    yard.add('c 1', 15)
    yard.lanes.replaceMap(undefined, 0)
    expect(yard.send()).toEqual([])
    yard.settle(first!)
    expect(textsOf(yard.send())).toEqual([['a 2'], ['c 1']])
  })
})

describe('a barrier', () => {
  test('stands before the new lanes that overlap what is still in flight, and before no other', () => {
    const yard = new Yard({}, mapOf(0, 4, 8, 12))
    for (const place of [1, 5, 9]) yard.add(`a ${place}`, place)
    const inFlight = yard.send()
    yard.lanes.replaceMap(mapOf(0, 2, 4, 8, 10, 12, 14), 0)
    for (const place of [1, 3, 9, 11, 13, 15]) yard.add(`b ${place}`, place)
    expect([...yard.active].map(([shardId, { barriers }]) => [shardId, barriers.size])).toEqual([
      ['0-2', 1],
      ['2-4', 1],
      ['8-10', 1],
      ['10-12', 1],
      ['12-14', 0],
      ['14-16', 0],
    ])
    expect(textsOf(yard.send())).toEqual([['b 13'], ['b 15']])
    yard.settle(inFlight[0]!)
    expect(textsOf(yard.send())).toEqual([['b 1'], ['b 3']])
    yard.settle(inFlight[2]!)
    expect(textsOf(yard.send())).toEqual([['b 9'], ['b 11']])
  })

  test('does not stand before a lane that stays: its own record in flight holds back what comes after', () => {
    const yard = new Yard({}, mapOf(0, 8))
    for (const place of [1, 9]) yard.add(`a ${place}`, place)
    const inFlight = yard.send()
    yard.lanes.replaceMap(mapOf(0, 4, 8), 0)
    yard.add('b 9', 9)
    expect([yard.lane('8-16').barriers.size, yard.send()]).toEqual([0, []])
    yard.settle(inFlight[1]!)
    expect(textsOf(yard.send())).toEqual([['b 9']])
  })

  test('of a merge is lifted when the last retired lane settles', () => {
    const yard = new Yard({}, mapOf(0, 8))
    for (const place of [1, 9]) yard.add(`a ${place}`, place)
    const [low, high] = yard.send()
    yard.lanes.replaceMap(mapOf(0), 0)
    yard.add('b', 1)
    yard.settle(high!)
    expect([yard.lane('0-16').barriers.size, yard.send()]).toEqual([1, []])
    yard.settle(low!)
    expect(textsOf(yard.send())).toEqual([['b']])
  })

  test('is lifted when the last of many in flight in a lane settles', () => {
    const yard = new Yard({ aggregation: false }, mapOf(0))
    for (const text of ['a', 'b', 'c']) yard.add(text)
    const inFlight = yard.send()
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    yard.add('d', 1)
    for (const each of inFlight) {
      expect(yard.send()).toEqual([])
      yard.settle(each)
    }
    expect(textsOf(yard.send())).toEqual([['d']])
  })

  test('stays through another reshard before new lanes, and no other is put before those in between', () => {
    const yard = new Yard({}, mapOf(0))
    yard.add('a', 1)
    const [inFlight] = yard.send()
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    yard.add('b', 1)
    yard.add('c', 9)
    yard.lanes.replaceMap(mapOf(0, 4, 8), 0)
    expect([...yard.active].map(([shardId, { barriers }]) => [shardId, barriers.size])).toEqual([
      ['8-16', 1],
      ['0-4', 1],
    ])
    expect(yard.send()).toEqual([])
    yard.settle(inFlight!)
    expect(textsOf(yard.send()).toSorted()).toEqual([['b'], ['c']])
  })

  test("stands nowhere with ordering 'none'", () => {
    const yard = new Yard({ ordering: 'none' }, mapOf(0))
    yard.add('a', 1)
    expect(yard.send()).toHaveLength(1)
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    for (const place of [1, 9]) yard.add(`b ${place}`, place)
    expect([...yard.active.values()].map(({ barriers }) => barriers.size)).toEqual([0, 0])
    expect(textsOf(yard.send())).toEqual([['b 1'], ['b 9']])
  })

  test('stands before every lane when the distribution changes', () => {
    const yard = new Yard({}, mapOf(0, 8))
    for (const place of [1, 9]) yard.add(`a ${place}`, place)
    yard.lanes.distribute('service', 0)
    const inFlight = yard.send()
    expect(inFlight).toHaveLength(2)
    yard.lanes.distribute('key', 0)
    yard.add('b', 1)
    expect(yard.send()).toEqual([])
    yard.settle(...inFlight)
    expect(textsOf(yard.send())).toEqual([['b']])
  })
})

describe('a new map', () => {
  test('leaves a lane whose shard it has as it is, with what waits in it and what is in flight', () => {
    const yard = new Yard({}, mapOf(0, 8))
    yard.add('a 1', 9)
    const before = yard.lane('8-16')
    const [inFlight] = yard.send()
    yard.add('a 2', 9)
    yard.lanes.replaceMap(mapOf(0, 4, 8), 0)
    expect(yard.lane('8-16')).toBe(before)
    expect([before.retired, before.inFlight]).toEqual([false, 1])
    yard.settle(inFlight!)
    expect(textsOf(yard.send())).toEqual([['a 2']])
  })

  test('with a shard of the same id and another range has another stream: its lane is a new one', () => {
    const yard = new Yard({}, ShardMap.of([{ shardId: 's', hashRange: rangeOf(0, 16) }]))
    yard.add('a 1', 1)
    const before = yard.lane('s')
    const [inFlight] = yard.send()
    for (const place of [1, 9]) yard.add(`b ${place}`, place)
    const made = [
      { shardId: 's', hashRange: rangeOf(0, 8) },
      { shardId: 't', hashRange: rangeOf(8, 16) },
    ]
    yard.lanes.replaceMap(ShardMap.of(made), 0)
    expect([before.retired, yard.lane('s') === before, yard.lane('s').range]).toEqual([true, false, rangeOf(0, 8)])
    expect(yard.send()).toEqual([])
    yard.settle(inFlight!)
    expect(textsOf(yard.send())).toEqual([['b 1'], ['b 9']])
  })

  test("hands a shard's backoff on to those that take its records, and to no other", () => {
    const yard = new Yard({}, mapOf(0, 8))
    for (const place of [1, 9]) yard.add(`a ${place}`, place)
    const [low, high] = yard.send()
    yard.lanes.retry(low!.lane, low!.sealed, 500)
    yard.settle(high!)
    yard.lanes.replaceMap(mapOf(0, 4, 8, 12), 100)
    for (const place of [5, 9, 13]) yard.add(`b ${place}`, place, 100)
    expect([...yard.active].map(([shardId, { pausedUntilMs }]) => [shardId, pausedUntilMs])).toEqual([
      ['0-4', 500],
      ['4-8', 500],
      ['8-12', 0],
      ['12-16', 0],
    ])
    expect(textsOf(yard.send(499))).toEqual([['b 9'], ['b 13']])
    expect(textsOf(yard.send(500))).toEqual([['a 1'], ['b 5']])
  })

  test('does not hand on a backoff that is over', () => {
    const yard = new Yard({}, mapOf(0))
    yard.add('a', 1)
    const [first] = yard.send()
    yard.lanes.retry(first!.lane, first!.sealed, 500)
    yard.lanes.replaceMap(mapOf(0, 8), 500)
    expect(yard.lane('0-8').pausedUntilMs).toBe(0)
  })

  test('splits what waits sealed, and what comes again from a retired lane goes first', () => {
    const yard = new Yard({ aggregationMaxCount: 2 }, mapOf(0))
    for (const text of ['a 1', 'a 2']) yard.add(text, text === 'a 1' ? 1 : 9)
    const [inFlight] = yard.send()
    for (const round of [3, 4, 5]) for (const place of [1, 9]) yard.add(`b ${round}`, place)
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    expect(yard.send()).toEqual([])
    yard.lanes.retry(inFlight!.lane, inFlight!.sealed, 0)
    const sent: string[][] = []
    for (let batch = yard.send(); batch.length > 0; batch = yard.send()) {
      sent.push(...textsOf(batch))
      yard.settle(...batch)
    }
    expect(sent).toEqual([['a 1'], ['a 2'], ['b 3', 'b 4'], ['b 3', 'b 4'], ['b 5'], ['b 5']])
  })

  test('lets what comes again from a retired lane wait for its time, with all that its lanes have', () => {
    const yard = new Yard({}, mapOf(0))
    for (const place of [1, 9]) yard.add(`a ${place}`, place)
    const [inFlight] = yard.send()
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    yard.lanes.retry(inFlight!.lane, inFlight!.sealed, 300)
    yard.add('b', 1)
    expect(yard.send(299)).toEqual([])
    expect(textsOf(yard.send(300))).toEqual([['a 1'], ['a 9']])
  })

  test('sends what comes again each alone where that is asked for, though its lanes aggregate', () => {
    const yard = new Yard({}, mapOf(0))
    for (const text of ['a', 'b']) yard.add(text, 1)
    const [inFlight] = yard.send()
    yard.lanes.replaceMap(mapOf(0, 8), 0)
    yard.lanes.resend(inFlight!.lane, inFlight!.sealed, 0, { alone: true })
    const first = yard.send()
    yard.settle(...first)
    expect([...textsOf(first), ...textsOf(yard.send())]).toEqual([['a'], ['b']])
  })
})

describe('records without a partition key', () => {
  test('have no place until the service distributes, and none when keys decide again: they are returned', () => {
    const yard = new Yard({}, mapOf(0, 8))
    expect(yard.lanes.hasPlaceFor({ partitionKey: undefined })).toBe(false)
    expect(yard.lanes.distribute('service', 0)).toEqual([])
    expect(yard.lanes.hasPlaceFor({ partitionKey: undefined })).toBe(true)
    for (const text of ['1', '2', '3']) yard.addKeyless(text)
    yard.add('keyed')
    expect(yard.lanes.distribute('key', 0).flatMap(textsIn).toSorted()).toEqual(['1', '2', '3'])
    expect(textsOf(yard.send())).toEqual([['keyed']])
  })

  test.each([
    { aggregation: true, ordering: 'key' },
    { aggregation: false, ordering: 'none' },
    { aggregation: 'always', ordering: 'none' },
    { aggregation: 'always', ordering: 'key' },
  ] as const)('are returned whatever the settings, and keyed ones go to the lanes of their keys: %o', (settings) => {
    const yard = new Yard(settings, mapOf(0, 8))
    yard.lanes.distribute('service', 0)
    for (const text of ['1', '2', '3']) yard.addKeyless(text)
    for (const place of [1, 2, 3, 9, 10, 11]) yard.add(`k${place}`, place)
    expect(yard.lanes.distribute('key', 0).flatMap(textsIn).toSorted()).toEqual(['1', '2', '3'])
    for (const { range } of yard.lanes.active) expect([rangeOf(0, 8), rangeOf(8, 16)]).toContainEqual(range)
    for (const { lane, sealed } of yard.send()) {
      expect(unseal(sealed).every(({ record }) => contains(lane.range, hashKeyOfRecord(record)))).toBe(true)
    }
  })

  test('share no Kinesis record, even where all others do', () => {
    const yard = new Yard({ aggregation: 'always' }, mapOf(0))
    yard.lanes.distribute('service', 0)
    for (const text of ['1', '2']) yard.addKeyless(text)
    for (const text of ['a', 'b']) yard.add(text)
    const sent = [yard.send(), yard.send()].flatMap(textsOf)
    expect(sent).toEqual([['1'], ['2'], ['a', 'b']])
  })
})

test('where the service distributes, records go to all lanes in turn, as many at once as there are', () => {
  const yard = new Yard({}, mapOf(0, 8))
  yard.lanes.distribute('service', 0)
  for (let index = 0; index < 6; index++) yard.add('same')
  const sent = yard.send()
  expect(Map.groupBy(sent, ({ lane }) => lane.shardId).size).toBe(2)
  expect(sent).toHaveLength(6)
})

test('5,000 shards become 10,000 with something waiting and in flight in each: all moves, and no barrier is left', () => {
  const shards = 5_000
  const ranges = splitEvenly(2 * shards)
  const parents = Array.from({ length: shards }, (_, index) => ({
    shardId: `p${index}`,
    hashRange: { start: ranges[2 * index]!.start, end: ranges[2 * index + 1]!.end },
  }))
  const lanes = new Lanes(SETTINGS)
  lanes.replaceMap(ShardMap.of(parents), 0)
  const add = (hashKey: bigint): void => {
    const record = { partitionKey: 'k', explicitHashKey: `${hashKey}`, hashKey, data: Buffer.from('x'), bytes: 2 }
    lanes.add(record, pendingOf(0, 2), 0, true)
  }
  const sendAll = (): InFlight[] => {
    const sent: InFlight[] = []
    for (;;) {
      const batch = collect(lanes, 0, true, REQUEST)
      if (batch.length === 0) return sent
      sent.push(...batch)
    }
  }
  for (const { start } of ranges.filter((_, index) => index % 2 === 0)) add(start)
  const inFlight = sendAll()
  expect(inFlight).toHaveLength(shards)
  for (const { end } of ranges) add(end)
  lanes.replaceMap(ShardMap.of(ranges.map((hashRange, index) => ({ shardId: `c${index}`, hashRange }))), 0)
  const made = [...lanes.active]
  expect([made.length, sendAll().length]).toEqual([2 * shards, 0])
  for (const { lane, sealed } of inFlight) lanes.settle(lane, sealed)
  expect(made.filter(({ barriers }) => barriers.size > 0)).toEqual([])
  const sent = sendAll()
  expect(sent).toHaveLength(2 * shards)
  expect(sent.filter(({ lane, sealed }) => !contains(lane.range, sealed.hashKey) || lane.retired)).toEqual([])
})

test('a limit reaches every lane there is and every later one, but not the one without a map', () => {
  const rates = (yard: Yard): number[] => {
    for (let place = 0; place < 16; place++) yard.add('x', place)
    return [...yard.lanes.active].map(({ bucket }) => bucket.bytesPerSecond)
  }
  const yard = new Yard({ rateLimit: 150 }, mapOf(0, 8))
  const [before = 0, ...others] = rates(yard)
  expect(others).toEqual([before])
  yard.lanes.limitTo(75, 0)
  expect(rates(yard)).toEqual([before / 2, before / 2])
  yard.lanes.replaceMap(mapOf(0, 4, 8, 12), 0)
  expect(rates(yard)).toEqual([before / 2, before / 2, before / 2, before / 2])
  const mapless = new Yard()
  mapless.lanes.limitTo(1, 0)
  for (let index = 0; index < 2_000; index++) mapless.add(`k${index}`)
  let sent = 0
  for (let batch = mapless.send(); batch.length > 0; batch = mapless.send()) sent += batch.length
  expect(sent).toBe(2_000)
  mapless.lanes.replaceMap(mapOf(0), 0)
  mapless.add('x')
  expect(mapless.lane('0-16').bucket.bytesPerSecond).toBe(before / 150)
})

test('the age of the oldest is known wherever it waits', () => {
  const yard = new Yard({}, mapOf(0, 8))
  expect(yard.lanes.oldestMs).toBe(Number.POSITIVE_INFINITY)
  yard.add('a', 9, 70)
  yard.add('b', 1, 40)
  yard.lanes.replaceMap(mapOf(0), 100)
  expect(yard.lanes.oldestMs).toBe(40)
})

describe('through random reshards', () => {
  type Step =
    | { readonly do: 'put'; readonly place: number }
    | { readonly do: 'send' }
    | { readonly do: 'settle' | 'retry'; readonly which: number }
    | { readonly do: 'reshard'; readonly cuts: readonly number[] | undefined }

  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 8, arbitrary: fc.record({ do: fc.constant('put' as const), place: fc.nat(15) }) },
    { weight: 3, arbitrary: fc.constant({ do: 'send' as const }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('settle' as const, 'retry' as const), which: fc.nat() }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('reshard' as const),
        cuts: fc.option(fc.subarray([...Array(15).keys()].map((index) => index + 1)), { nil: undefined }),
      }),
    },
  )

  test('what waits is in the lane whose range has its key, one of a key is in flight at a time, and its order is kept', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(true, false),
        fc.array(step, { minLength: 20, maxLength: 120 }),
        (aggregation, steps) => {
          const yard = new Yard({ aggregation, aggregationMaxCount: 3 }, mapOf(0))
          const inFlight: InFlight[] = []
          const put = new Map<string, number>()
          const done = new Map<string, number>()
          const keysIn = ({ sealed }: InFlight): string[] => textsIn(sealed).map((text) => text.split(' ')[0]!)
          const send = (): number => {
            const batch = yard.send()
            for (const each of batch) {
              // Without a map the lane's range is all there is.
              for (const { record } of unseal(each.sealed))
                expect(contains(each.lane.range, hashKeyOfRecord(record))).toBe(true)
              const busy = new Set(inFlight.flatMap(keysIn))
              expect(keysIn(each).filter((key) => busy.has(key))).toEqual([])
              inFlight.push(each)
            }
            return batch.length
          }
          const settle = (each: InFlight): void => {
            for (const text of textsIn(each.sealed)) {
              const [key = '', number] = text.split(' ')
              expect(Number(number)).toBe(done.get(key) ?? 0)
              done.set(key, Number(number) + 1)
            }
            yard.settle(each)
          }
          for (const each of steps) {
            if (each.do === 'put') {
              const key = `k${each.place}`
              const number = put.get(key) ?? 0
              put.set(key, number + 1)
              yard.add(`${key} ${number}`, each.place + 0.5)
            } else if (each.do === 'send') {
              send()
            } else if (each.do === 'reshard') {
              yard.lanes.replaceMap(each.cuts && mapOf(0, ...each.cuts), 0)
            } else if (inFlight.length > 0) {
              const [chosen] = inFlight.splice(each.which % inFlight.length, 1)
              if (each.do === 'settle') settle(chosen!)
              else yard.lanes.retry(chosen!.lane, chosen!.sealed, 0)
            }
          }
          do for (const each of inFlight.splice(0)) settle(each)
          while (send() > 0)
          expect(done).toEqual(put)
        },
      ),
      { numRuns: 300 },
    )
  })
})

test('what the service was given to put anywhere bars every lane when keys decide again', () => {
  const yard = new Yard({}, mapOf(0, 8))
  yard.lanes.distribute('service', 0)
  yard.add('w', 1)
  const inFlight = yard.send()
  yard.lanes.distribute('key', 0)
  for (const place of [1, 9]) yard.add(`k${place}`, place)
  expect(yard.send()).toEqual([])
  yard.settle(...inFlight)
  expect(textsOf(yard.send()).toSorted()).toEqual([['k1'], ['k9']])
})
