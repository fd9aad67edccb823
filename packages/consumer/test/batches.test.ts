import { beforeEach, describe, expect, test } from 'vitest'
import type { ConsumerOptions } from '../src/options.ts'
import type { BatchHandlers } from '../src/run-options.ts'
import { ConsumerStage, F, type StagedWorker } from './consumer-stage.ts'

/** Much longer than any test. */
const NEVER_MS = 3_600_000

let stage: ConsumerStage
/** How many records each batch had. */
let sizes: number[]

beforeEach(() => {
  stage = new ConsumerStage()
  sizes = []
})

function put(count: number, bytes = 100): void {
  for (let number = 0; number < count; number++) stage.kinesis.put(`${number} `.padEnd(bytes, '.'), `key-${number}`)
}

/** Gathers as much as it can, unless the test says otherwise. */
function start(bounds: Partial<BatchHandlers>, options: Partial<ConsumerOptions> = {}): StagedWorker {
  const eachBatch = (records: readonly unknown[]): void => {
    sizes.push(records.length)
  }
  return stage.start(
    'worker',
    { eachBatch, maxRecords: 100_000, maxBytes: 2 ** 30, maxWaitMs: NEVER_MS, ...bounds },
    options,
  )
}

describe('a batch goes', () => {
  test('when it has as many records, or bytes, as it may', async () => {
    put(30)
    start({ maxRecords: 12 })
    await stage.clock.advance(F)
    expect(sizes).toEqual([12, 12])
    stage = new ConsumerStage()
    put(30)
    start({ maxBytes: 1_000 })
    await stage.clock.advance(F)
    expect(sizes.slice(2, 4)).toEqual([10, 10])
  })

  test('when its first record has waited for as long as it may', async () => {
    put(30)
    start({ maxWaitMs: 5 * F })
    await stage.clock.advance(4 * F)
    expect(sizes).toEqual([])
    await stage.clock.advance(2 * F)
    expect(sizes).toEqual([30])
  })

  test('when nothing more may be begun beyond the checkpoint', async () => {
    put(30)
    start({}, { maxAheadRecords: 10 })
    await stage.clock.advance(F)
    expect(sizes).toEqual([10, 10, 10])
    stage = new ConsumerStage()
    put(30)
    start({}, { maxAheadBytes: 1_000 })
    await stage.clock.advance(F)
    expect(sizes.slice(3)).toEqual([10, 10, 10])
  })

  test('when nothing more can be read, for want of memory, before something is finished', async () => {
    put(300, 10_000)
    start({}, { maxBufferedBytes: 500_000, maxRecords: 10 })
    await stage.clock.advance(20 * F)
    const handled = sizes.reduce((sum, size) => sum + size, 0)
    expect(handled).toBeGreaterThan(200)
  })

  test('at the end of its shard', async () => {
    put(30)
    stage.kinesis.resize(2)
    start({})
    await stage.clock.advance(2 * F)
    expect(sizes).toEqual([30])
    expect(stage.lease(0).checkpoint.sequenceNumber).toBe('SHARD_END')
  })

  test('when the lease is given back, whose checkpoint covers it', async () => {
    put(29)
    const last = stage.kinesis.put('last')
    const worker = start({})
    await stage.clock.advance(F)
    expect(sizes).toEqual([])
    await stage.done(worker.consumer.close())
    expect(sizes).toEqual([30])
    expect(stage.lease(0).checkpoint.sequenceNumber).toBe(last.SequenceNumber)
  })

  test('not while it is paused', async () => {
    put(30)
    const worker = start({ maxWaitMs: 2 * F })
    await stage.clock.advance(F)
    worker.consumer.pause()
    await stage.clock.advance(10 * F)
    expect(sizes).toEqual([])
    worker.consumer.resume()
    await stage.clock.advance(F / 10)
    expect(sizes).toEqual([30])
  })
})

test('batches keep the order of every key through a handoff and a split, and nothing comes twice', async () => {
  const got: string[] = []
  const eachBatch = async (records: readonly { text(): string }[]): Promise<void> => {
    await stage.clock.sleep(30)
    got.push(...records.map((record) => record.text()))
  }
  const handlers = { eachBatch, maxRecords: 7, maxWaitMs: 10 }
  let number = 0
  const putMore = (): void => {
    for (const end = number + 40; number < end; number++) {
      stage.kinesis.put(`${number % 3} ${number}`, `key-${number % 3}`)
    }
  }
  putMore()
  const one = stage.start('one', handlers)
  await stage.until('some are handled', () => got.length > 10)
  stage.start('two', handlers)
  const closed = one.consumer.close()
  putMore()
  await stage.done(closed)
  await stage.until('the other has gone on', () => got.length > 45)
  stage.kinesis.resize(2)
  putMore()
  await stage.until('all are handled', () => got.length >= 120)
  await stage.clock.advance(5 * F)
  expect(got).toHaveLength(120)
  for (const key of [0, 1, 2]) {
    const expected = Array.from({ length: 40 }, (_, index) => `${key} ${key + 3 * index}`)
    expect(got.filter((text) => text.startsWith(`${key} `))).toEqual(expected)
  }
})
