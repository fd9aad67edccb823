import { expect, test } from 'vitest'
import { hashKeyOf, MAX_HASH_KEY } from './hash-key.ts'
import { FULL_HASH_RANGE } from './hash-range.ts'
import { isMisplaced } from './misplaced.ts'

const key = hashKeyOf('user-1')

test('a record is misplaced when the hash key of its partition key lies outside the range', () => {
  expect(isMisplaced({ partitionKey: 'user-1' }, { start: key, end: key })).toBe(false)
  expect(isMisplaced({ partitionKey: 'user-1' }, { start: key + 1n, end: MAX_HASH_KEY })).toBe(true)
  expect(isMisplaced({ partitionKey: 'user-1' }, { start: 0n, end: key - 1n })).toBe(true)
})

test('an explicit hash key decides in the partition key’s place', () => {
  expect(isMisplaced({ partitionKey: 'user-1', explicitHashKey: '5' }, { start: 5n, end: 5n })).toBe(false)
  expect(isMisplaced({ partitionKey: 'user-1', explicitHashKey: '5' }, { start: key, end: key })).toBe(true)
  expect(isMisplaced({ partitionKey: 'user-1', explicitHashKey: undefined }, { start: key, end: key })).toBe(false)
})

test.each(['', 'x', '-1', `${MAX_HASH_KEY + 1n}`])(
  'a record with the explicit hash key %j is not misplaced anywhere',
  (explicitHashKey) => {
    expect(isMisplaced({ partitionKey: 'user-1', explicitHashKey }, { start: 0n, end: 0n })).toBe(false)
  },
)

test('nothing is misplaced in the full range', () => {
  expect(isMisplaced({ partitionKey: '' }, FULL_HASH_RANGE)).toBe(false)
  expect(isMisplaced({ partitionKey: 'x', explicitHashKey: '0' }, FULL_HASH_RANGE)).toBe(false)
  expect(isMisplaced({ partitionKey: 'x', explicitHashKey: `${MAX_HASH_KEY}` }, FULL_HASH_RANGE)).toBe(false)
})
