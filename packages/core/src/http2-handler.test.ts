import { once } from 'node:events'
import { createServer as createHttp1Server } from 'node:http'
import {
  constants,
  createSecureServer,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import { createServer as createHttps1Server } from 'node:https'
import { type AddressInfo, connect, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { HttpRequest } from '@smithy/core/protocols'
import { generate } from 'selfsigned'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Http2Handler, type Http2HandlerOptions } from './http2-handler.ts'
import { ManualClock } from './manual-clock.ts'

let clock: ManualClock
let sessions: ServerHttp2Session[]
let streams: ServerHttp2Stream[]
let handlers: Http2Handler[]
let servers: Server[]

beforeEach(() => {
  clock = new ManualClock()
  sessions = []
  streams = []
  handlers = []
  servers = []
})

afterEach(async () => {
  for (const handler of handlers) handler.destroy()
  for (const session of sessions) session.destroy()
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
})

/** Resolves when it holds, as soon as the sockets have got that far. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve))
}

async function listening(server: Server): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function serve(
  answer: (stream: ServerHttp2Stream) => void = (stream) => stream.respond(),
  server: Http2Server = createServer(),
): Promise<number> {
  server.on('session', (session) => sessions.push(session))
  server.on('stream', (stream) => {
    stream.on('error', () => {})
    streams.push(stream)
    answer(stream)
  })
  return await listening(server as unknown as Server)
}

function handlerWith(options: Http2HandlerOptions = {}): Http2Handler {
  const handler = new Http2Handler({ clock, ...options })
  handlers.push(handler)
  return handler
}

const requestTo = (port: number, protocol = 'http:'): HttpRequest =>
  new HttpRequest({
    protocol,
    hostname: protocol === 'http:' ? '127.0.0.1' : 'localhost',
    port,
    method: 'POST',
    path: '/',
    query: { a: 'b c' },
    headers: { ':authority': 'kinesis', 'x-amz-target': 'SubscribeToShard' },
    body: '{}',
  })

async function ask(handler: Http2Handler, port: number, abortSignal?: AbortSignal): Promise<Readable> {
  const { response } = await handler.handle(requestTo(port), { abortSignal })
  return response.body as Readable
}

const failure = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => {
      throw new Error('expected a rejection')
    },
    (error: Error) => error,
  )

describe('a request', () => {
  test('goes out with its path, query, headers and body, and its answer comes back', async () => {
    const port = await serve(async (stream) => {
      const body = await text(stream)
      stream.respond({ ':status': 200, 'x-amzn-requestid': 'r1' })
      stream.end(`${stream.sentHeaders?.[':status']} ${body}`)
    })
    const { response } = await handlerWith().handle(requestTo(port))
    expect(response).toMatchObject({ statusCode: 200, headers: { 'x-amzn-requestid': 'r1' } })
    expect(await text(response.body as Readable)).toBe('200 {}')
  })

  test('is not kept while its answer goes on', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const port = await serve((stream) => {
      stream.respond()
      stream.write('one')
    })
    const sent = async (): Promise<readonly [WeakRef<object>, Readable]> => {
      const request = requestTo(port)
      request.body = Buffer.alloc(100, 'a')
      const { response } = await handlerWith().handle(request)
      return [new WeakRef(request.body), response.body as Readable]
    }
    const [body, answer] = await sent()
    await until(() => {
      collect()
      return body.deref() === undefined
    })
    expect(answer.destroyed).toBe(false)
  })

  test('that is refused gives the status and the body of the refusal', async () => {
    const port = await serve((stream) => {
      stream.respond({ ':status': 400 })
      stream.end('{"__type":"ResourceInUseException"}')
    })
    const { response } = await handlerWith().handle(requestTo(port))
    expect(response.statusCode).toBe(400)
    expect(await text(response.body as Readable)).toContain('ResourceInUse')
  })

  test('is not sent once it was aborted', async () => {
    const port = await serve()
    await expect(ask(handlerWith(), port, AbortSignal.abort('stop'))).rejects.toBe('stop')
    expect(sessions).toEqual([])
  })

  test('that is aborted while the connection is being made ends at once', async () => {
    const port = await listening(createTcpServer(() => {}))
    const stop = new AbortController()
    const asked = expect(ask(handlerWith(), port, stop.signal)).rejects.toBe('stop')
    stop.abort('stop')
    await asked
  })

  test('that is aborted before its answer ends, for the server too', async () => {
    const port = await serve(() => {})
    const stop = new AbortController()
    const asked = failure(ask(handlerWith(), port, stop.signal))
    await until(() => streams.length === 1)
    stop.abort(new Error('stop'))
    expect(await asked).toMatchObject({ name: 'AbortError', cause: new Error('stop') })
    await until(() => streams[0]!.destroyed)
  })

  test('that is aborted in mid-stream ends what is being read, and no other stream of the connection', async () => {
    const port = await serve((stream) => {
      stream.respond()
      stream.write('event')
    })
    const stop = new AbortController()
    const handler = handlerWith()
    const other = await ask(handler, port)
    const body = await ask(handler, port, stop.signal)
    const read = failure(text(body))
    stop.abort(new Error('stop'))
    expect(await read).toMatchObject({ name: 'AbortError' })
    await until(() => streams[1]!.destroyed)
    expect(streams[1]!.rstCode).toBe(constants.NGHTTP2_CANCEL)
    streams[0]!.end(' and end')
    expect(await text(other)).toBe('event and end')
  })
})

describe('connections', () => {
  test('are shared by 64 streams each', async () => {
    const port = await serve()
    const handler = handlerWith()
    await Promise.all(Array.from({ length: 300 }, () => ask(handler, port)))
    expect([streams.length, sessions.length, handler.connections]).toEqual([300, 5, 5])
  })

  test('take no more than the server grants, and a place that is free again is taken', async () => {
    const port = await serve(undefined, createServer({ settings: { maxConcurrentStreams: 10 } }))
    const handler = handlerWith()
    const bodies = await Promise.all(Array.from({ length: 25 }, () => ask(handler, port)))
    expect(sessions).toHaveLength(3)
    for (const body of bodies.slice(0, 5)) body.destroy()
    await until(() => streams.filter(({ destroyed }) => destroyed).length === 5)
    await Promise.all(Array.from({ length: 5 }, () => ask(handler, port)))
    expect(sessions).toHaveLength(3)
  })

  test('keep the process alive as long as they have streams, even if nothing comes, and no longer', async () => {
    const port = await serve()
    const handler = handlerWith()
    // The server's end of it is in this process too.
    const alive = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
    const body = await ask(handler, port)
    expect(alive()).toBe(2)
    body.destroy()
    await until(() => alive() === 1)
    expect(handler.connections).toBe(1)
    await ask(handler, port)
    expect([alive(), sessions.length]).toEqual([2, 1])
  })

  test('take in as much as all their streams may send', async () => {
    await ask(handlerWith(), await serve())
    await until(() => sessions[0]!.state.remoteWindowSize === 16 * 2 ** 20)
  })

  test('that could not be made fail all who wait, and are tried anew for the next', async () => {
    const port = await serve()
    const closed = await listening(createTcpServer())
    await new Promise((resolve) => servers.at(-1)!.close(resolve))
    const handler = handlerWith()
    const [first, second] = await Promise.all([failure(ask(handler, closed)), failure(ask(handler, closed))])
    expect([first.code, second.code]).toEqual(['ECONNREFUSED', 'ECONNREFUSED'])
    expect(await failure(ask(handler, closed))).toMatchObject({ code: 'ECONNREFUSED' })
    await ask(handler, port)
  })

  test('that the server closes gracefully go on with what they have, and take nothing new', async () => {
    const port = await serve((stream) => {
      stream.respond()
      stream.write('one')
    })
    const handler = handlerWith()
    const body = await ask(handler, port)
    sessions[0]!.close()
    await until(() => sessions[0]!.closed)
    // The goodbye has to arrive: until then the server refuses.
    while (sessions.length < 2) {
      await ask(handler, port).catch((error: Error) => expect(error.message).toContain('REFUSED_STREAM'))
    }
    expect(sessions).toHaveLength(2)
    streams[0]!.end(' two')
    expect(await text(body)).toBe('one two')
  })

  test('that break end all their streams', async () => {
    const port = await serve((stream) => {
      stream.respond()
      stream.write('one')
    })
    const handler = handlerWith()
    const bodies = await Promise.all([ask(handler, port), ask(handler, port)])
    const ended = Promise.all(bodies.map((body) => once(body.resume(), 'close')))
    sessions[0]!.destroy()
    await ended
    await ask(handler, port)
    expect(sessions).toHaveLength(2)
  })

  test('end with the handler, which then takes no request', async () => {
    const port = await serve()
    const handler = handlerWith()
    const body = await ask(handler, port)
    const read = failure(text(body))
    handler.destroy()
    await read
    await until(() => sessions[0]!.destroyed)
    expect(handler.connections).toBe(0)
    await expect(ask(handler, port)).rejects.toThrow('destroyed')
    expect(clock.sleeping).toBe(0)
  })

  test('that are being made end with the handler too', async () => {
    const sockets: Socket[] = []
    const port = await listening(createTcpServer((socket) => sockets.push(socket)))
    const handler = handlerWith()
    const asked = failure(ask(handler, port))
    await until(() => sockets.length === 1)
    handler.destroy()
    expect((await asked).message).toContain('destroyed')
    await once(sockets[0]!.resume(), 'close')
  })
})

describe('a server', () => {
  /** Passes everything on, until it is told to swallow all. */
  async function behindNetwork(
    port: number,
    way: 'both' | 'towards the server' = 'both',
  ): Promise<{ port: number; breakSilently: () => void }> {
    const sockets: Socket[] = []
    const broken: Socket[] = []
    const network = createTcpServer((socket) => {
      const onwards = connect(port, '127.0.0.1')
      sockets.push(socket, onwards)
      broken.push(socket, ...(way === 'both' ? [onwards] : []))
      socket.pipe(onwards).pipe(socket)
      for (const each of [socket, onwards]) each.on('error', () => each.destroy())
    })
    const breakSilently = (): void => {
      for (const socket of broken) socket.unpipe().resume()
    }
    return { port: await listening(network), breakSilently }
  }

  test('that is no longer there is noticed by a ping, and others get a new connection', async () => {
    const { port, breakSilently } = await behindNetwork(await serve())
    const handler = handlerWith()
    const body = await ask(handler, port)
    const read = failure(text(body))
    breakSilently()
    await clock.advance(16_000)
    expect(await read).toMatchObject({ name: 'TimeoutError', message: expect.stringContaining('ping') })
    await ask(handler, port)
    expect(sessions).toHaveLength(2)
  })

  test('whose answer to a ping is late is there as long as anything comes', async () => {
    const { port, breakSilently } = await behindNetwork(await serve(), 'towards the server')
    const handler = handlerWith()
    const body = await ask(handler, port)
    let read = ''
    body.on('data', (data) => (read += String(data)))
    const broken = once(body, 'error')
    breakSilently()
    for (let times = 1; times <= 3; times++) {
      await clock.advance(10_000)
      streams[0]!.write('x')
      await until(() => read.length === times)
      await clock.advance(6_000)
    }
    expect(body.destroyed).toBe(false)
    await clock.advance(16_000)
    expect(await broken).toMatchObject([{ name: 'TimeoutError' }])
  })

  test('that answers pings may be silent for as long as it likes', async () => {
    const port = await serve()
    const handler = handlerWith()
    const body = await ask(handler, port)
    let pings = 0
    sessions[0]!.on('ping', () => pings++)
    for (let minutes = 0; minutes < 5; minutes++) {
      const before = pings
      await clock.advance(10_000)
      await until(() => pings > before)
      // Its answer is on its way.
      await until(() => clock.sleeping === 1)
    }
    expect(pings).toBe(5)
    streams[0]!.end('late')
    expect(await text(body)).toBe('late')
  })

  test('that takes the connection and says nothing is given up', async () => {
    const port = await listening(createTcpServer((socket) => void socket.on('error', () => {}).resume()))
    const asked = failure(ask(handlerWith(), port))
    await clock.advance(6_000)
    expect(await asked).toMatchObject({ name: 'TimeoutError', message: expect.stringContaining('HTTP/2') })
  })

  test('that speaks HTTP/1.1 is told of', async () => {
    const port = await listening(createHttp1Server())
    expect(await failure(ask(handlerWith(), port))).toMatchObject({
      message: expect.stringContaining(`expected http://127.0.0.1:${port} to speak HTTP/2`),
    })
  })
})

describe('over TLS', () => {
  const certificate = generate([{ name: 'commonName', value: 'localhost' }], { keyType: 'ec', algorithm: 'sha256' })
  const askSafely = async (handler: Http2Handler, port: number): Promise<number> =>
    (await handler.handle(requestTo(port, 'https:'))).response.statusCode

  test('a certificate that is trusted is enough', async () => {
    const { cert, private: key } = await certificate
    const port = await serve(undefined, createSecureServer({ cert, key }))
    expect(await askSafely(handlerWith({ tls: { ca: cert } }), port)).toBe(200)
    expect(await failure(askSafely(handlerWith(), port))).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  })

  test('a server that speaks HTTP/1.1 is told of', async () => {
    const { cert, private: key } = await certificate
    const server = createHttps1Server({ cert, key, ALPNProtocols: ['http/1.1'] })
    server.on('tlsClientError', () => {})
    const port = await listening(server)
    expect(await failure(askSafely(handlerWith({ tls: { ca: cert } }), port))).toMatchObject({
      message: expect.stringContaining('to speak HTTP/2'),
    })
  })
})

describe('a stream that nobody reads', () => {
  const MiB = 2 ** 20

  test('holds no more than its window, and up to 63 of them hold up no other of their connection', async () => {
    const chunk = Buffer.alloc(MiB / 4)
    const port = await serve(
      (stream) => {
        stream.respond()
        const writeOn = (): void => {
          while (!stream.destroyed && stream.write(chunk)) {
            // As much as it takes.
          }
        }
        stream.on('drain', writeOn)
        writeOn()
      },
      createServer({ maxSessionMemory: 1_000 }),
    )
    const handler = handlerWith()
    const bodies = await Promise.all(Array.from({ length: 63 }, () => ask(handler, port)))
    const held = (): number[] => bodies.map(({ readableLength }) => readableLength)
    await until(() => Math.min(...held()) > 0)
    const last = await ask(handler, port)
    expect(sessions).toHaveLength(1)
    let read = 0
    for await (const data of last) {
      read += (data as Buffer).length
      // More than the connection's window.
      if (read > 40 * MiB) break
    }
    expect(Math.max(...held())).toBeLessThanOrEqual(MiB / 2)
    // And it goes on when it is read.
    let late = 0
    for await (const data of bodies[0]!) {
      late += (data as Buffer).length
      if (late > 2 * MiB) break
    }
  })
})
