import { settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import {
  batch,
  CHILD,
  calls,
  clock,
  events,
  listed,
  named,
  numbers,
  ROOM,
  read,
  refusal,
  shardId,
  stop,
} from '../../test/reading.ts'
import type { Reservation } from './read-ahead.ts'

test('records are passed on in order, calls are spaced, and the end gives the children', async () => {
  const { ended, reader } = read([batch('n1', 1, 2), batch('n2'), { ...batch(null, 3), ChildShards: [CHILD] }])
  await settle()
  expect(numbers()).toEqual(['1', '2'])
  expect(reader.millisBehindLatest).toBe(7)
  await clock.advance(204)
  expect(named('GetRecords')).toHaveLength(1)
  await clock.advance(1)
  expect(named('GetRecords')).toHaveLength(2)
  await clock.advance(205)
  expect(numbers()).toEqual(['1', '2', '3'])
  expect(ended()).toEqual([{ shardId: CHILD.ShardId, parentShardIds: [shardId], hashRange: { start: 0n, end: 9n } }])
  expect(named('GetRecords').map(({ ShardIterator }) => ShardIterator)).toEqual(['i1', 'n1', 'n2'])
})

test('at the tip it pauses as asked for, and longer while nothing comes, to a second', async () => {
  const tip = (next: string, ...records: number[]): object => ({ ...batch(next, ...records), MillisBehindLatest: 0 })
  read([tip('n1', 1), ...Array.from({ length: 200 }, (_, index) => tip(`n${index + 2}`))], {
    idleTimeBetweenReads: 300,
  })
  await clock.advance(299)
  expect(named('GetRecords')).toHaveLength(1)
  await clock.advance(1)
  expect(named('GetRecords')).toHaveLength(2)
  await clock.advance(20_000)
  const before = named('GetRecords').length
  await clock.advance(10_000)
  expect(named('GetRecords').length - before).toBe(10)
})

describe('how many records are asked for', () => {
  const limits = (): unknown[] => named('GetRecords').map(({ Limit }) => Limit)
  const sized = (next: string, count: number, bytes: number): object => ({
    ...batch(next),
    Records: Array.from({ length: count }, (_, index) => ({
      SequenceNumber: String(index),
      Data: new Uint8Array(bytes),
    })),
  })
  const readAhead = { reserve: () => Promise.resolve({ bytes: 1_000_000, done: () => {} }) }

  test('is as many as are expected to fit, once their size is known', async () => {
    read([sized('n1', 10, 1_000), sized('n2', 1, 100_000), sized('n3', 100, 10)], { readAhead })
    await clock.advance(1_000)
    expect(limits()).toEqual([97, 1_000, 10, 19])
  })

  test('is half as many after each answer that took too long, and more again after one that came', async () => {
    const late = Object.assign(new Error('late'), { name: 'TimeoutError' })
    const answer = sized('n1', 10, 10_000)
    read([answer, late, late, late, answer, answer, answer], { readAhead })
    await clock.advance(10_000)
    expect(limits()).toEqual([97, 100, 50, 25, 12, 22, 36, 53])
  })

  test('is never more than maxRecords, and at least one', async () => {
    read([sized('n1', 10, 10), sized('n2', 1, 3_000_000), sized('n3', 1, 10)], { readAhead, maxRecords: 50 })
    await clock.advance(5_000)
    expect(limits()).toEqual([50, 50, 1, 1])
  })
})

test('nothing is asked for until there is room', async () => {
  const room = Promise.withResolvers<void>()
  const reserve = async (): Promise<Reservation> => {
    await room.promise
    return ROOM
  }
  read([batch('n1', 1)], { readAhead: { reserve } })
  await clock.advance(10_000)
  expect(calls).toEqual([])
  room.resolve()
  await settle()
  expect(numbers()).toEqual(['1'])
})

describe('reading starts', () => {
  const start = async (checkpoint: string, startMs?: number): Promise<Record<string, unknown> | undefined> => {
    read([], { checkpoint: { sequenceNumber: checkpoint, subSequenceNumber: 3 }, startMs })
    await settle()
    const { StreamName, ShardId, ...position } = named('GetShardIterator')[0]!
    expect([StreamName, ShardId]).toEqual(['flights', shardId])
    return position
  }

  test('at the checkpoint itself, which may lie inside an aggregate', async () => {
    expect(await start('77')).toEqual({ ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: '77' })
  })

  test('at the oldest record', async () => {
    expect(await start('TRIM_HORIZON')).toEqual({ ShardIteratorType: 'TRIM_HORIZON' })
  })

  test.each(['LATEST', 'AT_TIMESTAMP'])('for %s at the time that the lease tells', async (checkpoint) => {
    expect(await start(checkpoint, 5_000)).toEqual({ ShardIteratorType: 'AT_TIMESTAMP', Timestamp: new Date(5_000) })
  })
})

test('an expired iterator is renewed at once, at the last record read, which is not passed on again', async () => {
  read([batch('n1', 1, 2), refusal('ExpiredIteratorException'), batch('n2', 2, 3)])
  await clock.advance(250)
  expect(numbers()).toEqual(['1', '2', '3'])
  expect(named('GetShardIterator').at(-1)).toMatchObject({
    ShardIteratorType: 'AT_SEQUENCE_NUMBER',
    StartingSequenceNumber: '2',
  })
  expect(events.flatMap((event) => (event.type === 'recordsRead' ? [event.kinesisRecords, event.bytes] : []))).toEqual([
    2, 2, 1, 1,
  ])
  expect(events.filter(({ type }) => type === 'readFailed')).toEqual([])
})

test('an iterator that expires before anything was read starts where the first did: a reader at the tip skips nothing', async () => {
  read([batch('n1'), refusal('ExpiredIteratorException'), batch('n2', 1)], {
    checkpoint: { sequenceNumber: 'LATEST', subSequenceNumber: 0 },
    startMs: 5_000,
  })
  await clock.advance(250)
  expect(numbers()).toEqual(['1'])
  expect(named('GetShardIterator').map(({ Timestamp }) => Timestamp)).toEqual([new Date(5_000), new Date(5_000)])
})

describe('throttled', () => {
  const throttled = refusal('ProvisionedThroughputExceededException')
  const told = (): unknown[] => events.filter(({ type }) => type === 'readFailed')

  test('it goes on with the same iterator, more slowly and in smaller bites, and without a word', async () => {
    const bite = { ...batch('n1'), Records: [{ SequenceNumber: '1', Data: new Uint8Array(2 ** 10) }] }
    read([bite, throttled, throttled, batch('n2', 2), batch('n3', 3)])
    await clock.advance(205)
    expect(named('GetRecords')).toHaveLength(2)
    // 292 ms is the spacing at 0.7 of the calls; then half as much again.
    await clock.advance(292)
    expect(named('GetRecords')).toHaveLength(3)
    await clock.advance(435)
    expect(named('GetRecords')).toHaveLength(3)
    await clock.advance(2)
    expect(numbers()).toEqual(['1', '2'])
    expect(named('GetRecords').map(({ Limit }) => Limit)).toEqual([100, 10_000, 512, 512])
    await clock.advance(280)
    expect(named('GetRecords')).toHaveLength(4)
    expect(named('GetShardIterator')).toHaveLength(1)
    expect(told()).toEqual([])
  })

  test('for more than ten seconds, it says so, once a minute', async () => {
    read([batch('n1', 1), ...Array.from({ length: 60 }, () => throttled)])
    await clock.advance(9_500)
    expect(told()).toEqual([])
    await clock.advance(2_500)
    expect(told()).toHaveLength(1)
    await clock.advance(57_000)
    expect(told()).toHaveLength(1)
    await clock.advance(4_000)
    expect(told()).toHaveLength(2)
  })
})

describe('an answer that contradicts itself is not taken, and read again from the last record on:', () => {
  const atLast = { ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: '1' }

  test('an end without children', async () => {
    const { ended } = read([batch('n1', 1), batch(null, 2), batch('n2', 1, 2, 3)])
    await clock.advance(1_000)
    expect(ended()).toBeUndefined()
    expect(numbers()).toEqual(['1', '2', '3'])
    expect(named('GetShardIterator').at(-1)).toMatchObject(atLast)
    expect(named('ListShards')).toEqual([])
  })

  test('an end with a child of which the parents are not told', async () => {
    const { ParentShards: _, ...half } = CHILD
    const { ended } = read([batch('n1', 1), { ...batch(null, 2), ChildShards: [half] }, batch('n2', 1, 2, 3)])
    await clock.advance(1_000)
    expect(ended()).toBeUndefined()
    expect(numbers()).toEqual(['1', '2', '3'])
  })

  test('children without an end, as often as they come', async () => {
    const both = { ...batch('n3', 2), ChildShards: [CHILD] }
    const { ended } = read([batch('n1', 1), both, both, both, both, batch('n2', 1, 2)])
    await clock.advance(10_000)
    expect(ended()).toBeUndefined()
    expect(numbers()).toEqual(['1', '2'])
    expect(named('GetShardIterator').at(-1)).toMatchObject(atLast)
  })
})

const endAtTip = { ...batch(null, 1), MillisBehindLatest: 0 }

test('an end without children that comes three times is made up for from the list of shards', async () => {
  const end = endAtTip
  const { ended } = read([end, end, end], {
    shards: { Shards: [listed('shardId-000000000005', shardId), listed('x')] },
  })
  await clock.advance(2_000)
  expect(numbers()).toEqual(['1'])
  expect(ended()?.map((child) => child.shardId)).toEqual(['shardId-000000000005'])
})

test('an end without children is never believed while there is more behind it', async () => {
  const ends = Array.from({ length: 9 }, () => batch(null, 1))
  const { ended } = read([...ends, batch('n1', 1, 2)], { shards: { Shards: [listed('x', shardId)] } })
  await clock.advance(200_000)
  expect(ended()).toBeUndefined()
  expect(numbers()).toEqual(['1', '2'])
})

test('an end with no child anywhere is not believed', async () => {
  const end = endAtTip
  const { ended } = read([end, end, end, batch('n1', 1, 2)], { shards: { Shards: [listed(shardId)] } })
  await clock.advance(5_000)
  expect(ended()).toBeUndefined()
  expect(numbers()).toEqual(['1', '2'])
})

describe('a shard that is not found', () => {
  const gone = refusal('ResourceNotFoundException')
  const without = { Shards: [listed('shardId-000000000005', shardId)] }

  test('ends there, loudly, when three listings in six seconds are without it, and its children go on', async () => {
    const { ended } = read([gone], { shards: without })
    await clock.advance(5_999)
    expect(ended()).toBeUndefined()
    await clock.advance(1)
    expect(ended()?.map((child) => child.shardId)).toEqual(['shardId-000000000005'])
    expect(events).toContainEqual({ type: 'shardGone', stream: 'flights', shardId })
    expect(named('ListShards')).toHaveLength(3)
  })

  test('is read on if a listing has it, be it the last', async () => {
    const shards = [without, without, { Shards: [listed(shardId)] }]
    const { ended } = read([gone, batch('n1', 1)], { shards })
    await clock.advance(10_000)
    expect(ended()).toBeUndefined()
    expect(numbers()).toEqual(['1'])
    expect(events.map(({ type }) => type)).not.toContain('shardGone')
  })

  test('is read on if the listing is empty, as that of no stream is', async () => {
    const { ended } = read([gone, batch('n1', 1)], { shards: { Shards: [] } })
    await clock.advance(10_000)
    expect(ended()).toBeUndefined()
    expect(numbers()).toEqual(['1'])
  })
})

test('a stream that is gone fails it, and says so', async () => {
  const gone = refusal('ResourceNotFoundException')
  const { failed } = read([gone], { shards: gone })
  await settle()
  expect(failed()).toMatchObject({ code: 'ERR_STREAM', message: expect.stringContaining('flights') })
})

test('a missing permission fails it at the start, and is tried again later on', async () => {
  const denied = refusal('AccessDeniedException')
  const { failed } = read([denied])
  await settle()
  expect(failed()).toMatchObject({ code: 'ERR_ACCESS', shardId })
  const later = read([batch('n1', 1), denied, batch('n2', 2)])
  await clock.advance(1_000)
  expect(later.failed()).toBeUndefined()
  expect(numbers()).toEqual(['1', '2'])
})

test('where a refusal is not final, it is tried again from the start on, and each kind is told once a minute', async () => {
  const denied = refusal('AccessDeniedException')
  const { failed } = read([denied, refusal('KMSAccessDeniedException'), batch('n1', 1)], {
    isRefusalFinal: false,
    iterators: [denied],
  })
  await clock.advance(200 + 400 + 800)
  expect(failed()).toBeUndefined()
  expect(numbers()).toEqual(['1'])
  expect(events.flatMap((event) => (event.type === 'readFailed' ? [event.retryInMs] : []))).toEqual([200, 800])
})

test('an answer whose records were not taken over is asked for again from the same place', async () => {
  const taken: string[] = []
  let fails = true
  read([batch('n1', 1, 2), batch('n2', 1, 2), batch('n3', 3)], {
    onRecords: (records) => {
      if (fails) throw new Error('no room')
      taken.push(...records.map(({ sequenceNumber }) => sequenceNumber))
      return 1
    },
  })
  await settle()
  fails = false
  await clock.advance(1_000)
  expect(taken).toEqual(['1', '2', '3'])
  expect(named('GetRecords').map(({ ShardIterator }) => ShardIterator)).toEqual(['i1', 'i2', 'n2', 'n3'])
  expect(named('GetShardIterator').map(({ ShardIteratorType }) => ShardIteratorType)).toEqual([
    'TRIM_HORIZON',
    'TRIM_HORIZON',
  ])
})

test('what came is told to who gives room, and that nothing came where a call failed', async () => {
  const done: (number | undefined)[] = []
  const reserve = async (): Promise<Reservation> => ({ ...ROOM, done: (bytes) => done.push(bytes) })
  read([batch('n1', 1, 22, 333), refusal('InternalFailure'), batch('n2')], { readAhead: { reserve } })
  await clock.advance(1_000)
  expect(done).toEqual([6, undefined, 0])
})

test('aborted, it ends at once even if a call never does', async () => {
  const { failed } = read([])
  await settle()
  const reason = new Error('stop')
  stop.abort(reason)
  await settle()
  expect(failed()).toBe(reason)
})
