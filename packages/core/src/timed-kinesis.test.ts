import { ListShardsCommand } from '@aws-sdk/client-kinesis'
import { expect, test } from 'vitest'
import { ManualClock, settle } from './manual-clock.ts'
import { classifyError } from './outcome.ts'
import type { Kinesis } from './stream.ts'
import { timedKinesis } from './timed-kinesis.ts'

const COMMAND = new ListShardsCommand({ StreamName: 'flights' })

function client(send: (command: object, options: { abortSignal: AbortSignal }) => Promise<object>): Kinesis {
  return { send } as unknown as Kinesis
}

function outcomeOf(promise: Promise<unknown>): { value?: unknown; error?: unknown } {
  const outcome: { value?: unknown; error?: unknown } = {}
  promise.then(
    (value) => Object.assign(outcome, { value }),
    (error: unknown) => Object.assign(outcome, { error }),
  )
  return outcome
}

test('a call that never ends is given up after its time, and whether it was carried out is unknown', async () => {
  const clock = new ManualClock()
  let given: AbortSignal | undefined
  const hanging = client((_, { abortSignal }) => {
    given = abortSignal
    return new Promise(() => {})
  })
  const outcome = outcomeOf(timedKinesis(hanging, clock, 1_000).send(COMMAND))
  await clock.advance(999)
  expect(outcome).toEqual({})
  await clock.advance(1)
  await settle()
  expect(outcome.error).toMatchObject({ name: 'TimeoutError' })
  expect(classifyError(outcome.error)).toBe('unknown')
  expect(given?.aborted).toBe(true)
})

test('an answer in time passes, and leaves no timer and no aborted request behind', async () => {
  const clock = new ManualClock()
  let given: AbortSignal | undefined
  const quick = client((_, { abortSignal }) => {
    given = abortSignal
    return Promise.resolve({ Shards: [] })
  })
  expect(await timedKinesis(quick, clock, 1_000).send(COMMAND)).toEqual({ Shards: [] })
  await clock.advance(2_000)
  expect(given?.aborted).toBe(false)
})

test("the caller's signal ends a call at once with its reason", async () => {
  const abort = new AbortController()
  const hanging = client(() => new Promise(() => {}))
  const outcome = outcomeOf(
    timedKinesis(hanging, new ManualClock(), 1_000).send(COMMAND, { abortSignal: abort.signal }),
  )
  abort.abort('enough')
  await settle()
  expect(outcome.error).toBe('enough')
  const late = outcomeOf(timedKinesis(hanging, new ManualClock(), 1_000).send(COMMAND, { abortSignal: abort.signal }))
  await settle()
  expect(late.error).toBe('enough')
})

test("a client's own failure passes as it is", async () => {
  const refused = new Error('refused')
  const failing = client(() => Promise.reject(refused))
  await expect(timedKinesis(failing, new ManualClock(), 1_000).send(COMMAND)).rejects.toBe(refused)
})
