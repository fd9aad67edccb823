import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2'
import type { ConnectionOptions } from 'node:tls'
import type { Clock } from './clock.ts'
import { pause } from './pause.ts'

export interface Http2ConnectionOptions {
  readonly clock: Clock
  /** How much of one stream is received before it is read, in bytes. */
  readonly streamWindowBytes: number
  /** What TLS needs besides the machine's certificates. */
  readonly tls: ConnectionOptions
}

/** More streams than this get a connection of their own. A server may grant fewer. */
const MAX_STREAMS = 64
/**
 * Of what all streams of a connection receive together; Node says at once that it was received, whether or not it is read, so
 * that a stream that isn't read holds up none of the others.
 */
const CONNECTION_WINDOW_BYTES = 16 * 2 ** 20
const CONNECT_TIMEOUT_MS = 6_000
/** The SDK for Java asks every 5 seconds. */
const PING_INTERVAL_MS = 10_000
const PING_TIMEOUT_MS = 5_000
/** After a pause of the process the answer that came meanwhile is read only now. */
const GRACE_MS = 1_000

/** One HTTP/2 connection, shared by a bounded number of streams. */
export class Http2Connection {
  readonly #session: ClientHttp2Session
  readonly #clock: Clock
  #streams = 0
  #watching = new AbortController()

  private constructor(session: ClientHttp2Session, clock: Clock) {
    this.#session = session
    this.#clock = clock
  }

  /**
   * @param origin such as `https://kinesis.eu-west-1.amazonaws.com`
   * @param signal aborted: nobody wants the connection any more
   */
  static async open(origin: string, options: Http2ConnectionOptions, signal: AbortSignal): Promise<Http2Connection> {
    const { clock, streamWindowBytes, tls } = options
    const session = connect(origin, { ...tls, settings: { enablePush: false, initialWindowSize: streamWindowBytes } })
    // What breaks a connection its streams are told too.
    session.on('error', () => {})
    const over = new AbortController()
    const given = AbortSignal.any([signal, over.signal])
    try {
      await new Promise<void>((resolve, reject) => {
        // Only then it is known how many streams the server grants.
        session.once('remoteSettings', () => resolve())
        session.once('error', (error) => reject(explained(origin, error)))
        session.once('close', () => reject(new Error(`the connection to ${origin} was closed before it was used`)))
        given.addEventListener('abort', () => reject(given.reason), { once: true })
        void pause(clock, CONNECT_TIMEOUT_MS, given).then((isLate) => {
          if (isLate) reject(timeout(`${origin} has not begun to speak HTTP/2 within ${CONNECT_TIMEOUT_MS} ms`))
        })
      })
    } catch (error) {
      session.destroy()
      throw error
    } finally {
      over.abort('connected')
    }
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
    session.unref()
    return new Http2Connection(session, clock)
  }

  /** Whether it takes another stream. */
  get hasRoom(): boolean {
    const granted = this.#session.remoteSettings.maxConcurrentStreams ?? MAX_STREAMS
    return !this.isOver && this.#streams < Math.min(MAX_STREAMS, Math.max(1, granted))
  }

  /** It takes no stream any more, though those that it has may go on. */
  get isOver(): boolean {
    return this.#session.closed || this.#session.destroyed
  }

  /** As long as there are streams, the connection keeps the process alive, and is asked whether it lives. */
  request(headers: Readonly<Record<string, string>>): ClientHttp2Stream {
    const stream = this.#session.request(headers)
    if (this.#streams++ === 0) {
      this.#session.ref()
      this.#watching = new AbortController()
      void this.#watch(this.#watching.signal)
    }
    stream.once('close', () => {
      if (--this.#streams > 0) return
      this.#watching.abort('no streams')
      if (!this.#session.destroyed) this.#session.unref()
    })
    return stream
  }

  destroy(reason: Error): void {
    this.#session.destroy(reason)
  }

  /** Breaks it off when the other side is no longer there: of that nothing is to be heard. */
  async #watch(signal: AbortSignal): Promise<void> {
    while (await pause(this.#clock, PING_INTERVAL_MS, signal)) {
      if (this.#session.destroyed) return
      if (await this.#isAlive(signal)) continue
      this.#session.destroy(timeout(`no answer to a ping within ${PING_TIMEOUT_MS} ms`))
    }
  }

  async #isAlive(signal: AbortSignal): Promise<boolean> {
    const answered = new AbortController()
    const { bytesRead } = this.#session.socket
    this.#session.ping(() => answered.abort('answered'))
    const over = AbortSignal.any([signal, answered.signal])
    await pause(this.#clock, PING_TIMEOUT_MS, over)
    await pause(this.#clock, GRACE_MS, over)
    // The answer stands in line behind what is on its way: whatever comes is a sign of life.
    return over.aborted || this.#session.destroyed || this.#session.socket.bytesRead > bytesRead
  }
}

/** Has the name by which the SDK's own timeouts are told. */
function timeout(message: string): Error {
  return Object.assign(new Error(message), { name: 'TimeoutError' })
}

/** Whoever doesn't speak HTTP/2 breaks its rules with the first byte, or refuses it when TLS is negotiated. */
function explained(origin: string, error: Error & { readonly code?: string }): Error {
  const speaksSomethingElse = error.code?.startsWith('ERR_HTTP2') || error.code?.includes('NO_APPLICATION_PROTOCOL')
  if (!speaksSomethingElse) return error
  return new Error(`expected ${origin} to speak HTTP/2, got something else (${error.message})`, { cause: error })
}
