import { describe, expect, test } from 'vitest'
import { errorOf, MiB, SHARD_0, STREAM_ARN, World } from '../test/model-world.ts'

const setMode = (world: World, mode: string): object =>
  world.execute('UpdateStreamMode', { StreamARN: STREAM_ARN, StreamModeDetails: { StreamMode: mode } })
const setStrategy = (world: World, strategy: string): object =>
  world.execute('UpdateStreamRecordDistributionStrategy', {
    StreamARN: STREAM_ARN,
    RecordDistributionStrategy: strategy,
  })

describe('the largest record', () => {
  const setSize = (world: World, kib: number): object =>
    world.execute('UpdateMaxRecordSize', { StreamARN: STREAM_ARN, MaxRecordSizeInKiB: kib })
  const putBytes = (world: World, bytes: number): object => {
    const Records = [{ PartitionKey: 'k', Data: Buffer.alloc(bytes - 1) }]
    return world.execute('PutRecords', { StreamName: 's', Records })
  }

  test('can be up to 10 MiB', () => {
    const world = new World()
    expect(errorOf(() => putBytes(world, MiB + 1)).type).toBe('ValidationException')
    setSize(world, 10_240)
    expect(world.summary().MaxRecordSizeInKiB).toBe(10_240)
    putBytes(world, 10 * MiB)
    expect(errorOf(() => putBytes(world, 10 * MiB + 1)).type).toBe('ValidationException')
  })

  test.each([1_023, 10_241])('cannot be %i KiB', (kib) => {
    expect(errorOf(() => setSize(new World(), kib)).type).toBe('ValidationException')
  })
})

describe('the mode', () => {
  test('is changed, and back', () => {
    const world = new World()
    setMode(world, 'ON_DEMAND')
    expect(world.summary().StreamModeDetails).toEqual({ StreamMode: 'ON_DEMAND' })
    setMode(world, 'PROVISIONED')
    expect(world.summary().StreamModeDetails).toEqual({ StreamMode: 'PROVISIONED' })
  })

  test('is changed twice within 24 hours', () => {
    const world = new World({ limits: true })
    setMode(world, 'ON_DEMAND')
    setMode(world, 'PROVISIONED')
    expect(errorOf(() => setMode(world, 'ON_DEMAND')).type).toBe('LimitExceededException')
  })
})

describe('the distribution of records', () => {
  test('is told of on-demand streams alone', () => {
    const world = new World()
    expect(world.summary()).not.toHaveProperty('RecordDistributionStrategy')
    setMode(world, 'ON_DEMAND')
    expect(world.summary().RecordDistributionStrategy).toBe('USER_PARTITION_KEY')
    setStrategy(world, 'AUTO')
    expect(world.summary().RecordDistributionStrategy).toBe('AUTO')
  })

  test('is not AUTO on a provisioned stream, nor after it became one', () => {
    const world = new World()
    expect(errorOf(() => setStrategy(world, 'AUTO')).type).toBe('InvalidArgumentException')
    setMode(world, 'ON_DEMAND')
    setStrategy(world, 'AUTO')
    setMode(world, 'PROVISIONED')
    setMode(world, 'ON_DEMAND')
    expect(world.summary().RecordDistributionStrategy).toBe('USER_PARTITION_KEY')
  })

  test('is one of two', () => {
    expect(errorOf(() => setStrategy(new World(), 'EVEN')).type).toBe('ValidationException')
  })
})

test('encryption is told of the stream, its answers and its records', () => {
  const world = new World()
  const key = { StreamName: 's', EncryptionType: 'KMS', KeyId: 'alias/aws/kinesis' }
  world.execute('StartStreamEncryption', key)
  expect(world.summary()).toMatchObject({ EncryptionType: 'KMS', KeyId: 'alias/aws/kinesis' })
  expect(world.put('x')).toMatchObject({ EncryptionType: 'KMS' })
  expect(world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' })).Records).toMatchObject([
    { EncryptionType: 'KMS' },
  ])
  world.execute('StopStreamEncryption', key)
  expect(world.summary()).toMatchObject({ EncryptionType: 'NONE' })
})

test('monitoring of shards is switched on and off by metric, or all at once', () => {
  const world = new World()
  const change = (operation: string, ...ShardLevelMetrics: string[]): object =>
    world.execute(operation, { StreamName: 's', ShardLevelMetrics })
  expect(change('EnableEnhancedMonitoring', 'IncomingBytes')).toMatchObject({
    CurrentShardLevelMetrics: [],
    DesiredShardLevelMetrics: ['IncomingBytes'],
  })
  change('EnableEnhancedMonitoring', 'ALL')
  expect(world.summary().EnhancedMonitoring).toMatchObject([{ ShardLevelMetrics: { length: 7 } }])
  change('DisableEnhancedMonitoring', 'ALL')
  expect(world.summary().EnhancedMonitoring).toEqual([{ ShardLevelMetrics: [] }])
  expect(errorOf(() => change('EnableEnhancedMonitoring', 'Everything')).type).toBe('ValidationException')
})

test('warm throughput is kept and told', () => {
  const world = new World()
  world.execute('UpdateStreamWarmThroughput', { StreamName: 's', WarmThroughputMiBps: 20 })
  expect(world.summary().WarmThroughput).toEqual({ TargetMiBps: 20, CurrentMiBps: 20 })
})
