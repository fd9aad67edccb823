import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  AT_TIMESTAMP,
  comparePositions,
  compareSequenceNumbers,
  isSentinel,
  LATEST,
  type Position,
  SHARD_END,
  TRIM_HORIZON,
} from './position.ts'

const at = (sequenceNumber: string, subSequenceNumber = 0): Position => ({ sequenceNumber, subSequenceNumber })

describe('compareSequenceNumbers', () => {
  test('orders as the numbers do', () => {
    const number = fc.oneof(fc.bigInt(0n, 2n ** 190n), fc.bigInt(0n, 20n))
    fc.assert(
      fc.property(number, number, (a, b) => {
        expect(Math.sign(compareSequenceNumbers(`${a}`, `${b}`))).toBe(a < b ? -1 : a > b ? 1 : 0)
      }),
    )
  })

  test('leading zeros change nothing', () => {
    expect(compareSequenceNumbers('007', '7')).toBe(0)
    expect(compareSequenceNumbers('000', '0')).toBe(0)
    expect(compareSequenceNumbers('009', '10')).toBeLessThan(0)
  })

  test.each(['', 'LATEST', 'shardId-000000000001', '-5', ' 5', '5 '])('refuses %j on either side', (text) => {
    expect(() => compareSequenceNumbers(text, '1')).toThrow(expect.objectContaining({ code: 'ERR_POSITION' }))
    expect(() => compareSequenceNumbers('1', text)).toThrow(expect.objectContaining({ code: 'ERR_POSITION' }))
  })

  test('says where sentinels are compared', () => {
    expect(() => compareSequenceNumbers('LATEST', '1')).toThrow(/comparePositions/)
  })
})

describe('comparePositions', () => {
  const ordered = [
    AT_TIMESTAMP,
    TRIM_HORIZON,
    LATEST,
    at('0'),
    at('9', 0),
    at('9', 1),
    at('9', 10),
    at('10', 0),
    at('49680421826868534196824210673789710110448145267251216386', 2),
    SHARD_END,
  ]

  test('orders sentinels, sequence numbers and sub-sequence numbers as the KCL does', () => {
    ordered.forEach((a, i) => {
      ordered.forEach((b, j) => {
        expect(Math.sign(comparePositions(a, b))).toBe(Math.sign(i - j))
      })
    })
  })

  test('refuses a text that is neither a number nor a sentinel, and names the sentinels', () => {
    expect(() => comparePositions(at('trim_horizon'), at('1'))).toThrow(/AT_TIMESTAMP, TRIM_HORIZON, LATEST, SHARD_END/)
    expect(() => comparePositions(at('1'), at(''))).toThrow(expect.objectContaining({ code: 'ERR_POSITION' }))
  })
})

test('isSentinel tells the four names from sequence numbers', () => {
  expect([AT_TIMESTAMP, TRIM_HORIZON, LATEST, SHARD_END].map(isSentinel)).toEqual([true, true, true, true])
  expect(isSentinel(at('496'))).toBe(false)
})
