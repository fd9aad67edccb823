import { metrics } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ConsumerMeter, type Observed, type ObservedShard } from './consumer-meter.ts'
import { METRICS } from './metrics.ts'
import type { ConsumerEvent, StreamEvent } from './telemetry.ts'

let exporter: InMemoryMetricExporter
let meterProvider: MeterProvider

beforeEach(() => {
  exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  // It exports when it is told to.
  meterProvider = new MeterProvider({
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
  })
})

afterEach(async () => {
  metrics.disable()
  await meterProvider.shutdown()
})

/** The last export: `metric of attributes` to its value, or `count/sum` of a histogram. The application is left out. */
async function exported(): Promise<Record<string, unknown>> {
  exporter.reset()
  await meterProvider.forceFlush()
  const found: Record<string, unknown> = {}
  for (const { descriptor, dataPoints } of exporter.getMetrics()[0]?.scopeMetrics[0]?.metrics ?? []) {
    const name = descriptor.name.replace('shardwise.consumer.', '')
    for (const { attributes, value } of dataPoints) {
      const { 'shardwise.application': application, ...rest } = attributes
      expect(application).toBe('delays')
      const text = typeof value === 'object' && 'sum' in value ? `${value.count}/${value.sum}` : value
      found[[name, ...Object.values(rest)].join(' ')] = text
    }
  }
  return found
}

const NOTHING: Observed = { leader: false, streams: ['flights'], shards: [], leases: [] }

function shard(shardId: string, rest: Partial<ObservedShard> = {}): ObservedShard {
  return {
    stream: 'flights',
    shardId,
    millisBehindLatest: undefined,
    bufferedRecords: 0,
    bufferedBytes: 0,
    oldestUnfinishedMs: undefined,
    stopped: undefined,
    ...rest,
  }
}

function meterOf(status: () => Observed = () => NOTHING, workerId = 'w1'): ConsumerMeter {
  return new ConsumerMeter({ application: 'delays', workerId, status, meterProvider })
}

/** Takes in events of one stream. */
function observe(meter: ConsumerMeter, ...events: StreamEvent[]): void {
  for (const event of events) meter.observe({ ...event, stream: 'flights' })
}

const AT = { sequenceNumber: '7', subSequenceNumber: 0 }
const THROTTLED = Object.assign(new Error('slow down'), { name: 'ProvisionedThroughputExceededException' })

describe('counted from events', () => {
  test('what became of leases, by worker and stream', async () => {
    const [shardId, checkpoint] = ['s1', AT]
    observe(
      meterOf(),
      { type: 'leaseTaken', shardId, checkpoint },
      { type: 'leaseTaken', shardId: 's2', checkpoint },
      { type: 'leaseLost', shardId, reason: 'another worker has it' },
      { type: 'leaseHandedOff', shardId, to: 'w2', checkpoint },
      { type: 'leaseReleased', shardId, to: undefined, checkpoint },
      { type: 'shardEnded', shardId, childShardIds: ['s3', 's4'] },
    )
    expect(await exported()).toEqual({
      'leader w1': 0,
      'leases_taken flights w1': 2,
      'leases_lost flights w1': 1,
      'leases_handed_off flights w1': 1,
      'leases_released flights w1': 1,
      'shards_ended flights': 1,
    })
  })

  test('what the leader does, with its reasons apart', async () => {
    const assigned = { type: 'leaseAssigned', shardId: 's1', from: undefined, to: 'w2' } as const
    observe(
      meterOf(),
      { type: 'leasesCreated', shardIds: ['s1', 's2', 's3'] },
      { type: 'leaseDeleted', shardId: 's1', reason: 'finished' },
      { type: 'leaseDeleted', shardId: 's2', reason: 'gone' },
      { ...assigned, reason: 'unowned' },
      { ...assigned, reason: 'expired' },
      { ...assigned, reason: 'balance' },
      { ...assigned, reason: 'balance' },
    )
    expect(await exported()).toMatchObject({
      'leases_created flights': 3,
      'leases_deleted flights finished': 1,
      'leases_deleted flights gone': 1,
      'leases_assigned flights unowned': 1,
      'leases_assigned flights expired': 1,
      'leases_assigned flights balance': 2,
    })
  })

  test('what was read, and what is wrong with it, by shard', async () => {
    const [shardId, sequenceNumber] = ['s1', '7']
    const read = { type: 'recordsRead', shardId, kinesisRecords: 10, bytes: 1_000, millisBehindLatest: 0 } as const
    const undecodable = { type: 'undecodableRecord', shardId, sequenceNumber, reason: 'cut off' } as const
    observe(
      meterOf(),
      read,
      { ...read, kinesisRecords: 5, bytes: 100 },
      { ...read, shardId: 's2' },
      { ...undecodable, attempt: 1 },
      { ...undecodable, attempt: 2 },
      { type: 'misplacedRecords', shardId, sequenceNumber, count: 4, dropped: false },
      { type: 'recordsExpired', shardId, after: undefined },
      { type: 'checkpointExpired', shardId, checkpoint: '7', found: undefined },
      { type: 'shardGone', shardId },
    )
    expect(await exported()).toEqual({
      'leader w1': 0,
      'kinesis_records_read flights s1': 15,
      'kinesis_records_read flights s2': 10,
      'data_read flights s1': 1_100,
      'data_read flights s2': 1_000,
      'undecodable_records flights s1': 1,
      'misplaced_records flights s1': 4,
      'retention_passed flights s1 recordsExpired': 1,
      'retention_passed flights s1 checkpointExpired': 1,
      'retention_passed flights s1 shardGone': 1,
    })
  })

  test('what handlers failed at, and what became of it', async () => {
    const error = new Error('no')
    const place = { shardId: 's1', partitionKey: 'k', sequenceNumber: '7', subSequenceNumber: 0 }
    const failed = { type: 'handlerFailed', ...place, records: 1, attempt: 3, error } as const
    const stopped = { type: 'shardStopped', ...place, attempts: 3, retryInMs: 60_000, error } as const
    const hook = { type: 'hookFailed', shardId: 's1', attempt: 1, retryInMs: undefined, error } as const
    const meter = meterOf()
    observe(
      meter,
      { ...failed, retryInMs: 200 },
      { ...failed, retryInMs: 400 },
      { ...failed, retryInMs: undefined },
      { type: 'handlerAbandoned', ...place, attempt: 1, afterMs: 10_000 },
      { type: 'recordSkipped', ...place, attempts: 3, error },
      { type: 'recordDeadLettered', ...place, attempts: 3, error },
      { type: 'deadLetterFailed', ...place, attempt: 1, retryInMs: 200, error },
      { type: 'deadLetterFailed', ...place, attempt: 2, retryInMs: 400, error },
      stopped,
      { ...stopped, retryInMs: 120_000 },
      { ...hook, hook: 'onShardEnd' },
      { ...hook, hook: 'onLeaseLost' },
    )
    meter.observe({ type: 'eventLoopBlocked', ...place, blockedMs: 1_500, handler: 'eachRecord' })
    expect(await exported()).toEqual({
      'leader w1': 0,
      'handler_failures flights s1': 3,
      'handler_retries flights s1': 2,
      'handlers_abandoned flights s1': 1,
      'records_skipped flights s1': 1,
      'dead_letters flights s1': 1,
      'dead_letter_failures flights s1': 2,
      'shard_stops flights s1': 2,
      'hook_failures flights s1 onShardEnd': 1,
      'hook_failures flights s1 onLeaseLost': 1,
      'event_loop_blocked_time w1': '1/1.5',
    })
  })

  test('subscriptions: how many are open, and which broke off', async () => {
    const stream = meterOf(() => NOTHING).of('flights')
    for (let i = 0; i < 5; i++) stream.subscriptionBegan()
    stream.subscriptionEnded()
    stream.subscriptionEnded(THROTTLED)
    expect(await exported()).toMatchObject({
      'subscriptions flights w1': 3,
      'subscriptions_broken flights ProvisionedThroughputExceededException': 1,
    })
    for (let i = 0; i < 3; i++) stream.subscriptionEnded()
    expect(await exported()).toMatchObject({ 'subscriptions flights w1': 0 })
  })

  test('failed calls by their error, and items that are no leases', async () => {
    const meter = meterOf()
    const events: ConsumerEvent[] = [
      { type: 'callFailed', doing: 'looking at the leases', error: THROTTLED },
      { type: 'itemSkipped', leaseKey: 'x', reason: 'a lease without counter' },
      { type: 'leaderChanged', leader: true },
    ]
    for (const event of events) meter.observe(event)
    expect(await exported()).toEqual({
      'leader w1': 0,
      'calls_failed w1 ProvisionedThroughputExceededException': 1,
      items_skipped: 1,
    })
  })

  test('streams of one name in two accounts are kept apart', async () => {
    const meter = meterOf()
    for (const account of ['111111111111', '222222222222']) {
      const stream = `arn:aws:kinesis:eu-west-1:${account}:stream/flights`
      meter.observe({ type: 'leasesCreated', shardIds: ['s1'], stream })
    }
    expect(await exported()).toMatchObject({
      'leases_created flights 111111111111': 1,
      'leases_created flights 222222222222': 1,
    })
  })
})

test('durations are in seconds, and those of failed calls apart', async () => {
  const meter = meterOf()
  const stream = meter.of('flights')
  stream.leaseWritten(10)
  stream.leaseWritten(30)
  stream.leaseWritten(5, 'ConditionalCheckFailedException')
  stream.recordsAsked('s1', 250)
  stream.recordsAsked('s1', 50, THROTTLED)
  stream.iteratorAsked(20)
  stream.answerHandled('s1', 1_500)
  stream.shardsSynced(100)
  stream.shardsSynced(200, new TypeError('no'))
  meter.led(400)
  meter.led(500, THROTTLED)
  expect(await exported()).toEqual({
    'leader w1': 0,
    'lease_write_time flights w1': '2/0.04',
    'lease_write_time flights w1 ConditionalCheckFailedException': '1/0.005',
    'get_records_time flights s1': '1/0.25',
    'get_records_time flights s1 ProvisionedThroughputExceededException': '1/0.05',
    'get_shard_iterator_time flights': '1/0.02',
    'handling_time flights s1': '1/1.5',
    'shard_sync_time flights': '1/0.1',
    'shard_sync_time flights TypeError': '1/0.2',
    leader_round_time: '1/0.4',
    'leader_round_time ProvisionedThroughputExceededException': '1/0.5',
  })
})

test('handled user records and refused assignments are counted as told', async () => {
  const stream = meterOf().of('flights')
  stream.userRecordsHandled('s1', 500)
  stream.userRecordsHandled('s1', 25)
  stream.userRecordsHandled('s2', 0)
  stream.assignmentRefused()
  expect(await exported()).toEqual({
    'leader w1': 0,
    'user_records_handled flights s1': 525,
    'assignments_refused flights': 1,
  })
})

describe('read off the status', () => {
  test('what the worker holds, by stream and shard', async () => {
    const other = 'arn:aws:kinesis:eu-west-1:111111111111:stream/trains'
    meterOf(() => ({
      ...NOTHING,
      shards: [
        shard('s1', { millisBehindLatest: 1_500, bufferedRecords: 3, bufferedBytes: 900, oldestUnfinishedMs: 250 }),
        shard('s2', { stopped: {} }),
        shard('s1', { stream: other, millisBehindLatest: 0 }),
      ],
    }))
    expect(await exported()).toEqual({
      'leader w1': 0,
      'leases_held flights w1': 2,
      'leases_held trains 111111111111 w1': 1,
      'shards_stopped flights w1': 1,
      'shards_stopped trains 111111111111 w1': 0,
      'time_behind_latest flights s1': 1.5,
      'time_behind_latest trains 111111111111 s1': 0,
      'buffered_records flights s1': 3,
      'buffered_records flights s2': 0,
      'buffered_records trains 111111111111 s1': 0,
      'buffered_data flights s1': 900,
      'buffered_data flights s2': 0,
      'buffered_data trains 111111111111 s1': 0,
      'oldest_unfinished_time flights s1': 0.25,
      'oldest_unfinished_time flights s2': 0,
      'oldest_unfinished_time trains 111111111111 s1': 0,
    })
  })

  test('shards that are gone stand at 0, not at what was seen last', async () => {
    let shards = [shard('s1', { millisBehindLatest: 60_000, bufferedRecords: 9 }), shard('s2')]
    meterOf(() => ({ ...NOTHING, shards }))
    expect(await exported()).toMatchObject({ 'time_behind_latest flights s1': 60, 'leases_held flights w1': 2 })
    shards = [shard('s2')]
    const gone = { 'time_behind_latest flights s1': 0, 'buffered_records flights s1': 0, 'leases_held flights w1': 1 }
    expect(await exported()).toMatchObject(gone)
    shards = []
    expect(await exported()).toMatchObject({ ...gone, 'leases_held flights w1': 0 })
  })

  test('of a stream that was made anew under its name the shard furthest behind counts', async () => {
    const behind = (ms: number): ObservedShard => shard('s1', { millisBehindLatest: ms, bufferedRecords: 1 })
    meterOf(() => ({ ...NOTHING, shards: [behind(1_000), behind(9_000), behind(4_000)] }))
    expect(await exported()).toMatchObject({ 'time_behind_latest flights s1': 9, 'buffered_records flights s1': 3 })
  })

  test('only the leader tells of the application, and a worker that led tells 0', async () => {
    const leases = [
      { holder: 'w1', finished: false },
      { holder: undefined, finished: false },
      { holder: undefined, finished: true },
    ]
    let leader = false
    const meter = meterOf(() => ({ ...NOTHING, leader, leases }))
    meter.observe({ type: 'workersChanged', workers: ['w1', 'w2'] })
    expect(await exported()).toEqual({ 'leader w1': 0 })
    leader = true
    expect(await exported()).toEqual({ 'leader w1': 1, workers: 2, streams: 1, leases: 3, leases_unheld: 1 })
    leader = false
    expect(await exported()).toEqual({ 'leader w1': 0, workers: 0, streams: 0, leases: 0, leases_unheld: 0 })
  })
})

describe('close', () => {
  test('leaves everything at 0, counters as they are, and asks no more', async () => {
    const status = vi.fn(() => ({ ...NOTHING, leader: true, shards: [shard('s1', { millisBehindLatest: 5_000 })] }))
    const meter = meterOf(status)
    observe(meter, { type: 'leaseTaken', shardId: 's1', checkpoint: AT })
    await exported()
    meter.close()
    status.mockClear()
    const closed = {
      'leader w1': 0,
      'leases_held flights w1': 0,
      'time_behind_latest flights s1': 0,
      'leases_taken flights w1': 1,
    }
    expect(await exported()).toMatchObject(closed)
    expect(await exported()).toMatchObject(closed)
    expect(status).not.toHaveBeenCalled()
  })

  test('takes the observation away at the next collection, while another consumer of the process goes on', async () => {
    // One meter for all that ask for the same name.
    const meter = meterProvider.getMeter('@shardwise/consumer')
    const added = vi.spyOn(meter, 'addBatchObservableCallback')
    const removed = vi.spyOn(meter, 'removeBatchObservableCallback')
    const [first] = [meterOf(() => NOTHING, 'w1'), meterOf(() => NOTHING, 'w2')]
    await exported()
    first.close()
    expect(await exported()).toEqual({ 'leader w1': 0, 'leader w2': 0 })
    expect(removed.mock.calls).toEqual([added.mock.calls[0]])
    await exported()
    expect(removed).toHaveBeenCalledOnce()
  })
})

test('the global meter provider is used where none is given', async () => {
  metrics.setGlobalMeterProvider(meterProvider)
  const meter = new ConsumerMeter({ application: 'delays', workerId: 'w1', status: () => NOTHING })
  observe(meter, { type: 'leasesCreated', shardIds: ['s1'] })
  expect(await exported()).toMatchObject({ 'leases_created flights': 1 })
})

test('without a meter provider nothing is asked and nothing throws', () => {
  const status = vi.fn(() => NOTHING)
  const meter = new ConsumerMeter({ application: 'delays', workerId: 'w1', status })
  observe(meter, { type: 'leasesCreated', shardIds: ['s1'] })
  meter.of('flights').leaseWritten(10)
  meter.close()
  expect(status).not.toHaveBeenCalled()
})

test('a shard that was met before costs no new attributes, and thousands of old ones are forgotten', () => {
  const stream = meterOf().of('flights')
  const first = stream.ofShard('s0')
  expect(stream.ofShard('s0')).toBe(first)
  for (let shardNumber = 1; shardNumber <= 16_384; shardNumber++) stream.ofShard(`s${shardNumber}`)
  expect(stream.ofShard('s0')).not.toBe(first)
  expect(stream.ofShard('s0')).toEqual(first)
})

test('what is exported has the attributes, the unit and the kind that the table of metrics says', async () => {
  const meter = meterOf(() => ({
    ...NOTHING,
    leader: true,
    shards: [shard('s1', { millisBehindLatest: 1 })],
  }))
  const stream = meter.of('flights')
  stream.recordsAsked('s1', 1, THROTTLED)
  stream.leaseWritten(1, THROTTLED)
  stream.iteratorAsked(1, THROTTLED)
  stream.subscriptionAsked(1, THROTTLED)
  stream.subscriptionBegan()
  stream.subscriptionEnded(THROTTLED)
  stream.shardsSynced(1, THROTTLED)
  stream.answerHandled('s1', 1)
  stream.handlerCalled('s1', 1)
  stream.userRecordsHandled('s1', 1)
  stream.assignmentRefused()
  meter.led(1, THROTTLED)
  const place = { shardId: 's1', partitionKey: 'k', sequenceNumber: '7', subSequenceNumber: 0 }
  observe(
    meter,
    { type: 'leaseTaken', shardId: 's1', checkpoint: AT },
    { type: 'leaseLost', shardId: 's1', reason: '' },
    { type: 'leaseHandedOff', shardId: 's1', to: 'w2', checkpoint: AT },
    { type: 'leaseReleased', shardId: 's1', to: undefined, checkpoint: AT },
    { type: 'shardEnded', shardId: 's1', childShardIds: [] },
    { type: 'leasesCreated', shardIds: ['s1'] },
    { type: 'leaseDeleted', shardId: 's1', reason: 'finished' },
    { type: 'leaseAssigned', shardId: 's1', from: undefined, to: 'w1', reason: 'unowned' },
    { type: 'recordsRead', shardId: 's1', kinesisRecords: 1, bytes: 1, millisBehindLatest: 0 },
    { type: 'undecodableRecord', shardId: 's1', sequenceNumber: '7', reason: '', attempt: 1 },
    { type: 'misplacedRecords', shardId: 's1', sequenceNumber: '7', count: 1, dropped: true },
    { type: 'shardGone', shardId: 's1' },
    { type: 'handlerFailed', ...place, records: 1, attempt: 1, retryInMs: 1, error: undefined },
    { type: 'handlerAbandoned', ...place, attempt: 1, afterMs: 1 },
    { type: 'recordSkipped', ...place, attempts: 1, error: undefined },
    { type: 'recordDeadLettered', ...place, attempts: 1, error: undefined },
    { type: 'deadLetterFailed', ...place, attempt: 1, retryInMs: 1, error: undefined },
    { type: 'shardStopped', ...place, attempts: 1, retryInMs: 1, error: undefined },
    { type: 'hookFailed', shardId: 's1', hook: 'onShardEnd', attempt: 1, retryInMs: 1, error: undefined },
  )
  meter.observe({ type: 'eventLoopBlocked', ...place, blockedMs: 1, handler: 'eachRecord' })
  meter.observe({ type: 'callFailed', doing: '', error: THROTTLED })
  meter.observe({ type: 'itemSkipped', leaseKey: 'x', reason: '' })
  await exported()
  const made = (exporter.getMetrics()[0]?.scopeMetrics[0]?.metrics ?? []).map(({ descriptor, dataPoints }) => ({
    name: descriptor.name,
    unit: descriptor.unit,
    description: descriptor.description,
    attributes: Object.keys(dataPoints[0]?.attributes ?? {}).toSorted(),
  }))
  const declared = Object.values(METRICS).map(({ name, unit, description, attributes }) => ({
    ...{ name, unit, description },
    attributes: attributes.toSorted(),
  }))
  const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1)
  expect(made.toSorted(byName)).toEqual(declared.toSorted(byName))
})
