import { silentLogger } from '@shardwise/core'
import { ManualClock, seededRandom, settle } from '@shardwise/core/testing'
import { type Position, SHARD_END, TRIM_HORIZON } from '@shardwise/records'
import { beforeEach, describe, expect, test } from 'vitest'
import { ListedStream, notFound } from '../../test/listed-stream.ts'
import { MemoryTable } from '../../test/memory-table.ts'
import { KCL_TABLES, ModelledDynamoDB, NAME } from '../../test/modelled-dynamodb.ts'
import { refusal } from '../../test/reading.ts'
import { TREE_A } from '../../test/shard-trees.ts'
import type { StreamSource } from '../streams/stream-source.ts'
import { type ConsumerEvent, Telemetry } from '../telemetry/telemetry.ts'
import { type Lease, leaseFromItem } from './lease.ts'
import { create } from './lease-changes.ts'
import { LeaseHolder } from './lease-holder.ts'
import { type ResetLease, type ResetParts, resetApplication } from './reset.ts'
import type { ResetOptions } from './reset-options.ts'
import type { Condition, Item, ItemChange, ItemKind, Table } from './table.ts'
import { WorkerPresence } from './worker-entry.ts'

const F = 1_000
const LISTED_AT = Date.parse('2026-01-01T00:00:00Z')
const STREAM: StreamSource = { stream: 'orders', identifier: undefined, initialPosition: 'TRIM_HORIZON' }

/** Its writes can be made to fail, after they were done or instead. */
class FragileTable extends MemoryTable {
  writes = 0
  onWrite: (writes: number) => 'lost request' | 'lost answer' | undefined = () => undefined

  override update(change: ItemChange): Promise<Item | undefined> {
    return this.#write(() => super.update(change))
  }

  override delete(kind: ItemKind, key: string, when: readonly Condition[]): Promise<boolean> {
    return this.#write(() => super.delete(kind, key, when))
  }

  async #write<T>(write: () => Promise<T>): Promise<T> {
    const fault = this.onWrite(++this.writes)
    if (fault === 'lost request') throw new Error('timeout')
    const done = await write()
    if (fault === 'lost answer') throw new Error('timeout')
    return done
  }
}

let table: FragileTable
let stream: ListedStream
let clock: ManualClock
let events: ConsumerEvent[]

beforeEach(async () => {
  table = new FragileTable()
  stream = new ListedStream(TREE_A)
  stream.answer = (filter) => {
    if (filter?.Type === 'AT_LATEST')
      return TREE_A.filter(({ endingSequenceNumber }) => endingSequenceNumber === undefined)
    return filter === undefined ? undefined : TREE_A.slice(0, 6)
  }
  clock = new ManualClock()
  events = []
  for (const id of [4, 5, 8]) await lease(id)
})

const at = (number: number): Position => ({ sequenceNumber: String(number), subSequenceNumber: 0 })
const idOf = (shard: number): string => `shardId-${shard}`

async function lease(
  shard: number,
  checkpoint: Position = at(1_000),
  identifier?: string,
  set: Item = {},
): Promise<void> {
  const change = create({ ...TREE_A[shard]!, checkpoint, startMs: undefined, streamIdentifier: identifier })
  await table.update({ ...change, set: { ...change.set, ...set } })
}

function parts(over: Partial<ResetParts> = {}): ResetParts {
  return {
    table,
    kinesis: stream.kinesis,
    sources: [STREAM],
    application: 'billing',
    failoverTime: F,
    clock,
    random: seededRandom(1),
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}),
    ...over,
  }
}

/** Lets time pass until it is done. */
async function reset(options: ResetOptions, over: Partial<ResetParts> = {}): Promise<ResetLease[]> {
  let isOver = false
  const done = resetApplication(options, parts(over)).finally(() => {
    isOver = true
  })
  done.catch(() => undefined)
  for (let steps = 0; !isOver && steps < 1_000; steps++) await clock.advance(100)
  return await done
}

const leases = (of: MemoryTable = table): Lease[] => [...of.items.values()].flatMap((item) => leaseFromItem(item) ?? [])
const places = (): Record<string, string> =>
  Object.fromEntries(leases().map(({ leaseKey, checkpoint: { sequenceNumber } }) => [leaseKey, sequenceNumber]))
const all = (checkpoint: string, ...shards: number[]): Record<string, string> =>
  Object.fromEntries(shards.map((shard) => [idOf(shard), checkpoint]))

describe('the whole stream', () => {
  test('is read again from its oldest record', async () => {
    const done = await reset({ to: 'TRIM_HORIZON' })
    expect(places()).toEqual(all('TRIM_HORIZON', 0, 1, 2, 3, 4, 5))
    expect(done).toHaveLength(6)
    expect(done[0]).toEqual({ stream: 'orders', shardId: idOf(0), checkpoint: TRIM_HORIZON, startMs: undefined })
    expect(events.filter(({ type }) => type === 'leaseReset')).toHaveLength(6)
  })

  test('is read from its tip, by the service’s clock', async () => {
    await reset({ to: 'LATEST' })
    expect(places()).toEqual(all('LATEST', 4, 8, 9, 10))
    expect(leases().map(({ startMs }) => startMs)).toEqual(Array(4).fill(LISTED_AT))
  })

  test('is read from a time, in the shards that were open then', async () => {
    await reset({ to: { timestamp: new Date(5_000) } })
    expect(places()).toEqual(all('AT_TIMESTAMP', 0, 1, 2, 3, 4, 5))
    expect(leases().map(({ startMs }) => startMs)).toEqual(Array(6).fill(5_000))
    expect(stream.filters.at(-1)).toEqual({ Type: 'AT_TIMESTAMP', Timestamp: new Date(5_000) })
  })

  test('of an application that has never run starts there', async () => {
    table = new FragileTable()
    await reset({ to: { timestamp: 5_000 } })
    expect(places()).toEqual(all('AT_TIMESTAMP', 0, 1, 2, 3, 4, 5))
  })

  test('leaves nothing of what a lease had before', async () => {
    table.items.delete(idOf(4))
    await lease(4, SHARD_END, undefined, {
      leaseOwner: { S: 'gone' },
      checkpointOwner: { S: 'gone too' },
      childShardIds: { SS: [idOf(11)] },
      pendingCheckpoint: { S: '2000' },
      pendingCheckpointSubSequenceNumber: { N: '1' },
      pendingCheckpointState: { S: 'AAE=' },
      shardwiseStartMs: { N: '7' },
      shardwiseToken: { S: 'token' },
      shardwiseTop: { N: '1' },
    })
    await reset({ to: 'TRIM_HORIZON' })
    expect(table.items.get(idOf(4))).toEqual({
      leaseKey: { S: idOf(4) },
      entityType: { S: 'LEASE' },
      leaseCounter: { N: '1' },
      checkpoint: { S: 'TRIM_HORIZON' },
      checkpointSubSequenceNumber: { N: '0' },
      ownerSwitchesSinceCheckpoint: { N: '0' },
      startingHashKey: { S: '400' },
      endingHashKey: { S: '499' },
    })
  })
})

describe('some shards', () => {
  test('are read again from their oldest record with those below them', async () => {
    await reset({ to: 'TRIM_HORIZON', shards: [idOf(6)] })
    expect(places()).toEqual({ ...all('1000', 4, 5), ...all('TRIM_HORIZON', 6), ...all('SHARD_END', 7) })
    expect(leases().find(({ shardId }) => shardId === idOf(7))).toMatchObject({ childShardIds: [idOf(8)] })
  })

  test('go on behind a position, for which a record will do', async () => {
    const record = {
      stream: 'orders',
      shardId: idOf(5),
      sequenceNumber: '77',
      subSequenceNumber: 3,
      text: () => 'more',
    }
    const [done] = await reset({ to: record })
    expect(done).toMatchObject({ shardId: idOf(5), checkpoint: { sequenceNumber: '77', subSequenceNumber: 3 } })
    expect(done!.checkpoint).not.toHaveProperty('text')
    expect(table.items.get(idOf(5))).toMatchObject({ checkpoint: { S: '77' }, checkpointSubSequenceNumber: { N: '3' } })
    expect(places()).toMatchObject(all('1000', 4, 8))
  })

  test('that do not exist are refused at once, with live workers too', async () => {
    await live('worker-1')
    await expect(resetApplication({ to: 'TRIM_HORIZON', shards: ['shardId-77'] }, parts())).rejects.toMatchObject({
      code: 'ERR_STREAM',
      shardId: 'shardId-77',
    })
  })
})

describe('of several streams', () => {
  const ONE: StreamSource = {
    stream: 'arn:aws:kinesis:eu-west-1:1:stream/orders',
    identifier: '1:orders:5',
    initialPosition: 'LATEST',
  }
  const TWO: StreamSource = { stream: 'returns', identifier: '1:returns:6', initialPosition: 'LATEST' }
  const sources = [ONE, TWO]

  beforeEach(async () => {
    table = new FragileTable()
    for (const identifier of ['1:orders:5', '1:returns:6', '1:former:4', undefined])
      await lease(8, at(1_000), identifier)
  })

  test('all are reset, and the leases of no other stream', async () => {
    const done = await reset({ to: 'LATEST' }, { sources })
    expect(new Set(done.map((lease) => lease.stream))).toEqual(new Set([ONE.stream, 'returns']))
    expect(places()).toMatchObject({
      'shardId-8': '1000',
      '1:former:4:shardId-8': '1000',
      '1:orders:5:shardId-8': 'LATEST',
    })
    expect(leases().find(({ leaseKey }) => leaseKey === '1:returns:6:shardId-10')).toMatchObject({
      streamIdentifier: '1:returns:6',
      shardId: 'shardId-10',
    })
    expect(leases()).toHaveLength(10)
  })

  test('one is, by its name', async () => {
    await reset({ to: 'LATEST', stream: 'orders' }, { sources })
    expect(places()).toMatchObject({ '1:returns:6:shardId-8': '1000', '1:orders:5:shardId-8': 'LATEST' })
    expect(leases()).toHaveLength(7)
  })

  test('it must be said which has the shards', async () => {
    for (const options of [{ to: 'LATEST', shards: [idOf(8)] }, { to: { shardId: idOf(8), ...at(300) } }] as const) {
      await expect(reset(options, { sources })).rejects.toMatchObject({
        code: 'ERR_STREAM',
        message: expect.stringContaining('Expected "stream" to say which of the application\'s streams is meant'),
      })
    }
    await reset({ to: { stream: 'returns', shardId: idOf(8), ...at(300) } }, { sources })
    expect(places()).toMatchObject({ '1:orders:5:shardId-8': '1000', '1:returns:6:shardId-8': '300' })
  })

  test('one that is none of them is refused', async () => {
    await expect(reset({ to: 'LATEST', stream: 'order' }, { sources })).rejects.toMatchObject({
      code: 'ERR_STREAM',
      message: expect.stringContaining('got "order"'),
    })
  })
})

describe('what stops half-way', () => {
  test('is completed by doing it again, wherever it stopped', async () => {
    for (const fault of ['lost request', 'lost answer'] as const) {
      for (let crashAt = 1; ; crashAt++) {
        table = new FragileTable()
        for (const id of [4, 5, 8, 9]) await lease(id)
        const before = table.writes
        table.onWrite = (writes) => (writes - before >= crashAt ? fault : undefined)
        const crashed = await reset({ to: 'TRIM_HORIZON' }).then(
          () => false,
          () => true,
        )
        table.onWrite = () => undefined
        if (!crashed) {
          // A deletion whose answer is lost is seen to be done.
          expect(crashAt).toBe(fault === 'lost request' ? 9 : 7)
          break
        }
        await reset({ to: 'TRIM_HORIZON' })
        expect(places()).toEqual(all('TRIM_HORIZON', 0, 1, 2, 3, 4, 5))
      }
    }
  })

  test('has deleted nothing before all starts are written', async () => {
    const before = table.writes
    table.onWrite = (writes) => (writes - before === 6 ? 'lost request' : undefined)
    const stop = new AbortController()
    const stopping = resetApplication({ to: 'TRIM_HORIZON', signal: stop.signal }, parts())
    await settle()
    expect(places()).toMatchObject(all('1000', 8))
    stop.abort(new Error('stopped'))
    await expect(stopping).rejects.toThrow('stopped')
    expect(places()).toMatchObject(all('1000', 8))
  })

  test('a call that fails for now is made again', async () => {
    table.onWrite = (writes) => (writes % 2 === 0 ? 'lost answer' : undefined)
    await reset({ to: 'TRIM_HORIZON' })
    expect(places()).toEqual(all('TRIM_HORIZON', 0, 1, 2, 3, 4, 5))
  })

  test('one that is refused for good isn’t', async () => {
    stream.answer = () => notFound()
    await expect(reset({ to: 'TRIM_HORIZON' })).rejects.toMatchObject({ code: 'ERR_STREAM' })
    table.scan = () => Promise.reject(refusal('AccessDeniedException'))
    await expect(reset({ to: 'TRIM_HORIZON' })).rejects.toThrow('AccessDeniedException')
  })
})

/** A worker that holds a lease and renews it until it is told to die, or finds it lost. */
async function live(workerId: string, shard = 4): Promise<{ holder: LeaseHolder; die: () => void }> {
  const telemetry = new Telemetry(silentLogger, undefined, {})
  const context = {
    table,
    workerId,
    failoverTime: F,
    clock,
    random: seededRandom(2),
    telemetry,
    initialPosition: 'LATEST' as const,
  }
  table.items.set(idOf(shard), { ...table.items.get(idOf(shard)), leaseOwner: { S: workerId } })
  const holder = (await LeaseHolder.acquire(leaseFromItem(table.items.get(idOf(shard))!)!, context))!
  const stop = new AbortController()
  const renewing = async (): Promise<void> => {
    for (let count = 2_000; await holder.renew({ checkpoint: at(count++), throughputKBps: 0 }); ) {
      await clock.sleep(0.45 * F, stop.signal)
    }
  }
  renewing().catch((error: unknown) => {
    if (!stop.signal.aborted) throw error
  })
  return { holder, die: () => stop.abort() }
}

describe('while workers live', () => {
  test('it is refused, with their names, and nothing is written', async () => {
    const { die } = await live('worker-1')
    await live('worker-2', 8)
    const refused = reset({ to: 'TRIM_HORIZON' })
    await expect(refused).rejects.toMatchObject({ code: 'ERR_STATE' })
    await expect(refused).rejects.toThrow(
      /application "billing" to be closed, but there lives "worker-\d" \(it has renewed the lease/,
    )
    expect(Number(places()[idOf(4)])).toBeGreaterThanOrEqual(2_000)
    expect(leases()).toHaveLength(3)
    die()
  })

  test('it is refused by one that holds nothing, too', async () => {
    const presence = new WorkerPresence({
      table,
      workerId: 'idle',
      maxLeases: 9,
      periodMs: F / 2,
      clock,
      random: seededRandom(3),
    })
    await presence.show()
    const stop = new AbortController()
    const beating = (async () => {
      for (;;) {
        await clock.sleep(F / 2, stop.signal)
        await presence.show()
      }
    })().catch(() => undefined)
    await expect(reset({ to: 'LATEST' })).rejects.toThrow(/"idle" \(it has renewed its entry\)/)
    stop.abort()
    await beating
    await presence.leave()
    await reset({ to: 'LATEST' })
    expect(places()).toEqual(all('LATEST', 4, 8, 9, 10))
  })

  test('those that died are waited for a bit longer than failoverTime, by no clock of theirs', async () => {
    const { die } = await live('worker-1')
    table.items.set('worker-1', {
      leaseKey: { S: 'worker-1' },
      entityType: { S: 'WORKER_METRIC_STATS' },
      lut: { N: '99999999999' },
      shardwisePeriodMs: { N: String(F / 2) },
    })
    die()
    const startedAt = clock.monotonicMs()
    await reset({ to: 'LATEST' })
    const tookMs = clock.monotonicMs() - startedAt
    expect(tookMs).toBeGreaterThan(1.5 * F)
    expect(tookMs).toBeLessThan(3 * F)
  })

  test('one that leaves meanwhile is none that lives', async () => {
    const { holder, die } = await live('worker-1')
    const done = reset({ to: 'LATEST' })
    await settle()
    die()
    await holder.release(undefined)
    await done
    expect(places()).toEqual(all('LATEST', 4, 8, 9, 10))
  })

  test('nobody is waited for where nothing is held', async () => {
    await resetApplication({ to: 'LATEST' }, parts())
    expect(clock.monotonicMs()).toBe(0)
  })

  test('force takes their leases from them: they find them lost and write nothing more', async () => {
    const { holder } = await live('worker-1')
    await resetApplication({ to: 'TRIM_HORIZON', force: true }, parts())
    expect(holder.lost.aborted).toBe(false)
    await clock.advance(F)
    expect(holder.lost.aborted).toBe(true)
    expect(holder.lost.reason).toMatchObject({ code: 'ERR_LEASE_LOST' })
    expect(places()).toEqual(all('TRIM_HORIZON', 0, 1, 2, 3, 4, 5))
    expect(leases().every(({ owner }) => owner === undefined)).toBe(true)
  })

  test('force wins against one that writes in between', async () => {
    const { holder } = await live('worker-1', 8)
    const read = table.scan.bind(table)
    let looks = 0
    table.scan = async () => {
      const items = await read()
      if (++looks === 2) await holder.renew({ checkpoint: at(9_000), throughputKBps: 0 })
      return items
    }
    await reset({ to: 'TRIM_HORIZON', shards: [idOf(8)], force: true })
    expect(places()).toMatchObject(all('TRIM_HORIZON', 8))
    expect(leases().find(({ shardId }) => shardId === idOf(8))!.counter).toBeGreaterThan(holder.lease.counter)
    await clock.advance(F)
    expect(holder.lost.aborted).toBe(true)
    expect(places()).toMatchObject(all('TRIM_HORIZON', 8))
  })

  test('force makes a lease whole that their leader deletes in between', async () => {
    const read = table.scan.bind(table)
    table.scan = async () => {
      const items = await read()
      table.items.delete(idOf(8))
      return items
    }
    await reset({ to: 'TRIM_HORIZON', shards: [idOf(8)], force: true })
    expect(table.items.get(idOf(8))).toMatchObject({ entityType: { S: 'LEASE' }, checkpoint: { S: 'TRIM_HORIZON' } })
  })

  test('force takes a lease that is just being given back', async () => {
    const { holder, die } = await live('worker-1', 8)
    die()
    await resetApplication({ to: 'TRIM_HORIZON', force: true }, parts())
    expect(await holder.release(at(9_000))).toBe(false)
    expect(places()).toEqual(all('TRIM_HORIZON', 0, 1, 2, 3, 4, 5))
  })
})

describe('in the tables of a KCL', () => {
  const REAL = ['shardId-000000000000', 'shardId-000000000001'] as const

  function listedAsIn(items: readonly Item[]): void {
    const known = items.flatMap((item) => leaseFromItem(item) ?? []).filter(({ hashRange }) => hashRange !== undefined)
    stream.answer = () => undefined
    stream.shards = known.map(({ shardId, hashRange, parentShardIds }) => {
      return {
        shardId,
        hashRange: hashRange!,
        parentShardIds,
        startingSequenceNumber: '1',
        endingSequenceNumber: undefined,
      }
    })
  }

  async function opened(world: ModelledDynamoDB): Promise<Table> {
    clock = world.clock
    return await world.opened()
  }

  test('of three tables only the leases change', async () => {
    const world = new ModelledDynamoDB()
    await world.loadKcl('KCL 3.4.2')
    listedAsIn(KCL_TABLES.find(({ name }) => name === 'old342')!.items)
    const own = await opened(world)
    const others = () => [world.items(`${NAME}-CoordinatorState`), world.items(`${NAME}-WorkerMetricStats`)]
    const before = others()
    await reset({ to: { timestamp: 5_000 } }, { table: own, clock })
    expect(others()).toEqual(before)
    for (const id of REAL) {
      const item = world.item({ leaseKey: { S: id } })!
      expect(item).toMatchObject({ checkpoint: { S: 'AT_TIMESTAMP' }, shardwiseStartMs: { N: '5000' } })
      expect(item).not.toHaveProperty('leaseOwner')
    }
  })

  test('of one table its notes stay', async () => {
    const world = new ModelledDynamoDB()
    await world.loadKcl('1:')
    listedAsIn(KCL_TABLES.find(({ label }) => label.startsWith('1:'))!.items)
    const own = await opened(world)
    const notes = () => world.items().filter(({ entityType }) => entityType?.S !== 'LEASE')
    const before = notes()
    expect(before).toHaveLength(3)
    await reset({ to: 'TRIM_HORIZON' }, { table: own, clock })
    expect(notes()).toEqual(before)
    expect(world.item({ leaseKey: { S: REAL[0] } })).toMatchObject({ checkpoint: { S: 'TRIM_HORIZON' } })
  })

  test('a KCL that renews its leases is seen to live', async () => {
    const world = new ModelledDynamoDB()
    await world.loadKcl('1:')
    listedAsIn(KCL_TABLES.find(({ label }) => label.startsWith('1:'))!.items)
    const own = await opened(world)
    const stop = world.keepRenewing(REAL[1])
    const refused = reset({ to: 'TRIM_HORIZON' }, { table: own, clock, failoverTime: 10_000 })
    await expect(refused).rejects.toThrow(/there lives "wA" \(it has renewed the lease of shardId-000000000001\)/)
    stop()
  })
})

describe('options', () => {
  const refused = async (options: object): Promise<string> => {
    const error = await resetApplication(options as ResetOptions, parts()).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_OPTION' })
    return (error as Error).message
  }

  test('are checked at the door', async () => {
    expect(await refused({})).toBe('reset: option "to" is required.')
    expect(await refused({ to: 'NOW' })).toMatch(
      /"to" must be "TRIM_HORIZON", "LATEST", \{ timestamp: .* \}.*, got "NOW"/,
    )
    expect(await refused({ to: { shardId: 's', sequenceNumber: 'LATEST', subSequenceNumber: 0 } })).toMatch(
      /"to" must be/,
    )
    expect(await refused({ to: { shardId: 's', sequenceNumber: '7' } })).toMatch(/"to" must be/)
    expect(await refused({ to: 'LATEST', shards: [] })).toMatch(/"shards" must be a list of at least one/)
    expect(await refused({ to: 'LATEST', forced: true })).toMatch(/did you mean "force"/)
    expect(await refused({ to: { shardId: 's', ...at(7) }, shards: ['t'] })).toMatch(/Reset one shard after the other/)
    expect(await refused({ to: { shardId: 's', stream: 'a', ...at(7) }, stream: 'b' })).toMatch(
      /is of the stream "a", got "b"/,
    )
    expect(await refused({ to: { timestamp: clock.wallMs() + 120_000 } })).toMatch(
      /must be a time that has come, got \d+; numbers are milliseconds/,
    )
    expect(table.writes).toBe(3)
  })

  test('nothing is done once the signal is aborted', async () => {
    const signal = AbortSignal.abort(new Error('not now'))
    await expect(resetApplication({ to: 'LATEST', signal }, parts())).rejects.toThrow('not now')
    expect(table.writes).toBe(3)
  })
})
