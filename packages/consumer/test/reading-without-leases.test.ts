import { spawn } from 'node:child_process'
import {
  type KinesisClient,
  MergeShardsCommand,
  PutRecordCommand,
  PutRecordsCommand,
  SplitShardCommand,
  UpdateShardCountCommand,
} from '@aws-sdk/client-kinesis'
import { createKinesisClient, listShards, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { AggregateBuilder, hashKeyOf } from '@shardwise/records'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ReadStreamOptions, Records } from '../src/tail/read-options.ts'
import { readShard } from '../src/tail/read-shard.ts'
import { readStream } from '../src/tail/read-stream.ts'

const KEYS = Array.from({ length: 30 }, (_, index) => `key-${index}`)

let local: Local
let kinesis: KinesisClient

beforeAll(async () => {
  local = await startLocal({
    streams: { resharded: 2, tip: 1, aggregates: 1, exit: 2 },
    limits: false,
    dynamodb: false,
  })
  kinesis = createKinesisClient(local.kinesis)
})

afterAll(async () => {
  kinesis.destroy()
  await local.stop()
})

const soon = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

function read(stream: string, options: Partial<ReadStreamOptions> = {}): Records {
  return readStream({
    stream,
    kinesisConfig: local.kinesis,
    logger: silentLogger,
    idleTimeBetweenReads: 20,
    ...options,
  })
}

async function openShards(stream: string): Promise<string[]> {
  const shards = await listShards(kinesis, stream, { filter: { Type: 'AT_LATEST' } })
  return shards.toSorted((a, b) => Number(a.hashRange.start - b.hashRange.start)).map(({ shardId }) => shardId)
}

/** An aggregate for each half of the hash keys, which may lie in the wrong shard by now, and lone records. */
async function put(stream: string, number: number): Promise<void> {
  const records = KEYS.map((key) => ({ PartitionKey: key, Data: Buffer.from(`${key}:${number}`) }))
  await kinesis.send(new PutRecordsCommand({ StreamName: stream, Records: records }))
}

async function putAggregate(stream: string, ...texts: string[]): Promise<string> {
  const builder = new AggregateBuilder()
  for (const text of texts) builder.add(text, undefined, Buffer.from(text))
  const { data, partitionKey, explicitHashKey } = builder.build(hashKeyOf(texts[0]!))
  const { SequenceNumber } = await kinesis.send(
    new PutRecordCommand({
      StreamName: stream,
      PartitionKey: partitionKey,
      ExplicitHashKey: explicitHashKey,
      Data: data,
    }),
  )
  return SequenceNumber!
}

test('a stream is read in the order of its keys while it is split, merged and resized', async () => {
  const reshards = [
    () =>
      kinesis.send(
        new UpdateShardCountCommand({ StreamName: 'resharded', TargetShardCount: 4, ScalingType: 'UNIFORM_SCALING' }),
      ),
    async () => {
      const [, second, third] = await openShards('resharded')
      const input = { StreamName: 'resharded', ShardToMerge: second, AdjacentShardToMerge: third }
      return kinesis.send(new MergeShardsCommand(input))
    },
    async () => {
      const [first] = await openShards('resharded')
      const input = { StreamName: 'resharded', ShardToSplit: first, NewStartingHashKey: String(2n ** 124n) }
      return kinesis.send(new SplitShardCommand(input))
    },
    () =>
      kinesis.send(
        new UpdateShardCountCommand({ StreamName: 'resharded', TargetShardCount: 2, ScalingType: 'UNIFORM_SCALING' }),
      ),
  ]
  const rounds = 100
  const writing = (async () => {
    for (let round = 0; round < rounds; round++) {
      await put('resharded', round)
      if (round % 20 === 19) await reshards[(round - 19) / 20]?.()
      await soon(5)
    }
  })()
  const got = new Map<string, number[]>(KEYS.map((key) => [key, []]))
  const shards = new Set<string>()
  let count = 0
  for await (const record of read('resharded', { maxRecords: 100 })) {
    const [key, number] = record.text().split(':')
    got.get(key!)!.push(Number(number))
    shards.add(record.shardId)
    if (++count === KEYS.length * rounds) break
  }
  await writing
  for (const numbers of got.values()) expect(numbers).toEqual(Array.from({ length: rounds }, (_, number) => number))
  expect(shards.size).toBeGreaterThan(7)
})

test('at LATEST it reads what is put after the call', async () => {
  await kinesis.send(new PutRecordCommand({ StreamName: 'tip', PartitionKey: 'a', Data: Buffer.from('before') }))
  // The tip is known by the service's clock in whole seconds.
  await soon(1_100)
  const records = read('tip', { from: 'LATEST' })
  await kinesis.send(new PutRecordCommand({ StreamName: 'tip', PartitionKey: 'a', Data: Buffer.from('after') }))
  expect((await records.next()).value?.text()).toBe('after')
  await records.return()
})

test('a shard is read on from inside an aggregate', async () => {
  const sequenceNumber = await putAggregate('aggregates', 'a', 'b', 'c')
  await putAggregate('aggregates', 'd', 'e')
  const [shardId] = await openShards('aggregates')
  const texts: string[] = []
  const place = { sequenceNumber, subSequenceNumber: 1 }
  const options = { stream: 'aggregates', kinesisConfig: local.kinesis, logger: silentLogger }
  for await (const record of readShard({ ...options, shardId: shardId!, from: place })) {
    texts.push(record.text())
    if (record.text() === 'e') break
  }
  expect(texts).toEqual(['b', 'c', 'd', 'e'])
})

test('several records asked for at once come in order', async () => {
  await putAggregate('aggregates', 'x', 'y', 'z')
  await using records = read('aggregates')
  const answers = await Promise.all(Array.from({ length: 3 }, () => records.next()))
  expect(answers.map(({ value }) => value?.text())).toEqual(['a', 'b', 'c'])
})

test('connections that break and calls that are throttled lose nothing', async () => {
  await local.faults.add({ fault: 'throttle', operation: 'GetRecords', count: 2 })
  await local.faults.add({ fault: 'reset', operation: 'GetShardIterator', count: 1 })
  await local.faults.add({ fault: 'lostAnswer', operation: 'GetRecords', count: 2 })
  await local.faults.add({ fault: 'internalError', operation: 'ListShards', count: 1 })
  const texts: string[] = []
  for await (const record of read('aggregates')) {
    texts.push(record.text())
    if (record.text() === 'z') break
  }
  expect(texts).toEqual(['a', 'b', 'c', 'd', 'e', 'x', 'y', 'z'])
  await local.faults.clear()
})

describe('the process can exit', () => {
  const run = async (body: string): Promise<{ code: number | null; ms: number }> => {
    const script = `
      import { readStream } from '${new URL('../src/tail/read-stream.ts', import.meta.url)}'
      const options = ${JSON.stringify({ stream: 'exit', kinesisConfig: local.kinesis })}
      ${body}
    `
    const startedAt = performance.now()
    const child = spawn(process.execPath, ['--conditions=shardwise-source', '--input-type=module', '-e', script], {
      cwd: import.meta.dirname,
      stdio: 'inherit',
    })
    const { promise, resolve } = Promise.withResolvers<number | null>()
    child.on('exit', resolve)
    return { code: await promise, ms: performance.now() - startedAt }
  }

  test.each([
    ['a break', 'for await (const record of readStream(options)) break'],
    [
      'an aborted signal',
      'for await (const record of readStream({ ...options, signal: AbortSignal.timeout(500) })) {}',
    ],
    ['an error in the loop', 'try { for await (const record of readStream(options)) throw new Error() } catch {}'],
    ['a stream that does not exist', "await readStream({ ...options, stream: 'none' }).next().catch(() => {})"],
    ['nothing having been asked for', 'readStream(options)'],
  ])('after %s', async (_, body) => {
    await put('exit', 0)
    const { code, ms } = await run(body)
    expect(code).toBe(0)
    expect(ms).toBeLessThan(8_000)
  })
})
