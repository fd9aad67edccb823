import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import type { KinesisRecord } from './record-buffer.ts'
import { type ChildShard, ShardReader, type ShardReaderOptions } from './shard-reader.ts'
import { type ConsumerEvent, Telemetry } from './telemetry.ts'

type Answer = object | Error

const DAY_MS = 86_400_000
const shardId = 'shardId-000000000000'
const refusal = (name: string): Error => Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 400 } })
const batch = (next: string | null, ...numbers: number[]): object => ({
  Records: numbers.map((number) => ({
    SequenceNumber: String(number),
    PartitionKey: 'key',
    Data: Buffer.from(String(number)),
    ApproximateArrivalTimestamp: new Date(number),
  })),
  ...(next === null ? {} : { NextShardIterator: next }),
  MillisBehindLatest: 7,
})
const CHILD = {
  ShardId: 'shardId-000000000001',
  ParentShards: [shardId],
  HashKeyRange: { StartingHashKey: '0', EndingHashKey: '9' },
}
const listed = (id: string, parent?: string): object => ({
  ShardId: id,
  HashKeyRange: { StartingHashKey: '0', EndingHashKey: '9' },
  SequenceNumberRange: { StartingSequenceNumber: '1' },
  ...(parent && { ParentShardId: parent }),
})

let clock: ManualClock
let calls: [string, Record<string, unknown>][]
let got: KinesisRecord[]
let events: ConsumerEvent[]
/** What the keeper of the retention says, and how often it was asked. */
let retention: { knownMs: number | undefined; looks: number; askedMs: number; asked: number; answered: Promise<void> }
let stop: AbortController

beforeEach(() => {
  clock = new ManualClock()
  calls = []
  got = []
  events = []
  retention = { knownMs: DAY_MS, looks: 0, askedMs: DAY_MS, asked: 0, answered: Promise.resolve() }
  stop = new AbortController()
})

/** Reads with the given answers to GetRecords in order; then it hangs. Iterators are named i1, i2 and so on. */
function read(
  answers: Answer[],
  options: Partial<ShardReaderOptions> & { shards?: Answer; iterators?: Answer[] } = {},
): { ended: () => readonly ChildShard[] | undefined; failed: () => unknown; reader: ShardReader } {
  let iterators = 0
  const send = async (command: { input: Record<string, unknown>; constructor: { name: string } }): Promise<object> => {
    const name = command.constructor.name.replace(/Command$/, '')
    calls.push([name, command.input])
    const answer =
      name === 'GetShardIterator'
        ? (options.iterators?.shift() ?? { ShardIterator: `i${++iterators}` })
        : name === 'ListShards'
          ? (options.shards ?? { Shards: [] })
          : (answers.shift() ?? (await new Promise<never>(() => {})))
    if (answer instanceof Error) throw answer
    return answer
  }
  const reader = new ShardReader({
    kinesis: { send } as unknown as Kinesis,
    stream: 'flights',
    shardId,
    checkpoint: { sequenceNumber: 'TRIM_HORIZON', subSequenceNumber: 0 },
    startMs: undefined,
    maxRecords: 10_000,
    idleTimeBetweenReads: 200,
    clock,
    random: () => 0.5,
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}),
    retention: {
      known: () => {
        retention.looks++
        return retention.knownMs
      },
      ask: async () => {
        retention.asked++
        await retention.answered
        return retention.askedMs
      },
    },
    room: () => Promise.resolve(),
    onRecords: (records) => got.push(...records),
    ...options,
  })
  let children: readonly ChildShard[] | undefined
  let error: unknown
  reader.run(stop.signal).then(
    (ended) => {
      children = ended
    },
    (reason: unknown) => {
      error = reason
    },
  )
  return { ended: () => children, failed: () => error, reader }
}

const named = (name: string): Record<string, unknown>[] =>
  calls.flatMap(([call, input]) => (call === name ? [input] : []))
const numbers = (): string[] => got.map(({ sequenceNumber }) => sequenceNumber)

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
  expect(events).toContainEqual({ type: 'shardGone', shardId })
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

test('aborted, it ends at once even if a call never does', async () => {
  const { failed } = read([])
  await settle()
  const reason = new Error('stop')
  stop.abort(reason)
  await settle()
  expect(failed()).toBe(reason)
})

describe('records that may have expired unread are told of', () => {
  const told = (): (string | undefined)[] =>
    events.flatMap((event) =>
      event.type === 'recordsExpired' ? [event.after] : event.type === 'checkpointExpired' ? [event.checkpoint] : [],
    )
  const behind = (millisBehindLatest: number, answer: object): object => ({
    ...answer,
    MillisBehindLatest: millisBehindLatest,
  })
  const checkpoint = { sequenceNumber: '5', subSequenceNumber: 0 }
  const expired = refusal('ExpiredIteratorException')

  test('with an error in the log that says what to do', async () => {
    const errors: unknown[][] = []
    const logger = { ...silentLogger, error: (...told: unknown[]) => errors.push(told) }
    const telemetry = new Telemetry(logger, undefined, { worker: 'w' })
    read([behind(0, batch('n1', 1)), batch('n2', 8)], { telemetry, idleTimeBetweenReads: DAY_MS })
    await clock.advance(DAY_MS)
    expect(errors).toEqual([
      [
        { worker: 'w', type: 'recordsExpired', shardId, after: '1' },
        expect.stringMatching(/expired.*raise the retention.*add workers/),
      ],
    ])
  })

  test('with a warning, where a checkpoint has expired on which nothing may have followed', async () => {
    const warnings: unknown[][] = []
    const logger = { ...silentLogger, warn: (...told: unknown[]) => warnings.push(told) }
    read([batch('n1', 6)], { checkpoint, telemetry: new Telemetry(logger, undefined, { worker: 'w' }) })
    await settle()
    expect(warnings).toEqual([
      [
        { worker: 'w', type: 'checkpointExpired', shardId, checkpoint: '5' },
        expect.stringMatching(/checkpoint has expired.*raise the retention/),
      ],
    ])
  })

  test('by a retention that is asked for as soon as reading starts', async () => {
    read([], { room: () => new Promise(() => {}) })
    await settle()
    expect(calls).toEqual([])
    expect(retention.looks).toBe(1)
  })

  describe('at the start', () => {
    test('not when the record of the checkpoint comes, which is passed on', async () => {
      read([behind(9, batch('n1')), batch('n2', 5, 6), batch('n3', 7)], { checkpoint })
      await clock.advance(500)
      expect(numbers()).toEqual(['5', '6', '7'])
      expect(told()).toEqual([])
    })

    test('when a later one comes, before it is passed on', async () => {
      const order: string[] = []
      read([behind(9, batch('n1')), batch('n2', 6)], {
        checkpoint,
        telemetry: new Telemetry(silentLogger, ({ type }) => order.push(type), {}),
        onRecords: () => order.push('passed on'),
      })
      await settle()
      expect(order).toEqual([])
      await clock.advance(200)
      expect(order).toEqual(['checkpointExpired', 'passed on', 'recordsRead'])
    })

    test('when the tip is reached without it', async () => {
      read([behind(9, batch('n1')), behind(0, batch('n2'))], { checkpoint })
      await settle()
      expect(told()).toEqual([])
      await clock.advance(200)
      expect(events).toEqual([{ type: 'checkpointExpired', shardId, checkpoint: '5' }])
    })

    test('when the end of the shard is reached without it', async () => {
      const { ended } = read([behind(9, { ...batch(null), ChildShards: [CHILD] })], { checkpoint })
      await settle()
      expect(told()).toEqual(['5'])
      expect(ended()).toHaveLength(1)
    })

    test('when the iterator had to be taken again before anything came', async () => {
      read([expired, behind(9, batch('n1')), expired, batch('n2', 6)], { checkpoint })
      await clock.advance(400)
      expect(told()).toEqual(['5'])
    })

    test('and again after a minute, if what came after the tip may have expired as well', async () => {
      read([behind(0, batch('n1')), behind(0, batch('n2', 9))], { checkpoint, idleTimeBetweenReads: DAY_MS })
      await clock.advance(DAY_MS)
      expect(told()).toEqual(['5', '5'])
    })

    test('even while the retention is not known', async () => {
      retention.knownMs = undefined
      read([batch('n1', 6)], { checkpoint })
      await settle()
      expect(told()).toEqual(['5'])
      expect(retention.asked).toBe(0)
    })

    test('not where no record is known to have been there', async () => {
      read([batch('n1', 6)])
      await settle()
      expect(numbers()).toEqual(['6'])
      expect(told()).toEqual([])
    })
  })

  describe('from one answer to the next', () => {
    /** Reads two records, then nothing until `ms` have passed, then two more. */
    const pausedFor = async (ms: number, millisBehindLatest: number): Promise<void> => {
      read([behind(millisBehindLatest, batch('n1', 1, 2)), behind(0, batch('n2', 8, 9))], { idleTimeBetweenReads: ms })
      await clock.advance(ms)
      expect(numbers()).toEqual(['1', '2', '8', '9'])
    }

    test('when what was left unread may be older than the retention by then', async () => {
      retention.knownMs = retention.askedMs = 10_000
      await pausedFor(6_000, 4_001)
      expect(told()).toEqual(['2'])
    })

    test('not when it can not', async () => {
      retention.knownMs = retention.askedMs = 10_000
      await pausedFor(6_000, 3_900)
      expect(told()).toEqual([])
      expect(retention.asked).toBe(0)
    })

    test('not when the retention has been raised', async () => {
      retention.knownMs = 10_000
      retention.askedMs = 20_000
      await pausedFor(6_000, 4_001)
      expect(told()).toEqual([])
      expect(retention.asked).toBe(1)
    })

    test('after a day, if the retention is not known', async () => {
      retention.knownMs = undefined
      await pausedFor(DAY_MS, 0)
      expect(told()).toEqual(['2'])
    })

    test('when the retention becomes known only later', async () => {
      retention.knownMs = undefined
      retention.askedMs = 10_000
      read([behind(0, batch('n1', 1)), behind(0, batch('n2', 8)), behind(0, batch('n3', 9))], {
        idleTimeBetweenReads: 20_000,
      })
      await clock.advance(20_000)
      expect(told()).toEqual([])
      retention.knownMs = 10_000
      await clock.advance(20_000)
      expect(told()).toEqual(['1'])
    })

    test('when the machine was suspended, and the monotonic clock stood still', async () => {
      const suspended = new ManualClock()
      let sleptMs = 0
      Object.assign(suspended, { wallMs: () => suspended.monotonicMs() + sleptMs })
      read([behind(0, batch('n1', 1)), behind(0, batch('n2', 9))], { clock: suspended })
      await settle()
      sleptMs = DAY_MS
      await suspended.advance(200)
      expect(told()).toEqual(['1'])
    })

    test('when the wall clock was set back meanwhile', async () => {
      const setBack = new ManualClock()
      let backMs = 0
      Object.assign(setBack, { wallMs: () => setBack.monotonicMs() - backMs })
      read([behind(0, batch('n1', 1)), behind(0, batch('n2', 9))], { clock: setBack, idleTimeBetweenReads: DAY_MS })
      await settle()
      backMs = DAY_MS
      await setBack.advance(DAY_MS)
      expect(told()).toEqual(['1'])
    })

    test('not when the retention has been raised, after a start at a checkpoint', async () => {
      retention.knownMs = 10_000
      retention.askedMs = 20_000
      read([behind(0, batch('n1', 5)), behind(0, batch('n2', 9))], { checkpoint, idleTimeBetweenReads: 11_000 })
      await clock.advance(11_000)
      expect(numbers()).toEqual(['5', '9'])
      expect(told()).toEqual([])
      expect(retention.asked).toBe(1)
    })

    test('counted from before the answer was asked for', async () => {
      retention.knownMs = retention.askedMs = 10_000
      const slow = Promise.withResolvers<object>()
      const answers = [slow.promise, behind(0, batch('n2', 9))]
      read(answers as Answer[])
      await clock.advance(10_000)
      slow.resolve(behind(0, batch('n1', 1)))
      await clock.advance(200)
      expect(told()).toEqual(['1'])
    })

    test('before the records behind them are passed on, which wait for the retention', async () => {
      retention.knownMs = retention.askedMs = 10_000
      const { promise, resolve } = Promise.withResolvers<void>()
      retention.answered = promise
      read([behind(0, batch('n1', 1)), behind(0, batch('n2', 9))], { idleTimeBetweenReads: 11_000 })
      await clock.advance(11_000)
      expect(numbers()).toEqual(['1'])
      resolve()
      await settle()
      expect(numbers()).toEqual(['1', '9'])
      expect(told()).toEqual(['1'])
    })

    test('at most once a minute while the shard stays behind', async () => {
      const answers = Array.from({ length: 200 }, (_, index) => behind(DAY_MS, batch(`n${index}`, index)))
      read(answers, { idleTimeBetweenReads: 1_000 })
      await clock.advance(150_000)
      expect(told()).toEqual(['0', '60', '120'])
      expect(retention.asked).toBe(3)
    })
  })

  describe('with a new iterator', () => {
    /** Reads record 2, is held up for twice the retention, loses its iterator and gets this. */
    const afterPause = async (...answers: object[]): Promise<void> => {
      retention.knownMs = retention.askedMs = Math.min(10_000, retention.askedMs)
      read([behind(0, batch('n1', 2)), expired, ...answers], { idleTimeBetweenReads: 20_000 })
      await clock.advance(60_000)
    }

    test('not when the last record read comes again: nothing behind it has expired', async () => {
      await afterPause(behind(9, batch('n2')), behind(0, batch('n3', 2, 3)))
      expect(numbers()).toEqual(['2', '3'])
      expect(told()).toEqual([])
    })

    test('when it does not', async () => {
      await afterPause(behind(0, batch('n2', 9)))
      expect(numbers()).toEqual(['2', '9'])
      expect(told()).toEqual(['2'])
    })

    test('when the tip is reached without it, though the last answer was from just before', async () => {
      await afterPause(behind(9, batch('n2')), behind(0, batch('n3')))
      expect(told()).toEqual(['2'])
    })

    test('even if the retention was raised since, as it had expired before', async () => {
      retention.askedMs = DAY_MS
      read([behind(0, batch('n1', 2)), expired, behind(0, batch('n2', 9))], { idleTimeBetweenReads: 20_000 })
      retention.knownMs = 10_000
      await clock.advance(20_000)
      expect(told()).toEqual(['2'])
    })

    test('not when it is gone, but all behind it must still be there: the shard was idle', async () => {
      retention.knownMs = retention.askedMs = 10_000
      const tip = (next: string): object => behind(0, batch(next))
      read([behind(0, batch('n1', 2)), tip('n2'), tip('n3'), tip('n4'), expired, tip('n5')], {
        idleTimeBetweenReads: 4_000,
      })
      await clock.advance(20_000)
      expect(named('GetShardIterator')).toHaveLength(2)
      expect(told()).toEqual([])
    })
  })
})
