import { Epoch, NO_ATTEMPTS, type Pending } from '../src/pending.ts'

/** What a `put` waits with, when nobody looks at its outcome. */
export function pendingOf(arrivedMs: number, bytes: number): Pending {
  return {
    promise: new Promise(() => {}),
    resolve() {},
    reject() {},
    epoch: new Epoch(),
    arrivedMs,
    bytes,
    value: undefined,
    link: undefined,
    attempts: NO_ATTEMPTS,
    earlierCopy: undefined,
    lastError: undefined,
  }
}
