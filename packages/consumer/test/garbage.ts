import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Collects what nothing holds on to any more. */
export async function collectGarbage(): Promise<void> {
  // A WeakRef holds what it was made for, or asked for, until the job is over.
  await setImmediate()
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
}
