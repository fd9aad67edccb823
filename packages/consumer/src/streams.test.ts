import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import type { StreamSelection } from './stream-finder.ts'
import { oneStream, SeveralStreams } from './streams.ts'
import { type ConsumerEvent, Telemetry } from './telemetry.ts'

const arn = (name: string): string => `arn:aws:kinesis:eu-central-1:1:stream/${name}`
const refusal = (name: string): Error => Object.assign(new Error(name), { name })

/** The account's streams, by name. */
let account: Map<string, { createdS: number; tags?: Record<string, string> }>
let calls: string[]
let events: ConsumerEvent[]
let clock: ManualClock
let changes: number
let failing: Error | undefined

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
})

const kinesis = {
  send: ({ input, constructor: { name } }: { input: Record<string, string>; constructor: { name: string } }) => {
    calls.push(name.replace(/Command$/, ''))
    if (failing !== undefined) return Promise.reject(failing)
    const stream = input.StreamName ?? input.StreamARN?.slice(input.StreamARN.lastIndexOf('/') + 1) ?? ''
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

function streamsOf(selection: StreamSelection): SeveralStreams {
  return new SeveralStreams({
    selection,
    initialPosition: 'TRIM_HORIZON',
    kinesis,
    clock,
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}),
    onChange: () => changes++,
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

  test('when the service fails, all stays as it was', async () => {
    const streams = streamsOf(['orders'])
    await streams.look(never)
    await clock.advance(11 * 60_000)
    failing = refusal('InternalFailure')
    await streams.look(never)
    expect(identifiers(streams)).toEqual(['1:orders:100'])
    const listing = streamsOf({ where: () => true })
    await expect(listing.look(never)).rejects.toThrow('InternalFailure')
    expect(listing.sources).toEqual([])
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
})
