import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { type ConsumerEvent, Telemetry } from '../telemetry/telemetry.ts'
import type { FoundStream, StreamSelection } from './stream-finder.ts'
import { oneStream, SeveralStreams, type SeveralStreamsOptions } from './streams.ts'

const arn = (name: string): string => `arn:aws:kinesis:eu-central-1:1:stream/${name}`
const refusal = (name: string): Error => Object.assign(new Error(name), { name })

/** The account's streams, by name. */
let account: Map<string, { createdS: number; tags?: Record<string, string> }>
let calls: string[]
let events: ConsumerEvent[]
let clock: ManualClock
let changes: number
let failing: Error | undefined
/** Calls about these streams fail so. */
let refused: Map<string, Error>

beforeEach(() => {
  account = new Map([
    ['orders', { createdS: 100, tags: { team: 'a' } }],
    ['flights', { createdS: 200, tags: { team: 'b' } }],
    ['payments', { createdS: 300 }],
  ])
  calls = []
  events = []
  clock = new ManualClock()
  changes = 0
  failing = undefined
  refused = new Map()
})

const kinesis = {
  send: ({ input, constructor: { name } }: { input: Record<string, string>; constructor: { name: string } }) => {
    calls.push(name.replace(/Command$/, ''))
    if (failing !== undefined) return Promise.reject(failing)
    const stream = input.StreamName ?? input.StreamARN?.slice(input.StreamARN.lastIndexOf('/') + 1) ?? ''
    if (refused.has(stream)) return Promise.reject(refused.get(stream))
    const found = account.get(stream)
    if (name === 'ListStreamsCommand') {
      // Two a page.
      const names = [...account.keys()].sort()
      const from = Number(input.NextToken ?? 0)
      return Promise.resolve({
        StreamSummaries: names.slice(from, from + 2).map((each) => ({
          StreamName: each,
          StreamARN: arn(each),
          StreamCreationTimestamp: new Date(account.get(each)!.createdS * 1000),
        })),
        HasMoreStreams: from + 2 < names.length,
        NextToken: String(from + 2),
      })
    }
    if (found === undefined) return Promise.reject(refusal('ResourceNotFoundException'))
    if (name === 'ListTagsForStreamCommand') {
      return Promise.resolve({ Tags: Object.entries(found.tags ?? {}).map(([Key, Value]) => ({ Key, Value })) })
    }
    return Promise.resolve({
      StreamDescriptionSummary: {
        StreamName: stream,
        StreamARN: arn(stream),
        StreamCreationTimestamp: new Date(found.createdS * 1000),
      },
    })
  },
} as unknown as Kinesis

function streamsOf(selection: StreamSelection, options: Partial<SeveralStreamsOptions> = {}): SeveralStreams {
  return new SeveralStreams({
    selection,
    initialPosition: 'TRIM_HORIZON',
    kinesis,
    clock,
    random: () => 0.5,
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}),
    onChange: () => changes++,
    ...options,
  })
}

const never = new AbortController().signal
const identifiers = (streams: SeveralStreams): (string | undefined)[] =>
  streams.sources.map(({ identifier }) => identifier)

describe('the streams of an application', () => {
  test('one stream has no identifier, and nothing changes', () => {
    const streams = oneStream('flights', 'LATEST')
    expect(streams.find(undefined)).toEqual({ stream: 'flights', identifier: undefined, initialPosition: 'LATEST' })
    expect(streams.find('1:flights:200')).toBeUndefined()
    expect(streams.lookedAtMs).toBe(Number.NEGATIVE_INFINITY)
    expect(streams.lose(streams.sources[0]!, new Error())).toBe(false)
  })

  test('a list may name streams, or give their ARNs, each with its own start', async () => {
    const streams = streamsOf(['orders', { stream: arn('flights'), initialPosition: 'LATEST' }])
    await streams.look(never)
    expect(streams.sources).toEqual([
      { stream: 'orders', identifier: '1:orders:100', initialPosition: 'TRIM_HORIZON' },
      { stream: arn('flights'), identifier: '1:flights:200', initialPosition: 'LATEST' },
    ])
    expect(streams.find('1:flights:200')?.stream).toBe(arn('flights'))
    expect(changes).toBe(1)
  })

  test('a stream that is known is not asked for at every look', async () => {
    const streams = streamsOf(['orders', 'flights'])
    await streams.look(never)
    await streams.look(never)
    expect(calls).toHaveLength(2)
    expect(changes).toBe(1)
  })

  test('a predicate judges every stream of the account by its name, and asks for nothing else', async () => {
    const streams = streamsOf({ where: ({ name }) => name.includes('r') })
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:orders:100'])
    expect(calls).toEqual(['ListStreams', 'ListStreams'])
  })

  test('a predicate may ask for tags', async () => {
    const streams = streamsOf({ where: async (stream) => (await stream.tags()).team === 'b' })
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:flights:200'])
  })

  test('streams come and go at run time, and each change is told', async () => {
    let names = ['orders']
    const streams = streamsOf(() => Promise.resolve(names))
    await streams.look(never)
    const orders = streams.sources[0]
    names = ['orders', 'flights']
    await streams.look(never)
    expect(streams.sources[0]).toBe(orders)
    names = ['flights']
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:flights:200'])
    expect(events.map(({ type, ...rest }) => [type, 'stream' in rest ? rest.stream : ''])).toEqual([
      ['streamAdded', 'orders'],
      ['streamAdded', 'flights'],
      ['streamRemoved', 'orders'],
    ])
  })

  test('a stream that does not exist is told of, and the others are read', async () => {
    const streams = streamsOf(['orders', 'nothing'])
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:orders:100'])
    expect(events).toContainEqual(expect.objectContaining({ type: 'streamMissing', stream: 'nothing' }))
    account.set('nothing', { createdS: 400 })
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:orders:100', '1:nothing:400'])
  })

  test('a stream that was made anew is another one', async () => {
    const streams = streamsOf(['orders'])
    await streams.look(never)
    account.set('orders', { createdS: 500 })
    expect(streams.lose(streams.sources[0]!, new Error('gone'))).toBe(true)
    expect(streams.sources).toEqual([])
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:orders:500'])
  })

  test('tags are asked for once in five minutes, and not of all streams together', async () => {
    const draws = [0, 1, 0.5]
    const streams = streamsOf(
      { where: async (stream) => (await stream.tags()).team === 'b' },
      { random: () => draws.shift() ?? 0 },
    )
    const asked = async (): Promise<number> => {
      calls = []
      await streams.look(never)
      return calls.filter((call) => call === 'ListTagsForStream').length
    }
    expect(await asked()).toBe(3)
    account.set('orders', { createdS: 100, tags: { team: 'b' } })
    await clock.advance(150_000 - 1)
    expect(await asked()).toBe(0)
    await clock.advance(1)
    expect(await asked()).toBe(1)
    await clock.advance(150_000 - 1)
    expect(await asked()).toBe(1)
    expect(identifiers(streams)).toEqual(['1:flights:200'])
    await clock.advance(1)
    expect(await asked()).toBe(2)
    expect(identifiers(streams)).toEqual(['1:flights:200', '1:orders:100'])
  })

  test('a stream that was made anew has tags of its own', async () => {
    const streams = streamsOf({ where: async (stream) => (await stream.tags()).team === 'a' })
    await streams.look(never)
    account.set('orders', { createdS: 500, tags: { team: 'a' } })
    account.set('flights', { createdS: 600, tags: { team: 'a' } })
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:flights:600', '1:orders:500'])
  })

  test.each([
    ['the tags', { where: async (stream: FoundStream) => (await stream.tags()).team === 'b' }, 'flights'],
    ['what it is', ['flights'], 'flights'],
    ['all streams', { where: ({ name }: FoundStream) => name === 'flights' }, ''],
  ])('throttled, it asks for %s again after a while, for a few times', async (_what, selection, asked) => {
    const streams = streamsOf(selection)
    refused.set(asked, refusal('LimitExceededException'))
    const looking = streams.look(never)
    await clock.advance(500)
    refused.clear()
    await clock.advance(5_000)
    await looking
    expect(identifiers(streams)).toEqual(['1:flights:200'])
    expect(events.filter(({ type }) => type === 'callFailed')).toEqual([])
  })

  test('a predicate that never settles does not outlive the consumer', async () => {
    const stop = new AbortController()
    const looking = streamsOf({ where: () => new Promise<boolean>(() => {}) }).look(stop.signal)
    await settle()
    stop.abort(new Error('closing'))
    await expect(looking).rejects.toThrow('closing')
  })

  test('when the service fails, all stays as it was', async () => {
    const streams = streamsOf(['orders'])
    await clock.advance(1_000)
    await streams.look(never)
    await clock.advance(11 * 60_000)
    failing = refusal('InternalFailure')
    await expect(streams.look(never)).rejects.toThrow('InternalFailure')
    expect(identifiers(streams)).toEqual(['1:orders:100'])
    expect(streams.lookedAtMs).toBe(1_000)
    const listing = streamsOf({ where: () => true })
    await expect(listing.look(never)).rejects.toThrow('InternalFailure')
    expect(listing.sources).toEqual([])
    expect(listing.lookedAtMs).toBe(Number.NEGATIVE_INFINITY)
  })

  test('a look counts from when it began', async () => {
    const answer = Promise.withResolvers<string[]>()
    const streams = streamsOf(() => answer.promise)
    await clock.advance(1_000)
    const looking = streams.look(never)
    await clock.advance(2_000)
    answer.resolve(['orders'])
    await looking
    expect(streams.lookedAtMs).toBe(1_000)
  })

  describe('a stream that nothing can be found out of', () => {
    const denied = refusal('AccessDeniedException')
    const failures = (): unknown[] => events.filter(({ type }) => type === 'callFailed')
    const told = (stream: string, error: Error): object => ({
      type: 'callFailed',
      doing: `finding out about the stream ${stream}`,
      error,
    })

    test('is left out of a list at the start, told of, and found later', async () => {
      refused.set('orders', denied)
      const streams = streamsOf(['orders', 'flights'])
      await streams.look(never)
      expect(identifiers(streams)).toEqual(['1:flights:200'])
      expect(failures()).toEqual([told('orders', denied)])
      expect(streams.isUnsure).toBe(true)
      refused.clear()
      await streams.look(never)
      expect(identifiers(streams)).toEqual(['1:orders:100', '1:flights:200'])
      expect(streams.isUnsure).toBe(false)
    })

    test('stays as it was, while others come and go', async () => {
      let names = ['orders', 'payments']
      const streams = streamsOf(() => names)
      await streams.look(never)
      const orders = streams.find('1:orders:100')
      await clock.advance(11 * 60_000)
      refused.set('orders', denied)
      names = ['orders', 'flights']
      await streams.look(never)
      expect(identifiers(streams)).toEqual(['1:orders:100', '1:flights:200'])
      expect(streams.find('1:orders:100')).toBe(orders)
      expect(failures()).toEqual([told('orders', denied)])
      expect(streams.isUnsure).toBe(false)
    })

    test('by a predicate stays as it was, whether chosen or not', async () => {
      const streams = streamsOf({ where: async (stream) => (await stream.tags()).team !== 'b' })
      await streams.look(never)
      expect(identifiers(streams)).toEqual(['1:orders:100', '1:payments:300'])
      await clock.advance(5 * 60_000)
      refused = new Map([
        ['orders', denied],
        ['flights', denied],
      ])
      account.set('payments', { createdS: 300, tags: { team: 'b' } })
      await streams.look(never)
      expect(identifiers(streams)).toEqual(['1:orders:100'])
      expect(failures()).toEqual([told('flights', denied), told('orders', denied)])
      expect(streams.isUnsure).toBe(true)
    })

    test('since the predicate throws does not keep others out', async () => {
      const broken = new Error('no team')
      const where = ({ name }: { name: string }): boolean => {
        if (name === 'flights') throw broken
        return name === 'orders'
      }
      const streams = streamsOf({ where })
      await streams.look(never)
      expect(identifiers(streams)).toEqual(['1:orders:100'])
      expect(failures()).toEqual([told('flights', broken)])
    })

    test('and no other either is an error', async () => {
      for (const name of account.keys()) refused.set(name, denied)
      for (const selection of [
        ['orders', 'flights'],
        { where: (stream: FoundStream) => stream.tags().then(() => true) },
      ]) {
        const streams = streamsOf(selection)
        await expect(streams.look(never)).rejects.toBe(denied)
        expect(streams.sources).toEqual([])
      }
      expect(events).toEqual([])
    })
  })

  test('it looks every minute, and soon when a lease of an unknown stream comes up, but not all the time', async () => {
    let looks = 0
    const streams = streamsOf(() => {
      looks++
      return []
    })
    const stop = new AbortController()
    const watching = streams.watch(stop.signal)
    await clock.advance(59_000)
    expect(looks).toBe(0)
    await clock.advance(1_000)
    expect(looks).toBe(1)
    streams.lookSoon()
    await clock.advance(4_900)
    expect(looks).toBe(1)
    await clock.advance(200)
    expect(looks).toBe(2)
    stop.abort()
    await settle()
    await watching
  })
  test.each([
    [0, 45_000],
    [0.999, 75_000],
  ])('workers look at different times (%d)', async (chance, afterMs) => {
    let looks = 0
    const stop = new AbortController()
    const selection = (): string[] => {
      looks++
      return []
    }
    const watching = streamsOf(selection, { random: () => chance }).watch(stop.signal)
    await clock.advance(afterMs - 100)
    expect(looks).toBe(0)
    await clock.advance(100)
    expect(looks).toBe(1)
    stop.abort()
    await settle()
    await watching
  })
})
