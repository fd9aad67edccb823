import { EVENT_STREAM_TYPE, eventFrame, exceptionFrame, initialFrame } from './event-stream.ts'
import { breakOff, type HttpResponse, isGone, setHead } from './http-response.ts'
import type { Protocol } from './protocol.ts'
import type { ServerClock } from './server-clock.ts'
import type { Subscription } from './subscription.ts'

/** What a subscription is to a transport. */
export type EventSource = Pick<Subscription, 'next' | 'ended' | 'error' | 'isLost' | 'dueMs' | 'onDue' | 'close'>

/**
 * Sends the events of a subscription until it ends or the client goes away. An event is taken only when the one before
 * has left for the socket, so that a slow client costs no memory.
 */
export async function sendEvents(
  subscription: EventSource,
  protocol: Protocol,
  response: HttpResponse,
  clock: ServerClock,
): Promise<void> {
  let wake = (): void => undefined
  subscription.onDue(() => wake())
  response.on('drain', () => wake())
  response.once('close', () => {
    subscription.close()
    wake()
  })
  /** Until the next event of the subscription or the response, or this time. */
  const woken = (timeMs?: number): Promise<void> =>
    new Promise((resolve) => {
      const callOff = timeMs === undefined ? undefined : clock.at(timeMs, resolve)
      wake = () => {
        callOff?.()
        resolve()
      }
    })
  const write = async (frame: Uint8Array): Promise<void> => {
    response.write(frame)
    while (response.writableNeedDrain && !isGone(response)) await woken()
  }

  setHead(response, 200, EVENT_STREAM_TYPE)
  await write(initialFrame(protocol))
  while (!isGone(response)) {
    const event = subscription.next()
    if (event !== undefined) await write(eventFrame(protocol, 'SubscribeToShardEvent', event))
    else if (subscription.ended) break
    else await woken(subscription.dueMs)
  }
  if (isGone(response)) return subscription.close()
  if (subscription.isLost) return breakOff(response)
  if (subscription.error !== undefined) await write(exceptionFrame(protocol, subscription.error))
  response.end()
}
