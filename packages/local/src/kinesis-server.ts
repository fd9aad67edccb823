import { createServer as createHttp1Server } from 'node:http'
import { createServer as createHttp2Server, type ServerHttp2Session } from 'node:http2'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, TLSSocket } from 'node:tls'
import type { Certificate } from './certificate.ts'
import type { KinesisModel } from './kinesis-model.ts'
import { type Listening, listen } from './listen.ts'
import { type RequestListener, requestListener } from './request-listener.ts'
import type { ServerClock } from './server-clock.ts'

/** What an HTTP/2 connection begins with (RFC 9113, 3.4). */
const HTTP2_PREFACE = 'PRI '
/** Node's default of 64 KiB halves what one connection can send. */
const HTTP2_WINDOW_BYTES = 4 * 2 ** 20
/**
 * In MB. Beyond Node's default of 10, which ten subscriptions that nobody reads take up with an event each, requests on the same
 * connection are refused.
 */
const HTTP2_SESSION_MEMORY = 4_096
/** Node's default of 5 s closes connections under clients that beat every few seconds. */
const KEEP_ALIVE_MS = 60_000

export interface KinesisServerSettings {
  readonly model: KinesisModel
  readonly clock: ServerClock
  readonly port: number
  readonly tls: { readonly port: number; readonly certificate: Certificate } | undefined
}

export interface KinesisServer {
  readonly port: number
  readonly tlsPort: number | undefined
  close(): Promise<void>
}

/** Serves a model on the loopback interface: HTTP/1.1 and HTTP/2, which the SDK's default handler speaks, on one port. */
export async function startKinesisServer({ model, clock, port, tls }: KinesisServerSettings): Promise<KinesisServer> {
  const serve = connectionListener(requestListener(model, clock))
  const plain = await listen(createServer(serve), port, 'Kinesis')
  const secure = tls && (await listenOrClose(plain, secureServer(serve, tls.certificate), tls.port))
  return {
    port: plain.port,
    tlsPort: secure?.port,
    close: async () => {
      await Promise.all([plain.close(), secure?.close()])
    },
  }
}

async function listenOrClose(other: Listening, server: Server, port: number): Promise<Listening> {
  try {
    return await listen(server, port, 'Kinesis over TLS')
  } catch (error) {
    await other.close()
    throw error
  }
}

function secureServer(serve: ConnectionListener, { certificate, key }: Certificate): Server {
  return createTlsServer({ cert: certificate, key, ALPNProtocols: ['h2', 'http/1.1'] }, (socket) => {
    socket.on('error', () => socket.destroy())
    serve(socket)
  })
}

type ConnectionListener = (socket: Socket) => void

/**
 * The first bytes of a connection tell which HTTP it speaks. Without TLS there is nothing else, and with it the SDK for Java
 * speaks HTTP/2 without having negotiated it.
 */
function connectionListener(listener: RequestListener): ConnectionListener {
  const http1 = createHttp1Server({ keepAliveTimeout: KEEP_ALIVE_MS }, listener)
  const http2 = createHttp2Server(
    { settings: { initialWindowSize: HTTP2_WINDOW_BYTES }, maxSessionMemory: HTTP2_SESSION_MEMORY },
    listener,
  )
  http2.on('session', (session: ServerHttp2Session) => {
    // A connection has a window of its own beside those of its streams.
    session.setLocalWindowSize(HTTP2_WINDOW_BYTES)
    // The SDK says goodbye (GOAWAY) as soon as a subscription begins. Node would then close the connection when the last event
    // is written, and the client lose what it hasn't read by then. It closes the connection itself when it has.
    session.close = () => undefined
  })
  return (socket) => {
    socket.once('readable', () => {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      socket.unshift(chunk)
      const isHttp2 = chunk.toString('latin1', 0, HTTP2_PREFACE.length) === HTTP2_PREFACE
      // Node's HTTP/2 takes only a TLS connection that has negotiated it.
      if (isHttp2 && socket instanceof TLSSocket) socket.alpnProtocol = 'h2'
      ;(isHttp2 ? http2 : http1).emit('connection', socket)
    })
  }
}
