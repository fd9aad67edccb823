import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import { describe, expect, test } from 'vitest'
import { AggregateBuilder } from './aggregate-builder.ts'
import { AGGREGATE_MAGIC } from './aggregate-format.ts'
import { deaggregate } from './deaggregate.ts'
import { hashKeyOf, MAX_HASH_KEY } from './hash-key.ts'
import type { KinesisRecordOut, UserRecordInput } from './user-record.ts'

const AggregatedRecord = protobuf
  .parse(
    `syntax = "proto2";
     message Tag { required string key = 1; optional string value = 2; }
     message Record { required uint64 pk = 1; optional uint64 ehk = 2; required bytes data = 3; repeated Tag tags = 4; }
     message AggregatedRecord { repeated string pks = 1; repeated string ehks = 2; repeated Record records = 3; }`,
  )
  .root.lookupType('AggregatedRecord')

interface Message {
  readonly pks: string[]
  readonly ehks: string[]
  readonly records: { pk: number; ehk?: number; data: Uint8Array }[]
}

const record = (partitionKey: string, data: string | Uint8Array = '', explicitHashKey?: string): UserRecordInput => ({
  partitionKey,
  explicitHashKey,
  data: typeof data === 'string' ? Buffer.from(data) : data,
})

// Any UTF-16 there is, lone surrogates too, and keys that come again.
const anyText = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 40 })
  .map((units) => String.fromCharCode(...units))
const anyKey = fc.oneof(
  anyText,
  fc.string({ unit: 'grapheme', maxLength: 100 }),
  fc.constantFrom('', 'a', 'b', '2', '10', '__proto__', 'constructor', 'é'.repeat(100)),
)
const anyHashKey = fc.oneof(fc.bigInt(0n, MAX_HASH_KEY), fc.constantFrom(0n, 7n, MAX_HASH_KEY)).map(String)
const anyRecord: fc.Arbitrary<UserRecordInput> = fc.record({
  partitionKey: anyKey,
  explicitHashKey: fc.option(anyHashKey, { nil: undefined }),
  data: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 120, maxLength: 300 })),
})
const anyRecords = fc.array(anyRecord, { minLength: 1, maxLength: 40 })

function fill(builder: AggregateBuilder, records: readonly UserRecordInput[]): AggregateBuilder {
  for (const { partitionKey, explicitHashKey, data } of records) builder.add(partitionKey, explicitHashKey, data)
  return builder
}

function build(records: readonly UserRecordInput[]): KinesisRecordOut {
  return fill(new AggregateBuilder(), records).build(7n)
}

function messageOf({ data }: KinesisRecordOut): Message {
  expect(data.subarray(0, 4)).toEqual(Buffer.from(AGGREGATE_MAGIC))
  const message = data.subarray(4, -16)
  expect(data.subarray(-16)).toEqual(createHash('md5').update(message).digest())
  return AggregatedRecord.toObject(AggregatedRecord.decode(message), { longs: Number, arrays: true }) as Message
}

/** What comes out of de-aggregation, in the form of what went in. */
function readBack({ data }: KinesisRecordOut): unknown {
  const result = deaggregate(data)
  if (result.kind !== 'aggregate') return result
  expect(result.records.map(({ subSequenceNumber }) => subSequenceNumber)).toEqual(
    result.records.map((_, index) => index),
  )
  return result.records.map(({ partitionKey, explicitHashKey, data }) => ({
    partitionKey,
    explicitHashKey,
    data: Uint8Array.from(data),
  }))
}

const wellFormed = (records: readonly UserRecordInput[]) =>
  records.map(({ partitionKey, explicitHashKey, data }) => ({
    partitionKey: partitionKey.toWellFormed(),
    explicitHashKey,
    data: Uint8Array.from(data),
  }))

describe('a lone user record', () => {
  test('goes out raw with its own key and its hash key, without the magic', () => {
    const hashKey = hashKeyOf('user-1')
    const out = fill(new AggregateBuilder(), [record('user-1', 'hello')]).build(hashKey)
    expect({ ...out, data: out.data.toString() }).toEqual({
      partitionKey: 'user-1',
      explicitHashKey: hashKey.toString(),
      data: 'hello',
    })
  })

  test('goes out raw with the explicit hash key it was given', () => {
    const out = fill(new AggregateBuilder(), [record('user-1', '', '12345')]).build(12345n)
    expect(out).toMatchObject({ partitionKey: 'user-1', explicitHashKey: '12345' })
    expect(out.data).toHaveLength(0)
  })
})

describe('the tables', () => {
  test('hold equal keys once', () => {
    const { pks, ehks, records } = messageOf(build([record('k', '1'), record('k', '2'), record('k', '3')]))
    expect({ pks, ehks, indexes: records.map(({ pk }) => pk) }).toEqual({ pks: ['k'], ehks: [], indexes: [0, 0, 0] })
  })

  test('hold keys in order of first use, whatever they look like', () => {
    const keys = ['10', '2', 'b', '__proto__', '2', 'constructor', '10']
    const { pks, records } = messageOf(build(keys.map((key) => record(key))))
    expect(pks).toEqual(['10', '2', 'b', '__proto__', 'constructor'])
    expect(records.map(({ pk }) => pk)).toEqual([0, 1, 2, 3, 1, 4, 0])
  })

  test('hold explicit hash keys of those records only that were given one, and only those have the second index', () => {
    const { ehks, records } = messageOf(
      build([record('a'), record('b', '', '9'), record('c'), record('b', '', '9'), record('a', '', '0')]),
    )
    expect(ehks).toEqual(['9', '0'])
    expect(records.map(({ ehk }) => ehk)).toEqual([undefined, 0, undefined, 0, 1])
  })
})

test('an aggregate carries the key a and the first hash key: 0 and 2^128 - 1 too', () => {
  for (const hashKey of [0n, MAX_HASH_KEY]) {
    const builder = fill(new AggregateBuilder(), [record('x', '1', `${hashKey}`), record('y', '2')])
    expect(builder.build(hashKey)).toMatchObject({ partitionKey: 'a', explicitHashKey: `${hashKey}` })
    expect(readBack(builder.build(hashKey))).toMatchObject([
      { explicitHashKey: `${hashKey}` },
      { explicitHashKey: undefined },
    ])
  }
})

test('what was only asked about leaves no trace', () => {
  const builder = new AggregateBuilder()
  builder.sizeWith('refused before', '1', 10)
  builder.add('kept', undefined, Buffer.from('1'))
  builder.sizeWith('refused', '2', 1000)
  builder.add('kept too', '3', Buffer.from('2'))
  builder.sizeWith('kept too', '4', 1000)
  expect(builder.count).toBe(2)
  expect(builder.build(7n)).toEqual(build([record('kept', '1'), record('kept too', '2', '3')]))
})

test('add answers the sub-sequence number', () => {
  const builder = new AggregateBuilder()
  expect(['a', 'b', 'a'].map((key) => builder.add(key, undefined, Buffer.alloc(3)))).toEqual([0, 1, 2])
})

test('sizes count UTF-8 bytes: multi-byte keys, lone surrogates as three', () => {
  const builder = fill(new AggregateBuilder(), [record('x'), record('x')])
  const base = builder.size
  const recordBytes = 2 + 2 + 2
  const entry = (bytes: number) => 2 + bytes
  expect(builder.sizeWith('e'.repeat(40), undefined, 0) - base).toBe(recordBytes + entry(40))
  expect(builder.sizeWith('é'.repeat(40), undefined, 0) - base).toBe(recordBytes + entry(80))
  expect(builder.sizeWith('日', undefined, 0) - base).toBe(recordBytes + entry(3))
  expect(builder.sizeWith('😀', undefined, 0) - base).toBe(recordBytes + entry(4))
  expect(builder.sizeWith('\ud800', undefined, 0) - base).toBe(recordBytes + entry(3))
})

test('the size is exact at every step, for any records, and build gives that many bytes', () => {
  fc.assert(
    fc.property(anyRecords, (records) => {
      const builder = new AggregateBuilder({ initialBytes: 1 })
      expect(builder.size).toBe(0)
      for (const { partitionKey, explicitHashKey, data } of records) {
        const size = builder.sizeWith(partitionKey, explicitHashKey, data.length)
        builder.add(partitionKey, explicitHashKey, data)
        expect(builder.size).toBe(size)
        expect(builder.build(0n).data).toHaveLength(size)
      }
    }),
  )
})

test('any records come back as they were put, lone surrogates as U+FFFD', () => {
  fc.assert(
    fc.property(
      fc.tuple(anyRecord, anyRecords).map(([first, rest]) => [first, ...rest]),
      (records) => {
        expect(readBack(build(records))).toEqual(wellFormed(records))
      },
    ),
  )
})

test('any records are read by protobufjs as they were put', () => {
  fc.assert(
    fc.property(
      fc.tuple(anyRecord, anyRecords).map(([first, rest]) => [first, ...rest]),
      (records) => {
        const { pks, ehks, records: read } = messageOf(build(records))
        const found = read.map(({ pk, ehk, data }) => ({
          partitionKey: pks[pk],
          explicitHashKey: ehk === undefined ? undefined : ehks[ehk],
          data: Uint8Array.from(data),
        }))
        expect(found).toEqual(wellFormed(records))
      },
    ),
  )
})

test('records with plain keys are read by aws-kinesis-agg as they were put', () => {
  const peer = createRequire(import.meta.url)('aws-kinesis-agg') as {
    deaggregateSync(record: object, checksums: boolean, done: (error?: Error | null, records?: unknown[]) => void): void
  }
  // It finds the first explicit hash key for records that have none, so that all or none have one here.
  const plainWith = (explicitHashKey: fc.Arbitrary<string | undefined>) =>
    fc.array(
      fc.record({
        partitionKey: fc.stringMatching(/^[a-z][a-z0-9é-]{0,20}$/),
        explicitHashKey,
        data: fc.uint8Array({ maxLength: 100 }),
      }),
      { minLength: 2, maxLength: 20 },
    )
  fc.assert(
    fc.property(fc.oneof(plainWith(anyHashKey), plainWith(fc.constant(undefined))), (records) => {
      const answers: [unknown, unknown][] = []
      const data = Buffer.from(build(records).data).toString('base64')
      peer.deaggregateSync({ data, sequenceNumber: '1' }, true, (error, found) => answers.push([error, found]))
      const expected = records.map(({ partitionKey, explicitHashKey, data }, subSequenceNumber) => ({
        partitionKey,
        explicitPartitionKey: explicitHashKey,
        sequenceNumber: '1',
        subSequenceNumber,
        data: Buffer.from(data).toString('base64'),
      }))
      expect(answers).toEqual([[undefined, expected]])
    }),
  )
})

test('building again after more were added gives the same as building once', () => {
  fc.assert(
    fc.property(fc.array(anyRecords, { minLength: 1, maxLength: 6 }), (rounds) => {
      const builder = new AggregateBuilder({ initialBytes: 64 })
      for (const round of rounds) fill(builder, round).build(7n)
      expect(builder.build(7n)).toEqual(build(rounds.flat()))
    }),
  )
})

test('a builder that was reset builds like a new one', () => {
  fc.assert(
    fc.property(fc.array(anyRecords, { minLength: 1, maxLength: 6 }), (rounds) => {
      const builder = new AggregateBuilder({ initialBytes: 64 })
      for (const round of rounds) {
        expect(fill(builder, round).build(7n)).toEqual(build(round))
        builder.reset()
        expect([builder.count, builder.size]).toEqual([0, 0])
      }
    }),
  )
})

test('a reset keeps a buffer of usual size, and lets go one of ten mebibytes', () => {
  const builder = fill(new AggregateBuilder(), [record('k', Buffer.alloc(100_000))])
  const usual = builder.build(7n).data.buffer
  builder.reset()
  fill(builder, [record('k', Buffer.alloc(10 * 1024 * 1024))])
  expect(builder.build(7n).data.buffer.byteLength).toBeGreaterThan(10 * 1024 * 1024)
  builder.reset()
  fill(builder, [record('k', '1')])
  const small = builder.build(7n).data.buffer
  expect(small.byteLength).toBeLessThan(usual.byteLength)
  builder.reset()
  fill(builder, [record('k', '2')])
  expect(builder.build(7n).data.buffer).toBe(small)
})

describe('at the limits of a Kinesis record', () => {
  test.each([1, 10])('%i MiB can be filled to the byte, and not beyond', (mebibytes) => {
    const limit = mebibytes * 1024 * 1024
    const builder = new AggregateBuilder()
    const chunk = Buffer.alloc(60_000, 'x')
    for (let index = 0; builder.sizeWith(`key-${index}`, undefined, chunk.length) <= limit; index++) {
      builder.add(`key-${index}`, undefined, chunk)
    }
    let room = limit - builder.size
    while (builder.sizeWith('last', '5', room) > limit) room--
    builder.add('last', '5', chunk.subarray(0, room))
    const { data } = builder.build(7n)
    expect(limit - data.length).toBeLessThanOrEqual(1)
    const result = deaggregate(data)
    expect(result.kind === 'aggregate' && result.records).toHaveLength(builder.count)
    expect(result.kind === 'aggregate' && result.records.at(-1)?.data.length).toBe(room)
  })

  test.each([1, 10])('a lone record of %i MiB stays raw and as long as its data', (mebibytes) => {
    const data = Buffer.alloc(mebibytes * 1024 * 1024, 'y')
    const builder = new AggregateBuilder()
    expect(builder.sizeWith('k', undefined, data.length)).toBe(data.length)
    builder.add('k', undefined, data)
    expect(data.equals(builder.build(7n).data)).toBe(true)
  })

  test('more keys than the room in front was meant for, twenty thousand, come back', () => {
    const records = Array.from({ length: 20_000 }, (_, index) => record(`a key of some length, number ${index}`))
    expect(readBack(build(records))).toEqual(wellFormed(records))
  })
})

describe('refuses', () => {
  test('to build of nothing, saying what to do', () => {
    const builder = fill(new AggregateBuilder(), [record('k')])
    builder.reset()
    expect(() => builder.build(0n)).toThrow(
      expect.objectContaining({ code: 'ERR_AGGREGATE', message: expect.stringMatching(/add/) }),
    )
  })

  test('data that is no Uint8Array, unchanged by it', () => {
    const builder = fill(new AggregateBuilder(), [record('k', '1')])
    expect(() => builder.add('other', '1', 'text' as unknown as Uint8Array)).toThrow(/Uint8Array.*string/)
    fill(builder, [record('k', '2')])
    expect(builder.build(7n)).toEqual(build([record('k', '1'), record('k', '2')]))
  })

  test.each([0, -1, 1.5, Number.NaN])('%s initial bytes', (initialBytes) => {
    expect(() => new AggregateBuilder({ initialBytes })).toThrow(expect.objectContaining({ code: 'ERR_AGGREGATE' }))
  })
})
