/** Going back, on sockets: what was consumed comes again from where the application was reset to. */
import { setTimeout as soon } from 'node:timers/promises'
import { PutRecordsCommand, SplitShardCommand } from '@aws-sdk/client-kinesis'
import { createKinesisClient, type Kinesis, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { MAX_HASH_KEY } from '@shardwise/records'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Consumer } from '../src/consumer.ts'
import type { ConsumerOptions } from '../src/options.ts'
import type { ConsumerRecord } from '../src/processing/consumer-record.ts'

const KEYS = ['a', 'b', 'c', 'd', 'e', 'f']
const ROUND = 20
const FIRST_SHARD = 'shardId-000000000000'

let local: Local
let kinesis: Kinesis & { destroy(): void }
let stream: string
let streams = 0
/** How many records each key has. */
let put: number

beforeAll(async () => {
  local = await startLocal({ limits: false, streams: { first: 1, second: 1, third: 1, fourth: 1, fifth: 1, sixth: 1 } })
  kinesis = createKinesisClient(local.kinesis)
})

afterAll(async () => {
  kinesis.destroy()
  await local.stop()
})

beforeEach(() => {
  stream = ['first', 'second', 'third', 'fourth', 'fifth', 'sixth'][streams++]!
  put = 0
})

async function putRound(): Promise<void> {
  for (const end = put + ROUND; put < end; put++) {
    const Records = KEYS.map((key) => ({ PartitionKey: key, Data: Buffer.from(String(put)) }))
    await kinesis.send(new PutRecordsCommand({ StreamName: stream, Records }))
  }
}

/** So that what was put before and after it has other times: the service tells of them in milliseconds. */
async function pause(): Promise<Date> {
  await soon(20)
  const between = new Date()
  await soon(20)
  return between
}

async function split(shardId: string): Promise<void> {
  const NewStartingHashKey = String(MAX_HASH_KEY / 2n)
  await kinesis.send(new SplitShardCommand({ StreamName: stream, ShardToSplit: shardId, NewStartingHashKey }))
}

const makeConsumer = (options: Partial<ConsumerOptions> = {}): Consumer =>
  new Consumer({
    application: `app-of-${stream}`,
    stream,
    failoverTime: 1_000,
    idleTimeBetweenReads: 20,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
    ...options,
  })

/** Until so many have come, and nothing more does. */
async function consume(count: number): Promise<ConsumerRecord[]> {
  const records: ConsumerRecord[] = []
  const consumer = makeConsumer()
  const running = consumer.run({ eachRecord: (record) => void records.push(record) })
  for (let waited = 0; records.length < count && waited < 15_000; waited += 20) await soon(20)
  await soon(300)
  await consumer.close()
  await running
  return records
}

/** The numbers of each key's records, as they came. */
const byKey = (records: readonly ConsumerRecord[]): Record<string, number[]> =>
  Object.fromEntries(
    KEYS.map((key) => [
      key,
      records.filter(({ partitionKey }) => partitionKey === key).map((record) => Number(record.text())),
    ]),
  )
const numbers = (from: number, to: number): Record<string, number[]> =>
  Object.fromEntries(KEYS.map((key) => [key, Array.from({ length: to - from }, (_, index) => from + index)]))

describe('after everything was consumed, also through a split', () => {
  let between: Date
  let first: ConsumerRecord[]

  beforeEach(async () => {
    await putRound()
    await split(FIRST_SHARD)
    between = await pause()
    await putRound()
    first = await consume(2 * ROUND * KEYS.length)
    expect(byKey(first)).toEqual(numbers(0, 2 * ROUND))
  }, 60_000)

  test('TRIM_HORIZON brings all of it again, in order', async () => {
    const leases = await makeConsumer().reset({ to: 'TRIM_HORIZON' })
    expect(leases).toMatchObject([{ stream, shardId: FIRST_SHARD, checkpoint: { sequenceNumber: 'TRIM_HORIZON' } }])
    expect(byKey(await consume(2 * ROUND * KEYS.length))).toEqual(numbers(0, 2 * ROUND))
  }, 60_000)

  test('a timestamp brings what has arrived since', async () => {
    const leases = await makeConsumer().reset({ to: { timestamp: between } })
    expect(leases).toHaveLength(2)
    expect(byKey(await consume(ROUND * KEYS.length))).toEqual(numbers(ROUND, 2 * ROUND))
  }, 60_000)

  test('a position brings what comes after it in its shard and below, and nothing of others', async () => {
    const inFirst = first.filter(({ shardId }) => shardId === FIRST_SHARD)
    const at = inFirst[inFirst.length / 2]!
    await makeConsumer().reset({ to: at })
    const isAfter = ({ shardId, sequenceNumber }: ConsumerRecord): boolean =>
      shardId !== FIRST_SHARD || BigInt(sequenceNumber) > BigInt(at.sequenceNumber)
    const due = first.filter(isAfter)
    expect(byKey(await consume(due.length))).toEqual(byKey(due))

    const child = first.find(({ shardId }) => shardId !== FIRST_SHARD)!
    await makeConsumer().reset({ to: child })
    const rest = first.filter(({ shardId }) => shardId === child.shardId).slice(1)
    expect(byKey(await consume(rest.length))).toEqual(byKey(rest))
  }, 60_000)

  test('LATEST brings what is put from then on', async () => {
    await putRound()
    await makeConsumer().reset({ to: 'LATEST' })
    await soon(1_100)
    await putRound()
    const records = byKey(await consume(ROUND * KEYS.length))
    for (const key of KEYS) expect(records[key]!.slice(-ROUND)).toEqual(numbers(3 * ROUND, 4 * ROUND)[key])
  }, 60_000)

  test('a named shard comes again alone', async () => {
    const [, low] = [...new Set(first.map(({ shardId }) => shardId))].toSorted()
    await makeConsumer().reset({ to: 'TRIM_HORIZON', shards: [low!] })
    const due = first.filter(({ shardId }) => shardId === low)
    expect(byKey(await consume(due.length))).toEqual(byKey(due))
  }, 60_000)
})

test('while a worker runs it is refused, and forced it takes the leases from it', async () => {
  await putRound()
  const records: ConsumerRecord[] = []
  const consumer = makeConsumer({ workerId: 'the-one' })
  const running = consumer.run({ eachRecord: (record) => void records.push(record) })
  for (let waited = 0; records.length < ROUND * KEYS.length && waited < 15_000; waited += 20) await soon(20)
  await expect(consumer.reset({ to: 'TRIM_HORIZON' })).rejects.toMatchObject({ code: 'ERR_STATE' })
  await expect(makeConsumer().reset({ to: 'TRIM_HORIZON' })).rejects.toMatchObject({
    code: 'ERR_STATE',
    message: expect.stringContaining('"the-one"'),
  })
  await makeConsumer().reset({ to: 'TRIM_HORIZON', force: true })
  for (let waited = 0; records.length < 2 * ROUND * KEYS.length && waited < 15_000; waited += 20) await soon(20)
  expect(byKey(records.slice(ROUND * KEYS.length))).toEqual(numbers(0, ROUND))
  await consumer.close()
  await running
}, 60_000)
