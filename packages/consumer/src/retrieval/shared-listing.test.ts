import type { Kinesis } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, expect, test } from 'vitest'
import { listed, refusal } from '../../test/reading.ts'
import { SharedListing } from './shared-listing.ts'

let clock: ManualClock
let calls: { readonly signal: AbortSignal | undefined; readonly answer: PromiseWithResolvers<object> }[]
let listing: SharedListing
const never = new AbortController().signal

beforeEach(() => {
  clock = new ManualClock()
  calls = []
  const send = (_: object, options?: { abortSignal?: AbortSignal }): Promise<object> => {
    const answer = Promise.withResolvers<object>()
    calls.push({ signal: options?.abortSignal, answer })
    return answer.promise
  }
  listing = new SharedListing({ kinesis: { send } as unknown as Kinesis, stream: 'flights', clock })
})

const answer = (call: number, ...ids: string[]): void =>
  calls[call]!.answer.resolve({ Shards: ids.map((id) => listed(id)) })
const ids = async (signal = never): Promise<string[]> => (await listing.list(signal)).map(({ shardId }) => shardId)

test('a thousand who ask within a second share one call, and who comes later asks anew', async () => {
  const first = Array.from({ length: 1_000 }, () => ids())
  answer(0, 'a')
  expect(new Set((await Promise.all(first)).flat())).toEqual(new Set(['a']))
  await clock.advance(999)
  expect(await ids()).toEqual(['a'])
  expect(calls).toHaveLength(1)
  await clock.advance(1)
  const second = ids()
  answer(1, 'b')
  expect(await second).toEqual(['b'])
})

test('a call that failed is told to all who waited, and is made again for the next', async () => {
  const both = Promise.allSettled([ids(), ids()])
  calls[0]!.answer.reject(refusal('InternalFailure'))
  expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  const next = ids()
  answer(1, 'a')
  expect(await next).toEqual(['a'])
})

test('who is aborted leaves at once; the call goes on for the others, and is given up with the last of them', async () => {
  const [one, other] = [new AbortController(), new AbortController()]
  const outcomes = Promise.allSettled([ids(one.signal), ids(other.signal)])
  one.abort('enough')
  await settle()
  expect(calls[0]!.signal?.aborted).toBe(false)
  other.abort('enough')
  expect(await outcomes).toEqual([
    { status: 'rejected', reason: 'enough' },
    { status: 'rejected', reason: 'enough' },
  ])
  expect(calls[0]!.signal?.aborted).toBe(true)
  const next = ids()
  answer(1, 'a')
  expect(await next).toEqual(['a'])
})
