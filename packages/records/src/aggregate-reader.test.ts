import { hash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AggregateBuilder } from './aggregate-builder.ts'
import { AGGREGATE_MAGIC } from './aggregate-format.ts'
import { type AggregateReader, openAggregate } from './aggregate-reader.ts'
import { hashKeyOf, MAX_HASH_KEY } from './hash-key.ts'
import type { HashRange } from './hash-range.ts'
import { isMisplaced } from './misplaced.ts'

interface Entry {
  readonly partitionKey: string
  readonly explicitHashKey?: string | undefined
  readonly data?: Uint8Array
}

/** Of two or more: one goes out raw. */
function aggregate(...entries: readonly Entry[]): Uint8Array {
  const builder = new AggregateBuilder()
  for (const { partitionKey, explicitHashKey, data = Buffer.alloc(1) } of entries) {
    builder.add(partitionKey, explicitHashKey, data)
  }
  return Uint8Array.from(builder.build(0n).data)
}

function readerOf(data: Uint8Array, range?: HashRange): AggregateReader {
  const opened = openAggregate(data, range)
  if (opened.kind !== 'aggregate') throw new Error(`expected an aggregate, got ${opened.kind}`)
  return opened.reader
}

test('user records come one at a time, and after the last there is none', () => {
  const reader = readerOf(
    aggregate({ partitionKey: 'a', data: Buffer.from('x') }, { partitionKey: 'b', explicitHashKey: '5' }),
  )
  expect(reader.next()).toBe(true)
  expect(reader).toMatchObject({ partitionKey: 'a', explicitHashKey: undefined, subSequenceNumber: 0 })
  expect(reader.data).toEqual(Uint8Array.of(0x78))
  expect(reader.next()).toBe(true)
  expect(reader).toMatchObject({ partitionKey: 'b', explicitHashKey: '5', subSequenceNumber: 1 })
  expect(reader.next()).toBe(false)
  expect(reader.next()).toBe(false)
})

test('what is given stays as it is when the reader goes on, and is a view', () => {
  const data = aggregate(...['x', 'y'].map((text) => ({ partitionKey: text, data: Buffer.from(text) })))
  const reader = readerOf(data)
  reader.next()
  const first = reader.data
  reader.next()
  expect(first).toEqual(Uint8Array.of(0x78))
  expect(first.buffer).toBe(data.buffer)
})

test('a reader of an aggregate without user records gives none', () => {
  const table = Uint8Array.of(0x0a, 1, 0x61)
  const empty = Buffer.concat([AGGREGATE_MAGIC, table, Buffer.from(hash('md5', table, 'hex'), 'hex')])
  const reader = readerOf(empty)
  expect(reader.next()).toBe(false)
  expect(reader.subSequenceNumber).toBe(-1)
})

describe('misplaced', () => {
  const key = fc.oneof(fc.constantFrom('a', 'b', 'c'), fc.string({ unit: 'binary', maxLength: 20 }))
  const explicitHashKey = fc.oneof(
    fc.bigInt({ min: 0n, max: MAX_HASH_KEY }).map(String),
    fc.constantFrom('', 'x', '-1'),
  )
  const entry = fc.record({ partitionKey: key, explicitHashKey: fc.option(explicitHashKey, { nil: undefined }) })
  // Ranges that begin or end with a key, or next to it, too: there all 128 bits count.
  const bound = fc.oneof(
    fc.bigInt({ min: 0n, max: MAX_HASH_KEY }),
    fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.constantFrom(-1n, 0n, 1n)).map(([each, by]) => hashKeyOf(each) + by),
  )
  const range = fc
    .tuple(bound, bound)
    .map(([one, other]) => (one < other ? { start: one, end: other } : { start: other, end: one }))

  test('is what isMisplaced says of each user record', () => {
    fc.assert(
      fc.property(fc.array(entry, { minLength: 2, maxLength: 10 }), range, (entries, hashRange) => {
        const reader = readerOf(aggregate(...entries), hashRange)
        for (const each of entries) {
          reader.next()
          expect(reader.misplaced).toBe(isMisplaced(each, hashRange))
        }
      }),
      { numRuns: 300 },
    )
  })

  test('is nothing where no range is given', () => {
    const reader = readerOf(aggregate({ partitionKey: 'a' }, { partitionKey: 'b', explicitHashKey: '0' }))
    while (reader.next()) expect(reader.misplaced).toBe(false)
  })
})
