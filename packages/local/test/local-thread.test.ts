import { expect, test } from 'vitest'
import { LocalThread, type ServerSettings } from '../src/local-thread.ts'

const BROKEN = new URL('./broken-thread.ts', import.meta.url)
const settings = {} as ServerSettings

test('a thread that breaks ends with its error, and so does whatever is or will be asked of it', async () => {
  const thread = new LocalThread(settings, BROKEN)
  await thread.started()
  const calls = [thread.call('clearFaults'), thread.call('faultHits', 0)]
  const reasons = await Promise.allSettled([...calls, thread.ended])
  expect(reasons.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  for (const promise of [...calls, thread.ended, thread.call('clearFaults'), thread.stop()]) {
    await expect(promise).rejects.toThrow('out of something')
  }
})

test('a thread that ends before it has started says so', async () => {
  const thread = new LocalThread(settings, new URL('data:text/javascript,process.exit(3)'))
  await expect(thread.started()).rejects.toThrow('ended by itself, with exit code 3')
})
