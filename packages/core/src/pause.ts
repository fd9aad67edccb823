import type { Clock } from './clock.ts'

/** Sleeps; resolves to false at once when the signal is aborted, instead of rejecting. */
export async function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    await clock.sleep(ms, signal)
    return true
  } catch (error) {
    if (signal.aborted) return false
    throw error
  }
}
