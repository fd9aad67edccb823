import { silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { ModelledKinesis, refusal, shardIdOf } from '../../test/modelled-kinesis.ts'
import type { ReadShardOptions, Records } from './read-options.ts'
import { readShard } from './read-shard.ts'

let clock: ManualClock
let kinesis: ModelledKinesis

beforeEach(() => {
  clock = new ManualClock()
  kinesis = new ModelledKinesis(clock)
})

function read(options: Partial<ReadShardOptions> = {}): Records {
  return readShard({
    stream: 'flights',
    shardId: shardIdOf(0),
    kinesis: kinesis.kinesis,
    logger: silentLogger,
    clock,
    random: seededRandom(1),
    ...options,
  })
}

/** What comes at once from a position. */
async function textsFrom(from: ReadShardOptions['from']): Promise<string[]> {
  const stop = new AbortController()
  const texts: string[] = []
  const loop = (async () => {
    for await (const record of read({ from, signal: stop.signal })) texts.push(record.text())
  })()
  await clock.advance(1_000)
  stop.abort()
  await loop
  return texts
}

describe('it starts', () => {
  test('with a record, inside its aggregate too', async () => {
    kinesis.put('a')
    const { SequenceNumber: aggregate } = kinesis.putAggregate('b', 'c', 'd')
    const { SequenceNumber: last } = kinesis.put('e')
    expect(await textsFrom('TRIM_HORIZON')).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(await textsFrom({ sequenceNumber: aggregate })).toEqual(['b', 'c', 'd', 'e'])
    expect(await textsFrom({ sequenceNumber: aggregate, subSequenceNumber: 1 })).toEqual(['c', 'd', 'e'])
    expect(await textsFrom({ sequenceNumber: aggregate, subSequenceNumber: 3 })).toEqual(['e'])
    expect(await textsFrom({ sequenceNumber: last })).toEqual(['e'])
  })

  test('with any record that it has given out', async () => {
    kinesis.putAggregate('a', 'b', 'c')
    kinesis.put('d')
    const records = read()
    for (const rest of [['a', 'b', 'c', 'd'], ['b', 'c', 'd'], ['c', 'd'], ['d']]) {
      const next = records.next()
      await clock.advance(1_000)
      expect(await textsFrom((await next).value)).toEqual(rest)
    }
    await records.return()
  })

  test('at a time, and at the tip as of the call', async () => {
    kinesis.put('a')
    await clock.advance(5_000)
    const sinceMs = clock.wallMs()
    kinesis.put('b')
    await clock.advance(5_000)
    expect(await textsFrom({ timestamp: sinceMs })).toEqual(['b'])
    expect(await textsFrom('LATEST')).toEqual([])
    const records = read({ from: 'LATEST' })
    await clock.advance(1)
    kinesis.put('c')
    await clock.advance(5_000)
    const next = records.next()
    await clock.advance(1_000)
    expect((await next).value?.text()).toBe('c')
    await records.return()
  })
})

test('it ends with its shard, after all of its records', async () => {
  kinesis.put('a')
  kinesis.put('b')
  kinesis.split(0, 2n ** 127n)
  kinesis.put('c')
  const texts: string[] = []
  const loop = (async () => {
    for await (const record of read({ maxRecords: 1 })) texts.push(record.text())
  })()
  await clock.advance(5_000)
  await loop
  expect(texts).toEqual(['a', 'b'])
  expect(clock.sleeping).toBe(0)
})

test.each([
  ['the hash key decides', 'USER_PARTITION_KEY', true],
  ['the service decides', 'AUTO', false],
])('where %s on the shard, records outside its hash range are told', async (_, strategy, misplaced) => {
  kinesis.split(0, 2n ** 127n)
  // The hash key of "d" lies in the upper half, where the aggregate goes, that of "a" in the lower.
  kinesis.putAggregate('d', 'a')
  kinesis.hook = (operation) =>
    operation === 'DescribeStreamSummary'
      ? { StreamDescriptionSummary: { RecordDistributionStrategy: strategy } }
      : undefined
  const records = read({ shardId: shardIdOf(2) })
  const asked = [records.next(), records.next()]
  await clock.advance(1_000)
  const places = (await Promise.all(asked)).map(({ value }) => [value?.text(), value?.misplaced])
  expect(places).toEqual([
    ['d', false],
    ['a', misplaced],
  ])
  await records.return()
})

describe('it fails', () => {
  const failure = async (options: Partial<ReadShardOptions>): Promise<unknown> => {
    const next = read(options).next()
    const failed = next.catch((error: unknown) => error)
    await clock.advance(60_000)
    return failed
  }

  test('for a shard that the stream does not have, and says which it has', async () => {
    const error = await failure({ shardId: shardIdOf(7) })
    expect(error).toMatchObject({ code: 'ERR_STREAM', shardId: shardIdOf(7) })
    expect(String(error)).toContain(shardIdOf(0))
  })

  test('for a sequence number that is not one of the shard', async () => {
    const error = await failure({ from: { sequenceNumber: '12345' } })
    expect(error).toMatchObject({ code: 'ERR_RECORD', message: expect.stringContaining('12345') })
    expect(clock.sleeping).toBe(0)
  })

  test('for a stream that does not exist, and without permission', async () => {
    expect(await failure({ stream: 'nowhere' })).toMatchObject({ code: 'ERR_STREAM' })
    kinesis.hook = (operation) => (operation === 'GetRecords' ? refusal('AccessDeniedException') : undefined)
    expect(await failure({})).toMatchObject({ code: 'ERR_ACCESS' })
  })

  test('for wrong options, at the call', () => {
    const call = (options: object) => () => read(options)
    expect(call({ from: { sequenceNumber: 'LATEST' } })).toThrow(/"from" must be .* sequenceNumber: decimal digits/)
    expect(call({ from: { sequenceNumber: '1', subSequenceNumber: -1 } })).toThrow(/"from" must be/)
    expect(call({ shardID: 'x' })).toThrow(/readShard: unknown option "shardID"; did you mean "shardId"\?/)
    expect(() => readShard({ stream: 'flights' } as ReadShardOptions)).toThrow(/"shardId" is required/)
    expect(call({ signal: {} })).toThrow(/"signal" must be/)
    expect(() => readShard(undefined as unknown as ReadShardOptions)).toThrow(/readShard: expected an options object/)
  })
})
