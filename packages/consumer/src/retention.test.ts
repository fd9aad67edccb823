import type { Kinesis } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, expect, test } from 'vitest'
import { StreamRetention } from './retention.ts'

const HOUR_MS = 3_600_000
const refusal = (name: string, httpStatusCode: number): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode } })
const denied = refusal('AccessDeniedException', 400)
const failed = refusal('InternalFailure', 500)

let clock: ManualClock
let asked: number
/** The retention in hours, an error, or undefined for an answer that never comes. */
let answer: number | Promise<number> | Error | undefined
let retention: StreamRetention
let stop: AbortController

beforeEach(() => {
  clock = new ManualClock()
  asked = 0
  stop = new AbortController()
  const send = async (): Promise<object> => {
    asked++
    if (answer instanceof Error) throw answer
    if (answer === undefined) return await new Promise<never>(() => {})
    return { StreamDescriptionSummary: { RetentionPeriodHours: await answer } }
  }
  retention = new StreamRetention({
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
