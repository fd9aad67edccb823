import { Writable } from 'node:stream'
import { setImmediate as settled } from 'node:timers/promises'
import { EventStreamCodec } from '@smithy/eventstream-codec'
import { expect, test } from 'vitest'
import { type EventSource, sendEvents } from './event-sending.ts'
import type { HttpResponse } from './http-response.ts'
import { jsonProtocol } from './json-protocol.ts'
import { ManualServerClock } from './server-clock.ts'
import { ServiceError } from './service-error.ts'
import type { SubscribeToShardEvent } from './subscription.ts'

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString(),
  (text) => Buffer.from(text),
)

/** A response whose client takes bytes when it is told to. */
class SlowResponse extends Writable implements HttpResponse {
  statusCode = 0
  readonly headers = new Map<string, unknown>()
  readonly headersSent = false
  readonly frames: { type: string; body: unknown }[] = []
  #taken: (() => void) | undefined

  constructor() {
    super({ highWaterMark: 1 })
  }

  setHeader(name: string, value: unknown): void {
    this.headers.set(name, value)
  }

  override _write(chunk: Buffer, _: BufferEncoding, taken: () => void): void {
    const { headers, body } = codec.decode(chunk)
    const type = headers[':event-type'] ?? headers[':exception-type']
    this.frames.push({ type: String(type?.value), body: JSON.parse(Buffer.from(body).toString()) })
    this.#taken = taken
  }

  async take(): Promise<void> {
    this.#taken?.()
    await settled()
  }

  async takeAll(): Promise<void> {
    for (let frames = -1; frames < this.frames.length; ) {
      frames = this.frames.length
      await this.take()
    }
  }
}

/** Events by hand. */
class ScriptedSource implements EventSource {
  events: SubscribeToShardEvent[] = []
  taken = 0
  ended = false
  error: ServiceError | undefined
  isLost = false
  isClosed = false
  dueMs = Number.POSITIVE_INFINITY
  notify = (): void => undefined

  next(): SubscribeToShardEvent | undefined {
    const event = this.events.shift()
    if (event !== undefined) this.taken++
    return event
  }

  onDue(listener: () => void): void {
    this.notify = listener
  }

  close(): void {
    this.isClosed = true
  }
}

function started(): { source: ScriptedSource; response: SlowResponse; clock: ManualServerClock; sent: Promise<void> } {
  const source = new ScriptedSource()
  const response = new SlowResponse()
  const clock = new ManualServerClock(0)
  return { source, response, clock, sent: sendEvents(source, jsonProtocol, response, clock) }
}

const event = (ContinuationSequenceNumber: string): SubscribeToShardEvent => ({
  Records: [],
  ContinuationSequenceNumber,
  MillisBehindLatest: 0,
})

test('an event is taken only when the one before has left', async () => {
  const { source, response } = started()
  source.events = [event('1'), event('2'), event('3')]
  await settled()
  expect(response.frames).toEqual([{ type: 'initial-response', body: {} }])
  expect(source.taken).toBe(0)
  await response.take()
  expect(source.taken).toBe(1)
  source.notify()
  await settled()
  expect(source.taken).toBe(1)
  await response.takeAll()
  expect(response.frames.slice(1)).toEqual(
    ['1', '2', '3'].map((number) => ({ type: 'SubscribeToShardEvent', body: event(number) })),
  )
  expect(response.headers.get('content-type')).toBe('application/vnd.amazon.eventstream')
})

test('it waits for the time that something is due, or to be told', async () => {
  const { source, response, clock } = started()
  source.dueMs = 5_000
  await response.takeAll()
  source.events = [event('by time')]
  await clock.advance(4_999)
  expect(source.taken).toBe(0)
  await clock.advance(1)
  expect(source.taken).toBe(1)
  source.dueMs = 10_000
  await response.takeAll()
  source.events = [event('told')]
  source.notify()
  await settled()
  expect(source.taken).toBe(2)
})

test('the end ends the answer, an error with an exception frame before', async () => {
  const { source, response, sent } = started()
  await response.takeAll()
  source.ended = true
  source.error = new ServiceError('ResourceInUseException', 'Another one took over.')
  source.notify()
  await settled()
  await response.takeAll()
  await sent
  expect(response.frames.at(-1)).toEqual({
    type: 'ResourceInUseException',
    body: { message: 'Another one took over.' },
  })
  expect(response.writableEnded).toBe(true)
})

test('a lost subscription breaks the connection instead', async () => {
  const { source, response, sent } = started()
  await response.takeAll()
  source.ended = true
  source.isLost = true
  source.notify()
  await sent
  expect([response.destroyed, response.writableEnded]).toEqual([true, false])
})

test('a client that goes away closes the subscription, also while it is slow', async () => {
  for (const isSlow of [true, false]) {
    const { source, response, sent } = started()
    if (!isSlow) await response.takeAll()
    response.destroy()
    await sent
    expect(source.isClosed).toBe(true)
  }
})

test('so does one that had gone before', async () => {
  const source = new ScriptedSource()
  const response = new SlowResponse()
  response.destroy()
  await settled()
  await sendEvents(source, jsonProtocol, response, new ManualServerClock(0))
  expect(source.isClosed).toBe(true)
})
