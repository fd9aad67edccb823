import type { IncomingMessage } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'
import { sendEvents } from './event-sending.ts'
import { breakOff, type HttpResponse, isGone, send } from './http-response.ts'
import type { KinesisModel } from './kinesis-model.ts'
import { protocolFor } from './protocol.ts'
import type { ServerClock } from './server-clock.ts'
import { internalFailure, ServiceError } from './service-error.ts'

type HttpRequest = IncomingMessage | Http2ServerRequest
export type RequestListener = (request: HttpRequest, response: HttpResponse) => void

const SERVICE = 'Kinesis_20131202'
/** 10 MiB of records are 13.4 MiB in base64; the rest is room for keys and JSON. */
const MAX_BODY_BYTES = 20 * 2 ** 20

/** Answers HTTP requests for a model. */
export function requestListener(model: KinesisModel, clock: ServerClock): RequestListener {
  return (request, response) => {
    // A broken connection ends the reading of the request or the writing of the response, which see it for themselves.
    request.on('error', () => response.destroy())
    response.on('error', () => request.destroy())
    handle(model, clock, request, response).catch((error: unknown) => {
      // The client going away is no fault of the server's; anything else that can't be answered any more must not go unnoticed.
      if (!isGone(response)) process.emitWarning(error as Error)
      breakOff(response)
    })
  }
}

async function handle(
  model: KinesisModel,
  clock: ServerClock,
  request: HttpRequest,
  response: HttpResponse,
): Promise<void> {
  const body = await readBody(request)
  if (body === undefined) {
    const message = `Expected a body of at most ${MAX_BODY_BYTES} bytes.`
    return sendUnencoded(response, new ServiceError('RequestEntityTooLargeException', message, 413))
  }
  const target = request.headers['x-amz-target']
  const [service, operation] = typeof target === 'string' ? target.split('.') : []
  if (request.method !== 'POST' || !service || !operation) {
    const expected = `expected a POST with the header X-Amz-Target: ${SERVICE}.<operation>`
    const message = `Unable to determine service/operation name to be authorized: ${expected}.`
    return sendUnencoded(response, new ServiceError('AccessDeniedException', message, 403))
  }
  const contentType = request.headers['content-type']
  const protocol = protocolFor(contentType)
  if (protocol === undefined) {
    const expected = 'application/x-amz-json-1.1 or application/x-amz-cbor-1.1'
    const message = `Expected the content type ${expected}, got ${contentType ?? 'none'}.`
    return sendUnencoded(response, new ServiceError('UnknownOperationException', message, 404))
  }
  try {
    if (service !== SERVICE) throw new ServiceError('UnknownOperationException', `Expected ${SERVICE}, got ${service}.`)
    const fields = protocol.decode(body)
    if (operation === 'SubscribeToShard') return await sendEvents(model.subscribe(fields), protocol, response, clock)
    const { answer, delayMs, isLost } = model.request(operation, fields)
    if (delayMs > 0) await sleep(clock, delayMs)
    if (isLost) return breakOff(response)
    if (answer instanceof ServiceError) throw answer
    send(response, 200, protocol.contentType, protocol.encode(answer))
  } catch (error) {
    if (response.headersSent) throw error
    // Anything else is a fault of this server, which a client should see as one of the service.
    const { type, message, status } = error instanceof ServiceError ? error : internalFailure(String(error))
    response.setHeader('x-amzn-errortype', type)
    send(response, status, protocol.contentType, protocol.encode({ __type: type, message }))
  }
}

/** The whole body, unless it is too large. It is read to its end then too: a client reads no answer before it has sent all. */
async function readBody(request: HttpRequest): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) chunks.length = 0
    else chunks.push(chunk)
  }
  if (bytes > MAX_BODY_BYTES) return undefined
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
}

/** An error from before the protocol is known, as the service's front door answers it. */
function sendUnencoded(response: HttpResponse, { type, message, status }: ServiceError): void {
  const body = `<${type}>\n  <Message>${message.replace(/[<&]/g, (sign) => `&#${sign.charCodeAt(0)};`)}</Message>\n</${type}>\n`
  response.setHeader('x-amzn-errortype', type)
  send(response, status, 'application/xml', Buffer.from(body))
}

function sleep(clock: ServerClock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.at(clock.monotonicMs() + ms, resolve))
}
