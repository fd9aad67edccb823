import { expect, test } from 'vitest'
import { orAborted } from './or-aborted.ts'

const never = new Promise<never>(() => {})
const reason = new Error('closing')

test('settles as the promise does while its signal is quiet', async () => {
  const { signal } = new AbortController()
  await expect(orAborted(Promise.resolve('done'), signal)).resolves.toBe('done')
  await expect(orAborted(Promise.reject(new Error('failed')), signal)).rejects.toThrow('failed')
})

test('ends a wait for what never settles', async () => {
  const controller = new AbortController()
  const waiting = orAborted(never, controller.signal)
  controller.abort(reason)
  await expect(waiting).rejects.toBe(reason)
})

test('a signal that is aborted already goes first', async () => {
  await expect(orAborted(Promise.resolve('done'), AbortSignal.abort(reason))).rejects.toBe(reason)
})
