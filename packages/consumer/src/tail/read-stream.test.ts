import { hash } from 'node:crypto'
import { type Logger, silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom, settle } from '@shardwise/core/testing'
import { AGGREGATE_MAGIC } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { ModelledKinesis, refusal, shardIdOf } from '../../test/modelled-kinesis.ts'
import type { ReadStreamOptions, Records } from './read-options.ts'
import { readStream } from './read-stream.ts'

const HOUR_MS = 3_600_000

let clock: ManualClock
let kinesis: ModelledKinesis

beforeEach(() => {
  clock = new ManualClock()
  kinesis = new ModelledKinesis(clock, 2)
})

function read(options: Partial<ReadStreamOptions> = {}): Records {
  return readStream({
    stream: 'flights',
    kinesis: kinesis.kinesis,
    logger: silentLogger,
    clock,
    random: seededRandom(1),
    ...options,
  })
}

/** Follows a loop over the records: what it got, and how it ended. */
function follow(records: Records): { readonly texts: string[]; readonly over: () => unknown } {
  const texts: string[] = []
  let over: unknown
  const loop = async (): Promise<void> => {
    for await (const record of records) texts.push(record.text())
  }
  loop().then(
    () => {
      over = 'ended'
    },
    (error: unknown) => {
      over = error
    },
  )
  return { texts, over: () => over }
}

/** Texts of one key in the order in which they came. */
const of = (texts: readonly string[], key: string): string[] => texts.filter((text) => text.startsWith(key))

/** A logger that keeps what it is told. */
function noting(): { readonly logger: Logger; readonly notes: { level: string; fields: object }[] } {
  const notes: { level: string; fields: object }[] = []
  const note = (level: string) => (fields: object) => void notes.push({ level, fields })
  return { notes, logger: { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') } }
}

test('an answer that never comes holds nothing up for long', async () => {
  kinesis.put('a1', 'a')
  let isLost = true
  kinesis.hook = (operation) => {
    if (operation !== 'GetRecords' || !isLost) return undefined
    isLost = false
    return new Promise(() => {})
  }
  const records = read()
  const { texts } = follow(records)
  await clock.advance(60_000)
  expect(texts).toEqual(['a1'])
  await records.return()
})

describe('where it starts', () => {
  beforeEach(async () => {
    kinesis.put('a1', 'a')
    kinesis.put('b1', 'b')
    await clock.advance(5_000)
    kinesis.resize(4)
    kinesis.put('a2', 'a')
    kinesis.put('b2', 'b')
    await clock.advance(5_000)
    kinesis.resize(2)
    await clock.advance(5_000)
    kinesis.put('a3', 'a')
    kinesis.put('b3', 'b')
    await clock.advance(5_000)
  })

  test('TRIM_HORIZON: with everything, in the order of each key', async () => {
    const { texts } = follow(read())
    await clock.advance(5_000)
    expect(of(texts, 'a')).toEqual(['a1', 'a2', 'a3'])
    expect(of(texts, 'b')).toEqual(['b1', 'b2', 'b3'])
  })

  test('a time: with what has come since, in shards that were open then or came later', async () => {
    const { texts } = follow(read({ from: { timestamp: clock.wallMs() - 14_999 } }))
    await clock.advance(5_000)
    expect(texts.toSorted()).toEqual(['a3', 'b3'])
    const early = follow(read({ from: { timestamp: new Date(clock.wallMs() - 20_000) } }))
    await clock.advance(5_000)
    expect(of(early.texts, 'a')).toEqual(['a2', 'a3'])
    expect(of(early.texts, 'b')).toEqual(['b2', 'b3'])
  })

  test('a time before all records: with everything', async () => {
    kinesis.hook = (_, { ShardFilter: filter }) =>
      (Object(filter) as { Type?: string }).Type === 'AT_TIMESTAMP' ? refusal('InvalidArgumentException') : undefined
    const { texts } = follow(read({ from: { timestamp: 0 } }))
    await clock.advance(5_000)
    expect(texts).toHaveLength(6)
    expect(of(texts, 'a')).toEqual(['a1', 'a2', 'a3'])
  })

  test('a time, where the service lists all shards at any time: with what has come since', async () => {
    kinesis.hook = (operation, { StreamName, ShardFilter }) =>
      operation === 'ListShards' && ShardFilter !== undefined
        ? kinesis.model.execute(operation, { StreamName })
        : undefined
    const { texts } = follow(read({ from: { timestamp: clock.wallMs() - 14_999 } }))
    await clock.advance(5_000)
    expect(texts.toSorted()).toEqual(['a3', 'b3'])
  })

  test('LATEST: at the call, not when the first is asked for, whatever happens in between', async () => {
    const records = read({ from: 'LATEST' })
    await clock.advance(1)
    kinesis.put('a4', 'a')
    kinesis.put('b4', 'b')
    kinesis.resize(4)
    kinesis.put('a5', 'a')
    await clock.advance(30_000)
    const { texts } = follow(records)
    await clock.advance(5_000)
    expect(of(texts, 'a')).toEqual(['a4', 'a5'])
    expect(of(texts, 'b')).toEqual(['b4'])
  })

  test('LATEST, with iterators that expire before the first record: skips none', async () => {
    const { texts } = follow(read({ from: 'LATEST' }))
    await clock.advance(1_000)
    const expired = refusal('ExpiredIteratorException')
    kinesis.hook = (operation) => (operation === 'GetRecords' ? expired : undefined)
    kinesis.put('a4', 'a')
    await clock.advance(60_000)
    kinesis.hook = () => undefined
    kinesis.put('a5', 'a')
    await clock.advance(30_000)
    expect(texts).toEqual(['a4', 'a5'])
  })
})

describe('through reshards', () => {
  test('a child is read when the loop is done with its parents, and both of a merge', async () => {
    kinesis.put('a1', 'a')
    kinesis.put('b1', 'b')
    const records = read()
    const first = records.next()
    await clock.advance(1_000)
    kinesis.merge(0, 1)
    kinesis.put('a2', 'a')
    await clock.advance(1_000)
    const asked = (): unknown[] => kinesis.calls.map(({ input }) => input.ShardId).filter(Boolean)
    expect(asked()).not.toContain(shardIdOf(2))
    const second = await records.next()
    await clock.advance(1_000)
    expect(asked()).not.toContain(shardIdOf(2))
    const third = records.next()
    await clock.advance(1_000)
    const texts = [await first, second, await third].map(({ value }) => value?.text())
    expect(texts.slice(0, 2).toSorted()).toEqual(['a1', 'b1'])
    expect(texts[2]).toBe('a2')
    await records.return()
  })

  test('each record once, in the order of its key, while shards are split and merged all the time', async () => {
    const random = seededRandom(7)
    const { texts } = follow(read({ maxRecords: 7, idleTimeBetweenReads: 50, maxBufferedBytes: 4_000 }))
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    for (let number = 0; number < 120; number++) {
      for (const key of keys) kinesis.put(`${key}${number}`, key)
      if (number % 15 === 14) kinesis.resize(number % 2 === 0 ? 4 : 2)
      await clock.advance(random() * 400)
    }
    await clock.advance(30_000)
    for (const key of keys) {
      expect(of(texts, key)).toEqual(Array.from({ length: 120 }, (_, number) => `${key}${number}`))
    }
    expect(texts).toHaveLength(720)
  })

  test('a line that expired in the middle is read on where it goes on, and what expired is told', async () => {
    kinesis = new ModelledKinesis(clock, 2, { retentionMs: HOUR_MS })
    kinesis.put('old', 'a')
    const { logger, notes } = noting()
    const records = read({ logger, idleTimeBetweenReads: 10_000 })
    const first = records.next()
    await clock.advance(1_000)
    expect((await first).value?.text()).toBe('old')
    // The loop is busy for hours, in which the shards are resized twice.
    for (const count of [4, 2]) {
      await clock.advance(HOUR_MS / 2)
      kinesis.resize(count)
      kinesis.put(`with ${count}`, 'a')
    }
    await clock.advance(1.1 * HOUR_MS)
    kinesis.put('new', 'a')
    const { texts } = follow(records)
    await clock.advance(120_000)
    expect(texts).toEqual(['new'])
    expect(notes.filter(({ level }) => level === 'error').map(({ fields }) => fields)).toContainEqual(
      expect.objectContaining({ type: 'shardGone', shardId: shardIdOf(2) }),
    )
  })
})

test('it goes on after an hour in which nothing came, with few calls', async () => {
  kinesis.put('a1', 'a')
  const { texts, over } = follow(read())
  await clock.advance(1_000)
  await clock.advance(HOUR_MS)
  expect(over()).toBeUndefined()
  // One a second and shard.
  expect(kinesis.count('GetRecords')).toBeLessThan(2 * 3_600 * 1.1)
  kinesis.put('a2', 'a')
  await clock.advance(2_000)
  expect(texts).toEqual(['a1', 'a2'])
})

describe('what ends it', () => {
  test('the signal, at the tip and in mid-stream, without an error and with nothing left behind', async () => {
    const stop = new AbortController()
    const { texts, over } = follow(read({ signal: stop.signal }))
    kinesis.put('a1', 'a')
    await clock.advance(1_000)
    stop.abort()
    await settle()
    expect([texts, over()]).toEqual([['a1'], 'ended'])
    expect(clock.sleeping).toBe(0)
    const calls = kinesis.calls.length
    await clock.advance(HOUR_MS)
    expect(kinesis.calls).toHaveLength(calls)
  })

  test('a signal that was aborted before, without a call', async () => {
    const { over } = follow(read({ signal: AbortSignal.abort() }))
    await settle()
    expect(over()).toBe('ended')
    expect(kinesis.calls).toEqual([])
  })

  test('the signal, aborted in the loop: what was read ahead does not come', async () => {
    for (let number = 0; number < 5; number++) kinesis.put(`a${number}`, 'a')
    const stop = new AbortController()
    const texts: string[] = []
    const loop = (async () => {
      for await (const record of read({ signal: stop.signal })) {
        texts.push(record.text())
        if (texts.length === 2) stop.abort()
      }
    })()
    await clock.advance(1_000)
    await loop
    expect(texts).toEqual(['a0', 'a1'])
    expect(clock.sleeping).toBe(0)
  })

  test.each(['ListShards', 'GetShardIterator', 'GetRecords', 'DescribeStreamSummary'])(
    'leaving it while %s is never answered, with nothing left behind',
    async (hanging) => {
      kinesis.put('a1', 'a')
      kinesis.hook = (operation) => (operation === hanging ? new Promise(() => undefined) : undefined)
      const records = read()
      const asked = [records.next(), records.next(), records.next()]
      await clock.advance(1_000)
      await records.return()
      const last = (await Promise.all(asked)).at(-1)
      expect(last).toEqual({ done: true, value: undefined })
      expect(await records.next()).toEqual({ done: true, value: undefined })
      expect(clock.sleeping).toBe(0)
    },
  )

  test('a stream that does not exist, with a word on it', async () => {
    const { over } = follow(read({ stream: 'nowhere' }))
    await settle()
    expect(over()).toMatchObject({ code: 'ERR_STREAM', message: expect.stringContaining('nowhere') })
    expect(clock.sleeping).toBe(0)
  })

  test('a stream that is deleted, after everything that was read', async () => {
    for (let number = 0; number < 5; number++) kinesis.put(`a${number}`, 'a')
    const records = read()
    const first = records.next()
    await clock.advance(1_000)
    await first
    kinesis.model.execute('DeleteStream', { StreamName: 'flights' })
    await clock.advance(60_000)
    const { texts, over } = follow(records)
    await settle()
    expect(texts).toEqual(['a1', 'a2', 'a3', 'a4'])
    expect(over()).toMatchObject({ code: 'ERR_STREAM' })
    expect(clock.sleeping).toBe(0)
  })

  test('a stream that is deleted and made anew under the same name, after everything that was read', async () => {
    for (let number = 0; number < 5; number++) kinesis.put(`a${number}`, 'a')
    const { texts, over } = follow(read())
    await clock.advance(1_000)
    expect(texts).toHaveLength(5)
    kinesis.model.execute('DeleteStream', { StreamName: 'flights' })
    kinesis.model.addStream('flights', 2)
    await clock.advance(60_000)
    expect(over()).toMatchObject({ code: 'ERR_STREAM', message: expect.stringContaining('made anew') })
    expect(clock.sleeping).toBe(0)
  })

  test('wrong options, at the call', () => {
    for (const given of [undefined, null]) {
      const call = (): Records => readStream(given as unknown as ReadStreamOptions)
      expect(call).toThrow(/^readStream: expected an options object/)
    }
  })

  test.each(['ListShards', 'GetShardIterator', 'GetRecords'])('a missing permission for %s', async (denied) => {
    kinesis.hook = (operation) => (operation === denied ? refusal('AccessDeniedException') : undefined)
    const { over } = follow(read())
    await clock.advance(1_000)
    expect(over()).toMatchObject({ code: 'ERR_ACCESS', message: expect.stringContaining('kinesis:') })
    expect(clock.sleeping).toBe(0)
  })

  test('a damaged aggregate, in its place', async () => {
    kinesis.put('a1', 'a')
    // A record that names a key which the table of keys lacks.
    const inside = Buffer.from([0x0a, 0x01, 0x61, 0x1a, 0x04, 0x08, 0x05, 0x1a, 0x00])
    const Data = Buffer.concat([AGGREGATE_MAGIC, inside, Buffer.from(hash('md5', inside, 'hex'), 'hex')])
    kinesis.model.execute('PutRecord', { StreamName: 'flights', PartitionKey: 'a', Data })
    kinesis.put('a2', 'a')
    const { texts, over } = follow(read())
    await clock.advance(1_000)
    expect(texts).toEqual(['a1'])
    expect(over()).toMatchObject({ code: 'ERR_RECORD', shardId: expect.stringContaining('shardId-') })
  })
})

describe('what does not end it', () => {
  test('calls that fail for a while', async () => {
    const { logger, notes } = noting()
    kinesis.put('a1', 'a')
    const failure = refusal('ThrottlingException')
    kinesis.hook = () => failure
    const { texts, over } = follow(read({ logger }))
    await clock.advance(30_000)
    expect(over()).toBeUndefined()
    kinesis.hook = () => undefined
    await clock.advance(60_000)
    expect(texts).toEqual(['a1'])
    expect(notes[0]).toMatchObject({ level: 'warn', fields: { type: 'callFailed', err: failure } })
  })

  test.each(['TRIM_HORIZON', 'LATEST'] as const)(
    'listings that lack a shard at the start, from %s: they are made again',
    async (from) => {
      kinesis.put('a1', 'a')
      kinesis.put('b1', 'b')
      await clock.advance(1_000)
      let listings = 0
      kinesis.hook = (operation, input) => {
        if (operation !== 'ListShards' || ++listings > 4) return undefined
        const { Shards } = kinesis.model.execute(operation, input) as { Shards: object[] }
        return { Shards: Shards.slice(1) }
      }
      const { logger, notes } = noting()
      const { texts } = follow(read({ from, logger }))
      await clock.advance(60_000)
      kinesis.put('a2', 'a')
      kinesis.put('b2', 'b')
      await clock.advance(2_000)
      expect(texts.toSorted()).toEqual(from === 'LATEST' ? ['a2', 'b2'] : ['a1', 'a2', 'b1', 'b2'])
      expect(notes.map(({ fields }) => fields)).toContainEqual(expect.objectContaining({ doing: 'listing the shards' }))
    },
  )
})

test('what is read ahead of a loop that takes its time stays within the bound', async () => {
  const large = 'x'.repeat(50_000)
  for (let number = 0; number < 200; number++) kinesis.put(`${number}${large}`, String(number))
  const records = read({ maxBufferedBytes: 2_000_000, maxRecords: 2 })
  const first = records.next()
  await clock.advance(60_000)
  await first
  // 2 records a call, 200 in all.
  const ahead = kinesis.count('GetRecords') * 2
  expect(ahead).toBeGreaterThan(8)
  expect(ahead * large.length).toBeLessThanOrEqual(2_000_000 + 2 * 2 * large.length)
  const { texts } = follow(records)
  await clock.advance(60_000)
  expect(texts).toHaveLength(199)
})

test('shards take turns', async () => {
  for (let number = 0; number < 10; number++) for (const key of ['a', 'b']) kinesis.put(`${key}${number}`, key)
  const records = read()
  const first = records.next()
  await clock.advance(1_000)
  const texts = [(await first).value?.text()]
  for (let number = 0; number < 9; number++) texts.push((await records.next()).value?.text())
  expect(texts.filter((text) => text?.startsWith('a')).length).toBeGreaterThan(3)
  expect(texts.filter((text) => text?.startsWith('b')).length).toBeGreaterThan(3)
  await records.return()
})

test('wrong options are refused at the call', () => {
  const call = (options: object) => () => readStream({ stream: 'flights', ...options } as ReadStreamOptions)
  expect(call({ form: 'LATEST' })).toThrow(/readStream: unknown option "form"; did you mean "from"\?/)
  expect(call({ from: 'latest' })).toThrow(/"from" must be "TRIM_HORIZON", "LATEST" or/)
  expect(call({ from: { sequenceNumber: '1' } })).toThrow(/"from" must be/)
  expect(call({ stream: '' })).toThrow(/"stream" must be a non-empty string/)
  expect(call({ shardId: 'shardId-000000000000' })).toThrow(/unknown option "shardId"/)
  expect(() => readStream({} as ReadStreamOptions)).toThrow(/"stream" is required/)
})
