import { EventStreamCodec } from '@smithy/eventstream-codec'
import type { Protocol } from './protocol.ts'
import type { ServiceError } from './service-error.ts'

export const EVENT_STREAM_TYPE = 'application/vnd.amazon.eventstream'

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString(),
  (text) => Buffer.from(text),
)

/** The frame that SubscribeToShard's event stream begins with: the fields of the answer, of which it has none. */
export function initialFrame(protocol: Protocol): Uint8Array {
  return eventFrame(protocol, 'initial-response', {})
}

export function eventFrame(protocol: Protocol, type: string, event: object): Uint8Array {
  return frame(
    { ':message-type': 'event', ':event-type': type, ':content-type': protocol.contentType },
    protocol.encode(event),
  )
}

/** An error in mid-stream. It is the last frame. */
export function exceptionFrame(protocol: Protocol, { type, message }: ServiceError): Uint8Array {
  return frame(
    { ':message-type': 'exception', ':exception-type': type, ':content-type': protocol.contentType },
    protocol.encode({ message }),
  )
}

function frame(headers: Readonly<Record<string, string>>, body: Uint8Array): Uint8Array {
  return codec.encode({
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, { type: 'string' as const, value }]),
    ),
    body,
  })
}
