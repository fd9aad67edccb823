import { hash } from 'node:crypto'
import {
  AGGREGATE_MAGIC,
  AggregateBuilder,
  FULL_HASH_RANGE,
  type HashRange,
  hashKeyOf,
  isMisplaced,
  type Position,
  TRIM_HORIZON,
} from '@shardwise/records'
import { describe, expect, test } from 'vitest'
import { collectGarbage } from '../../test/garbage.ts'
import type { Placement } from '../streams/described-stream.ts'
import { type KinesisRecord, RecordBuffer } from './record-buffer.ts'

interface Entry {
  readonly key: string
  readonly explicitHashKey?: string
  readonly data?: string
}

function aggregate(sequenceNumber: string, ...entries: Entry[]): KinesisRecord {
  const builder = new AggregateBuilder()
  for (const { key, explicitHashKey, data = '' } of entries) builder.add(key, explicitHashKey, Buffer.from(data))
  const built = builder.build(0n)
  return { sequenceNumber, partitionKey: built.partitionKey, data: Buffer.from(built.data), arrivedAt: new Date(5) }
}

function envelope(sequenceNumber: string, protobuf: Uint8Array): KinesisRecord {
  const data = Buffer.concat([AGGREGATE_MAGIC, protobuf, Buffer.from(hash('md5', protobuf, 'hex'), 'hex')])
  return { sequenceNumber, partitionKey: 'a', data, arrivedAt: undefined }
}

/** An aggregate with a partition key in its table and no record. */
const EMPTY: KinesisRecord = envelope('7', Buffer.from([0x0a, 0x01, 0x61]))

const raw = (sequenceNumber: string, partitionKey: string, text: string): KinesisRecord => ({
  sequenceNumber,
  partitionKey,
  data: Buffer.from(text),
  arrivedAt: new Date(5),
})

interface Told {
  nothing: string[]
  taken: string[]
  misplaced: [string, number, boolean][]
}

function bufferOf(
  records: readonly KinesisRecord[],
  options: { checkpoint?: Position; hashRange?: HashRange; dropMisplaced?: boolean; placement?: () => Placement } = {},
): { buffer: RecordBuffer; told: Told; all: () => ReturnType<typeof drain> } {
  const told: Told = { nothing: [], taken: [], misplaced: [] }
  const buffer = new RecordBuffer({
    stream: 'flights',
    shardId: 'shardId-000000000000',
    hashRange: options.hashRange ?? FULL_HASH_RANGE,
    checkpoint: options.checkpoint ?? TRIM_HORIZON,
    dropMisplaced: options.dropMisplaced ?? false,
    onNothing: (sequenceNumber, sub) => told.nothing.push(`${sequenceNumber}:${sub}`),
    onTaken: ({ sequenceNumber }) => told.taken.push(sequenceNumber),
    placement: options.placement,
    onMisplaced: (sequenceNumber, count, dropped) => told.misplaced.push([sequenceNumber, count, dropped]),
  })
  buffer.push(records, 0)
  return { buffer, told, all: () => drain(buffer) }
}

function drain(buffer: RecordBuffer): string[] {
  const all: string[] = []
  for (let next = buffer.next(); next !== undefined; next = buffer.next()) {
    const { sequenceNumber, subSequenceNumber, partitionKey, misplaced } = next
    const undecodable = buffer.undecodable === undefined ? '' : ' undecodable'
    all.push(`${sequenceNumber}:${subSequenceNumber} ${partitionKey}${misplaced ? ' misplaced' : ''}${undecodable}`)
  }
  return all
}

test('an aggregate of five gives sub-sequence numbers 0 to 4, one sequence number and one arrival time', () => {
  const { buffer } = bufferOf([aggregate('7', ...['a', 'b', 'a', 'c', 'd'].map((key) => ({ key, data: `of ${key}` })))])
  const records = Array.from({ length: 5 }, () => buffer.next()!)
  expect(records.map(({ subSequenceNumber }) => subSequenceNumber)).toEqual([0, 1, 2, 3, 4])
  expect(records.map((record) => record.text())).toEqual(['of a', 'of b', 'of a', 'of c', 'of d'])
  for (const record of records) {
    expect(record).toMatchObject({ sequenceNumber: '7', arrivedAt: new Date(5), stream: 'flights', misplaced: false })
  }
  expect(buffer.next()).toBeUndefined()
  expect(buffer.empty).toBe(true)
})

test('a lone record is its own user record, with its key and sub-sequence number 0', () => {
  const { all, told } = bufferOf([raw('7', 'key', 'data')])
  expect(all()).toEqual(['7:0 key'])
  expect(told.taken).toEqual(['7'])
})

test('restarted inside an aggregate it leaves out what was finished and gives the rest', () => {
  const record = aggregate('7', ...['a', 'b', 'c', 'd', 'e'].map((key) => ({ key })))
  const { all } = bufferOf([record, raw('8', 'f', '')], { checkpoint: { sequenceNumber: '7', subSequenceNumber: 2 } })
  expect(all()).toEqual(['7:3 d', '7:4 e', '8:0 f'])
})

test('everything up to the checkpoint is left out, with no progress told for it', () => {
  const { all, told } = bufferOf([raw('6', 'a', ''), EMPTY, raw('7', 'b', ''), raw('8', 'c', '')], {
    checkpoint: { sequenceNumber: '7', subSequenceNumber: 0 },
  })
  expect(all()).toEqual(['8:0 c'])
  expect(told.nothing).toEqual([])
  expect(told.taken).toEqual(['6', '7', '7', '8'])
})

test('an aggregate of no records is only progress', () => {
  const { all, told } = bufferOf([EMPTY, raw('8', 'key', '')])
  expect(all()).toEqual(['8:0 key'])
  expect(told.nothing).toEqual(['7:0'])
})

test('what has been taken is held no longer, though others are still to come', async () => {
  const { buffer } = bufferOf([])
  const push = (): WeakRef<Uint8Array> => {
    const records = ['7', '8', '9'].map((sequenceNumber) => raw(sequenceNumber, 'key', 'data'))
    buffer.push(records, 0)
    return new WeakRef(records[0]!.data)
  }
  const first = push()
  buffer.next()
  expect(buffer.next()?.sequenceNumber).toBe('8')
  await collectGarbage()
  expect(first.deref()).toBeUndefined()
  expect(buffer.next()?.sequenceNumber).toBe('9')
})

describe('a record outside the hash range of its shard', () => {
  const low: HashRange = { start: 0n, end: FULL_HASH_RANGE.end / 2n }
  const keys = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const outside = keys.filter((key) => isMisplaced({ partitionKey: key }, low))

  test('is delivered and marked, its aggregate with it', () => {
    expect(outside.length).toBeGreaterThan(0)
    expect(outside.length).toBeLessThan(keys.length)
    const { all, told } = bufferOf([aggregate('7', ...keys.map((key) => ({ key })))], { hashRange: low })
    expect(all()).toEqual(keys.map((key, index) => `7:${index} ${key}${outside.includes(key) ? ' misplaced' : ''}`))
    expect(told.misplaced).toEqual([['7', outside.length, false]])
  })

  test('is left out on request, the others keep their sub-sequence numbers', () => {
    const { all, told } = bufferOf([aggregate('7', ...keys.map((key) => ({ key })))], {
      hashRange: low,
      dropMisplaced: true,
    })
    expect(all()).toEqual(keys.flatMap((key, index) => (outside.includes(key) ? [] : [`7:${index} ${key}`])))
    expect(told.misplaced).toEqual([['7', outside.length, true]])
  })

  test('is told of once for a Kinesis record, when all of it has been taken', () => {
    const { buffer, told } = bufferOf([aggregate('7', ...keys.map((key) => ({ key })))], { hashRange: low })
    for (const _ of keys) {
      expect(buffer.next()).toBeDefined()
      expect(told.misplaced).toEqual([])
    }
    expect(buffer.next()).toBeUndefined()
    expect(told.misplaced).toHaveLength(1)
  })

  test('is none where the service decides on the shard, and is not left out', () => {
    const { all, told } = bufferOf([aggregate('7', ...keys.map((key) => ({ key })))], {
      hashRange: low,
      dropMisplaced: true,
      placement: () => 'byService',
    })
    expect(all()).toEqual(keys.map((key, index) => `7:${index} ${key}`))
    expect(told.misplaced).toEqual([])
  })

  test('is marked and not left out while it is unknown what decides on the shard', () => {
    let placement: Placement = 'unknown'
    const records = ['7', '8'].map((sequenceNumber) =>
      aggregate(sequenceNumber, { key: outside[0]! }, { key: outside[0]! }),
    )
    const { buffer, all, told } = bufferOf(records, {
      hashRange: low,
      dropMisplaced: true,
      placement: () => placement,
    })
    expect(buffer.next()).toMatchObject({ sequenceNumber: '7', misplaced: true })
    placement = 'byKey'
    // What was asked for an aggregate holds for all of it.
    expect(all()).toEqual([`7:1 ${outside[0]} misplaced`])
    expect(told.misplaced).toEqual([
      ['7', 2, false],
      ['8', 2, true],
    ])
    expect(told.nothing).toEqual(['8:1'])
  })

  test('makes the buffer ask what decides on the shard once a Kinesis record, and nothing else does', () => {
    let asked = 0
    const placement = (): Placement => {
      asked++
      return 'unknown'
    }
    const inside = keys.filter((key) => !outside.includes(key))
    const records = [inside, keys, [...keys, ...keys]].map((of, index) =>
      aggregate(String(7 + index), ...of.map((key) => ({ key }))),
    )
    bufferOf(records, { hashRange: low, placement, dropMisplaced: true }).all()
    expect(asked).toBe(2)
  })

  test('at the end of its aggregate, left out, is still progress', () => {
    const inside = keys.find((key) => !outside.includes(key))!
    const { all, told } = bufferOf([aggregate('7', { key: inside }, { key: outside[0]! })], {
      hashRange: low,
      dropMisplaced: true,
    })
    expect(all()).toEqual([`7:0 ${inside}`])
    expect(told.nothing).toEqual(['7:1'])
  })

  test('before one that is delivered, left out, is no progress of its own: the delivered one is', () => {
    const inside = keys.find((key) => !outside.includes(key))!
    const { all, told } = bufferOf([aggregate('7', { key: outside[0]! }, { key: inside })], {
      hashRange: low,
      dropMisplaced: true,
    })
    expect(all()).toEqual([`7:1 ${inside}`])
    expect(told).toMatchObject({ nothing: [], taken: ['7'] })
  })

  test('is judged by its explicit hash key if it has one', () => {
    const high = String(low.end + 1n)
    const { all } = bufferOf(
      [aggregate('7', { key: outside[0]!, explicitHashKey: '0' }, { key: outside[0]!, explicitHashKey: high })],
      { hashRange: low },
    )
    expect(all()).toEqual([`7:0 ${outside[0]}`, `7:1 ${outside[0]} misplaced`])
  })

  test('is not judged when it came alone, for its explicit hash key is not told', () => {
    expect(hashKeyOf(outside[0]!)).toBeGreaterThan(low.end)
    expect(bufferOf([raw('7', outside[0]!, '')], { hashRange: low }).all()).toEqual([`7:0 ${outside[0]}`])
  })
})

describe('a damaged aggregate', () => {
  // A record whose partition key index points outside the table.
  const damaged = envelope('8', Buffer.from([0x0a, 0x01, 0x61, 0x1a, 0x04, 0x08, 0x05, 0x1a, 0x00]))

  test('is given as it came, and nothing behind it until it is passed', () => {
    const { buffer, all, told } = bufferOf([raw('7', 'a', ''), damaged, raw('9', 'b', '')])
    buffer.next()
    expect(buffer.undecodable).toBeUndefined()
    const record = buffer.next()
    expect(buffer.undecodable).toEqual({ reason: expect.stringContaining('user record 0'), isGone: false })
    expect(record).toMatchObject({ sequenceNumber: '8', subSequenceNumber: 0, partitionKey: 'a', data: damaged.data })
    expect(all()).toEqual([])
    expect(buffer.empty).toBe(false)
    expect(told.taken).toEqual(['7'])
    buffer.pass()
    expect(all()).toEqual(['9:0 b'])
    expect(told.taken).toEqual(['7', '8', '9'])
  })

  test('that was passed before a restart does not come again', () => {
    const { all } = bufferOf([damaged, raw('9', 'b', '')], {
      checkpoint: { sequenceNumber: '8', subSequenceNumber: 0 },
    })
    expect(all()).toEqual(['9:0 b'])
  })
})

test('an aggregate whose memory a handler has transferred away is told of, and its rest not passed over', () => {
  const whole = aggregate('7', { key: 'a', data: '1' }, { key: 'b', data: '2' }, { key: 'c', data: '3' })
  const own = { ...whole, data: Uint8Array.from(whole.data) }
  const { buffer, all, told } = bufferOf([own, raw('9', 'd', '')])
  const record = buffer.next()!
  structuredClone(record.data, { transfer: [record.data.buffer as ArrayBuffer] })
  expect(buffer.next()).toBeDefined()
  expect(buffer.undecodable?.isGone).toBe(true)
  expect(all()).toEqual([])
  expect(told).toMatchObject({ nothing: [], taken: [] })
})
