import { cbor, tag } from '@smithy/core/cbor'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Protocol, protocolFor } from './protocol.ts'

/** The other side of a protocol: what a client writes and reads. */
interface Client {
  write(value: object): Uint8Array
  read(body: Uint8Array): unknown
  bytes(data: Uint8Array): unknown
  time(date: Date): unknown
}

const clients: Readonly<Record<string, Client>> = {
  'application/x-amz-json-1.1': {
    write: (value) => Buffer.from(JSON.stringify(value)),
    read: (body) => JSON.parse(Buffer.from(body).toString()),
    bytes: (data) => Buffer.from(data).toString('base64'),
    time: (date) => date.getTime() / 1000,
  },
  'application/x-amz-cbor-1.1': {
    write: (value) => cbor.serialize(value),
    read: (body) => cbor.deserialize(Buffer.from(body)),
    bytes: (data) => Buffer.from(data),
    time: (date) => tag({ tag: 1, value: date.getTime() }),
  },
}

// Times as they occur: the service's epoch begins long after 1970, and milliseconds are its finest.
const times = fc.date({ min: new Date('2013-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
const records = fc.array(
  fc.record({ key: fc.string({ unit: 'grapheme' }), data: fc.uint8Array({ maxLength: 100 }), time: times }),
)

describe.each(Object.entries(clients))('%s', (type, client) => {
  const protocol = protocolFor(type) as Protocol

  test('a request comes out with its bytes and its dates', () => {
    fc.assert(
      fc.property(records, times, (entries, time) => {
        const decoded = protocol.decode(
          Buffer.from(
            client.write({
              StreamName: 'orders',
              Timestamp: client.time(time),
              StartingPosition: { Timestamp: client.time(time) },
              Records: entries.map(({ key, data }) => ({ PartitionKey: key, Data: client.bytes(data) })),
            }),
          ),
        )
        expect(decoded).toEqual({
          StreamName: 'orders',
          Timestamp: time,
          StartingPosition: { Timestamp: time },
          Records: entries.map(({ key, data }) => ({ PartitionKey: key, Data: Buffer.from(data) })),
        })
      }),
    )
  })

  test('an answer of records comes out with base64 or byte strings and times', () => {
    fc.assert(
      fc.property(records, (answered) => {
        const answer = {
          MillisBehindLatest: 0,
          NextShardIterator: undefined,
          Records: answered.map(({ key, data, time }) => ({
            PartitionKey: key,
            Data: data,
            ApproximateArrivalTimestamp: time,
          })),
        }
        expect(client.read(protocol.encode(answer))).toEqual({
          MillisBehindLatest: 0,
          Records: answered.map(({ key, data, time }) => ({
            PartitionKey: key,
            Data: client.bytes(data),
            ApproximateArrivalTimestamp: client.time(time),
          })),
        })
      }),
    )
  })

  test('any other answer comes out with its times, wherever they are', () => {
    const time = new Date(1_700_000_000_123)
    const answer = { Stream: { CreationTimestamp: time, Shards: [{ time }], Missing: undefined }, Name: 'é', Has: true }
    expect(client.read(protocol.encode(answer))).toEqual({
      Stream: { CreationTimestamp: client.time(time), Shards: [{ time: client.time(time) }] },
      Name: 'é',
      Has: true,
    })
  })

  test('all data of a request lies in one block of its own', () => {
    const data = Buffer.alloc(1_000, 'x')
    const body = client.write({ Records: [1, 2].map(() => ({ Data: client.bytes(data) })) })
    const { Records } = protocol.decode(Buffer.from(body)) as { Records: { Data: Uint8Array }[] }
    expect(Records.map(({ Data }) => [Data.buffer === Records[0]!.Data.buffer, Data.buffer.byteLength])).toEqual([
      [true, 2_000],
      [true, 2_000],
    ])
  })
})

test('a timestamp in seconds comes out to the millisecond', () => {
  // 2166459085.969 * 1000 is 2166459085968.9998.
  const decoded = protocolFor('application/x-amz-json-1.1')?.decode(Buffer.from('{"Timestamp":2166459085.969}'))
  expect(decoded).toEqual({ Timestamp: new Date(2_166_459_085_969) })
})

test('what is no timestamp is left for the model to refuse', () => {
  const decoded = protocolFor('application/x-amz-json-1.1')?.decode(Buffer.from('{"Timestamp":"now","ShardFilter":1}'))
  expect(decoded).toEqual({ Timestamp: 'now', ShardFilter: 1 })
})
