import { setTimeout } from 'node:timers/promises'
import {
  GetRecordsCommand,
  GetShardIteratorCommand,
  type KinesisClient,
  ProvisionedThroughputExceededException,
  type PutRecordsCommandOutput,
} from '@aws-sdk/client-kinesis'
import { createKinesisClient, listShards, type Shard, silentLogger } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { startLocal } from '@shardwise/local'
import { Producer, type Receipt } from '@shardwise/producer'
import { deaggregate, isMisplaced } from '@shardwise/records'
import { expect, test } from 'vitest'

const STREAM = 'shared'
const OFFERING_MS = 12_000
const WARM_UP_MS = 3_000
const KEYS = 40

/** One of the ten. Without a pause it offers as much as it is let. */
interface Offer {
  readonly aggregation: boolean
  readonly bytes: number
  /** Between two puts. */
  readonly pauseMs: number
}

const OFFERS: readonly Offer[] = [
  ...Array.from({ length: 4 }, () => ({ aggregation: true, bytes: 150, pauseMs: 0 })),
  ...Array.from({ length: 4 }, (_, index) => ({ aggregation: false, bytes: 3_000 + 1_000 * index, pauseMs: 0 })),
  { aggregation: true, bytes: 150, pauseMs: 25 },
  { aggregation: false, bytes: 500, pauseMs: 100 },
]

/**
 * What the service answered to PutRecords: Kinesis records, and those of them that it throttled. Producers learn of each other
 * by the first throttle; it counts from a while after it.
 */
class Answers {
  records = 0
  throttled = 0
  #countsFromMs = Number.POSITIVE_INFINITY

  /** Counts all that a client is answered. */
  countThoseTo(client: KinesisClient): void {
    client.middlewareStack.add(
      (next, { commandName }) =>
        async (args) => {
          const result = await next(args)
          if (commandName === 'PutRecordsCommand') this.#count(result.output as PutRecordsCommandOutput)
          return result
        },
      { step: 'initialize' },
    )
  }

  #count({ Records: results = [] }: PutRecordsCommandOutput): void {
    const throttled = results.filter(({ ErrorCode: code }) => code === 'ProvisionedThroughputExceededException').length
    const nowMs = performance.now()
    if (throttled > 0) this.#countsFromMs = Math.min(this.#countsFromMs, nowMs + WARM_UP_MS)
    if (nowMs < this.#countsFromMs) return
    this.records += results.length
    this.throttled += throttled
  }
}

/** A user record as it was found in the stream. */
interface Found {
  readonly id: string
  readonly place: string
  readonly partitionKey: string
  readonly isMisplaced: boolean
}

function placeOf(shardId: string, sequenceNumber: string, subSequenceNumber: number): string {
  return `${shardId} ${sequenceNumber} ${subSequenceNumber}`
}

/** Reads a shard from its beginning until it is told that nothing more will come, and then to the end. */
async function readAll(kinesis: KinesisClient, shard: Shard, isOver: () => boolean): Promise<Found[]> {
  const { shardId, hashRange } = shard
  const found: Found[] = []
  const { ShardIterator: first } = await kinesis.send(
    new GetShardIteratorCommand({ StreamName: STREAM, ShardId: shardId, ShardIteratorType: 'TRIM_HORIZON' }),
  )
  let iterator = first
  for (;;) {
    await setTimeout(250)
    const isLast = isOver()
    const page = await kinesis.send(new GetRecordsCommand({ ShardIterator: iterator })).catch((error: unknown) => {
      if (error instanceof ProvisionedThroughputExceededException) return undefined
      throw error
    })
    if (page === undefined) continue
    for (const { PartitionKey: key = '', SequenceNumber: sequenceNumber = '', Data: data } of page.Records ?? []) {
      const inside = deaggregate(data!)
      expect(inside.kind).not.toBe('malformed')
      const records =
        inside.kind === 'aggregate'
          ? inside.records
          : [{ partitionKey: key, explicitHashKey: undefined, data: data!, subSequenceNumber: 0 }]
      for (const record of records) {
        found.push({
          id: idIn(record.data),
          place: placeOf(shardId, sequenceNumber, record.subSequenceNumber),
          partitionKey: record.partitionKey,
          isMisplaced: isMisplaced(record, hashRange),
        })
      }
    }
    iterator = page.NextShardIterator
    if (isLast && (page.Records ?? []).length === 0 && page.MillisBehindLatest === 0) return found
  }
}

/** A record's bytes begin with what tells it from all others, up to a blank. */
function bytesOf(id: string, bytes: number): Uint8Array {
  return Buffer.from(`${id} `.padEnd(bytes, '.'))
}

function idIn(data: Uint8Array): string {
  const text = Buffer.from(data).toString('utf8', 0, 40)
  return text.slice(0, text.indexOf(' '))
}

/** Acknowledged records that aren't where their receipts say, or somewhere else too though nothing was said of it. */
function faultsIn(receipts: ReadonlyMap<string, Receipt>, found: readonly Found[]): string[] {
  const placesOf = Map.groupBy(found, ({ id }) => id)
  const faults = [...placesOf.keys()].filter((id) => !receipts.has(id)).map((id) => `${id} was never acknowledged`)
  for (const [id, { shardId, sequenceNumber, subSequenceNumber, earlierCopy }] of receipts) {
    const places = placesOf.get(id)?.map(({ place }) => place) ?? []
    if (!places.includes(placeOf(shardId, sequenceNumber, subSequenceNumber))) faults.push(`${id} is lost`)
    if (places.length > 1 && earlierCopy === undefined) faults.push(`${id} is there ${places.length} times`)
  }
  return faults
}

/** Records whose first copy comes after that of a later one of their key. A key's are all in one shard, read in its order. */
function disorderIn(found: readonly Found[]): string[] {
  const newest = new Map<string, number>()
  const seen = new Set<string>()
  const disorder: string[] = []
  for (const { id, partitionKey } of found) {
    if (seen.has(id)) continue
    seen.add(id)
    const number = Number(id.slice(id.indexOf(':') + 1))
    const before = newest.get(partitionKey) ?? -1
    if (number < before) disorder.push(`${id} of the key ${partitionKey} comes after ${before}`)
    else newest.set(partitionKey, number)
  }
  return disorder
}

test('ten producers share two shards: hardly throttled, everything where it belongs, in order, and once', async () => {
  await using local = await startLocal({ streams: { [STREAM]: 2 }, dynamodb: false })
  const kinesis = createKinesisClient(local.kinesis)
  const answers = new Answers()
  const receipts = new Map<string, Receipt>()
  const startedMs = performance.now()

  /** Puts, bounded by `ready` where records are small and by a window of puts where they are large. */
  const offer = async ({ aggregation, bytes, pauseMs }: Offer, index: number): Promise<void> => {
    const random = seededRandom(index)
    const client = createKinesisClient(local.kinesis)
    answers.countThoseTo(client)
    const producer = new Producer({
      stream: STREAM,
      client,
      aggregation,
      recordTtl: 120_000,
      maxOutstandingBytes: 2 ** 20,
      logger: silentLogger,
    })
    const puts = new Set<Promise<unknown>>()
    const failures: unknown[] = []
    for (let number = 0; performance.now() - startedMs < OFFERING_MS; number++) {
      const partitionKey = `${index}-${Math.floor(random() * KEYS)}`
      const id = `${index}:${number}`
      const put: Promise<unknown> = producer
        .put({ partitionKey, data: bytesOf(id, bytes) })
        .then((receipt) => receipts.set(id, receipt))
        .catch((error: unknown) => failures.push(error))
        .finally(() => puts.delete(put))
      puts.add(put)
      await producer.ready
      if (!aggregation && puts.size >= KEYS) await Promise.race(puts)
      // Lets the others have their turn too.
      if (pauseMs > 0 || number % 50 === 0) await setTimeout(pauseMs)
    }
    await producer.close()
    await Promise.all(puts)
    client.destroy()
    expect(failures).toEqual([])
  }

  let isOver = false
  const shards = await listShards(kinesis, STREAM)
  const offering = Promise.all(OFFERS.map(offer)).finally(() => {
    isOver = true
  })
  const [perShard] = await Promise.all([
    Promise.all(shards.map((shard) => readAll(kinesis, shard, () => isOver))),
    offering,
  ])
  kinesis.destroy()

  // Together they offered more than the shards take.
  expect(answers.records).toBeGreaterThan(0)
  expect(answers.throttled / answers.records).toBeLessThan(0.02)

  const found = perShard.flat()
  expect(found.filter((record) => record.isMisplaced)).toEqual([])
  expect(disorderIn(found)).toEqual([])
  expect(faultsIn(receipts, found)).toEqual([])
}, 120_000)
