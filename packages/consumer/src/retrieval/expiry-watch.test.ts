import { silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import {
  type Answer,
  batch,
  CHILD,
  calls,
  clock,
  DAY_MS,
  events,
  named,
  numbers,
  read,
  refusal,
  retention,
  roomEvery,
  shardId,
  stop,
} from '../../test/reading.ts'
import { Telemetry } from '../telemetry/telemetry.ts'

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
    const telemetry = new Telemetry(logger, undefined, { worker: 'w' }).of('flights')
    read([behind(0, batch('n1', 1)), batch('n2', 8)], { telemetry, idleTimeBetweenReads: DAY_MS })
    await clock.advance(DAY_MS)
    expect(errors).toEqual([
      [
        { worker: 'w', type: 'recordsExpired', stream: 'flights', shardId, after: '1' },
        expect.stringMatching(/expired.*raise the retention.*add workers/),
      ],
    ])
  })

  test('with both positions, where the checkpoint has expired', async () => {
    const errors: unknown[][] = []
    const logger = { ...silentLogger, error: (...told: unknown[]) => errors.push(told) }
    read([batch('n1', 6)], { checkpoint, telemetry: new Telemetry(logger, undefined, { worker: 'w' }).of('flights') })
    await settle()
    expect(errors).toEqual([
      [
        { worker: 'w', type: 'checkpointExpired', stream: 'flights', shardId, checkpoint: '5', found: '6' },
        expect.stringMatching(/checkpoint has expired.*raise the retention/),
      ],
    ])
  })

  test('by a retention that is asked for as soon as reading starts', async () => {
    read([], { readAhead: { reserve: () => new Promise(() => {}) } })
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
        telemetry: new Telemetry(silentLogger, ({ type }) => order.push(type), {}).of('flights'),
        onRecords: () => order.push('passed on'),
      })
      await settle()
      expect(order).toEqual([])
      await clock.advance(205)
      expect(order).toEqual(['checkpointExpired', 'passed on', 'recordsRead'])
    })

    test('when the tip is reached without it', async () => {
      read([behind(9, batch('n1')), behind(0, batch('n2'))], { checkpoint })
      await settle()
      expect(told()).toEqual([])
      await clock.advance(205)
      expect(events).toEqual([
        { type: 'checkpointExpired', stream: 'flights', shardId, checkpoint: '5', found: undefined },
      ])
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
      read([behind(millisBehindLatest, batch('n1', 1, 2)), behind(0, batch('n2', 8, 9))], { readAhead: roomEvery(ms) })
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
      await suspended.advance(205)
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
      await clock.advance(205)
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

    test('after which nothing is passed on if reading was stopped while the retention was asked for', async () => {
      retention.knownMs = retention.askedMs = 10_000
      const { promise, resolve } = Promise.withResolvers<void>()
      retention.answered = promise
      read([behind(0, batch('n1', 1)), behind(0, batch('n2', 9))], { readAhead: roomEvery(11_000) })
      await clock.advance(11_000)
      stop.abort(new Error('lost'))
      resolve()
      await settle()
      expect(numbers()).toEqual(['1'])
    })

    test('at most once a minute while the shard stays behind', async () => {
      const answers = Array.from({ length: 200 }, (_, index) => behind(DAY_MS, batch(`n${index}`, index)))
      read(answers, { readAhead: roomEvery(1_000) })
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
