import { PutRecordCommand, PutRecordsCommand, UpdateShardCountCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { AggregateBuilder, hashKeyOf } from '@shardwise/records'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Consumer } from '../src/consumer.ts'
import type { ConsumerOptions } from '../src/options.ts'
import type { ConsumerEvent } from '../src/telemetry/telemetry.ts'

type Retrieval = NonNullable<ConsumerOptions['retrieval']>

const BOTH: readonly Retrieval[] = ['polling', 'fanOut']
const TURNS: readonly (readonly [Retrieval, Retrieval])[] = [
  ['polling', 'fanOut'],
  ['fanOut', 'polling'],
  ['fanOut', 'fanOut'],
]
const STREAM = 'flights'

let local: Local
let kinesis: ReturnType<typeof createKinesisClient>
let consumers: Consumer[]
let got: string[]
let events: ConsumerEvent[]

beforeEach(async () => {
  local = await startLocal({ streams: { [STREAM]: 2 }, limits: false, clock: 'manual' })
  kinesis = createKinesisClient(local.kinesis)
  consumers = []
  got = []
  events = []
})

afterEach(async () => {
  for (const consumer of consumers) await consumer.close({ signal: AbortSignal.abort() })
  kinesis.destroy()
  await local.stop()
})

function start(
  retrieval: Retrieval,
  options: Partial<ConsumerOptions> = {},
  eachRecord: (text: string, signal: AbortSignal) => unknown = () => undefined,
): Consumer {
  const consumer = new Consumer({
    application: 'positions',
    stream: STREAM,
    retrieval,
    failoverTime: 1_000,
    idleTimeBetweenReads: 20,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
    onEvent: (event) => events.push(event),
    ...options,
  })
  consumers.push(consumer)
  const running = consumer.run({
    eachRecord: (record, { signal }) => {
      const text = record.text()
      got.push(text)
      return eachRecord(text, signal)
    },
  })
  running.catch((error: unknown) => got.push(String(error)))
  return consumer
}

async function put(...texts: string[]): Promise<void> {
  const records = texts.map((text) => ({ PartitionKey: text, Data: Buffer.from(text) }))
  await kinesis.send(new PutRecordsCommand({ StreamName: STREAM, Records: records }))
}

async function putAggregate(...texts: string[]): Promise<void> {
  const builder = new AggregateBuilder()
  for (const text of texts) builder.add('key', undefined, Buffer.from(text))
  const { data, partitionKey, explicitHashKey } = builder.build(hashKeyOf('key'))
  const place = { PartitionKey: partitionKey, ExplicitHashKey: explicitHashKey }
  await kinesis.send(new PutRecordCommand({ StreamName: STREAM, ...place, Data: data }))
}

async function resize(shards: number): Promise<void> {
  const input = { StreamName: STREAM, TargetShardCount: shards, ScalingType: 'UNIFORM_SCALING' } as const
  await kinesis.send(new UpdateShardCountCommand(input))
}

async function until(holds: () => void): Promise<void> {
  await vi.waitFor(holds, { timeout: 15_000, interval: 20 })
}

/** Everything that is expected has come, and soon afterwards nothing else has. */
async function expectOnly(...texts: string[]): Promise<void> {
  await until(() => expect(got.toSorted()).toEqual(texts.toSorted()))
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect(got.toSorted()).toEqual(texts.toSorted())
}

const reading = (consumer: Consumer): number =>
  consumer.status().shards.filter(({ millisBehindLatest }) => millisBehindLatest !== undefined).length

/**
 * Kinesis goes ahead of the time of day, by which a consumer reads the service's clock here: what was put before this has
 * arrived before a start at LATEST that follows, what is put after it arrives after.
 */
async function passSecond(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  await local.clock.set(new Date(Date.now() + 60_000))
}

const expiries = (): ConsumerEvent[] =>
  events.filter(({ type }) => type === 'recordsExpired' || type === 'checkpointExpired' || type === 'shardGone')

describe.each(BOTH)('an application that starts by %s', (retrieval) => {
  test('at TRIM_HORIZON gets everything, out of shards that are closed too', async () => {
    await put('a', 'b', 'c')
    await resize(4)
    await put('d', 'e')
    start(retrieval)
    await expectOnly('a', 'b', 'c', 'd', 'e')
  })

  test('at a time gets what has come since, whatever was resharded before and after', async () => {
    await put('a', 'b', 'c')
    await local.clock.advance(1_000)
    await resize(4)
    await put('d')
    await local.clock.advance(60_000)
    const timestamp = Date.now() + 30_000
    await put('e', 'f')
    await resize(2)
    await put('g')
    start(retrieval, { initialPosition: { timestamp } })
    await expectOnly('e', 'f', 'g')
  })

  test('at LATEST gets what comes after its start', async () => {
    await put('a', 'b', 'c')
    await passSecond()
    const consumer = start(retrieval, { initialPosition: 'LATEST' })
    await until(() => expect(reading(consumer)).toBe(2))
    await put('d', 'e')
    await expectOnly('d', 'e')
  })

  test('at LATEST misses nothing when what it reads with expires before the first record', async () => {
    await passSecond()
    // It tries again soon.
    const consumer = start(retrieval, { initialPosition: 'LATEST', random: () => 0.01 })
    await until(() => expect(reading(consumer)).toBe(2))
    for (const operation of ['GetRecords', 'SubscribeToShard']) await local.faults.add({ fault: 'throttle', operation })
    // A read that was under way has been answered, and a subscription has ended.
    await new Promise((resolve) => setTimeout(resolve, 200))
    if (retrieval === 'fanOut') await local.clock.advance(301_000)
    await put('a', 'b')
    await local.clock.advance(301_000)
    expect(got).toEqual([])
    await local.faults.clear()
    await expectOnly('a', 'b')
    expect(expiries()).toEqual([])
  })
})

describe.each(TURNS)('by %s, then by %s', (first, second) => {
  test('an application that started at LATEST and stopped before the first record goes on from its start', async () => {
    await put('a', 'b')
    await passSecond()
    const before = start(first, { initialPosition: 'LATEST' })
    await until(() => expect(reading(before)).toBe(2))
    await before.close()
    await put('c')
    await resize(4)
    await put('d')
    start(second, { initialPosition: 'LATEST' })
    await expectOnly('c', 'd')
  })

  test('a restart goes on inside an aggregate', async () => {
    await putAggregate('a', 'b', 'c', 'd')
    // Lies in the other shard.
    await put('e')
    const before = start(first, {}, (text, signal) =>
      text === 'c' ? new Promise((_, reject) => signal.addEventListener('abort', reject)) : undefined,
    )
    await until(() => expect(got).toEqual(expect.arrayContaining(['c', 'e'])))
    await before.close({ signal: AbortSignal.abort() })
    const left = events.flatMap((event) => (event.type === 'leaseReleased' ? event.checkpoint.subSequenceNumber : []))
    expect(left.toSorted()).toEqual([0, 1])
    got = []
    start(second)
    await expectOnly('c', 'd')
    expect(got).toEqual(['c', 'd'])
    expect(expiries()).toEqual([])
  })
})
