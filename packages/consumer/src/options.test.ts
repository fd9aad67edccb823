import { expect, test } from 'vitest'
import { Consumer } from './consumer.ts'
import { type ConsumerOptions, resolveOptions } from './options.ts'

const given = { application: 'delays', stream: 'flights' }

test('what is not given has its default', () => {
  expect(resolveOptions(given)).toMatchObject({
    tableName: 'delays',
    initialPosition: 'TRIM_HORIZON',
    failoverTime: 10_000,
    checkpointInterval: 10_000 / 3,
    concurrency: 64,
    maxRecords: 10_000,
    idleTimeBetweenReads: 200,
    dropMisplaced: false,
  })
})

test('two workers of one process have different names', () => {
  expect(resolveOptions(given).workerId).not.toBe(resolveOptions(given).workerId)
})

test.each([
  [{ ...given, stream: '' }, 'option "stream" must be a non-empty string'],
  [{ application: 'delays' }, 'option "stream" is required'],
  [{ ...given, concurency: 3 }, 'did you mean "concurrency"?'],
  [{ ...given, maxRecords: 10_001 }, 'a whole number from 1 to 10000, got 10001'],
  [{ ...given, initialPosition: 'OLDEST' }, '"TRIM_HORIZON", "LATEST" or { timestamp'],
  [{ ...given, initialPosition: { timestamp: new Date('never') } }, '"TRIM_HORIZON", "LATEST" or { timestamp'],
  [{ ...given, workerId: 'Leader' }, 'a name other than "Leader"'],
  [{ ...given, workerId: 'shardId-000000000000' }, 'that doesn\'t start with "shardId-"'],
  [{ ...given, failoverTime: 1_000, checkpointInterval: 501 }, 'at most half of failoverTime (500 ms)'],
  [{ ...given, kinesis: {} }, 'an object with send'],
])('%j is refused', (options, message) => {
  expect(() => new Consumer(options as unknown as ConsumerOptions)).toThrow(message)
})
