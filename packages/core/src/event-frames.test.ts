import { PassThrough } from 'node:stream'
import { EventStreamCodec } from '@smithy/eventstream-codec'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EventFrames } from './event-frames.ts'

const codec = new EventStreamCodec(
  (bytes) => Buffer.from(bytes as Uint8Array).toString(),
  (text) => Buffer.from(text),
)

const frame = (headers: Record<string, string>, body: Uint8Array | string): Uint8Array =>
  codec.encode({
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, { type: 'string', value }])),
    body: Buffer.from(body),
  })

async function* inChunks(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? bytes.length
    yield bytes.subarray(at, at + size)
    at += size
  }
}

const readAll = async (bytes: Uint8Array, sizes: readonly number[] = [bytes.length]): Promise<unknown[]> => {
  const frames = new EventFrames(inChunks(bytes, sizes))
  const found: unknown[] = []
  for (let next = await frames.next(); next !== undefined; next = await frames.next()) {
    found.push([Object.fromEntries(next.headers), next.payload.toString('hex')])
  }
  return found
}

test('it is known to be drained when nothing waits, neither here nor where the bytes come from', async () => {
  const body = new PassThrough()
  const frames = new EventFrames(body)
  const bytes = frame({}, 'a')
  body.write(Buffer.concat([bytes, bytes.subarray(0, 5)]))
  await frames.next()
  expect(frames.isDrained).toBe(false)
  body.write(bytes.subarray(5))
  await frames.next()
  expect(frames.isDrained).toBe(true)
  body.write(bytes)
  expect(frames.isDrained).toBe(false)
  body.end()
  expect(new EventFrames(inChunks(bytes, [1])).isDrained).toBe(false)
})

test('what another implementation has written is read, however it is cut', async () => {
  const name = fc.string({ minLength: 1, maxLength: 20 }).filter((text) => text !== '__proto__')
  const headers = fc.dictionary(name, fc.string({ maxLength: 200 }), { noNullPrototype: true })
  const message = fc.tuple(headers, fc.uint8Array({ maxLength: 300 }))
  const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(fc.array(message, { maxLength: 5 }), sizes, async (messages, cuts) => {
      const bytes = Buffer.concat(messages.map(([fields, body]) => frame(fields, body)))
      const expected = messages.map(([fields, body]) => [fields, Buffer.from(body).toString('hex')])
      expect(await readAll(bytes, cuts)).toEqual(expected)
    }),
  )
})

test('headers that are no texts are passed over', async () => {
  const bytes = codec.encode({
    headers: {
      yes: { type: 'boolean', value: true },
      byte: { type: 'byte', value: 1 },
      short: { type: 'short', value: 2 },
      integer: { type: 'integer', value: 3 },
      binary: { type: 'binary', value: Buffer.from('abc') },
      time: { type: 'timestamp', value: new Date(5) },
      uuid: { type: 'uuid', value: '01234567-89ab-cdef-0123-456789abcdef' },
      text: { type: 'string', value: 'found' },
    },
    body: Buffer.from('body'),
  })
  expect(await readAll(bytes)).toEqual([[{ text: 'found' }, Buffer.from('body').toString('hex')]])
})

describe('an error says what is wrong with', () => {
  const bytes = frame({ ':message-type': 'event' }, 'some data')

  test('an event that is damaged anywhere', async () => {
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes)
      damaged[at]! ^= 0x10
      await expect(readAll(damaged), `byte ${at}`).rejects.toThrow('checksum')
    }
  })

  test('a stream that ends within an event', async () => {
    for (const length of [1, 11, 12, bytes.length - 1]) {
      await expect(readAll(bytes.subarray(0, length))).rejects.toThrow('ended within')
    }
    await expect(readAll(Buffer.concat([bytes, bytes.subarray(0, 5)]))).rejects.toThrow('ended within')
  })
})
