import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import type { ConnectionOptions } from 'node:tls'
import type { NodeHttp2Handler } from '@smithy/node-http-handler'
import { type Clock, systemClock } from './clock.ts'
import { Http2Connection } from './http2-connection.ts'
import { orAborted } from './or-aborted.ts'

export interface Http2HandlerOptions {
  /** How much of one stream is received before it is read, in bytes. Default: 256 KiB. */
  readonly streamWindowBytes?: number | undefined
  /** For TLS: certificates to trust and so on. */
  readonly tls?: ConnectionOptions | undefined
  /** Default: the machine's. */
  readonly clock?: Clock | undefined
}

type Request = Parameters<NodeHttp2Handler['handle']>[0]
type Answer = Awaited<ReturnType<NodeHttp2Handler['handle']>>

/** 2 MiB/s, which a subscription gets, from a server that is up to 90 ms away. */
const STREAM_WINDOW_BYTES = 256 * 2 ** 10

/**
 * Sends the requests of an SDK client over HTTP/2, for answers that are event streams. The SDK's own handler opens a connection
 * for each of those; here up to 64 share one. There is no time limit for a stream: one that nobody reads stands still, and
 * what it has received is bounded by its window. Whether a connection lives is found out by pings.
 */
export class Http2Handler {
  readonly metadata: { readonly handlerProtocol: string } = { handlerProtocol: 'h2' }
  readonly #clock: Clock
  readonly #settings: { readonly streamWindowBytes: number; readonly tls: ConnectionOptions }
  readonly #connections = new Map<string, Set<Http2Connection>>()
  /** The connection that is being made, by origin: one at a time, since it may have room for all who wait. */
  readonly #connecting = new Map<string, Promise<void>>()
  readonly #destroyed = new AbortController()

  constructor({ streamWindowBytes = STREAM_WINDOW_BYTES, tls = {}, clock = systemClock }: Http2HandlerOptions = {}) {
    this.#clock = clock
    this.#settings = { streamWindowBytes, tls }
  }

  /** How many connections there are. */
  get connections(): number {
    return [...this.#connections.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /** Aborting the signal ends the request, and the stream of its answer too. */
  async handle(request: Request, { abortSignal }: { readonly abortSignal?: unknown } = {}): Promise<Answer> {
    const signal = abortSignal as AbortSignal | undefined
    signal?.throwIfAborted()
    const stream = await this.#stream(request, signal)
    const onAbort = (): void => {
      // What isn't wanted any more is no failure of ours.
      stream.close(constants.NGHTTP2_CANCEL)
      stream.destroy(abortError(signal))
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    stream.once('close', () => signal?.removeEventListener('abort', onAbort))
    if (signal?.aborted) onAbort()
    const answer = answerOn(stream)
    // Not where the listeners are made: they would keep it for as long as the stream lives.
    stream.end(request.body)
    return await answer
  }

  /** Ends everything that is under way. */
  destroy(): void {
    const reason = new Error('the client was destroyed')
    this.#destroyed.abort(reason)
    for (const connections of this.#connections.values()) {
      for (const connection of connections) connection.destroy(reason)
    }
    this.#connections.clear()
  }

  updateHttpClientConfig(): void {
    // There is nothing that clients change.
  }

  httpHandlerConfigs(): Record<string, never> {
    return {}
  }

  /** Opens a stream as soon as there is a connection with room for it: at once then, before others see the room. */
  async #stream(request: Request, signal: AbortSignal | undefined): Promise<ClientHttp2Stream> {
    const origin = originOf(request)
    const headers = { ...request.headers, ':method': request.method, ':path': pathOf(request) }
    for (;;) {
      this.#destroyed.signal.throwIfAborted()
      const connections = this.#connections.get(origin) ?? new Set()
      this.#connections.set(origin, connections)
      for (const connection of connections) {
        if (connection.hasRoom) return connection.request(headers)
        if (connection.isOver) connections.delete(connection)
      }
      let connecting = this.#connecting.get(origin)
      if (connecting === undefined) {
        connecting = this.#connect(origin, connections).finally(() => this.#connecting.delete(origin))
        this.#connecting.set(origin, connecting)
      }
      await (signal === undefined ? connecting : orAborted(connecting, signal))
    }
  }

  async #connect(origin: string, connections: Set<Http2Connection>): Promise<void> {
    const { signal } = this.#destroyed
    connections.add(await Http2Connection.open(origin, { ...this.#settings, clock: this.#clock }, signal))
  }
}

function answerOn(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    stream.once('response', (headers) => {
      const statusCode = headers[':status'] ?? 0
      const response = { statusCode, headers: plainHeaders(headers), body: stream }
      resolve({ response } as Answer)
    })
    // Whoever reads the stream is told as well.
    stream.on('error', reject)
    stream.once('close', () => reject(new Error('the HTTP/2 stream was closed without an answer')))
  })
}

function originOf({ protocol, hostname, port }: Request): string {
  return `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`
}

function pathOf({ path, query = {} }: Request): string {
  const pairs = Object.entries(query).flatMap(([key, value]) => [value ?? []].flat().map((each) => [key, each]))
  return pairs.length === 0 ? path : `${path}?${new URLSearchParams(pairs as [string, string][])}`
}

function plainHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(',') : String(value)]),
  )
}

function abortError(signal: AbortSignal | undefined): Error {
  const error = new Error('the request was aborted', { cause: signal?.reason })
  return Object.assign(error, { name: 'AbortError' })
}
