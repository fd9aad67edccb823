import { crc32 } from 'node:zlib'

/** One message of an event stream, as bytes. */
export interface EventFrame {
  /** Those that are texts, by name. */
  readonly headers: ReadonlyMap<string, string>
  readonly payload: Buffer
}

const PRELUDE_BYTES = 12
const CRC_BYTES = 4
/** The service's largest, a record of 10 MiB in base64, is less than half of it. */
const MAX_FRAME_BYTES = 32 * 2 ** 20
const STRING = 7
/** How long a header's value is, by its type; undefined where two bytes before it say so. Source: Smithy's event stream specification. */
const VALUE_BYTES = [0, 0, 1, 2, 4, 8, undefined, undefined, 8, 16]
const NOTHING = Buffer.alloc(0)

/**
 * Takes the chunks of an `application/vnd.amazon.eventstream` apart: a frame is its length, the headers' length, a checksum of
 * both, headers, payload, and a checksum of all. Between two frames nothing is kept but the beginning of the next.
 */
export class EventFrames {
  readonly #body: AsyncIterable<Uint8Array> & { readonly readableLength?: number }
  readonly #chunks: AsyncIterator<Uint8Array>
  #begun: Buffer = NOTHING
  #receivedBytes = 0

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#body = chunks
    this.#chunks = chunks[Symbol.asyncIterator]()
  }

  /** How much has come, also of a frame that isn't whole yet. */
  get receivedBytes(): number {
    return this.#receivedBytes
  }

  /** Nothing has come that hasn't been taken: what comes next was sent only lately. False where that isn't known. */
  get isDrained(): boolean {
    return this.#begun.length === 0 && this.#body.readableLength === 0
  }

  /** Undefined at the end. */
  async next(): Promise<EventFrame | undefined> {
    const prelude = await this.#take(PRELUDE_BYTES)
    if (prelude === undefined) return undefined
    const length = prelude.readUInt32BE(0)
    checkSum(prelude)
    if (length < PRELUDE_BYTES + CRC_BYTES || length > MAX_FRAME_BYTES) {
      throw new Error(`expected an event of at most ${MAX_FRAME_BYTES} bytes, got one of ${length}`)
    }
    const frame = await this.#take(length)
    if (frame === undefined) throw new Error('the stream of events ended within one')
    this.#begun = Buffer.from(this.#begun.subarray(length))
    checkSum(frame)
    const headersEnd = PRELUDE_BYTES + frame.readUInt32BE(4)
    return {
      headers: headersIn(frame.subarray(PRELUDE_BYTES, headersEnd)),
      payload: frame.subarray(headersEnd, -CRC_BYTES),
    }
  }

  /** Nothing more is wanted. */
  async end(): Promise<void> {
    await this.#chunks.return?.()
  }

  /** The next so many bytes, which stay; undefined if nothing comes any more. */
  async #take(length: number): Promise<Buffer | undefined> {
    if (this.#begun.length < length) {
      const chunks = [this.#begun]
      for (let bytes = this.#begun.length; bytes < length; ) {
        const { done, value } = await this.#chunks.next()
        if (done) {
          if (bytes > 0) throw new Error('the stream of events ended within one')
          return undefined
        }
        chunks.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength))
        bytes += value.byteLength
        this.#receivedBytes += value.byteLength
      }
      this.#begun = Buffer.concat(chunks)
    }
    return this.#begun.subarray(0, length)
  }
}

function checkSum(bytes: Buffer): void {
  const end = bytes.length - CRC_BYTES
  if (crc32(bytes.subarray(0, end)) !== bytes.readUInt32BE(end)) {
    throw new Error('an event is damaged: its checksum does not match')
  }
}

function headersIn(bytes: Buffer): Map<string, string> {
  const headers = new Map<string, string>()
  for (let at = 0; at < bytes.length; ) {
    const nameEnd = at + 1 + bytes.readUInt8(at)
    const name = bytes.toString('utf8', at + 1, nameEnd)
    const type = bytes.readUInt8(nameEnd)
    const fixed = VALUE_BYTES[type]
    const start = nameEnd + (fixed === undefined ? 3 : 1)
    at = start + (fixed ?? bytes.readUInt16BE(nameEnd + 1))
    if (type === STRING) headers.set(name, bytes.toString('utf8', start, at))
  }
  return headers
}
