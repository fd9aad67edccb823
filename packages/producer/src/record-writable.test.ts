import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { settle } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import { Scene, taken } from '../test/scripted-kinesis.ts'
import { type RecordSink, writableTo } from './record-writable.ts'
import type { UserRecord } from './user-record.ts'

const READY = Promise.resolve()

/** A producer that has room for so many records, and settles them when it is told to. */
class FakeProducer implements RecordSink<Uint8Array | string> {
  readonly taken: unknown[] = []
  readonly pending: PromiseWithResolvers<unknown>[] = []
  flushes = 0
  readonly #limit: number
  #room: PromiseWithResolvers<void> | undefined

  constructor(limit = Number.POSITIVE_INFINITY) {
    this.#limit = limit
  }

  put(record: UserRecord): Promise<unknown> {
    const settled = Promise.withResolvers()
    this.taken.push(record.data)
    this.pending.push(settled)
    return settled.promise
  }

  get ready(): Promise<void> {
    if (this.pending.length < this.#limit) return READY
    this.#room ??= Promise.withResolvers()
    return this.#room.promise
  }

  async flush(): Promise<void> {
    this.flushes++
  }

  /** Settles the oldest record. */
  async settle(error?: Error): Promise<void> {
    const oldest = this.pending.shift()
    if (error === undefined) oldest?.resolve({})
    else oldest?.reject(error)
    if (this.pending.length < this.#limit) {
      this.#room?.resolve()
      this.#room = undefined
    }
    await settle()
  }

  async settleAll(): Promise<void> {
    while (this.pending.length > 0) await this.settle()
  }
}

const record = (data: string): UserRecord => ({ partitionKey: 'k', data })
const records = (count: number): UserRecord[] => Array.from({ length: count }, (_, index) => record(`${index}`))

function stateOf(promise: Promise<unknown>): () => unknown {
  let state: unknown = 'pending'
  promise.then(
    () => {
      state = 'resolved'
    },
    (error) => {
      state = error
    },
  )
  return () => state
}

describe('back-pressure', () => {
  test('while the producer has room, write returns true and passes each record on at once', async () => {
    const producer = new FakeProducer()
    const stream = writableTo(producer, { goesOn: false })
    stream.write(record('first'))
    await settle()
    expect(records(1_000).every((each) => stream.write(each))).toBe(true)
    expect(producer.taken).toHaveLength(1_001)
  })

  test('when the producer is full, write returns false, and drain comes when there is room again', async () => {
    const producer = new FakeProducer(3)
    const stream = writableTo(producer, { goesOn: false })
    let drains = 0
    stream.on('drain', () => drains++)
    stream.write(record('a'))
    await settle()
    expect([stream.write(record('b')), stream.write(record('c')), stream.write(record('d'))]).toEqual([
      true,
      true,
      false,
    ])
    await settle()
    expect(producer.taken).toEqual(['a', 'b', 'c'])
    expect([stream.writableNeedDrain, drains]).toEqual([true, 0])
    await producer.settle()
    // d took the room.
    expect([producer.taken.length, drains]).toEqual([4, 0])
    await producer.settle()
    expect([stream.writableNeedDrain, drains]).toEqual([false, 1])
  })

  test('a producer that gives a new promise each time is waited for as well', async () => {
    const producer = new FakeProducer()
    const always: RecordSink<Uint8Array | string> = {
      put: (each) => producer.put(each),
      get ready() {
        return Promise.resolve()
      },
      flush: () => producer.flush(),
    }
    const stream = writableTo(always, { goesOn: false })
    for (const each of records(10)) if (!stream.write(each)) await once(stream, 'drain')
    expect(producer.taken).toHaveLength(10)
  })

  test('a pipeline reads no further ahead than the producer has room', async () => {
    const producer = new FakeProducer(5)
    let read = 0
    async function* source(): AsyncGenerator<UserRecord> {
      for (const each of records(20)) {
        read++
        yield each
      }
    }
    const done = stateOf(pipeline(source(), writableTo(producer, { goesOn: false })))
    await settle()
    expect(producer.pending).toHaveLength(5)
    expect(read).toBeLessThanOrEqual(7)
    while (producer.pending.length > 0) {
      expect(producer.pending.length).toBeLessThanOrEqual(5)
      expect(read).toBeLessThanOrEqual(producer.taken.length + 2)
      await producer.settle()
    }
    await settle()
    expect(done()).toBe('resolved')
    expect(producer.taken).toEqual(records(20).map(({ data }) => data))
  })
})

describe('the end', () => {
  test('the stream finishes when every record has its outcome, and asks for it to be sent at once', async () => {
    const producer = new FakeProducer()
    const stream = writableTo(producer, { goesOn: false })
    const done = stateOf(pipeline(Readable.from(records(3)), stream))
    await settle()
    expect([producer.flushes, producer.pending.length, done()]).toEqual([1, 3, 'pending'])
    await producer.settle()
    await producer.settle()
    expect(done()).toBe('pending')
    await producer.settle()
    expect(done()).toBe('resolved')
  })

  test('an empty stream finishes without a flush', async () => {
    const producer = new FakeProducer()
    await pipeline(Readable.from([]), writableTo(producer, { goesOn: false }))
    expect(producer.flushes).toBe(0)
  })

  test('records settled before the end need no flush either', async () => {
    const producer = new FakeProducer()
    const stream = writableTo(producer, { goesOn: false })
    stream.write(record('a'))
    await producer.settleAll()
    stream.end()
    await once(stream, 'finish')
    expect(producer.flushes).toBe(0)
  })

  test('a destroyed stream writes no more, and leaves what was put to the producer', async () => {
    const producer = new FakeProducer(1)
    const stream = writableTo(producer, { goesOn: false })
    stream.write(record('a'))
    stream.write(record('b'))
    stream.destroy()
    await once(stream, 'close')
    await producer.settle()
    expect(producer.taken).toEqual(['a'])
    expect(producer.flushes).toBe(0)
  })

  test('an aborted pipeline stops, and nothing of it is left unhandled', async () => {
    const producer = new FakeProducer(2)
    const abort = new AbortController()
    const done = stateOf(
      pipeline(Readable.from(records(9)), writableTo(producer, { goesOn: false }), { signal: abort.signal }),
    )
    await settle()
    abort.abort()
    await settle()
    expect(done()).toMatchObject({ name: 'AbortError' })
    await producer.settle(new Error('too late'))
    expect(producer.taken).toHaveLength(2)
  })
})

describe('a record that cannot be put', () => {
  const failure = new Error('refused')

  test('destroys the stream with its error', async () => {
    const producer = new FakeProducer()
    const stream = writableTo(producer, { goesOn: false })
    const errors: Error[] = []
    stream.on('error', (error) => errors.push(error))
    for (const each of records(3)) stream.write(each)
    await settle()
    await producer.settle(failure)
    expect([stream.destroyed, errors]).toEqual([true, [failure]])
    // What comes after is nobody's unhandled rejection, and not another error.
    await producer.settle(new Error('another'))
    await producer.settle()
    expect(errors).toEqual([failure])
  })

  test('fails a pipeline, also when all has been written already', async () => {
    const producer = new FakeProducer()
    const done = stateOf(pipeline(Readable.from(records(2)), writableTo(producer, { goesOn: false })))
    await settle()
    await producer.settle()
    await producer.settle(failure)
    expect(done()).toBe(failure)
  })

  test('is passed over where the producer has onError', async () => {
    const producer = new FakeProducer()
    const done = stateOf(pipeline(Readable.from(records(3)), writableTo(producer, { goesOn: true })))
    await settle()
    await producer.settle(failure)
    await producer.settle()
    expect(done()).toBe('pending')
    await producer.settle(failure)
    expect(done()).toBe('resolved')
  })
})

test('Writable.toWeb gives a web stream with the same back-pressure and end', async () => {
  const producer = new FakeProducer(2)
  const writer = Writable.toWeb(writableTo(producer, { goesOn: false })).getWriter()
  const written = records(4).map((each) => stateOf(writer.write(each)))
  await settle()
  expect(producer.taken).toHaveLength(2)
  expect(written.map((state) => state()).includes('pending')).toBe(true)
  const closed = stateOf(writer.close())
  await producer.settle()
  await producer.settle()
  await settle()
  expect([producer.taken.length, closed()]).toEqual([4, 'pending'])
  await producer.settleAll()
  await settle()
  expect(closed()).toBe('resolved')
})

describe("a producer's own", () => {
  const MIB = 2 ** 20
  const refusing = { ErrorCode: 'ValidationException', ErrorMessage: 'no' }

  test('takes a pipeline, sends what is left at its end, and stays open', async () => {
    const scene = new Scene({}, { recordMaxBufferedTime: 10_000 })
    const done = stateOf(pipeline(Readable.from(records(3)), scene.producer.writable()))
    await scene.pass(0)
    expect([scene.sent.length, done()]).toEqual([1, 'resolved'])
    const after = scene.put('after')
    await scene.pass(10_000)
    expect(after()).toMatchObject({ shardId: 'p' })
  })

  test('stands still while the producer is full', async () => {
    let answer: (() => void) | undefined
    const scene = new Scene(
      {
        put: async (sent) => {
          await new Promise<void>((resolve) => {
            answer = resolve
          })
          return taken(sent)
        },
      },
      { maxOutstandingBytes: MIB, recordMaxBufferedTime: 0 },
    )
    const stream = scene.producer.writable()
    const large = { partitionKey: 'k', data: new Uint8Array(MIB / 2) }
    stream.write(large)
    await scene.pass(0)
    stream.write(large)
    expect(stream.write(large)).toBe(false)
    await scene.pass(0)
    expect([scene.producer.outstanding.records, stream.writableNeedDrain]).toEqual([2, true])
    answer?.()
    await scene.pass(0)
    // The third took the room of the first.
    expect([scene.producer.outstanding.records, stream.writableNeedDrain]).toEqual([2, true])
    answer?.()
    await scene.pass(0)
    expect([scene.producer.outstanding.records, stream.writableNeedDrain]).toEqual([1, false])
  })

  test('fails with the error of a record that is refused, and leaves the others to the producer', async () => {
    const scene = new Scene({ put: (sent) => [refusing, ...taken(sent.slice(1))] }, { aggregation: false })
    const done = stateOf(pipeline(Readable.from(records(2)), scene.producer.writable()))
    await scene.pass(100)
    expect(done()).toMatchObject({ code: 'ERR_REFUSED', record: { partitionKey: 'k' } })
    expect(scene.producer.outstanding.records).toBe(0)
  })

  test('goes on where onError is told instead', async () => {
    const told: unknown[] = []
    const scene = new Scene(
      { put: (sent, call) => (call === 0 ? [refusing] : taken(sent)) },
      { aggregation: false, onError: ({ code }) => told.push(code) },
    )
    const done = stateOf(pipeline(Readable.from(records(2)), scene.producer.writable()))
    await scene.pass(100)
    expect([done(), told]).toEqual(['resolved', ['ERR_REFUSED']])
  })
})
