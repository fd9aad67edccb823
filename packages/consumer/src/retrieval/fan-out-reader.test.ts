import { settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import { CHILD, DAY_MS, listed, ROOM, refusal, shardId } from '../../test/reading.ts'
import { ARN, clock, event, events, lastEvent, numbers, served, stop, subscribe } from '../../test/subscribing.ts'
import { ConsumerError } from '../errors.ts'
import type { Reservation } from './read-ahead.ts'

const FIVE_MINUTES = 300_000

/** Room that a test gives piece by piece. */
class Room {
  #waiting: ((reservation: Reservation) => void) | undefined
  given = 0
  held = 0

  reserve = (signal: AbortSignal): Promise<Reservation> =>
    new Promise((resolve, reject) => {
      this.#waiting = resolve
      signal.addEventListener('abort', () => reject(signal.reason))
      this.#grant()
    })

  give(count: number): void {
    this.given += count
    this.#grant()
  }

  #grant(): void {
    if (this.given === 0 || this.#waiting === undefined) return
    this.given--
    this.held++
    let isOpen = true
    this.#waiting({
      bytes: 2 ** 20,
      done: () => {
        if (isOpen) this.held--
        isOpen = false
      },
    })
    this.#waiting = undefined
  }
}

const told = (type: string): object[] => events.filter((each) => each.type === type)

test('records are passed on in order as they come, and the end gives the children', async () => {
  const { reader, ended } = subscribe()
  await settle()
  served[0]!.send(event(), event(1, 2), { ...event(3), MillisBehindLatest: 7 })
  await settle()
  expect(numbers).toEqual(['1', '2', '3'])
  expect(reader.millisBehindLatest).toBe(7)
  served[0]!.send(lastEvent([CHILD], 4))
  await settle()
  expect(numbers).toEqual(['1', '2', '3', '4'])
  expect(ended()).toEqual([{ shardId: CHILD.ShardId, parentShardIds: [shardId], hashRange: { start: 0n, end: 9n } }])
  expect(served).toHaveLength(1)
  expect(served[0]).toMatchObject({ arn: ARN, signal: { aborted: true } })
})

describe('reading starts', () => {
  const start = async (sequenceNumber: string, startMs?: number): Promise<object> => {
    subscribe({ checkpoint: { sequenceNumber, subSequenceNumber: 3 }, startMs })
    await settle()
    return served[0]!.position
  }

  test('at the checkpoint itself, which may lie inside an aggregate', async () => {
    expect(await start('77')).toEqual({ Type: 'AT_SEQUENCE_NUMBER', SequenceNumber: '77' })
  })

  test('at the oldest record', async () => {
    expect(await start('TRIM_HORIZON')).toEqual({ Type: 'TRIM_HORIZON' })
  })

  test.each(['LATEST', 'AT_TIMESTAMP'])('for %s at the time that the lease tells', async (checkpoint) => {
    expect(await start(checkpoint, 5_000)).toEqual({ Type: 'AT_TIMESTAMP', Timestamp: new Date(5_000) })
  })
})

describe('the next subscription', () => {
  test('follows at once when one has ended after its five minutes, behind where that ended', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(1), event())
    for (let ms = 0; ms < FIVE_MINUTES; ms += 5_000) {
      await clock.advance(5_000)
      served[0]!.send(event())
    }
    served[0]!.send('end')
    await settle()
    expect(served).toHaveLength(2)
    expect(served[1]!.position).toEqual({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c' })
    expect(told('readFailed')).toEqual([])
  })

  test('waits until the service takes it, if one ended at once', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(), 'end')
    await clock.advance(5_050)
    expect(served).toHaveLength(1)
    await clock.advance(100)
    expect(served).toHaveLength(2)
  })

  test('starts where the first did if nothing ever came: one at the tip skips nothing', async () => {
    subscribe({ checkpoint: { sequenceNumber: 'LATEST', subSequenceNumber: 0 }, startMs: 5_000 })
    await settle()
    served[0]!.send(refusal('InternalFailureException'))
    await clock.advance(10_000)
    expect(served.map(({ position }) => position)).toEqual([
      { Type: 'AT_TIMESTAMP', Timestamp: new Date(5_000) },
      { Type: 'AT_TIMESTAMP', Timestamp: new Date(5_000) },
    ])
  })

  test('starts at the last record if the service refuses where the last one ended, and leaves that record out', async () => {
    subscribe({ calls: [undefined, refusal('InvalidArgumentException')] })
    await settle()
    served[0]!.send(event(1, 2), 'end')
    await clock.advance(10_000)
    expect(served.slice(1).map(({ position }) => position)).toEqual([
      { Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c2' },
      { Type: 'AT_SEQUENCE_NUMBER', SequenceNumber: '2' },
    ])
    served[2]!.send(event(2, 3))
    await settle()
    expect(numbers).toEqual(['1', '2', '3'])
  })

  test('is for the consumer that was registered anew, at once, if the old one was deleted', async () => {
    let arn = ARN
    const consumer = {
      arn: async () => arn,
      isGone: async () => {
        arn = `${ARN}2`
        return true
      },
    }
    subscribe({ consumer })
    await settle()
    served[0]!.send(event(1), refusal('ResourceNotFoundException'))
    await settle()
    expect(served[1]).toMatchObject({ arn: `${ARN}2`, position: { Type: 'AFTER_SEQUENCE_NUMBER' } })
    expect(told('readFailed')).toEqual([])
  })
})

describe('back-pressure:', () => {
  test('nothing is subscribed to before there is room, and an event is taken only when there is', async () => {
    const room = new Room()
    subscribe({ readAhead: room })
    await clock.advance(60_000)
    expect(served).toEqual([])
    room.give(1)
    await settle()
    served[0]!.send(event(1), event(2), event(3))
    await settle()
    expect([numbers, served[0]!.pulled]).toEqual([['1'], 1])
    room.give(2)
    await settle()
    expect([numbers, served[0]!.pulled]).toEqual([['1', '2', '3'], 3])
  })

  test('a handler that takes ten minutes makes nobody subscribe again, and nothing is lost', async () => {
    const room = new Room()
    subscribe({ readAhead: room })
    room.give(1)
    await settle()
    served[0]!.send(event(1), event(2), event(3), 'end')
    await clock.advance(600_000)
    expect(served).toHaveLength(1)
    expect(served[0]!.signal.aborted).toBe(false)
    room.give(10)
    await settle()
    expect(numbers).toEqual(['1', '2', '3'])
    expect(served).toHaveLength(2)
    expect(served[1]!.position).toEqual({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c3' })
    expect(events.filter(({ type }) => type !== 'recordsRead')).toEqual([])
  })

  test('a subscription that ended or broke while there was no room is followed by another only when there is', async () => {
    const room = new Room()
    subscribe({ readAhead: room })
    room.give(1)
    await settle()
    served[0]!.send(event(1), refusal('InternalFailureException'))
    await clock.advance(600_000)
    expect(served).toHaveLength(1)
    // To see that it broke, and the rest for the next.
    room.give(1)
    await clock.advance(600_000)
    expect(served).toHaveLength(1)
    room.give(1)
    await settle()
    expect(served).toHaveLength(2)
  })

  test('what an event takes up is told, for the room that the next one needs', async () => {
    const told: (number | undefined)[] = []
    subscribe({ readAhead: { reserve: async () => ({ bytes: 2 ** 20, done: (bytes) => told.push(bytes) }) } })
    await settle()
    served[0]!.send(event(1, 2, 3), event())
    await settle()
    expect(told).toEqual([3, 0])
  })

  test('room is given back however a subscription ends', async () => {
    const room = new Room()
    const { failed } = subscribe({ readAhead: room, calls: [refusal('LimitExceededException')] })
    room.give(100)
    await clock.advance(10_000)
    served[1]!.send(event(1), 'end')
    await clock.advance(10_000)
    expect(room.held).toBe(1)
    stop.abort(new Error('stop'))
    await settle()
    expect([room.held, failed()]).toEqual([0, new Error('stop')])
  })
})

describe('a subscription that is silent', () => {
  test('for 30 s though it is waited for is broken off, and taken up anew where it stopped', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(1))
    await clock.advance(30_000)
    expect(served).toHaveLength(1)
    await clock.advance(3_000)
    expect(served).toHaveLength(2)
    expect(served[0]!.signal.aborted).toBe(true)
    expect(served[1]!.position).toEqual({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c1' })
  })

  test('but for heartbeats goes on', async () => {
    subscribe()
    await settle()
    for (let ms = 0; ms < 240_000; ms += 5_000) {
      served[0]!.send(event())
      await clock.advance(5_000)
    }
    expect(served).toHaveLength(1)
  })

  test('but for the bytes of an event that takes long to come is waited for', async () => {
    subscribe()
    await settle()
    for (let s = 0; s < 120; s++) {
      served[0]!.receivedBytes += 40_000
      await clock.advance(1_000)
    }
    expect(served).toHaveLength(1)
    served[0]!.send(event(1))
    await settle()
    expect(numbers).toEqual(['1'])
    await clock.advance(40_000)
    expect(served).toHaveLength(2)
  })

  test('from the start, without an answer, is broken off too', async () => {
    subscribe({ calls: ['never', 'never'] })
    await clock.advance(33_000)
    expect(served).toHaveLength(2)
    await clock.advance(33_000)
    expect(served).toHaveLength(3)
    served[2]!.send(event(1))
    await settle()
    expect(numbers).toEqual(['1'])
    expect(told('readFailed')).toMatchObject([
      { error: { name: 'TimeoutError', message: expect.stringContaining('30 s') } },
    ])
  })
})

describe('failures', () => {
  test.each(['LimitExceededException', 'ECONNRESET', 'ThrottlingException'])(
    'such as %s are tried again with longer and longer waits, never more than a call a second',
    async (name) => {
      const calls = Array.from({ length: 20 }, () => refusal(name))
      subscribe({ calls })
      await clock.advance(120_000)
      const gaps = served.slice(1).map(({ atMs }, i) => atMs - served[i]!.atMs)
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1_000)
      expect(gaps.slice(0, 7)).toEqual([1_100, 1_100, 2_000, 4_000, 8_000, 10_000, 10_000])
    },
  )

  test('of a shard that is held for another are tried again soon at first: it will be let go of', async () => {
    subscribe({ calls: Array.from({ length: 20 }, () => refusal('ResourceInUseException')) })
    await clock.advance(120_000)
    const gaps = served.slice(1).map(({ atMs }, i) => atMs - served[i]!.atMs)
    // From the sixth on, once a minute.
    expect(told('readFailed')).toMatchObject([{ failures: 1, retryInMs: 1_100 }, { failures: 10 }])
    expect(gaps.slice(0, 9)).toEqual([1_100, 1_100, 1_100, 1_100, 1_100, 1_100, 1_100, 2_000, 4_000])
  })

  test.each([
    'InternalFailureException',
    'KMSAccessDeniedException',
    'KMSDisabledException',
    'KMSThrottlingException',
    'ResourceInUseException',
  ])('inside the stream of events, such as %s, make no storm and lose nothing', async (name) => {
    subscribe()
    await settle()
    for (let i = 0; i < 10; i++) {
      served.at(-1)!.send(event(i), refusal(name))
      const before = served.length
      while (served.length === before) await clock.advance(100)
    }
    const gaps = served.slice(1).map(({ atMs }, i) => atMs - served[i]!.atMs)
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(5_000)
    expect(served.at(-1)!.position).toEqual({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c9' })
    expect(numbers).toHaveLength(10)
  })

  test('that take the shard away are followed by a longer wait', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(1))
    await clock.advance(60_000)
    served.at(-1)!.send(refusal('ResourceInUseException'))
    const before = served.length
    await clock.advance(12_000)
    expect(served).toHaveLength(before)
    await clock.advance(1_000)
    expect(served).toHaveLength(before + 1)
  })

  test('that came before an event do not count any more', async () => {
    subscribe({ calls: Array.from({ length: 8 }, () => refusal('InternalFailureException')) })
    await clock.advance(60_000)
    served.at(-1)!.send(event(1))
    await settle()
    served.at(-1)!.send(refusal('InternalFailureException'))
    const before = served.length
    await clock.advance(5_200)
    expect(served).toHaveLength(before + 1)
  })

  test('are not what it is to be aborted', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(1), refusal('InternalFailureException'))
    await clock.advance(6_000)
    expect(served).toHaveLength(2)
    stop.abort(new Error('stop'))
    await settle()
    expect(told('readFailed')).toEqual([])
  })

  test('are told of when they are not the only one in a minute', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(1), refusal('InternalFailureException'))
    await clock.advance(6_000)
    expect(told('readFailed')).toEqual([])
    served[1]!.send(event(2), refusal('InternalFailureException'))
    await clock.advance(6_000)
    expect(told('readFailed')).toEqual([
      {
        type: 'readFailed',
        stream: 'flights',
        shardId,
        failures: 1,
        retryInMs: 4_200,
        error: refusal('InternalFailureException'),
      },
    ])
  })

  test('are also subscriptions that end much earlier than they should', async () => {
    subscribe()
    await settle()
    for (let i = 0; i < 10; i++) {
      served[i]!.send(event(i), 'end')
      await clock.advance(10_000)
    }
    const error = { message: expect.stringContaining('expected after five minutes') }
    // From the second on, once a minute.
    expect(told('readFailed')).toMatchObject([
      { failures: 1, error },
      { failures: 6, error },
    ])
    expect(numbers).toHaveLength(10)
  })

  test('to decode an event are tried again from before it', async () => {
    subscribe()
    await settle()
    served[0]!.send(event(1), new Error('The message checksum did not match'))
    await clock.advance(6_000)
    expect(served[1]!.position).toEqual({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c1' })
    served[1]!.send(event(2))
    await settle()
    expect(numbers).toEqual(['1', '2'])
  })

  test('for want of permission fail it at the start, and are tried again later on', async () => {
    const denied = refusal('AccessDeniedException')
    const { failed } = subscribe({ calls: [denied] })
    await settle()
    expect(failed()).toMatchObject({
      code: 'ERR_ACCESS',
      shardId,
      message: expect.stringContaining('SubscribeToShard'),
    })
    const later = subscribe({ calls: [undefined, denied] })
    await settle()
    served[1]!.send(event(1), 'end')
    await clock.advance(10_000)
    expect(later.failed()).toBeUndefined()
    expect(served).toHaveLength(4)
    expect(told('readFailed')).toHaveLength(1)
  })

  test('where a refusal is not final, it is tried again from the start on', async () => {
    const { failed } = subscribe({ calls: [refusal('AccessDeniedException')], isRefusalFinal: false })
    await clock.advance(2_000)
    expect(failed()).toBeUndefined()
    expect(served).toHaveLength(2)
  })

  test('of the registered consumer that can not be mended end it', async () => {
    const gone = new ConsumerError('ERR_CONSUMER', 'gone')
    const { failed } = subscribe({ consumer: { arn: () => Promise.reject(gone), isGone: async () => false } })
    await settle()
    expect(failed()).toBe(gone)
  })
})

describe('what is not found', () => {
  const notFound = refusal('ResourceNotFoundException')

  test('may be the shard: it ends there, loudly, and its children go on', async () => {
    const { ended } = subscribe({
      calls: [notFound],
      shards: { Shards: [listed('shardId-000000000005', shardId)] },
    })
    await clock.advance(30_000)
    expect(ended()?.map((child) => child.shardId)).toEqual(['shardId-000000000005'])
    expect(told('shardGone')).toEqual([{ type: 'shardGone', stream: 'flights', shardId }])
  })

  test('may be the stream: it fails, and says so', async () => {
    const { failed } = subscribe({ calls: [notFound], shards: notFound })
    await clock.advance(30_000)
    expect(failed()).toMatchObject({ code: 'ERR_STREAM', message: expect.stringContaining('flights') })
  })

  test('may be the consumer, given by ARN: it fails, and says so', async () => {
    const gone = new ConsumerError('ERR_CONSUMER', 'gone')
    const { failed } = subscribe({
      calls: [notFound],
      consumer: { arn: async () => ARN, isGone: () => Promise.reject(gone) },
    })
    await settle()
    expect(failed()).toBe(gone)
  })

  test('may be there after all: it is tried again', async () => {
    const { failed } = subscribe({ calls: [notFound], shards: { Shards: [listed(shardId)] } })
    await clock.advance(30_000)
    served[1]!.send(event(1))
    await settle()
    expect([failed(), numbers]).toEqual([undefined, ['1']])
  })
})

describe('an end', () => {
  const family = { Shards: [listed('shardId-000000000005', shardId), listed(shardId)] }

  test('without children is not believed at once, though the list of shards has some: what is left is still read', async () => {
    const { ended } = subscribe({ shards: family })
    await settle()
    served[0]!.send(event(1), { ...lastEvent([], 2), MillisBehindLatest: 60_000 })
    await clock.advance(6_000)
    expect([ended(), numbers]).toEqual([undefined, ['1']])
    expect(served[1]!.position).toEqual({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: 'c1' })
    served[1]!.send(event(2), lastEvent([CHILD], 3))
    await settle()
    expect(numbers).toEqual(['1', '2', '3'])
    expect(ended()?.map((child) => child.shardId)).toEqual([CHILD.ShardId])
  })

  test('without children that comes three times at the tip is made up for from the list of shards', async () => {
    const { ended } = subscribe({ shards: family })
    await settle()
    for (const at of [0, 1, 2]) {
      expect(ended()).toBeUndefined()
      served[at]!.send(event(), lastEvent([], 1))
      await clock.advance(10_000)
    }
    expect(numbers).toEqual(['1'])
    expect(ended()?.map((child) => child.shardId)).toEqual(['shardId-000000000005'])
  })

  test('without children is never believed while there is more behind it', async () => {
    const { ended } = subscribe({ shards: family })
    await settle()
    for (let at = 0; at < 5; at++) {
      served[at]!.send({ ...lastEvent([], 1), MillisBehindLatest: 1 })
      await clock.advance(30_000)
    }
    expect([ended(), numbers]).toEqual([undefined, []])
  })

  test('with children and a place to go on at is none', async () => {
    const { ended } = subscribe()
    await settle()
    served[0]!.send({ ...event(1), ...lastEvent([CHILD], 1), ContinuationSequenceNumber: 'c1' })
    await clock.advance(6_000)
    served[1]!.send(event(1, 2))
    await settle()
    expect([ended(), numbers]).toEqual([undefined, ['1', '2']])
  })

  test('with no child anywhere is not believed, and its records are not passed on twice', async () => {
    const { ended } = subscribe({ shards: { Shards: [listed(shardId)] } })
    await settle()
    served[0]!.send(event(1))
    for (const at of [0, 1, 2]) {
      served[at]!.send(lastEvent([], 2))
      await clock.advance(10_000)
    }
    expect(served[3]!.position).toEqual({ Type: 'AT_SEQUENCE_NUMBER', SequenceNumber: '2' })
    served[3]!.send(lastEvent([CHILD], 2, 3))
    await settle()
    expect(numbers).toEqual(['1', '2', '3'])
    expect(ended()).toHaveLength(1)
  })
})

describe('aborted', () => {
  const reason = new Error('stop')

  test('while it waits for an event, it ends the subscription at once', async () => {
    const { failed } = subscribe()
    await settle()
    stop.abort(reason)
    expect(served[0]!.signal.aborted).toBe(true)
    await settle()
    expect([failed(), clock.sleeping]).toEqual([reason, 0])
  })

  test('while it subscribes, it ends even if the call never does', async () => {
    const { failed } = subscribe({ calls: ['never'] })
    await settle()
    stop.abort(reason)
    expect(served[0]!.signal.aborted).toBe(true)
    await settle()
    expect([failed(), clock.sleeping]).toEqual([reason, 0])
  })

  test('while it waits for room, it ends the subscription', async () => {
    const room = new Room()
    const { failed } = subscribe({ readAhead: room })
    room.give(1)
    await settle()
    served[0]!.send(event(1))
    await settle()
    stop.abort(reason)
    expect(served[0]!.signal.aborted).toBe(true)
    await settle()
    expect([failed(), room.held, clock.sleeping]).toEqual([reason, 0, 0])
  })

  test('while it waits to try again, it does not', async () => {
    const { failed } = subscribe({ calls: [refusal('LimitExceededException')] })
    await settle()
    stop.abort(reason)
    await settle()
    await clock.advance(60_000)
    expect([failed(), served.length]).toEqual([reason, 1])
  })
})

describe('records that may have expired unread', () => {
  test('are told of when the checkpoint itself is missing', async () => {
    subscribe({ checkpoint: { sequenceNumber: '5', subSequenceNumber: 0 } })
    await settle()
    served[0]!.send(event(9))
    await settle()
    expect(told('checkpointExpired')).toMatchObject([{ checkpoint: '5', found: '9' }])
  })

  test('are told of when handlers stood still for longer than the stream keeps them, not for an hour less', async () => {
    const standstill = async (ms: number): Promise<number> => {
      const room = new Room()
      subscribe({ readAhead: room })
      room.give(1)
      await settle()
      // The second was sent when there was no room.
      served.at(-1)!.send(event(1), event(2), 'end')
      await clock.advance(ms)
      room.give(3)
      await settle()
      served.at(-1)!.send(event(3))
      await settle()
      return told('recordsExpired').length
    }
    expect(await standstill(DAY_MS - 3_600_000)).toBe(0)
    expect(await standstill(DAY_MS + 1)).toBe(1)
  })

  test('are told of when events waited to be taken, each for a short time, and what came after them did not wait', async () => {
    const minutesLeft = { MillisBehindLatest: DAY_MS - 120_000 }
    subscribe({
      readAhead: {
        reserve: async (signal) => {
          await clock.sleep(4_000, signal)
          return ROOM
        },
      },
    })
    await clock.advance(4_000)
    served[0]!.send(...Array.from({ length: 60 }, (_, i) => ({ ...event(i), ...minutesLeft })), 'end')
    await clock.advance(250_000)
    served[1]!.send({ ...event(64), MillisBehindLatest: DAY_MS - 1_000 })
    await clock.advance(4_000)
    expect(numbers.at(-1)).toBe('64')
    expect(told('recordsExpired')).not.toEqual([])
  })

  test('are not told of when a shard is read at the horizon, but each event as soon as it comes', async () => {
    subscribe()
    await settle()
    for (let i = 0; i < 100; i++) {
      served[0]!.send({ ...event(i), MillisBehindLatest: DAY_MS - 5_000 })
      await clock.advance(2_000)
    }
    expect(numbers).toHaveLength(100)
    expect(told('recordsExpired')).toEqual([])
  })
})
