import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { deaggregate, MAX_HASH_KEY } from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  internal,
  never,
  ONE_SHARD,
  Scene,
  type Script,
  serviceError,
  settled,
  taken,
} from '../test/scripted-kinesis.ts'
import type { ProducerError } from './errors.ts'
import { Producer } from './producer.ts'

describe('put', () => {
  test('nothing is called before the first put', async () => {
    const scene = new Scene()
    await scene.pass(1_000)
    expect([scene.listings, scene.sent.length]).toEqual([0, 0])
  })

  test('a lone user record goes out raw with its own key, and its receipt says where it is', async () => {
    const scene = new Scene()
    const outcome = scene.put('hello', 'ATL', '007')
    await scene.pass(100)
    expect(scene.texts).toEqual([['hello']])
    expect(scene.sent[0]?.[0]).toMatchObject({ PartitionKey: 'ATL', ExplicitHashKey: '7' })
    expect(outcome()).toEqual({
      shardId: 'p',
      sequenceNumber: '100',
      subSequenceNumber: 0,
      attempts: [{ sentMs: expect.any(Number), durationMs: 0, code: undefined, message: undefined }],
      earlierCopy: undefined,
    })
  })

  test('records put within the buffered time share an aggregate, and each is told its index', async () => {
    const scene = new Scene()
    const outcomes = ['a', 'b', 'c'].map((text) => scene.put(text, text))
    await scene.pass(99)
    expect(scene.sent).toEqual([])
    await scene.pass(1)
    expect(scene.sent.map((records) => records.length)).toEqual([1])
    const inside = deaggregate(scene.sent[0]?.[0]?.Data ?? new Uint8Array())
    expect(inside.kind === 'aggregate' && inside.records.map(({ partitionKey }) => partitionKey)).toEqual([
      'a',
      'b',
      'c',
    ])
    expect(outcomes.map((outcome) => outcome()?.subSequenceNumber)).toEqual([0, 1, 2])
  })

  test("a user's own data that is an aggregate is sent as it is, also when sent again", async () => {
    const scene = new Scene({ put: (records, call) => (call === 0 ? [internal] : taken(records)) })
    scene.put('a', 'a')
    scene.put('b', 'b')
    await scene.pass(100)
    const aggregate = scene.sent[0]?.[0]?.Data ?? new Uint8Array()
    await scene.pass(100)
    const outcome = scene.put(aggregate)
    await scene.pass(200)
    expect(scene.sent.slice(1).map((records) => records[0]?.Data)).toEqual([aggregate, aggregate])
    expect(outcome()?.subSequenceNumber).toBe(0)
  })

  test('puts that are an await apart share a request', async () => {
    const scene = new Scene({}, { aggregation: false })
    scene.put('first')
    await scene.pass(10)
    for (let index = 0; index < 50; index++) {
      await scene.producer.ready
      scene.put('x', `k${index}`)
    }
    await scene.pass(10)
    expect(scene.sent.map((records) => records.length)).toEqual([1, 50])
  })

  test.each([
    ['an empty partition key', { partitionKey: '', data: 'x' }, 'ERR_PARTITION_KEY'],
    [
      'a partition key of 257 code units, though of fewer characters',
      { partitionKey: `k${'😀'.repeat(128)}`, data: 'x' },
      'ERR_PARTITION_KEY',
    ],
    ['a partition key of 257 characters', { partitionKey: 'k'.repeat(257), data: 'x' }, 'ERR_PARTITION_KEY'],
    ['a partition key with a lone surrogate', { partitionKey: '\ud800', data: 'x' }, 'ERR_PARTITION_KEY'],
    [
      'an explicit hash key above 2^128 - 1',
      { partitionKey: 'k', explicitHashKey: `${MAX_HASH_KEY + 1n}`, data: 'x' },
      'ERR_EXPLICIT_HASH_KEY',
    ],
    ['data that is neither bytes nor text', { partitionKey: 'k', data: 5 as unknown as string }, 'ERR_DATA'],
    [
      'a record above 1 MiB with its key',
      { partitionKey: 'é', data: new Uint8Array(2 ** 20 - 1) },
      'ERR_RECORD_TOO_LARGE',
    ],
  ])('%s is refused at the door with the record', async (_, record, code) => {
    const scene = new Scene()
    const outcome = settled(scene.producer.put(record))
    await scene.pass(0)
    expect(outcome()).toMatchObject({ code, outcome: 'refused', attempts: [], record })
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('a partition key of 256 code units outside the first plane is accepted', async () => {
    const scene = new Scene()
    const outcome = scene.put('x', '😀'.repeat(128))
    await scene.pass(100)
    expect(outcome()?.shardId).toBe('p')
  })

  test('a client that is no SDK client does no harm', async () => {
    const producer = new Producer({
      stream: 'flights',
      client: { send: never, config: { maxAttempts: () => Promise.reject(new Error('no config')) } } as never,
      logger: silentLogger,
    })
    settled(producer.put({ partitionKey: 'k', data: 'x' }))
    await settle()
    await producer.close({ signal: AbortSignal.abort() }).catch(() => {})
  })

  test('a client that retries by itself is warned of', async () => {
    const warnings: object[] = []
    const scene = new Scene({}, { logger: { ...silentLogger, warn: (fields) => warnings.push(fields) } })
    const options = { stream: 'flights', logger: { ...silentLogger, warn: (fields: object) => warnings.push(fields) } }
    const producer = new Producer({
      ...options,
      client: { send: never, config: { maxAttempts: async () => 3 } } as never,
    })
    settled(producer.put({ partitionKey: 'k', data: 'x' }))
    await scene.pass(0)
    expect(warnings).toEqual([{ maxAttempts: 3 }])
    await producer.close({ signal: AbortSignal.abort() }).catch(() => {})
  })
})

describe('back-pressure', () => {
  const MIB = 2 ** 20
  const options = { maxOutstandingBytes: MIB, recordMaxBufferedTime: 0 }
  const data = new Uint8Array(600_000)

  test('beyond the bound puts wait in line, in order, and beyond twice the bound they are refused', async () => {
    let answers: (() => void)[] = []
    const scene = new Scene(
      { put: (records) => new Promise((resolve) => answers.push(() => resolve(taken(records)))) },
      options,
    )
    const outcomes = Array.from({ length: 4 }, () => scene.put(data))
    await scene.pass(10)
    expect(outcomes[3]?.()).toMatchObject({
      code: 'ERR_BUFFER_FULL',
      retryable: true,
      record: { partitionKey: 'k', data },
    })
    expect(Object.keys(outcomes[3]?.()?.record ?? {}).toSorted()).toEqual(['data', 'explicitHashKey', 'partitionKey'])
    for (let round = 0; round < 3; round++) {
      const waiting = answers
      answers = []
      for (const answer of waiting) answer()
      await scene.pass(1_500)
    }
    expect(outcomes.slice(0, 3).map((outcome) => outcome()?.shardId)).toEqual(['p', 'p', 'p'])
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('ready resolves at once while there is room, otherwise when there is again', async () => {
    let answer = (): void => {}
    const scene = new Scene(
      {
        put: (records) =>
          new Promise((resolve) => {
            answer = () => resolve(taken(records))
          }),
      },
      options,
    )
    const before = settled(scene.producer.ready)
    scene.put(data)
    scene.put(data)
    const after = settled(scene.producer.ready)
    await scene.pass(10)
    expect([before(), after()]).toEqual([{}, undefined])
    answer()
    await scene.pass(10)
    expect(after()).toEqual({})
  })

  test('ready waits for a turn of the event loop now and then, so that a loop that only puts gets something sent', async () => {
    const scene = new Scene()
    scene.put('first')
    await scene.pass(100)
    const half = new Uint8Array(800 * 1024)
    for (let puts = 0; puts < 6; puts++) {
      await scene.producer.ready
      scene.put(half)
    }
    expect(scene.sent.length).toBeGreaterThan(1)
  })

  test('what waits in line expires there, even while a request gets no answer', async () => {
    const scene = new Scene({ put: never }, { ...options, recordTtl: 1_000 })
    scene.put(data)
    scene.put(data)
    const inLine = scene.put(data)
    await scene.pass(2_000)
    expect(inLine()).toMatchObject({ code: 'ERR_EXPIRED', outcome: 'refused' })
    await scene.producer.close({ signal: AbortSignal.abort() })
  })
})

describe('flush', () => {
  test('sends at once what waits for company, and resolves when it has its outcome', async () => {
    let answer = (): void => {}
    const scene = new Scene({
      put: (records) =>
        new Promise((resolve) => {
          answer = () => resolve(taken(records))
        }),
    })
    scene.put('x')
    const flushed = settled(scene.producer.flush())
    await scene.pass(0)
    expect([scene.sent.length, flushed()]).toEqual([1, undefined])
    answer()
    await scene.pass(0)
    expect(flushed()).toEqual({})
  })

  test('waits neither for what is put after it nor for less than what was put before it', async () => {
    const answers: (() => void)[] = []
    const scene = new Scene(
      { put: (records) => new Promise((resolve) => answers.push(() => resolve(taken(records)))) },
      { aggregation: false },
    )
    scene.put('before', 'a')
    const first = settled(scene.producer.flush())
    await scene.pass(0)
    scene.put('after', 'b')
    const second = settled(scene.producer.flush())
    await scene.pass(0)
    answers[1]?.()
    await scene.pass(0)
    expect([first(), second()]).toEqual([undefined, undefined])
    answers[0]?.()
    await scene.pass(0)
    expect([first(), second()]).toEqual([{}, {}])
  })

  test('resolves at once when nothing is outstanding, also when what was put was rejected', async () => {
    const scene = new Scene({
      put: () => {
        throw serviceError('AccessDeniedException', 400)
      },
    })
    await scene.producer.flush()
    scene.put('x')
    await scene.pass(200)
    const flushed = settled(scene.producer.flush())
    await scene.pass(0)
    expect(flushed()).toEqual({})
  })
})

describe('close', () => {
  test('drains, then refuses puts and leaves no timer', async () => {
    const scene = new Scene()
    const outcome = scene.put('x')
    const closed = settled(scene.producer.close())
    await scene.pass(0)
    expect([outcome()?.shardId, closed()]).toEqual(['p', {}])
    const late = scene.put('y')
    await scene.pass(0)
    expect(late()).toMatchObject({ code: 'ERR_CLOSED', outcome: 'refused', record: { data: 'y' } })
    expect(scene.clock.sleeping).toBe(0)
    await scene.producer.close()
    await scene.producer[Symbol.asyncDispose]()
  })

  test('cut short rejects everything at once, the line too, though the client never answers', async () => {
    const scene = new Scene({ put: never }, { maxOutstandingBytes: 2 ** 20, recordMaxBufferedTime: 0 })
    const data = new Uint8Array(600_000)
    const outcomes = [scene.put(data, 'a'), scene.put(data, 'b'), scene.put(data, 'c')]
    await scene.pass(10)
    const closed = settled(scene.producer.close({ signal: AbortSignal.abort() }))
    await scene.pass(0)
    expect(outcomes.map((outcome) => [outcome()?.code, outcome()?.outcome])).toEqual([
      ['ERR_CLOSED', 'unknown'],
      ['ERR_CLOSED', 'refused'],
      ['ERR_CLOSED', 'refused'],
    ])
    expect(closed()?.code).toBe('ERR_UNDELIVERED')
    expect(closed()?.undelivered?.map(({ record, outcome }) => [record?.partitionKey, outcome])).toEqual([
      ['c', 'refused'],
      ['b', 'refused'],
      ['a', 'unknown'],
    ])
    expect(scene.producer.outstanding).toEqual({ records: 0, bytes: 0, oldestMs: 0 })
  })

  test('a second call may cut the first short', async () => {
    const scene = new Scene({ put: never })
    const outcome = scene.put('x')
    const closed = settled(scene.producer.close())
    await scene.pass(200)
    expect(closed()).toBeUndefined()
    settled(scene.producer.close({ signal: AbortSignal.abort() }))
    await scene.pass(0)
    expect([outcome()?.code, closed()?.code]).toEqual(['ERR_CLOSED', 'ERR_UNDELIVERED'])
  })

  test('while the first shard map is awaited rejects what waits for it', async () => {
    const scene = new Scene({
      list: () => {
        throw serviceError('ServiceUnavailable', 503)
      },
    })
    const outcome = scene.put('x')
    await scene.pass(10)
    await expect(scene.producer.close({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ERR_UNDELIVERED',
    })
    expect(outcome()).toMatchObject({ code: 'ERR_CLOSED', outcome: 'refused', attempts: [] })
    expect(scene.clock.sleeping).toBe(0)
  })
})

test('nothing keeps time, so nothing keeps the process alive, when nothing is outstanding', async () => {
  const scene = new Scene()
  const outcome = scene.put('x')
  await scene.pass(150)
  expect([outcome()?.shardId, scene.clock.sleeping]).toEqual(['p', 0])
})

test('a listener that throws breaks nothing', async () => {
  const scene = new Scene(
    {},
    {
      onEvent: () => {
        throw new Error('broken listener')
      },
    },
  )
  const outcome = scene.put('x')
  await scene.pass(100)
  expect(outcome()?.shardId).toBe('p')
})

describe('several streams', () => {
  test('each put may name its own, by name or ARN, and the rest go to the default', async () => {
    const arn = 'arn:aws:kinesis:eu-west-1:123456789012:stream/boats'
    const scene = new Scene()
    const outcomes = [
      scene.producer.put({ partitionKey: 'k', data: '1' }),
      scene.producer.put({ stream: 'trains', partitionKey: 'k', data: '2' }),
      scene.producer.put({ stream: arn, partitionKey: 'k', data: '3' }),
    ].map(settled)
    await scene.pass(200)
    expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p', 'p'])
    expect(scene.sentTo).toEqual(['flights', 'trains', arn])
  })

  test('one that refuses holds up no other, and its records come back with its name', async () => {
    const scene = new Scene({
      put: (records) => {
        if (scene.sentTo.at(-1) === 'trains') throw serviceError('ResourceNotFoundException', 400)
        return taken(records)
      },
    })
    const trains = settled(scene.producer.put({ stream: 'trains', partitionKey: 'k', data: 'x' }))
    const flights = scene.put('y')
    await scene.pass(200)
    expect(flights()?.shardId).toBe('p')
    expect(trains()).toMatchObject({ code: 'ERR_REFUSED', record: { stream: 'trains', partitionKey: 'k' } })
  })

  test('flush and close wait for all of them', async () => {
    const answers: (() => void)[] = []
    const scene = new Scene({ put: (records) => new Promise((resolve) => answers.push(() => resolve(taken(records)))) })
    scene.put('x')
    settled(scene.producer.put({ stream: 'trains', partitionKey: 'k', data: 'x' }))
    const flushed = settled(scene.producer.flush())
    await scene.pass(0)
    answers[0]?.()
    await scene.pass(0)
    expect([answers.length, flushed()]).toEqual([2, undefined])
    answers[1]?.()
    await scene.pass(0)
    expect(flushed()).toEqual({})
    const closed = settled(scene.producer.close())
    await scene.pass(0)
    expect([closed(), scene.clock.sleeping]).toEqual([{}, 0])
  })

  test('a put that names none, of a producer without a default, is refused', async () => {
    const producer = new Producer({ client: { send: never } as never, logger: silentLogger })
    const outcome = settled(producer.put({ partitionKey: 'k', data: 'x' }))
    await settle()
    expect(outcome()).toMatchObject({ code: 'ERR_STREAM', record: { partitionKey: 'k' } })
    await producer.close()
  })
})

describe('onError', () => {
  const refusing: Script = {
    put: () => {
      throw serviceError('AccessDeniedException', 400)
    },
  }

  test('is told of every record that failed, so that nobody has to await its put', async () => {
    const errors: ProducerError[] = []
    const unhandled: unknown[] = []
    const onUnhandled = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', onUnhandled)
    try {
      const scene = new Scene(refusing, { onError: (error) => errors.push(error) })
      void scene.producer.put({ partitionKey: 'k', data: 'x' })
      void scene.producer.put({ partitionKey: '', data: 'y' })
      await scene.pass(200)
      // Node tells of unhandled rejections when the microtasks are done.
      await new Promise((resolve) => setImmediate(resolve))
    } finally {
      process.off('unhandledRejection', onUnhandled)
    }
    expect(errors.map(({ code }) => code)).toEqual(['ERR_PARTITION_KEY', 'ERR_REFUSED'])
    expect(unhandled).toEqual([])
  })

  test('leaves an awaited put its rejection, and what it throws does no harm', async () => {
    const scene = new Scene(refusing, {
      onError: () => {
        throw new Error('broken listener')
      },
    })
    const outcomes = [scene.put('a'), scene.put('b')]
    await scene.pass(200)
    expect(outcomes.map((outcome) => outcome()?.code)).toEqual(['ERR_REFUSED', 'ERR_REFUSED'])
    expect(scene.producer.outstanding.records).toBe(0)
  })
})

describe('a codec', () => {
  const flight = z.object({ origin: z.string(), delay: z.number() })

  test('makes bytes of typed values, and a record that failed comes back as it was given', async () => {
    const clock = new ManualClock()
    const sent: string[] = []
    const send = async (command: { input: { Records?: { Data: Uint8Array }[] } }): Promise<object> => {
      if (command.input.Records === undefined) return { Shards: ONE_SHARD }
      sent.push(...command.input.Records.map(({ Data }) => Buffer.from(Data).toString()))
      throw serviceError('AccessDeniedException', 400)
    }
    const producer = new Producer({
      stream: 'flights',
      client: { send } as never,
      codec: flight,
      clock,
      logger: silentLogger,
    })
    const data = { origin: 'ATL', delay: 3 }
    const outcome = settled(producer.put({ partitionKey: 'ATL', data }))
    for (let round = 0; round < 4; round++) {
      await clock.advance(100)
      await settle()
    }
    expect(sent).toEqual(['{"origin":"ATL","delay":3}'])
    expect(outcome()?.record?.data).toBe(data)
    await producer.close()
  })

  test('refuses at the door what does not fit, with what is wrong', async () => {
    const producer = new Producer({
      stream: 'flights',
      client: { send: never } as never,
      codec: flight,
      logger: silentLogger,
    })
    const data = { origin: 'ATL', delay: 'late' } as unknown as { origin: string; delay: number }
    const outcome = settled(producer.put({ partitionKey: 'ATL', data }))
    await settle()
    expect(outcome()).toMatchObject({ code: 'ERR_DATA', record: { data }, cause: { code: 'ERR_CODEC' } })
    expect(outcome()?.message).toContain('delay')
    await producer.close()
  })
})

test('outstanding tells the age of the oldest, wherever it waits', async () => {
  const scene = new Scene({ put: never }, { maxOutstandingBytes: 2 ** 20, requestTimeout: 20_000 })
  expect(scene.producer.outstanding.oldestMs).toBe(0)
  scene.put('x')
  await scene.pass(50)
  expect(scene.producer.outstanding).toMatchObject({ records: 1, oldestMs: 50 })
  await scene.pass(5_000)
  scene.put(new Uint8Array(2 ** 20 - 1))
  scene.put('in line')
  expect(scene.producer.outstanding).toMatchObject({ records: 3, oldestMs: 5_050 })
})

test('a flush that is given up says so, and the records go on', async () => {
  let answer = (): void => {}
  const scene = new Scene({
    put: (records) =>
      new Promise((resolve) => {
        answer = () => resolve(taken(records))
      }),
  })
  const outcome = scene.put('x')
  const abort = new AbortController()
  const flushed = settled(scene.producer.flush({ signal: abort.signal }))
  await scene.pass(0)
  abort.abort(new Error('enough'))
  await scene.pass(0)
  expect([flushed()?.message, outcome()]).toEqual(['enough', undefined])
  answer()
  await scene.pass(0)
  expect(outcome()?.shardId).toBe('p')
  expect(settled(scene.producer.flush({ signal: AbortSignal.abort('late') }))()).toBeUndefined()
})

test('records written to the stream are put, and it finishes when they are acknowledged', async () => {
  const scene = new Scene()
  const done = settled(
    pipeline(Readable.from(['a', 'b'].map((data) => ({ partitionKey: data, data }))), scene.producer.writable()),
  )
  for (let turn = 0; turn < 10; turn++) {
    await new Promise((resolve) => setImmediate(resolve))
    await scene.pass(10)
  }
  expect(done()).toEqual({})
  expect(scene.sent.flat()).toHaveLength(1)
})

test('flushes that nobody awaits cost nothing but themselves, and the last waits for all', async () => {
  let answer = (): void => {}
  const scene = new Scene({
    put: (records, call) =>
      call > 0
        ? taken(records)
        : new Promise((resolve) => {
            answer = () => resolve(taken(records))
          }),
  })
  scene.put('first')
  await scene.pass(100)
  for (let flushes = 0; flushes < 3_000; flushes++) settled(scene.producer.flush())
  const last = settled(scene.producer.flush())
  await scene.pass(10)
  expect(last()).toBeUndefined()
  answer()
  await scene.pass(10)
  expect(last()).toBeDefined()
})

test('a record that is larger than all the room there is waits in line by itself', async () => {
  const scene = new Scene(
    { describe: () => ({ MaxRecordSizeInKiB: 4_096 }) },
    { maxOutstandingBytes: 2 ** 20, rateLimit: Number.POSITIVE_INFINITY },
  )
  const outcomes = [scene.put(new Uint8Array(2 ** 20 - 1)), scene.put(new Uint8Array(3 * 2 ** 20))]
  await scene.pass(500)
  expect(outcomes.map((outcome) => outcome()?.shardId)).toEqual(['p', 'p'])
})
