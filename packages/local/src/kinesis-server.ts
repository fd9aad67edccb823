import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttp1Server, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttp2Server, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { KinesisModel } from './kinesis-model.ts'
import type { Request } from './requests.ts'
import { ServiceError } from './service-error.ts'

type HttpRequest = IncomingMessage | Http2ServerRequest
type HttpResponse = ServerResponse | Http2ServerResponse

const CONTENT_TYPE = 'application/x-amz-json-1.1'
/** 10 MiB of records are 13.4 MiB in base64; the rest is room for keys and JSON. */
const MAX_BODY_BYTES = 20 * 2 ** 20
/** What an HTTP/2 connection begins with (RFC 9113, 3.4). */
const HTTP2_PREFACE = 'PRI '

export interface KinesisServer {
  readonly port: number
  close(): Promise<void>
}

/**
 * Answers the AWS JSON 1.1 protocol for a model, on the loopback interface alone. HTTP/1.1 and cleartext HTTP/2 share
 * the port: the SDK's default handler for Kinesis speaks HTTP/2.
 */
export async function startKinesisServer(model: KinesisModel, port: number): Promise<KinesisServer> {
  const handle = (request: HttpRequest, response: HttpResponse): void => {
    answer(model, request)
      .catch((error: unknown) => errorAnswer(error))
      .then((answered) => send(response, answered))
      .catch((error: unknown) => response.destroy(error as Error))
  }
  const http1 = createHttp1Server({ keepAliveTimeout: 60_000 }, handle)
  const http2 = createHttp2Server(handle)
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // A client that goes away in mid-request is no fault of the server's.
    socket.on('error', () => socket.destroy())
    socket.once('readable', () => {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      socket.unshift(chunk)
      const isHttp2 = chunk.toString('latin1', 0, HTTP2_PREFACE.length) === HTTP2_PREFACE
      ;(isHttp2 ? http2 : http1).emit('connection', socket)
    })
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

interface Answer {
  readonly status: number
  readonly body: Buffer
  readonly errorType?: string
}

async function answer(model: KinesisModel, request: HttpRequest): Promise<Answer> {
  const target = request.headers['x-amz-target']
  const [service, operation = ''] = typeof target === 'string' ? target.split('.') : []
  if (request.method !== 'POST' || service !== 'Kinesis_20131202') {
    throw new ServiceError(
      'UnknownOperationException',
      'Expected a POST with the header X-Amz-Target: Kinesis_20131202.<operation>.',
    )
  }
  const result = model.execute(operation, parseRequest(await readBody(request)))
  return {
    status: 200,
    body: operation === 'GetRecords' ? encodeGetRecords(result) : Buffer.from(JSON.stringify(result)),
  }
}

function errorAnswer(error: unknown): Answer {
  // Anything else is a fault of this server, which a client should see as one of the service.
  const { type, message, status } =
    error instanceof ServiceError ? error : new ServiceError('InternalFailureException', String(error), 500)
  return { status, errorType: type, body: Buffer.from(JSON.stringify({ __type: type, message })) }
}

function send(response: HttpResponse, { status, body, errorType }: Answer): void {
  response.statusCode = status
  response.setHeader('content-type', CONTENT_TYPE)
  response.setHeader('content-length', body.length)
  response.setHeader('x-amzn-requestid', randomUUID())
  if (errorType !== undefined) response.setHeader('x-amzn-errortype', errorType)
  response.end(body)
}

async function readBody(request: HttpRequest): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) throw new ServiceError('RequestEntityTooLarge', `At most ${MAX_BODY_BYTES} bytes.`, 413)
    chunks.push(chunk)
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
}

function parseRequest(body: Buffer): Request {
  let parsed: unknown
  try {
    // A request is ASCII but for its partition keys; latin1 would be quicker and wrong.
    parsed = body.length === 0 ? {} : JSON.parse(body.toString())
  } catch (error) {
    throw Object.assign(new ServiceError('SerializationException', 'The body is not JSON.'), { cause: error })
  }
  const request = Object(parsed) as DataEntry & { Records?: unknown }
  const entries: DataEntry[] = Array.isArray(request.Records) ? request.Records.map((entry) => Object(entry)) : []
  decodeData([request, ...entries])
  return request as Request
}

interface DataEntry {
  Data?: unknown
}

/**
 * Decodes all data of a request into one block of memory of its own: with one for each record, 100-byte records take
 * 1.4 times the memory. The records have the same age, so the block is let go of with the last of them.
 */
function decodeData(entries: readonly DataEntry[]): void {
  const sizes = entries.map(({ Data }) => (typeof Data === 'string' ? Buffer.byteLength(Data, 'base64') : 0))
  const block = Buffer.allocUnsafeSlow(sizes.reduce((sum, size) => sum + size, 0))
  let at = 0
  for (const entry of entries) {
    if (typeof entry.Data !== 'string') continue
    // Text that isn't base64 gives fewer bytes than its length says.
    const end = at + block.write(entry.Data, at, 'base64')
    entry.Data = block.subarray(at, end)
    at = end
  }
}

/** JSON.stringify with `Data` in base64, which needs no escaping: at 10 MiB an answer that is what takes the time. */
function encodeGetRecords(result: object): Buffer {
  const { Records, ...rest } = result as { Records: readonly { Data: Buffer }[] }
  const records = Records.map(({ Data, ...fields }) => {
    const json = JSON.stringify(fields)
    return `${json.slice(0, -1)},"Data":"${Data.toString('base64')}"}`
  })
  return Buffer.from(`${JSON.stringify(rest).slice(0, -1)},"Records":[${records.join(',')}]}`)
}
