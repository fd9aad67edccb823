import { randomUUID } from 'node:crypto'
import { constants, Http2ServerResponse } from 'node:http2'
import type { Writable } from 'node:stream'

/** What the responses of HTTP/1.1 and HTTP/2 have in common. */
export interface HttpResponse extends Writable {
  statusCode: number
  readonly headersSent: boolean
  setHeader(name: string, value: string | number): unknown
}

export function setHead(response: HttpResponse, status: number, contentType: string): void {
  response.statusCode = status
  response.setHeader('content-type', contentType)
  response.setHeader('x-amzn-requestid', randomUUID())
}

export function send(response: HttpResponse, status: number, contentType: string, body: Uint8Array): void {
  setHead(response, status, contentType)
  response.setHeader('content-length', body.length)
  response.end(body)
}

/** Gives no answer, or no more of it: a connection of HTTP/1.1 breaks, in HTTP/2 it is the stream alone. */
export function breakOff(response: HttpResponse): void {
  if (response instanceof Http2ServerResponse) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR)
  else response.destroy()
}

/** Whether the client has gone away. */
export function isGone(response: HttpResponse): boolean {
  return response instanceof Http2ServerResponse ? response.stream.destroyed : response.destroyed
}
