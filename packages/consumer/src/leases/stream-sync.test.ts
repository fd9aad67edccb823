import { silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { FULL_HASH_RANGE, type HashRange, type Position, SHARD_END, splitEvenly } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { ListedStream, notFound } from '../../test/listed-stream.ts'
import { MemoryTable } from '../../test/memory-table.ts'
import { named, read, refusal } from '../../test/reading.ts'
import { TREE_A } from '../../test/shard-trees.ts'
import { Chore } from '../chore.ts'
import { type StreamEvent, Telemetry } from '../telemetry/telemetry.ts'
import { type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import type { InitialPosition } from './shard-sync.ts'
import { StreamSync } from './stream-sync.ts'
import type { ItemChange } from './table.ts'

const [LOW, HIGH] = splitEvenly(2) as [HashRange, HashRange]
const [LOWER, UPPER] = splitEvenly(2, LOW) as [HashRange, HashRange]
const never = new AbortController().signal

let stream: ListedStream
let table: MemoryTable
let clock: ManualClock
let events: StreamEvent[]

beforeEach(() => {
  stream = new ListedStream(TREE_A)
  table = new MemoryTable()
  clock = new ManualClock()
  events = []
})

function syncOf(initialPosition: InitialPosition, identifier?: string): StreamSync {
  return new StreamSync({
    source: { stream: 'orders', identifier, initialPosition },
    table,
    kinesis: stream.kinesis,
    clock,
    telemetry: { emit: (event) => events.push(event) },
    deleting: new Chore('deleting', { clock, telemetry: new Telemetry(silentLogger, undefined, {}) }),
  })
}

const leases = (): Lease[] => [...table.items.values()].flatMap((item) => leaseFromItem(item) ?? [])
const isSynced = (sync: StreamSync): Promise<boolean> => sync.sync(leases(), never)
const told = (type: StreamEvent['type']): StreamEvent[] => events.filter((event) => event.type === type)

interface Given {
  readonly hashRange?: HashRange
  readonly parents?: readonly string[]
  readonly children?: readonly string[]
  readonly checkpoint?: Position
}

async function lease(shardId: string, given: Given = {}): Promise<void> {
  const { hashRange = FULL_HASH_RANGE, parents = [], children = [], checkpoint = at('7000') } = given
  const made = {
    streamIdentifier: undefined,
    shardId,
    hashRange,
    parentShardIds: parents,
    checkpoint,
    startMs: undefined,
  }
  const change = create(made)
  const set = { ...change.set, ...(children.length > 0 && { childShardIds: { SS: [...children] } }) }
  await table.update({ ...change, set })
}

function at(sequenceNumber: string): Position {
  return { sequenceNumber, subSequenceNumber: 0 }
}

const open = (shardId: string, hashRange: HashRange, startingSequenceNumber = '100') => ({
  shardId,
  hashRange,
  parentShardIds: [],
  startingSequenceNumber,
  endingSequenceNumber: undefined,
})

describe('the first leases', () => {
  test('at the tip hold the time of the listing, by the service’s clock', async () => {
    stream.shards = [open('s0', FULL_HASH_RANGE)]
    stream.serviceTime = new Date('2026-03-04T05:06:07Z')
    expect(await isSynced(syncOf('LATEST'))).toBe(true)
    expect(leases()).toMatchObject([
      { shardId: 's0', checkpoint: { sequenceNumber: 'LATEST' }, startMs: Date.parse('2026-03-04T05:06:07Z') },
    ])
    expect(stream.filters).toEqual([{ Type: 'AT_LATEST' }])
    expect(events).toEqual([{ type: 'leasesCreated', shardIds: ['s0'] }])
  })

  test('that somebody else has made meanwhile are left alone and not told', async () => {
    stream.shards = [open('s0', LOW), open('s1', HIGH)]
    const sync = syncOf('TRIM_HORIZON')
    const before = leases()
    await lease('s0', { hashRange: LOW, checkpoint: at('555') })
    expect(await sync.sync(before, never)).toBe(true)
    expect(leases().map(({ shardId, checkpoint }) => [shardId, checkpoint.sequenceNumber])).toEqual([
      ['s0', '555'],
      ['s1', 'TRIM_HORIZON'],
    ])
    expect(events).toEqual([{ type: 'leasesCreated', shardIds: ['s1'] }])
  })

  test('are not made by one who was away for long since it looked', async () => {
    stream.shards = [open('s0', LOW), open('s1', HIGH)]
    const sync = syncOf('TRIM_HORIZON')
    stream.answer = async () => {
      await clock.advance(31_000)
      return undefined
    }
    await isSynced(sync)
    expect(table.items.size).toBe(0)
    expect(sync.isDue([])).toBe(true)
  })
})

test('a reader that starts at the tip, and any after it before the first checkpoint, starts when the shard was listed', async () => {
  stream.shards = [open('s0', FULL_HASH_RANGE)]
  stream.serviceTime = new Date('2026-03-04T05:06:07Z')
  await isSynced(syncOf('LATEST'))
  await clock.advance(3_600_000)
  stream.serviceTime = new Date('2026-03-04T06:06:07Z')
  await isSynced(syncOf('LATEST'))
  for (let run = 0; run < 2; run++) {
    const [{ checkpoint, startMs }] = leases() as [Lease]
    read([], { checkpoint, startMs })
    await settle()
  }
  const start = { ShardIteratorType: 'AT_TIMESTAMP', Timestamp: new Date('2026-03-04T05:06:07Z') }
  expect(named('GetShardIterator')).toMatchObject([start, start])
})

describe('a creation at the tip that stopped half-way', () => {
  const START = Date.parse('2026-01-01T00:00:00Z')

  test('is completed with the shards that were open then, though they were split since', async () => {
    stream.shards = [open('s0', LOW), open('s1', HIGH)]
    const sync = syncOf('LATEST')
    await isSynced(sync)
    table.items.delete('s0')
    const closed = { ...open('s0', LOW), endingSequenceNumber: '200' }
    const child = (id: string, range: HashRange) => ({ ...open(id, range, '300'), parentShardIds: ['s0'] })
    stream.shards = [closed, open('s1', HIGH), child('s2', LOWER), child('s3', UPPER)]
    stream.serviceTime = new Date(START + 60_000)
    stream.answer = (filter) => (filter?.Type === 'AT_TIMESTAMP' ? [closed, open('s1', HIGH)] : undefined)
    await isSynced(sync)
    expect(stream.filters.at(-1)).toEqual({ Type: 'AT_TIMESTAMP', Timestamp: new Date(START) })
    expect(leases().find(({ shardId }) => shardId === 's0')).toMatchObject({
      checkpoint: { sequenceNumber: 'LATEST' },
      startMs: START,
    })
    expect([...table.items.keys()].sort()).toEqual(['s0', 's1'])
  })

  test('and with the oldest that are listed, where the service refuses to look so far back', async () => {
    const started = open('s1', HIGH)
    stream.shards = [open('s0', LOW), started]
    const sync = syncOf('LATEST')
    await isSynced(sync)
    table.items.delete('s0')
    const child = (id: string, range: HashRange) => ({ ...open(id, range, '300'), parentShardIds: ['s0'] })
    stream.shards = [
      { ...open('s0', LOW), endingSequenceNumber: '200' },
      started,
      child('s2', LOWER),
      child('s3', UPPER),
    ]
    stream.serviceTime = new Date(START + 60_000)
    stream.answer = (filter) => filter && refusal('InvalidArgumentException')
    await isSynced(sync)
    expect([...table.items.keys()].sort()).toEqual(['s0', 's1'])
    stream.answer = (filter) => filter && refusal('LimitExceededException')
    table.items.delete('s0')
    await expect(isSynced(sync)).rejects.toThrow('LimitExceededException')
  })
})

describe('when it is due', () => {
  const covered = (): Lease[] => leases()
  let sync: StreamSync

  beforeEach(async () => {
    stream.shards = [open('s0', LOW), open('s1', HIGH)]
    sync = syncOf('TRIM_HORIZON')
    expect(sync.isDue([])).toBe(true)
    await isSynced(sync)
    expect(sync.isDue(covered())).toBe(false)
  })

  test('after a minute', async () => {
    await clock.advance(59_999)
    expect(sync.isDue(covered())).toBe(false)
    await clock.advance(1)
    expect(sync.isDue(covered())).toBe(true)
  })

  test('at once for a worker that comes to lead', () => {
    sync.rest()
    expect(sync.isDue(covered())).toBe(true)
  })

  test('at once when all leases are gone', () => {
    expect(sync.isDue([])).toBe(true)
  })

  test('when the same hole is seen three times in a row', () => {
    const holed = covered().slice(1)
    expect([sync.isDue(holed), sync.isDue(holed), sync.isDue(holed)]).toEqual([false, false, true])
  })

  test('not when a hole moves, or goes away in between', () => {
    const [low, high] = covered()
    expect([low, high, low, high, low].map((lease) => sync.isDue([lease!]))).toEqual(Array(5).fill(false))
    expect(sync.isDue([low!])).toBe(false)
    expect(sync.isDue(covered())).toBe(false)
    expect([sync.isDue([low!]), sync.isDue([low!])]).toEqual([false, false])
  })

  test('a hole that a look has not closed is looked into again ten seconds later', async () => {
    const hole = covered().slice(1)
    stream.shards = [open('s1', HIGH)]
    for (let look = 0; look < 3; look++) sync.isDue(hole)
    await sync.sync(hole, never)
    for (let look = 0; look < 5; look++) expect(sync.isDue(hole)).toBe(false)
    await clock.advance(10_000)
    expect(sync.isDue(hole)).toBe(true)
  })

  test('a lease that was deleted is back within seconds', async () => {
    table.items.delete('s1')
    for (let look = 0; look < 3; look++) if (sync.isDue(covered())) await isSynced(sync)
    expect([...table.items.keys()]).toEqual(['s0', 's1'])
  })
})

test('a listing with a hole, as while a stream is resharded, does no harm', async () => {
  await lease('shardId-4')
  stream.shards = TREE_A.filter(({ shardId }) => shardId === 'shardId-4' || shardId === 'shardId-9')
  await isSynced(syncOf('TRIM_HORIZON'))
  expect(told('leaseDeleted')).toEqual([])
  stream.shards = []
  expect(await isSynced(syncOf('TRIM_HORIZON'))).toBe(false)
})

describe('leases that a KCL has made without hash range or parents', () => {
  beforeEach(async () => {
    stream.shards = TREE_A
    for (const id of [4, 8, 9, 10]) await lease(`shardId-${id}`)
    for (const [key, item] of table.items) {
      const { startingHashKey, endingHashKey, parentShardId, ...rest } = item
      table.items.set(key, { ...rest, leaseOwner: { S: 'java' }, leaseCounter: { N: '41' } })
    }
  })

  test('get both, once, and their counter stays', async () => {
    const sync = syncOf('TRIM_HORIZON')
    expect(await isSynced(sync)).toBe(true)
    expect(table.items.get('shardId-8')).toMatchObject({
      startingHashKey: { S: '0' },
      endingHashKey: { S: '399' },
      parentShardId: { SS: ['shardId-6', 'shardId-7'] },
      leaseOwner: { S: 'java' },
      leaseCounter: { N: '41' },
    })
    expect(told('leaseRepaired')).toHaveLength(4)
    expect(await isSynced(sync)).toBe(false)
    expect(told('leaseRepaired')).toHaveLength(4)
  })

  test('are not brought back when they are deleted meanwhile', async () => {
    const before = leases()
    table.items.delete('shardId-8')
    await syncOf('TRIM_HORIZON').sync(before, never)
    expect(table.items.has('shardId-8')).toBe(false)
  })

  test('keep what another has written meanwhile', async () => {
    const before = leases()
    const item = table.items.get('shardId-4')!
    table.items.set('shardId-4', { ...item, startingHashKey: { S: '1' }, endingHashKey: { S: '2' } })
    await syncOf('TRIM_HORIZON').sync(before, never)
    expect(table.items.get('shardId-4')).toMatchObject({ startingHashKey: { S: '1' }, endingHashKey: { S: '2' } })
  })
})

describe('deletion', () => {
  test('of finished leases, with the reason', async () => {
    stream.shards = [open('s2', FULL_HASH_RANGE)]
    await lease('s0', { checkpoint: SHARD_END, children: ['s1'] })
    await lease('s2')
    expect(await isSynced(syncOf('TRIM_HORIZON'))).toBe(true)
    expect(events).toEqual([{ type: 'leaseDeleted', shardId: 's0', reason: 'gone' }])
    expect([...table.items.keys()]).toEqual(['s2'])
  })

  test('not of one that has changed since it was seen', async () => {
    stream.shards = [open('s2', FULL_HASH_RANGE)]
    await lease('s0', { checkpoint: SHARD_END, children: ['s2'] })
    await lease('s2', { parents: ['s0'] })
    const before = leases()
    const change: ItemChange = { kind: 'lease', key: 's0', when: [], set: { leaseCounter: { N: '1' } } }
    await table.update(change)
    expect(await syncOf('TRIM_HORIZON').sync(before, never)).toBe(false)
    expect(table.items.has('s0')).toBe(true)
  })
})

describe('a stream that was deleted and made anew under its name', () => {
  test('is told by a checkpoint from before the beginning of its shard', async () => {
    await lease('s0', { checkpoint: at('7000') })
    stream.shards = [open('s0', FULL_HASH_RANGE, '8000')]
    const error = await isSynced(syncOf('TRIM_HORIZON')).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_STREAM', shardId: 's0' })
    expect(String(error)).toMatch(/lease of s0 is at 7000, but s0 begins only at 8000.*delete the application’s table/)
  })

  test('is told where the shard’s lease is finished, when that stays so', async () => {
    await lease('s0', { checkpoint: SHARD_END })
    stream.shards = [open('s0', FULL_HASH_RANGE, '8000')]
    const sync = syncOf('TRIM_HORIZON')
    await isSynced(sync)
    await isSynced(sync)
    await expect(isSynced(sync)).rejects.toMatchObject({ code: 'ERR_STREAM', shardId: 's0' })
  })

  test('is not seen in a listing that is late for a while', async () => {
    const late = [open('s0', FULL_HASH_RANGE)]
    await lease('s0', { checkpoint: SHARD_END })
    const sync = syncOf('TRIM_HORIZON')
    for (let look = 0; look < 5; look++) {
      stream.shards = look === 2 ? [{ ...late[0]!, endingSequenceNumber: '200' }] : late
      await isSynced(sync)
    }
    expect(told('leasesCreated')).toEqual([])
  })

  test('is another one by its leases’ keys where the application has several', async () => {
    await lease('s0', { checkpoint: at('7000') })
    stream.shards = [open('s0', FULL_HASH_RANGE, '8000')]
    expect(await isSynced(syncOf('TRIM_HORIZON', '1:orders:99'))).toBe(false)
  })
})

describe('a stream that does not exist', () => {
  beforeEach(() => {
    stream.answer = notFound
  })

  test('ends an application that has only this one', async () => {
    await expect(isSynced(syncOf('TRIM_HORIZON'))).rejects.toMatchObject({ code: 'ERR_STREAM' })
  })

  test('is told and looked for again a minute later where there are others', async () => {
    const sync = syncOf('TRIM_HORIZON', '1:orders:99')
    expect(await isSynced(sync)).toBe(false)
    expect(events).toMatchObject([{ type: 'streamMissing', error: { code: 'ERR_STREAM' } }])
    expect(sync.isDue([])).toBe(false)
    await clock.advance(60_000)
    expect(sync.isDue([])).toBe(true)
  })
})

test('gives up between two tries of the first listing when aborted', async () => {
  stream.shards = [open('s0', LOW)]
  const abort = new AbortController()
  const result = syncOf('TRIM_HORIZON').sync([], abort.signal)
  await settle()
  abort.abort(new Error('stop'))
  await expect(result).rejects.toThrow('stop')
})
