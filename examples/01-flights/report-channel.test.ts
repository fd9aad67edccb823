import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Delivery, nanoseconds, ReportDecoder, ReportEncoder } from './report-channel.ts'

const UINT32 = 0xffff_ffff
const deliveries = fc.array(
  fc.record({
    delivery: fc.record({
      number: fc.nat(UINT32),
      key: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
      value: fc.double({ noNaN: true }),
      crc: fc.nat(UINT32),
      bytes: fc.nat(UINT32),
      shardId: fc.constantFrom('shardId-000000000000', 'shardId-000000000001', 'shardId-000000000002'),
      sequenceNumber: fc.constantFrom('49500000000000000000000000000000000000000000000000000001', '1', '2'),
      subSequenceNumber: fc.nat(UINT32),
    }),
    time: fc.tuple(fc.nat(UINT32), fc.nat(999_999_999)),
  }),
  { maxLength: 30 },
)

function encode(reports: readonly { delivery: Omit<Delivery, 'at'>; time: readonly [number, number] }[]): Buffer[] {
  const writes: Buffer[] = []
  const encoder = new ReportEncoder((frames) => writes.push(Buffer.from(frames)))
  for (const { delivery, time } of reports) encoder.delivered(delivery, time)
  return writes
}

test('every delivery is one write, and comes out as it went in however the stream is cut', () => {
  fc.assert(
    fc.property(deliveries, fc.integer({ min: 1, max: 100 }), (reports, chunkBytes) => {
      const writes = encode(reports)
      expect(writes.length).toBe(reports.length)
      const stream = Buffer.concat(writes)
      const decoded: Delivery[] = []
      const decoder = new ReportDecoder((delivery) => decoded.push(delivery))
      for (let start = 0; start < stream.length; start += chunkBytes) {
        decoder.push(stream.subarray(start, start + chunkBytes))
      }
      expect(decoded).toEqual(reports.map(({ delivery, time }) => ({ ...delivery, at: nanoseconds(time) })))
    }),
  )
})

test('a delivery that is cut off by the end of the stream is not taken', () => {
  const delivery = {
    number: 1,
    key: 'ATL',
    value: -3,
    crc: 9,
    bytes: 100,
    shardId: 'shardId-000000000000',
    sequenceNumber: '1',
    subSequenceNumber: 0,
  }
  const stream = Buffer.concat(
    encode([
      { delivery, time: [1, 0] },
      { delivery, time: [2, 0] },
    ]),
  )
  const decoded: Delivery[] = []
  new ReportDecoder((taken) => decoded.push(taken)).push(stream.subarray(0, -1))
  expect(decoded.length).toBe(1)
})

test('times of one clock keep their nanoseconds as one number', () => {
  const [seconds] = process.hrtime()
  expect(nanoseconds([seconds + 1, 1]) - nanoseconds([seconds, 999_999_999])).toBe(2)
})
