import type { Clock } from './clock.ts'
import { orAborted } from './or-aborted.ts'
import type { Kinesis } from './stream.ts'

/** Has the name by which the SDK's own timeouts are told: whether the request was carried out is unknown. */
class TimeoutError extends Error {
  override readonly name = 'TimeoutError'
}

/** Why the timer isn't needed any more. Without a reason an exception is made, stack and all. */
const ANSWERED = 'answered'

/**
 * A client whose every call is given up after `timeoutMs`, or when the call's signal is aborted, whatever the client itself
 * does: one that waits for ever would hold up everything behind it.
 *
 * @example
 * await timedKinesis(client, systemClock, 10_000).send(command, { abortSignal })
 * @throws (from `send`) an error named `TimeoutError`, or the signal's reason
 */
export function timedKinesis(kinesis: Kinesis, clock: Clock, timeoutMs: number): Kinesis {
  const send = async (
    command: Parameters<Kinesis['send']>[0],
    { abortSignal: signal }: { readonly abortSignal?: AbortSignal } = {},
  ): Promise<unknown> => {
    const request = new AbortController()
    const timer = new AbortController()
    const onAbort = (): void => request.abort(signal?.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
    clock.sleep(timeoutMs, timer.signal).then(
      () => request.abort(new TimeoutError(`no answer within ${timeoutMs} ms`)),
      // The answer came before.
      () => {},
    )
    try {
      return await orAborted(kinesis.send(command, { abortSignal: request.signal }), request.signal)
    } finally {
      signal?.removeEventListener('abort', onAbort)
      timer.abort(ANSWERED)
    }
  }
  return { send: send as Kinesis['send'] }
}
