import { expect, test } from 'vitest'
import { Consumer } from './consumer.ts'
import { type ConsumerOptions, resolveOptions } from './options.ts'

const given = { application: 'delays', stream: 'flights' }
const streamArn = 'arn:aws:kinesis:eu-west-1:123456789012:stream/flights'
const consumerArn = `${streamArn}/consumer/delays:1700000000`

test('what is not given has its default', () => {
  expect(resolveOptions(given)).toMatchObject({
    tableName: 'delays',
    initialPosition: 'TRIM_HORIZON',
    failoverTime: 10_000,
    renewalInterval: 4_500,
    checkpointIntervalMs: 10_000 / 3,
    maxLeases: Number.POSITIVE_INFINITY,
    tableBillingMode: 'PAY_PER_REQUEST',
    tableDeletionProtection: false,
    concurrency: 64,
    maxRecords: 10_000,
    idleTimeBetweenReads: 200,
    retrieval: 'polling',
    consumerName: 'delays',
    consumerArn: undefined,
    dropMisplaced: false,
    ordering: 'key',
    maxAttempts: 10,
    maxAgeMs: Number.POSITIVE_INFINITY,
    handlerTimeoutMs: undefined,
    failurePolicy: 'stop',
    onStop: 'retry',
    stoppedRetryMs: 60_000,
    checkpointing: 'automatic',
    maxAheadBytes: 64 * 2 ** 20,
    readyLagMs: 60_000,
  })
})

test('with a function for dead letters they are the policy', () => {
  const deadLetter = (): void => {}
  expect(resolveOptions({ ...given, deadLetter })).toMatchObject({ failurePolicy: 'deadLetter', deadLetter })
  expect(resolveOptions({ ...given, deadLetter, failurePolicy: 'deadLetter' })).toMatchObject({ deadLetter })
})

test('two workers of one process have different names', () => {
  expect(resolveOptions(given).workerId).not.toBe(resolveOptions(given).workerId)
})

test('a registered consumer is given with its stream, by name or ARN, and a long name is for polling', () => {
  for (const stream of ['flights', streamArn]) {
    expect(resolveOptions({ ...given, stream, retrieval: 'fanOut', consumerArn })).toMatchObject({ consumerArn })
  }
  expect(resolveOptions({ ...given, application: 'a'.repeat(129) })).toMatchObject({ retrieval: 'polling' })
})

test.each([
  [{ ...given, stream: '' }, 'option "stream" must be a non-empty string'],
  [{ application: 'delays' }, 'expected either "stream" or "streams", got neither'],
  [{ ...given, streams: ['orders'] }, 'expected either "stream" or "streams", got both'],
  [{ application: 'delays', streams: [] }, 'a list of names, ARNs or { stream, initialPosition }'],
  [{ application: 'delays', streams: [{ name: 'orders' }] }, 'a list of names, ARNs or { stream, initialPosition }'],
  [{ application: 'delays', streams: { where: 'orders' } }, 'or { where: (stream) => boolean }'],
  [{ ...given, concurency: 3 }, 'did you mean "concurrency"?'],
  [{ ...given, maxRecords: 10_001 }, 'a whole number from 1 to 10000, got 10001'],
  [{ ...given, initialPosition: 'OLDEST' }, '"TRIM_HORIZON", "LATEST" or { timestamp'],
  [{ ...given, initialPosition: { timestamp: new Date('never') } }, '"TRIM_HORIZON", "LATEST" or { timestamp'],
  [{ ...given, workerId: 'Leader' }, 'a name other than "Leader"'],
  [{ ...given, workerId: 'shardId-000000000000' }, 'without "shardId-" in it'],
  [{ ...given, workerId: 'Migration3.0' }, '"Migration3.0"'],
  [{ ...given, failoverTime: 1_000, checkpointIntervalMs: 451 }, 'at most 0.45 of failoverTime (450 ms)'],
  [{ ...given, ordering: 'keys' }, 'one of "key", "shard", "none", got "keys"'],
  [{ ...given, codec: { encode: () => '' } }, 'option "codec" must be'],
  [{ ...given, maxAttempts: 0 }, 'a whole number of at least 1, got 0'],
  [{ ...given, handlerTimeoutMs: 0 }, 'a number from 1 to 86400000, got 0'],
  [{ ...given, failurePolicy: 'drop' }, 'option "failurePolicy" must be'],
  [{ ...given, failurePolicy: 'deadLetter' }, 'needs option "deadLetter", a function that takes the record'],
  [
    { ...given, failurePolicy: 'skip', deadLetter: () => {} },
    'must come without "failurePolicy", or with "deadLetter", got "skip"',
  ],
  [{ ...given, onStop: 'halt' }, 'option "onStop" must be'],
  [{ ...given, stoppedRetryMs: 0 }, 'option "stoppedRetryMs" must be'],
  [{ ...given, checkpointing: 'never' }, 'option "checkpointing" must be'],
  [{ ...given, maxLeases: 0 }, 'option "maxLeases" must be'],
  [{ ...given, assign: 'evenly' }, 'option "assign" must be'],
  [{ ...given, tableTags: { team: 7 } }, 'at most 50 tags, each a string'],
  [{ ...given, tableTags: { 'aws:x': 'y' } }, 'doesn\'t start with "aws:"'],
  [{ ...given, application: 'my app' }, 'must be 3 to 255 letters, digits, "_", "-" or "." (or an ARN), got "my app"'],
  [{ ...given, tableName: 'a' }, 'got "a"'],
  [{ ...given, tableBillingMode: 'FREE' }, '"tableBillingMode" must be'],
  [{ ...given, tableReadCapacity: 5 }, 'only for a table with tableBillingMode "PROVISIONED", got none'],
  [{ ...given, kinesis: {} }, 'an object with send'],
  [{ ...given, retrieval: 'fanout' }, 'option "retrieval" must be'],
  [{ ...given, consumerName: 'my app' }, 'must be 1 to 128 letters, digits, "_", "-" or ".", got "my app"'],
  [{ ...given, application: 'a'.repeat(129), retrieval: 'fanOut' }, "by default the application's, must be 1 to 128"],
  [{ ...given, consumerArn: 'delays' }, 'the ARN of a registered consumer'],
  [{ ...given, consumerArn: [consumerArn] }, 'the ARN of a registered consumer'],
  [
    { ...given, stream: 'orders', consumerArn },
    'with the "stream" that it is of, and without "consumerName", got "stream" "orders"',
  ],
  [{ ...given, consumerName: 'delays', consumerArn }, 'got also "consumerName" "delays"'],
  [{ application: 'delays', streams: ['flights'], consumerArn }, 'with the "stream" that it is of'],
])('%j is refused', (options, message) => {
  expect(() => new Consumer(options as unknown as ConsumerOptions)).toThrow(message)
})
