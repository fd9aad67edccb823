import { expect, test } from 'vitest'
import { ManualClock } from './manual-clock.ts'
import { type RetryOptions, retry } from './retry.ts'

const clock = new ManualClock()
const options: RetryOptions = {
  clock,
  random: () => 1,
  backoff: { baseMs: 100, maxMs: 1000 },
  shouldRetry: (error) => !error.message.includes('fatal'),
}

/** Fails with each error in turn, then answers. */
function failing(...errors: unknown[]): (attempt: number) => Promise<string> {
  return async () => {
    if (errors.length > 0) throw errors.shift()
    return 'done'
  }
}

test('sleeps on the given clock between attempts and returns what the last one gives', async () => {
  const clock = new ManualClock()
  const waits: number[] = []
  const result = retry(failing(new Error('one'), new Error('two')), {
    ...options,
    clock,
    onRetry: (_, __, waitMs) => waits.push(waitMs),
  })
  await clock.advance(300)
  expect(await result).toBe('done')
  expect(waits).toEqual([100, 200])
})

test('gives up at once on an error that is not worth another attempt', async () => {
  await expect(retry(failing(new Error('fatal')), options)).rejects.toThrow('fatal')
})

test('throws the last error when the attempts are used up, without sleeping after it', async () => {
  const clock = new ManualClock()
  const result = retry(failing(new Error('one'), new Error('two')), { ...options, clock, attempts: 2 })
  const outcome = expect(result).rejects.toThrow('two')
  await clock.advance(100)
  await outcome
  expect(clock.sleeping).toBe(0)
})

test('ends with the reason of its signal while it sleeps', async () => {
  const clock = new ManualClock()
  const controller = new AbortController()
  const result = retry(failing(new Error('one')), { ...options, clock, signal: controller.signal })
  const outcome = expect(result).rejects.toThrow('closing')
  await clock.advance(50)
  controller.abort(new Error('closing'))
  await outcome
})

test('a TypeError is retried like any other error and comes out as itself', async () => {
  const clock = new ManualClock()
  const error = new TypeError('wrong')
  const result = retry(failing(error, error), { ...options, clock, attempts: 2 })
  const outcome = expect(result).rejects.toBe(error)
  await clock.advance(100)
  await outcome
})
