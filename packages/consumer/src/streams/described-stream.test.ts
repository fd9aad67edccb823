import type { Kinesis } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { DescribedStream, type Placement } from './described-stream.ts'

const HOUR_MS = 3_600_000
const refusal = (name: string, httpStatusCode: number): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode } })
const denied = refusal('AccessDeniedException', 400)
const failed = refusal('InternalFailure', 500)

let clock: ManualClock
let asked: number
/** The retention in hours, an error, or undefined for an answer that never comes. */
let answer: number | Promise<number> | Error | undefined
/** AUTO on a service-managed stream. */
let strategy: string | undefined
let retention: DescribedStream
let stop: AbortController

beforeEach(() => {
  clock = new ManualClock()
  asked = 0
  strategy = undefined
  stop = new AbortController()
  const send = async (): Promise<object> => {
    asked++
    if (answer instanceof Error) throw answer
    if (answer === undefined) return await new Promise<never>(() => {})
    return { StreamDescriptionSummary: { RetentionPeriodHours: await answer, RecordDistributionStrategy: strategy } }
  }
  retention = new DescribedStream({
    kinesis: { send } as unknown as Kinesis,
    stream: 'flights',
    clock,
    random: () => 1,
  })
})

const known = (): number | undefined => retention.known(stop.signal)

test('it is asked for once, in the background, and again after ten minutes', async () => {
  answer = 48
  expect(known()).toBeUndefined()
  expect(known()).toBeUndefined()
  await settle()
  expect(known()).toBe(48 * HOUR_MS)
  await clock.advance(599_999)
  known()
  expect(asked).toBe(1)
  await clock.advance(1)
  answer = 24
  known()
  await settle()
  expect(known()).toBe(24 * HOUR_MS)
  expect(asked).toBe(2)
})

test('parts of an hour count', async () => {
  answer = 0.5
  expect(await retention.ask(stop.signal)).toBe(HOUR_MS / 2)
})

test('asked now, it is not what was known before', async () => {
  answer = 24
  known()
  await settle()
  answer = 168
  expect(await retention.ask(stop.signal)).toBe(168 * HOUR_MS)
  expect(known()).toBe(168 * HOUR_MS)
})

test('asked now, an answer that is under way already does not count', async () => {
  answer = new Promise((resolve) => setImmediate(resolve, 24))
  known()
  answer = 168
  expect(await retention.ask(stop.signal)).toBe(168 * HOUR_MS)
  expect(asked).toBe(2)
})

test('where it may not be asked, it is a day, and is not asked for again in the background', async () => {
  answer = denied
  known()
  await settle()
  expect(known()).toBe(24 * HOUR_MS)
  await clock.advance(24 * HOUR_MS)
  known()
  expect(asked).toBe(1)
  expect(await retention.ask(stop.signal)).toBe(24 * HOUR_MS)
})

test('a call that fails is tried again after a while, and it stays unknown until then', async () => {
  answer = failed
  known()
  await settle()
  await clock.advance(999)
  expect(known()).toBeUndefined()
  expect(asked).toBe(1)
  expect(await retention.ask(stop.signal)).toBe(24 * HOUR_MS)
  await clock.advance(2_000)
  answer = 48
  known()
  await settle()
  expect(known()).toBe(48 * HOUR_MS)
})

test('without an answer in good time, what is known counts', async () => {
  answer = 48
  await retention.ask(stop.signal)
  answer = undefined
  let told: number | undefined
  void retention.ask(stop.signal).then((ms) => {
    told = ms
  })
  await clock.advance(4_999)
  expect(told).toBeUndefined()
  await clock.advance(1)
  expect(told).toBe(48 * HOUR_MS)
})

test('aborted, what is known counts at once, and the next one asks anew', async () => {
  answer = undefined
  const asking = retention.ask(stop.signal)
  await settle()
  expect(asked).toBe(1)
  stop.abort(new Error('stop'))
  expect(await asking).toBe(24 * HOUR_MS)
  await settle()
  answer = 48
  retention.known(new AbortController().signal)
  await settle()
  expect(retention.known(new AbortController().signal)).toBe(48 * HOUR_MS)
  expect(clock.sleeping).toBe(0)
})

describe('what places records', () => {
  const placement = (): Placement => retention.placement(stop.signal)

  test('is unknown until it has been asked for, then the key', async () => {
    answer = 24
    expect(placement()).toBe('unknown')
    expect(placement()).toBe('unknown')
    await settle()
    expect(placement()).toBe('byKey')
    expect(asked).toBe(1)
  })

  test('is the service, once it says so, and unknown again rather than the key after that', async () => {
    answer = 24
    strategy = 'AUTO'
    placement()
    await settle()
    expect(placement()).toBe('byService')
    strategy = 'USER_PARTITION_KEY'
    await clock.advance(60_000)
    expect(placement()).toBe('byService')
    await settle()
    expect(placement()).toBe('unknown')
  })

  test('is not the key for longer than a minute, since it may change at any time', async () => {
    answer = 24
    placement()
    await clock.advance(60_000)
    expect(asked).toBe(1)
    expect(placement()).toBe('unknown')
    expect(asked).toBe(2)
    await settle()
    expect(placement()).toBe('byKey')
  })

  test('asked for all the time, it is always known, by a call every half a minute', async () => {
    answer = 24
    placement()
    await settle()
    for (let looks = 0; looks < 60; looks++) {
      expect(placement()).toBe('byKey')
      await clock.advance(4_500)
    }
    expect(asked).toBe(9)
  })

  test('stays unknown where it may not be asked, which is tried once', async () => {
    answer = denied
    placement()
    await settle()
    await clock.advance(24 * HOUR_MS)
    expect(placement()).toBe('unknown')
    expect(asked).toBe(1)
  })

  test('after a call that failed is asked for again with pauses, not with each record', async () => {
    answer = failed
    placement()
    await settle()
    await clock.advance(999)
    placement()
    expect(asked).toBe(1)
    await clock.advance(1)
    placement()
    expect(asked).toBe(2)
  })
})
