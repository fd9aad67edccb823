import { cborProtocol } from './cbor-protocol.ts'
import { jsonProtocol } from './json-protocol.ts'
import type { Request } from './requests.ts'

/** How requests and answers look on the wire. The model has the SDK's shapes: `Uint8Array` for bytes, `Date` for times. */
export interface Protocol {
  readonly contentType: string
  /** @throws {ServiceError} SerializationException when the body is not of this protocol */
  decode(body: Buffer): Request
  encode(answer: object): Uint8Array
}

const PROTOCOLS: readonly Protocol[] = [jsonProtocol, cborProtocol]

/** The protocol of a Content-Type header, if it is known here. */
export function protocolFor(contentType: string | undefined): Protocol | undefined {
  const type = contentType?.split(';')[0]?.trim().toLowerCase()
  return PROTOCOLS.find((protocol) => protocol.contentType === type)
}
