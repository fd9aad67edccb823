import type { Kinesis } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { MAX_HASH_KEY, type ShardMap } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { HALF, ONE_SHARD, SPLIT, serviceError, settled, shard } from '../test/scripted-kinesis.ts'
import { ShardMapKeeper } from './shard-map-keeper.ts'

interface Page {
  readonly Shards: readonly object[]
  readonly NextToken?: string
}

const unavailable = (): never => {
  throw serviceError('ServiceUnavailable', 503)
}
const denied = (): never => {
  throw serviceError('AccessDeniedException', 400)
}

/** A keeper whose every ListShards is answered by a script, on a manual clock. */
class Desk {
  readonly clock: ManualClock = new ManualClock()
  /** What each ListShards asked for: a token, or the stream. */
  readonly asked: string[] = []
  readonly askedAtMs: number[] = []
  readonly maps: ShardMap[] = []
  readonly retries: { readonly error: string; readonly waitMs: number }[] = []
  readonly abort: AbortController = new AbortController()
  readonly keeper: ShardMapKeeper

  constructor(list: (call: number) => Page | Promise<Page>, random: () => number = () => 0.5) {
    const send = async ({ input }: { input: { StreamName?: string; NextToken?: string } }): Promise<Page> => {
      this.askedAtMs.push(this.clock.monotonicMs())
      return list(this.asked.push(input.NextToken ?? input.StreamName ?? 'nothing') - 1)
    }
    this.keeper = new ShardMapKeeper({
      kinesis: { send } as unknown as Kinesis,
      stream: 'flights',
      clock: this.clock,
      random,
      signal: this.abort.signal,
      onMap: (map) => this.maps.push(map),
      onRetry: ({ name }, waitMs) => this.retries.push({ error: name, waitMs }),
    })
  }

  get mapped(): string[][] {
    return this.maps.map(({ shards }) => shards.map(({ shardId }) => shardId))
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms)
    await settle()
  }
}

describe('a listing', () => {
  test('of many pages is one map, and each page after the first is asked for by its token alone', async () => {
    const pages: Page[] = [
      { Shards: [shard('a', 0n, 99n)], NextToken: 't1' },
      { Shards: [shard('b', 100n, HALF - 1n)], NextToken: 't2' },
      { Shards: [shard('c', HALF, MAX_HASH_KEY)] },
    ]
    const desk = new Desk((call) => pages[call]!)
    await desk.keeper.refresh()
    expect(desk.asked).toEqual(['flights', 't1', 't2'])
    expect(desk.mapped).toEqual([['a', 'b', 'c']])
  })

  test('that fails in its middle begins again with the first page, and nothing of it is used', async () => {
    const answers: (() => Page)[] = [
      () => ({ Shards: ONE_SHARD, NextToken: 'old' }),
      unavailable,
      () => ({ Shards: SPLIT.slice(0, 2), NextToken: 'new' }),
      () => ({ Shards: SPLIT.slice(2) }),
    ]
    const desk = new Desk((call) => answers[call]!())
    const done = settled(desk.keeper.refresh())
    await desk.pass(49)
    expect([done(), desk.asked]).toEqual([undefined, ['flights', 'old']])
    await desk.pass(1)
    expect([done(), desk.asked]).toEqual([{}, ['flights', 'old', 'flights', 'new']])
    expect(desk.mapped).toEqual([['c1', 'c2']])
  })

  test('predicts no closed shard, and tells the range of each all the same, as late answers need it', async () => {
    const desk = new Desk(() => ({ Shards: SPLIT }))
    expect(desk.keeper.rangeOf('p')).toBeUndefined()
    await desk.keeper.refresh()
    expect([0n, HALF - 1n, HALF, MAX_HASH_KEY].map((key) => desk.maps[0]?.predict(key)?.shardId)).toEqual([
      'c1',
      'c1',
      'c2',
      'c2',
    ])
    expect(desk.keeper.rangeOf('p')).toEqual({ start: 0n, end: MAX_HASH_KEY })
    expect(desk.keeper.rangeOf('c2')).toEqual({ start: HALF, end: MAX_HASH_KEY })
  })

  test('forgets what the one before had: ranges of two listings never mix', async () => {
    const desk = new Desk((call) => ({ Shards: call === 0 ? SPLIT : [shard('p', 0n, MAX_HASH_KEY)] }))
    await desk.keeper.refresh()
    await desk.keeper.refresh()
    expect([desk.keeper.rangeOf('c1'), desk.keeper.rangeOf('p')]).toEqual([undefined, { start: 0n, end: MAX_HASH_KEY }])
  })

  test.each([
    ['with a hole', [shard('a', 1n, MAX_HASH_KEY)]],
    ['with an overlap', [shard('a', 0n, HALF), shard('b', HALF, MAX_HASH_KEY)]],
    ['of closed shards only', [shard('p', 0n, MAX_HASH_KEY, 'closed')]],
    ['of nothing', []],
  ])('%s is not used, and tried again', async (_, unusable) => {
    const desk = new Desk((call) => ({ Shards: call === 0 ? unusable : ONE_SHARD }))
    const done = settled(desk.keeper.refresh())
    await desk.pass(0)
    expect([done(), desk.maps, desk.keeper.rangeOf('a')]).toEqual([undefined, [], undefined])
    expect(desk.keeper.lastError?.name).toBe('UnusableListing')
    await desk.pass(50)
    expect([done(), desk.mapped, desk.keeper.lastError]).toEqual([{}, [['p']], undefined])
    expect(desk.retries).toEqual([{ error: 'UnusableListing', waitMs: 50 }])
  })
})

describe('a listing that is refused', () => {
  test.each([
    ['the longest wait doubles from 100 ms up to 10 s', 1, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]],
    ['any wait down to none is as likely', 0, [0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['waits are spread between', 0.25, [25, 50, 100, 200, 400, 800, 1_600, 2_500, 2_500]],
  ])('is tried again: %s', async (_, random, waits) => {
    const desk = new Desk(
      (call) => (call < 9 ? unavailable() : { Shards: ONE_SHARD }),
      () => random,
    )
    const done = settled(desk.keeper.refresh())
    // A wait of nothing needs no time, only turns.
    for (let turn = 0; turn < 10; turn++) await desk.pass(0)
    await desk.pass(60_000)
    expect(desk.retries).toEqual(waits.map((waitMs) => ({ error: 'ServiceUnavailable', waitMs })))
    const gaps = desk.askedAtMs.slice(1).map((ms, index) => ms - desk.askedAtMs[index]!)
    expect([gaps, done()]).toEqual([waits, {}])
  })

  test('begins with short waits again after one that went well', async () => {
    const desk = new Desk((call) => (call % 4 === 3 ? { Shards: ONE_SHARD } : unavailable()))
    for (let round = 0; round < 2; round++) {
      settled(desk.keeper.refresh())
      await desk.pass(5_000)
    }
    expect(desk.retries.map(({ waitMs }) => waitMs)).toEqual([50, 100, 200, 50, 100, 200])
  })

  test('for good fails at once, leaves what is known as it is, and the next is another', async () => {
    const answers: (() => Page)[] = [() => ({ Shards: ONE_SHARD }), denied, () => ({ Shards: SPLIT })]
    const desk = new Desk((call) => answers[call]!())
    await desk.keeper.refresh()
    await expect(desk.keeper.refresh()).rejects.toMatchObject({ name: 'AccessDeniedException' })
    expect([desk.mapped, desk.keeper.rangeOf('p') !== undefined, desk.retries]).toEqual([[['p']], true, []])
    await desk.keeper.refresh()
    expect(desk.mapped).toEqual([['p'], ['c1', 'c2']])
  })

  test('is given up with the signal, in its wait too, and leaves no timer', async () => {
    const desk = new Desk(unavailable)
    const done = settled(desk.keeper.refresh())
    await desk.pass(10)
    expect(desk.clock.sleeping).toBe(1)
    desk.abort.abort(new Error('closed'))
    await desk.pass(0)
    expect([done()?.message, desk.clock.sleeping]).toEqual(['closed', 0])
    await desk.pass(60_000)
    expect(desk.asked).toHaveLength(1)
  })
})

describe('refresh', () => {
  test('is one listing for all who ask while it is under way, and another for who asks later', async () => {
    const answers: ((page: Page) => void)[] = []
    const desk = new Desk(() => new Promise((resolve) => answers.push(resolve)))
    const refreshed = [desk.keeper.refresh(), desk.keeper.refresh()].map(settled)
    await desk.pass(10)
    refreshed.push(settled(desk.keeper.refresh()))
    answers[0]?.({ Shards: ONE_SHARD })
    await desk.pass(0)
    expect([refreshed.map((done) => done()), desk.asked.length, desk.maps.length]).toEqual([[{}, {}, {}], 1, 1])
    settled(desk.keeper.refresh())
    await desk.pass(0)
    expect(desk.asked).toHaveLength(2)
  })

  test('tells of the map before it resolves, and the ranges are known by then', async () => {
    const desk = new Desk(() => ({ Shards: ONE_SHARD }))
    const seen: string[] = []
    const keeper = new ShardMapKeeper({
      kinesis: { send: async () => ({ Shards: ONE_SHARD }) } as unknown as Kinesis,
      stream: 'flights',
      clock: desk.clock,
      random: () => 0,
      signal: desk.abort.signal,
      onMap: () => seen.push(keeper.rangeOf('p') === undefined ? 'map without ranges' : 'map'),
      onRetry: () => {},
    })
    await keeper.refresh().then(() => seen.push('refreshed'))
    expect(seen).toEqual(['map', 'refreshed'])
  })
})

describe('refreshFor', () => {
  test('begins after the call: a listing under way may be from before the reshard, even if it knows the shard', async () => {
    const answers: ((page: Page) => void)[] = []
    const desk = new Desk(() => new Promise((resolve) => answers.push(resolve)))
    const early = settled(desk.keeper.refresh())
    await desk.pass(0)
    const range = settled(desk.keeper.refreshFor('p', desk.abort.signal))
    answers[0]?.({ Shards: ONE_SHARD })
    await desk.pass(0)
    expect([early(), range(), desk.asked.length]).toEqual([{}, undefined, 2])
    answers[1]?.({ Shards: SPLIT })
    await desk.pass(0)
    expect(range()).toEqual({ start: 0n, end: MAX_HASH_KEY })
    expect(desk.mapped).toEqual([['p'], ['c1', 'c2']])
  })

  test('goes on after the failure of the listing under way, which says nothing about the next', async () => {
    const answers: (() => Page | Promise<Page>)[] = [async () => denied(), () => ({ Shards: ONE_SHARD })]
    const desk = new Desk((call) => answers[call]!())
    const early = settled(desk.keeper.refresh())
    const range = settled(desk.keeper.refreshFor('p', desk.abort.signal))
    await desk.pass(0)
    expect([early()?.name, range()]).toEqual(['AccessDeniedException', { start: 0n, end: MAX_HASH_KEY }])
  })

  test('lists until the shard is known, with the same backoff, and is one listing for all who wait', async () => {
    const listings = [ONE_SHARD, ONE_SHARD, SPLIT]
    const desk = new Desk((call) => ({ Shards: listings[call] ?? SPLIT }))
    const ranges = ['c1', 'c2', 'c1', 'p'].map((shardId) => settled(desk.keeper.refreshFor(shardId, desk.abort.signal)))
    await desk.pass(149)
    expect([ranges.map((range) => range()), desk.maps]).toEqual([[undefined, undefined, undefined, undefined], []])
    await desk.pass(1)
    const [low, high, full] = [
      { start: 0n, end: HALF - 1n },
      { start: HALF, end: MAX_HASH_KEY },
      { start: 0n, end: MAX_HASH_KEY },
    ]
    expect(ranges.map((range) => range())).toEqual([low, high, low, full])
    expect([desk.asked.length, desk.mapped]).toEqual([3, [['c1', 'c2']]])
    expect(desk.retries).toEqual([50, 100].map((waitMs) => ({ error: 'UnusableListing', waitMs })))
  })

  test('rejects where the shards may not be listed, and then no listing waits for its shard any more', async () => {
    const desk = new Desk((call) => (call === 0 ? denied() : { Shards: ONE_SHARD }))
    await expect(desk.keeper.refreshFor('ghost', desk.abort.signal)).rejects.toMatchObject({
      name: 'AccessDeniedException',
    })
    const done = settled(desk.keeper.refresh())
    await desk.pass(0)
    expect([done(), desk.mapped]).toEqual([{}, [['p']]])
  })

  test('that is given up makes room: the next listing is used, though it does not know the shard', async () => {
    const desk = new Desk(() => ({ Shards: SPLIT }))
    const patience = new AbortController()
    const [given, kept] = [
      settled(desk.keeper.refreshFor('ghost', patience.signal)),
      settled(desk.keeper.refreshFor('c1', desk.abort.signal)),
    ]
    await desk.pass(10_000)
    expect([given(), kept(), desk.maps]).toEqual([undefined, undefined, []])
    patience.abort(new Error('too old'))
    await desk.pass(0)
    expect([given()?.message, kept()]).toEqual(['too old', undefined])
    await desk.pass(5_000)
    expect([kept(), desk.mapped, desk.clock.sleeping]).toEqual([{ start: 0n, end: HALF - 1n }, [['c1', 'c2']], 0])
  })

  test('goes on for those who still wait for a shard that others have given up', async () => {
    let isKnown = false
    const desk = new Desk(() => ({ Shards: isKnown ? SPLIT : ONE_SHARD }))
    const patience = new AbortController()
    const [given, kept] = [patience.signal, desk.abort.signal].map((signal) =>
      settled(desk.keeper.refreshFor('c1', signal)),
    )
    await desk.pass(1_000)
    patience.abort(new Error('too old'))
    await desk.pass(10_000)
    expect([given?.()?.message, kept?.(), desk.maps]).toEqual(['too old', undefined, []])
    isKnown = true
    await desk.pass(10_000)
    expect([kept?.(), desk.mapped]).toEqual([{ start: 0n, end: HALF - 1n }, [['c1', 'c2']]])
  })

  test('that waits in vain ends with the signal', async () => {
    const desk = new Desk(() => ({ Shards: ONE_SHARD }))
    const range = settled(desk.keeper.refreshFor('c1', desk.abort.signal))
    await desk.pass(10_000)
    expect(range()).toBeUndefined()
    desk.abort.abort(new Error('closed'))
    await desk.pass(0)
    expect([range()?.message, desk.clock.sleeping]).toEqual(['closed', 0])
  })
})
