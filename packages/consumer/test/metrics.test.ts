import { MergeShardsCommand, PutRecordsCommand } from '@aws-sdk/client-kinesis'
import { metrics } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { createKinesisClient, type Kinesis, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Consumer } from '../src/consumer.ts'

let local: Local
let kinesis: Kinesis & { destroy(): void }
let exporter: InMemoryMetricExporter
let provider: MeterProvider

beforeEach(async () => {
  local = await startLocal({ streams: { flights: 2 }, limits: false })
  kinesis = createKinesisClient(local.kinesis)
  exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  // It exports when it is told to.
  provider = new MeterProvider({
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
  })
  metrics.setGlobalMeterProvider(provider)
})

afterEach(async () => {
  metrics.disable()
  await provider.shutdown()
  kinesis.destroy()
  await local.stop()
})

/** The last export: for each metric the sum of its points, or of a histogram the number of samples; errors apart. */
async function exported(): Promise<Record<string, number>> {
  exporter.reset()
  await provider.forceFlush()
  const found: Record<string, number> = {}
  for (const { descriptor, dataPoints } of exporter.getMetrics()[0]?.scopeMetrics[0]?.metrics ?? []) {
    for (const { attributes, value } of dataPoints) {
      const name = descriptor.name.replace('shardwise.consumer.', '')
      const error = attributes['error.type']
      const key = error === undefined ? name : `${name} ${error}`
      found[key] = (found[key] ?? 0) + (typeof value === 'number' ? value : value.count)
    }
  }
  return found
}

test('a consumer shows its leases, what it reads and what it handles, and nothing of it is left after the close', async () => {
  const consumer = new Consumer({
    application: 'delays',
    stream: 'flights',
    workerId: 'w1',
    failoverTime: 1_000,
    idleTimeBetweenReads: 20,
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
    logger: silentLogger,
  })
  let handled = 0
  let failures = 0
  const running = consumer.run({
    eachRecord: async () => {
      if (failures++ === 0) throw new Error('the first attempt fails')
      handled++
    },
  })
  const Records = Array.from({ length: 50 }, (_, number) => ({
    PartitionKey: `key ${number}`,
    Data: Buffer.from('0123456789'),
  }))
  await kinesis.send(new PutRecordsCommand({ StreamName: 'flights', Records }))
  await vi.waitFor(() => expect(handled).toBe(50), { timeout: 8_000, interval: 20 })
  // Counted when the lease is renewed, whose time is known a moment later.
  const renewed = { user_records_handled: 50, lease_write_time: expect.any(Number) }
  await vi.waitFor(async () => expect(await exported()).toMatchObject(renewed), 8_000)
  const during = await exported()
  expect(during).toMatchObject({
    leader: 1,
    workers: 1,
    streams: 1,
    leases: 2,
    leases_unheld: 0,
    leases_held: 2,
    leases_created: 2,
    leases_assigned: 2,
    leases_taken: 2,
    kinesis_records_read: 50,
    data_read: 500,
    handler_failures: 1,
    time_behind_latest: 0,
    buffered_records: 0,
    get_shard_iterator_time: 2,
  })
  expect(during.handling_time).toBeGreaterThanOrEqual(2)
  for (const name of ['get_records_time', 'lease_write_time', 'leader_round_time', 'shard_sync_time']) {
    expect(during[name], name).toBeGreaterThan(0)
  }
  const shards = ['shardId-000000000000', 'shardId-000000000001']
  const [ShardToMerge, AdjacentShardToMerge] = shards
  await kinesis.send(new MergeShardsCommand({ StreamName: 'flights', ShardToMerge, AdjacentShardToMerge }))
  await vi.waitFor(async () => expect(await exported()).toMatchObject({ shards_ended: 2, leases_taken: 3 }), 8_000)
  expect(await exported()).toMatchObject({ leases_created: 3, leases_held: 1 })
  await consumer.close()
  await running
  const after = await exported()
  expect(after).toMatchObject({ leases_released: 1, leases_taken: 3, user_records_handled: 50 })
  for (const name of ['leader', 'workers', 'streams', 'leases', 'leases_held', 'buffered_records', 'buffered_data']) {
    expect(after[name], name).toBe(0)
  }
})
