import { setTimeout } from 'node:timers/promises'

/** Something went wrong that the verdict has no line for. */
export class JobError extends Error {
  override readonly name = 'JobError'
}

const POLL_MS = 20

/**
 * Resolves when `holds` does.
 *
 * @param what what is waited for, for the error after `deadlineMs`
 */
export async function untilHolds(
  holds: () => boolean,
  { what, deadlineMs, signal }: { what: string; deadlineMs: number; signal: AbortSignal },
): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!holds()) {
    if (performance.now() > deadline) throw new JobError(`waited ${deadlineMs / 1_000} s in vain until ${what}`)
    await setTimeout(POLL_MS, null, { signal }).catch(() => signal.throwIfAborted())
  }
}

/** Resolves when `count` reaches `goal`, or stops rising for `patienceMs`. */
export async function whileRising(
  count: () => number,
  { goal, patienceMs, signal }: { goal: number; patienceMs: number; signal: AbortSignal },
): Promise<void> {
  let highest = count()
  let roseAt = performance.now()
  while (highest < goal && performance.now() < roseAt + patienceMs) {
    await setTimeout(POLL_MS, null, { signal }).catch(() => signal.throwIfAborted())
    if (count() === highest) continue
    highest = count()
    roseAt = performance.now()
  }
}
