import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AggregateBuilder } from './aggregate-builder.ts'
import { AGGREGATE_MAGIC } from './aggregate-format.ts'
import { type Deaggregated, deaggregate } from './deaggregate.ts'

/** Puts a valid envelope around any bytes. */
function envelope(...message: (number | readonly number[] | Uint8Array)[]): Buffer {
  const body = Buffer.from(message.flatMap((part) => (typeof part === 'number' ? part : [...part])))
  return Buffer.concat([AGGREGATE_MAGIC, body, createHash('md5').update(body).digest()])
}

const bytes = (text: string) => [...Buffer.from(text)]
const field = (tag: number, content: readonly number[]) => [tag, content.length, ...content]
const PK_A = field(0x0a, bytes('a'))
const PK_B = field(0x0a, bytes('b'))
const EHK_5 = field(0x12, bytes('5'))
const userRecord = (...content: number[]) => field(0x1a, content)
const data = (text: string) => field(0x1a, bytes(text))

/** The user records as text: key, explicit hash key, data, sub-sequence number. */
function brief(result: Deaggregated): unknown {
  if (result.kind !== 'aggregate') return result.kind
  return result.records.map(
    ({ partitionKey, explicitHashKey, data, subSequenceNumber }) =>
      `${partitionKey}/${explicitHashKey ?? ''}=${Buffer.from(data)}@${subSequenceNumber}`,
  )
}

function reasonOf(result: Deaggregated): string {
  return result.kind === 'malformed' ? result.reason : `not malformed but ${result.kind}`
}

const five = new AggregateBuilder()
for (let index = 0; index < 5; index++)
  five.add(`key-${index}`, index % 2 === 0 ? undefined : `${index}`, Buffer.from(`data ${index}`))
const valid = Buffer.from(five.build(7n).data)

describe('data that is no aggregate is raw', () => {
  test.each([
    ['empty data', Buffer.alloc(0)],
    ['data without the magic', Buffer.from('plain data, longer than an envelope')],
    ['a part of the magic', valid.subarray(0, 3)],
    ['the magic alone', valid.subarray(0, 4)],
    ['the magic and fewer than 16 bytes', valid.subarray(0, 19)],
    ['an envelope with nothing in it', envelope()],
    ['an aggregate cut short', valid.subarray(0, -1)],
    ['an aggregate with a byte more', Buffer.concat([valid, Buffer.of(0)])],
    ['a wrong MD5', Buffer.concat([valid.subarray(0, -1), Buffer.of((valid.at(-1) ?? 0) ^ 1)])],
    ['a wrong magic', Buffer.concat([Buffer.of(0), valid.subarray(1)])],
  ])('%s', (_, raw) => {
    expect(deaggregate(raw)).toEqual({ kind: 'raw' })
  })
})

describe('user records', () => {
  test('of five come with the sub-sequence numbers 0 to 4', () => {
    expect(brief(deaggregate(valid))).toEqual([
      'key-0/=data 0@0',
      'key-1/1=data 1@1',
      'key-2/=data 2@2',
      'key-3/3=data 3@3',
      'key-4/=data 4@4',
    ])
  })

  test('are views into the data, not copies', () => {
    const given = Uint8Array.from(valid)
    const result = deaggregate(given)
    expect(result.kind === 'aggregate' && result.records[0]?.data.buffer).toBe(given.buffer)
  })

  test('are found where the data is a view into a larger buffer', () => {
    const large = new Uint8Array(valid.length + 20).fill(0xf3)
    large.set(valid, 13)
    expect(brief(deaggregate(large.subarray(13, 13 + valid.length)))).toEqual(brief(deaggregate(valid)))
  })

  test('may be none', () => {
    expect(deaggregate(envelope(PK_A))).toEqual({ kind: 'aggregate', records: [] })
  })

  test('may come before the tables they refer to', () => {
    expect(brief(deaggregate(envelope(userRecord(8, 1, 16, 0, ...data('x')), EHK_5, PK_A, PK_B)))).toEqual(['b/5=x@0'])
  })

  test('may refer to duplicate table entries', () => {
    const records = [userRecord(8, 0, ...data('x')), userRecord(8, 1, ...data('y'))]
    expect(brief(deaggregate(envelope(PK_A, PK_A, ...records)))).toEqual(['a/=x@0', 'a/=y@1'])
  })

  test('may have their fields in any order, the last of several counting, and numbers longer than needed', () => {
    const record = userRecord(...data('no'), 8, 0, ...data('yes'), 8, 0x81, 0x80, 0x00)
    expect(brief(deaggregate(envelope(PK_A, PK_B, record)))).toEqual(['b/=yes@0'])
  })

  test('may have empty keys and empty data', () => {
    expect(brief(deaggregate(envelope(field(0x0a, []), field(0x12, []), userRecord(8, 0, 16, 0, 0x1a, 0))))).toEqual([
      '/=@0',
    ])
  })

  test('whose key is not UTF-8 come with U+FFFD in it', () => {
    expect(brief(deaggregate(envelope(field(0x0a, [0x61, 0xff, 0xc3]), userRecord(8, 0, ...data('x')))))).toEqual([
      'a\ufffd\ufffd/=x@0',
    ])
  })

  test('come though there are unknown fields of every wire type, groups in groups included', () => {
    const unknown = [
      [0x40, 0x96, 0x01],
      [0x41, 1, 2, 3, 4, 5, 6, 7, 8],
      field(0x42, bytes('skip me')),
      [0x45, 1, 2, 3, 4],
      [0x43, 0x4b, 0x40, 7, 0x4c, 0x42, 1, 0x1a, 0x44],
    ].flat()
    const tags = field(0x22, field(0x0a, bytes('tag')))
    const message = envelope(
      unknown,
      PK_A,
      unknown,
      userRecord(...unknown, 8, 0, ...tags, ...data('x'), ...unknown),
      unknown,
    )
    expect(brief(deaggregate(message))).toEqual(['a/=x@0'])
  })
})

describe('a valid envelope with something wrong inside is malformed, and says what', () => {
  test.each([
    [
      'an index outside the key table',
      [PK_A, userRecord(8, 1, ...data('x'))],
      /user record 0 has index 1 into the partition key table, which has 1/,
    ],
    [
      'an index outside the explicit hash key table',
      [PK_A, userRecord(8, 0, 16, 0, ...data('x'))],
      /index 0 into the explicit hash key table, which has 0/,
    ],
    [
      'an index of 2^64 - 1',
      [PK_A, userRecord(8, ...Array(9).fill(0xff), 1, ...data('x'))],
      /into the partition key table/,
    ],
    ['no key index', [PK_A, userRecord(...data('x'))], /has no index into the partition key table/],
    ['no data', [PK_A, userRecord(8, 0)], /user record 0 has no data/],
    ['an empty record', [PK_A, userRecord()], /no data/],
    ['a table entry longer than the rest', [0x0a, 9, 0x61], /a field of 9 bytes where 1 are left/],
    [
      'data longer than its record',
      [PK_A, userRecord(8, 0, 0x1a, 2, 0x78), PK_B],
      /a field of 2 bytes where 1 are left/,
    ],
    ['a number that doesn’t end', [0x40, 0x80], /ends inside a number/],
    ['a number of 11 bytes', [0x40, Array(10).fill(0x80), 0], /more than 10 bytes/],
    ['the field number 0', [0x02, 0], /no field has the tag 2/],
    ['a tag above 32 bits', [0x80, 0x80, 0x80, 0x80, 0x10, 0], /no field has the tag/],
    ['the wire type 6', [0x46, 0], /no wire type is 6/],
    ['a group that doesn’t end', [0x43, 0x40, 0], /ends inside a number/],
    ['a group that didn’t start', [0x44], /a group of field 8 ends/],
    ['a group that ends as another', [0x43, 0x4c], /a group of field 9 ends/],
    ['a fixed number cut short', [0x45, 1, 2, 3], /a field of 4 bytes where 3 are left/],
    ['a records field that is a number', [PK_A, 0x18, 0], /field 3 has the wire type 0/],
    ['a table that is a group', [0x0b, 0x0c], /field 1 has the wire type 3/],
    ['packed indexes', [PK_A, userRecord(0x0a, 1, 0, ...data('x'))], /field 1 has the wire type 2/],
  ] as const)('%s', (_, message, reason) => {
    expect(reasonOf(deaggregate(envelope(...message)))).toMatch(reason)
  })

  test('even when records before it are sound: nothing of it is delivered', () => {
    const message = envelope(PK_A, userRecord(8, 0, ...data('sound')), userRecord(8, 9, ...data('lost?')))
    expect(reasonOf(deaggregate(message))).toMatch(/user record 1 has index 9/)
  })

  test('even when groups are nested a hundred thousand deep', () => {
    expect(deaggregate(envelope(new Uint8Array(100_000).fill(0x43))).kind).toBe('malformed')
  })
})

describe('whatever the bytes, it answers and never throws', () => {
  const kinds = (result: Deaggregated) => ['raw', 'aggregate', 'malformed'].includes(result.kind)

  test('any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (any) => deaggregate(any).kind === 'raw'))
  })

  test('any bytes in a valid envelope', () => {
    // Bytes that often mean something: the tags, and small lengths and indexes.
    const byte = fc.oneof(
      fc.constantFrom(0x08, 0x0a, 0x10, 0x12, 0x1a, 0x22),
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 0, max: 255 }),
    )
    fc.assert(
      fc.property(fc.array(byte, { minLength: 1, maxLength: 60 }), (body) => {
        const result = deaggregate(envelope(body))
        expect(result.kind).not.toBe('raw')
        expect(kinds(result)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  test('a valid aggregate with bytes changed, under its old MD5, is raw', () => {
    fc.assert(
      fc.property(fc.nat(valid.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const changed = Buffer.from(valid)
        changed[at] = (changed[at] ?? 0) ^ change
        return deaggregate(changed).kind === 'raw'
      }),
    )
  })

  test('a valid aggregate with bytes changed, under a new MD5, gives all it holds or is malformed', () => {
    const body = valid.subarray(4, -16)
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(body.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        (changes) => {
          const changed = Buffer.from(body)
          for (const [at, value] of changes) changed[at] = value
          const result = deaggregate(envelope(changed))
          if (result.kind === 'malformed') return result.reason.length > 0
          // A changed length may swallow a neighbour; what is read is whole and counted through.
          return (
            result.kind === 'aggregate' &&
            result.records.every((each, index) => each.subSequenceNumber === index && each.data.length >= 0)
          )
        },
      ),
      { numRuns: 2000 },
    )
  })
})
