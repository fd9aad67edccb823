import { expect, expectTypeOf, test } from 'vitest'
import { Consumer } from './consumer.ts'
import type { ConsumerRecord } from './processing/consumer-record.ts'
import { batchLimitsOf, checkHandlers, type Handlers } from './run-options.ts'

interface Delay {
  readonly flight: string
  readonly minutes: number
}

const given = { application: 'delays', stream: 'flights' }
const codec = { decode: (data: Uint8Array): Delay => ({ flight: String(data), minutes: 3 }) }

test.each([
  [undefined, 'run() expects one handler'],
  [{}, 'run() expects one handler'],
  [{ eachRecord: 'save' }, 'run() expects one handler'],
  [{ eachRecord: () => {}, eachBatch: () => {} }, 'run() expects one handler'],
  [{ eachRecord: () => {}, maxWaitMs: 10 }, 'run(): unknown option "maxWaitMs"'],
  [{ eachRecord: () => {}, onShardEnds: () => {} }, 'did you mean "onShardEnd"?'],
  [{ eachRecord: () => {}, onShardStart: true }, 'option "onShardStart" must be a function'],
  [{ eachBatch: () => {}, maxRecords: 0 }, 'option "maxRecords" must be a whole number of at least 1, got 0'],
  [{ eachBatch: () => {}, maxBytes: -1 }, 'option "maxBytes" must be'],
  [{ eachBatch: () => {}, maxWaitMs: -1 }, 'option "maxWaitMs" must be'],
  [{ eachBatch: () => {}, signal: 'SIGTERM' }, 'option "signal" must be'],
])('%j is refused', async (handlers, message) => {
  expect(() => checkHandlers(handlers as unknown as Handlers, 'automatic')).toThrow(message)
  await expect(new Consumer(given).run(handlers as unknown as Handlers)).rejects.toThrow(message)
})

test('with manual checkpoints there must be a hook that has the word at the end of a shard', async () => {
  const manual = new Consumer({ ...given, checkpointing: 'manual' })
  await expect(manual.run({ eachRecord: () => {} })).rejects.toMatchObject({
    code: 'ERR_STATE',
    message: expect.stringContaining('expects the hook onShardEnd'),
  })
  expect(() => checkHandlers({ eachRecord: () => {}, onShardEnd: () => {} }, 'manual')).not.toThrow()
})

test('a batch has its bounds by default; single records have none', () => {
  expect(batchLimitsOf({ eachBatch: () => {}, maxRecords: 10 })).toEqual({
    maxRecords: 10,
    maxBytes: 2 ** 20,
    maxWaitMs: 100,
  })
  expect(batchLimitsOf({ eachRecord: () => {} })).toBeUndefined()
})

// What is here is compiled; it never runs.
test('the type of the value comes from the codec, without a word of it in the handler', () => {
  const typed = new Consumer({ ...given, codec })
  expectTypeOf(typed).toEqualTypeOf<Consumer<Delay>>()
  const plain = new Consumer(given)
  expectTypeOf(plain).toEqualTypeOf<Consumer<undefined>>()
  const uses = async (): Promise<void> => {
    await typed.run({ eachRecord: (record) => expectTypeOf(record.value).toEqualTypeOf<Delay>() })
    await typed.run({
      eachBatch: (records, { checkpoint }) => {
        expectTypeOf(records).toEqualTypeOf<ConsumerRecord<Delay>[]>()
        checkpoint(records[0])
      },
      maxRecords: 10,
    })
    for await (const record of typed.records()) expectTypeOf(record.value).toEqualTypeOf<Delay>()
    await plain.run({ eachRecord: (record, { signal }) => expectTypeOf([record.value, signal]) })
    for await (const record of plain.records()) expectTypeOf(record.value).toEqualTypeOf<undefined>()
  }
  expectTypeOf<{ eachRecord: () => void; eachBatch: () => void }>().not.toExtend<Handlers>()
  expect(uses).toBeTypeOf('function')
})
