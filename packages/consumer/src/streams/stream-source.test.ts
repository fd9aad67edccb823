import { expect, test } from 'vitest'
import { leaseKeyOf, streamIdentifier, streamName } from './stream-source.ts'

const ARN = 'arn:aws:kinesis:eu-central-1:123456789012:stream/flights'

test('a stream is identified as the KCL does: account, name, and the second it was created in', () => {
  expect(streamIdentifier(ARN, new Date(1_795_244_793_999))).toBe('123456789012:flights:1795244793')
})

test('a lease key names its stream only where there are several', () => {
  expect(leaseKeyOf(undefined, 'shardId-000000000000')).toBe('shardId-000000000000')
  expect(leaseKeyOf('1:flights:2', 'shardId-000000000000')).toBe('1:flights:2:shardId-000000000000')
})

test('a stream has the same name whether it was given by name or ARN', () => {
  expect(streamName(ARN)).toBe('flights')
  expect(streamName('flights')).toBe('flights')
})
