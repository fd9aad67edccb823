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
  read,
  refusal,
  shardId,
  stop,
} from '../test/reading.ts'

test('records are passed on in order, calls are spaced, and the end gives the children', async () => {
  const { ended, reader } = read([batch('n1', 1, 2), batch('n2'), { ...batch(null, 3), ChildShards: [CHILD] }])
  await settle()
  expect(numbers()).toEqual(['1', '2'])
  expect(reader.millisBehindLatest).toBe(7)
  await clock.advance(199)
  expect(named('GetRecords')).toHaveLength(1)
  await clock.advance(1)
  expect(named('GetRecords')).toHaveLength(2)
  await clock.advance(200)
  expect(numbers()).toEqual(['1', '2', '3'])
  expect(ended()).toEqual([{ shardId: CHILD.ShardId, parentShardIds: [shardId], hashRange: { start: 0n, end: 9n } }])
  expect(named('GetRecords').map(({ ShardIterator }) => ShardIterator)).toEqual(['i1', 'n1', 'n2'])
})

test('with no pause asked for, an empty answer still makes one', async () => {
  read([batch('n1', 1), batch('n2'), batch('n3')], { idleTimeBetweenReads: 0 })
  await settle()
  expect(named('GetRecords')).toHaveLength(2)
  await clock.advance(20)
  expect(named('GetRecords')).toHaveLength(3)
})

test('nothing is asked for until there is room', async () => {
  const room = Promise.withResolvers<void>()
  read([batch('n1', 1)], { room: () => room.promise })
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

test('throttled, it waits longer and longer, and goes on with the same iterator', async () => {
  const throttled = refusal('ProvisionedThroughputExceededException')
  read([batch('n1', 1), throttled, throttled, throttled, batch('n2', 2)])
  await clock.advance(200 + 200 + 400 + 800)
  expect(numbers()).toEqual(['1', '2'])
  expect(events.flatMap((event) => (event.type === 'readFailed' ? [event.retryInMs] : []))).toEqual([200, 400, 800])
  expect(named('GetShardIterator')).toHaveLength(1)
})

test('an answer that ends the shard without children is made up for from the list of shards', async () => {
  const { ended } = read([batch(null, 1)], {
    shards: { Shards: [listed('shardId-000000000005', shardId), listed('x')] },
  })
  await settle()
  expect(ended()?.map((child) => child.shardId)).toEqual(['shardId-000000000005'])
})

test('an answer that ends the shard with no child anywhere is not believed', async () => {
  const { ended } = read([batch(null, 1), batch('n1', 2)], { shards: { Shards: [listed(shardId)] } })
  await clock.advance(1_000)
  expect(ended()).toBeUndefined()
  expect(numbers()).toEqual(['1', '2'])
  expect(named('GetShardIterator').at(-1)).toMatchObject({ StartingSequenceNumber: '1' })
})

test('a shard that is no longer in the stream ends there, loudly, and its children go on', async () => {
  const { ended } = read([refusal('ResourceNotFoundException')], {
    shards: { Shards: [listed('shardId-000000000005', shardId)] },
  })
  await settle()
  expect(ended()?.map((child) => child.shardId)).toEqual(['shardId-000000000005'])
  expect(events).toContainEqual({ type: 'shardGone', stream: 'flights', shardId })
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

test('where a refusal is not final, it is tried again from the start on, and told each time', async () => {
  const denied = refusal('AccessDeniedException')
  const { failed } = read([denied, refusal('KMSAccessDeniedException'), batch('n1', 1)], {
    isRefusalFinal: false,
    iterators: [denied],
  })
  await clock.advance(200 + 400 + 800)
  expect(failed()).toBeUndefined()
  expect(numbers()).toEqual(['1'])
  expect(events.flatMap((event) => (event.type === 'readFailed' ? [event.retryInMs] : []))).toEqual([200, 400, 800])
})

test('aborted, it ends at once even if a call never does', async () => {
  const { failed } = read([])
  await settle()
  const reason = new Error('stop')
  stop.abort(reason)
  await settle()
  expect(failed()).toBe(reason)
})
