import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { errorOf, type PutRecordsAnswer, pull, SHARD_0, SHARD_1, World } from '../test/model-world.ts'
import type { FaultRule } from './faults.ts'
import type { ModelResponse } from './kinesis-model.ts'
import { ServiceError } from './service-error.ts'

const LOW = '0'
const HIGH = (2n ** 127n).toString()

const putTo = (world: World, ...hashKeys: string[]): ModelResponse =>
  world.model.request('PutRecords', {
    StreamName: 's',
    Records: hashKeys.map((ExplicitHashKey) => ({ PartitionKey: 'k', ExplicitHashKey, Data: Buffer.alloc(1) })),
  })

const codes = ({ answer }: ModelResponse): (string | undefined)[] =>
  (answer as PutRecordsAnswer).Records.map(({ ErrorCode }) => ErrorCode)

const errorType = ({ answer }: ModelResponse): string | undefined =>
  answer instanceof ServiceError ? answer.type : undefined

const stored = (world: World): number =>
  world.model.streamNamed('s').shards.reduce((sum, { log }) => sum + log.length, 0)

test('without faults a request is answered as by the plain service, errors included', () => {
  const world = new World()
  expect(world.model.request('ListStreams', {})).toEqual({
    answer: world.execute('ListStreams', {}),
    delayMs: 0,
    isLost: false,
  })
  expect(errorType(world.model.request('ListShards', { StreamName: 'x' }))).toBe('ResourceNotFoundException')
})

describe('each fault', () => {
  test('throttle answers as the operation does over its limit', () => {
    const world = new World()
    const { ShardIterator } = world.execute<{ ShardIterator: string }>('GetShardIterator', {
      StreamName: 's',
      ShardId: SHARD_0,
      ShardIteratorType: 'LATEST',
    })
    const arn = world.register()
    world.model.faults.add({ fault: 'throttle' })
    expect(errorType(putTo(world, LOW))).toBe('ProvisionedThroughputExceededException')
    expect(errorType(world.model.request('GetRecords', { ShardIterator }))).toBe(
      'ProvisionedThroughputExceededException',
    )
    expect(errorType(world.model.request('ListShards', { StreamName: 's' }))).toBe('LimitExceededException')
    expect(errorOf(() => world.subscribe(arn)).type).toBe('LimitExceededException')
    expect(stored(world)).toBe(0)
  })

  test('internalError answers the failure of the service and does nothing', () => {
    const world = new World()
    world.model.faults.add({ fault: 'internalError' })
    expect(putTo(world, LOW).answer).toMatchObject({ type: 'InternalFailureException', status: 500 })
    expect(stored(world)).toBe(0)
  })

  test('partialFailure fails a share of the entries of a PutRecords', () => {
    const world = new World()
    world.model.faults.add({ fault: 'partialFailure', share: 0.25 })
    const response = putTo(world, ...Array<string>(8).fill(LOW))
    const failed = codes(response).filter((code) => code !== undefined)
    expect(failed.length).toBe(2)
    for (const code of failed) expect(['ProvisionedThroughputExceededException', 'InternalFailure']).toContain(code)
    expect(response.answer).toMatchObject({ FailedRecordCount: 2 })
    expect(stored(world)).toBe(6)
  })

  test('partialFailure fails at least one, and leaves other operations alone', () => {
    const world = new World()
    const fault = world.model.faults.add({ fault: 'partialFailure', share: 0.01 })
    expect(codes(putTo(world, LOW))[0]).toBeDefined()
    world.model.request('ListStreams', {})
    expect(fault.hits).toBe(1)
  })

  test('delay is for the transport to wait', () => {
    const world = new World()
    world.model.faults.add({ fault: 'delay', delayMs: 300 })
    world.model.faults.add({ fault: 'delay', delayMs: 200, operation: 'PutRecords' })
    expect(putTo(world, LOW)).toMatchObject({ delayMs: 500, isLost: false })
    expect(stored(world)).toBe(1)
  })

  test('reset does nothing and loses the connection, lostAnswer does everything and loses it then', () => {
    const world = new World()
    const reset = world.model.faults.add({ fault: 'reset' })
    expect([putTo(world, LOW).isLost, stored(world)]).toEqual([true, 0])
    reset.remove()
    world.model.faults.add({ fault: 'lostAnswer' })
    expect([putTo(world, LOW).isLost, stored(world)]).toEqual([true, 1])
  })

  test('has nothing to do with the plain service', () => {
    const world = new World()
    world.model.faults.add({ fault: 'internalError' })
    world.put('x')
    expect(stored(world)).toBe(1)
  })
})

describe('a rule', () => {
  test('fits by operation and stream, whichever way the request names it', () => {
    const world = new World({ shards: 2 })
    world.execute('CreateStream', { StreamName: 't', ShardCount: 2 })
    const arn = world.register()
    const token = (StreamName: string): unknown =>
      world.execute<{ NextToken: string }>('ListShards', { StreamName, MaxResults: 1 }).NextToken
    const requests: [string, object][] = [
      ['ListShards', { StreamName: 's' }],
      ['ListShards', { StreamARN: 'arn:aws:kinesis:us-east-1:000000000000:stream/s' }],
      ['ListShards', { NextToken: token('s') }],
      ['DescribeStreamConsumer', { ConsumerARN: arn }],
      ['GetRecords', { ShardIterator: world.iterator(SHARD_0, { ShardIteratorType: 'LATEST' }) }],
    ]
    const fault = world.model.faults.add({ fault: 'internalError', stream: 's' })
    for (const [operation, request] of requests) {
      expect(errorType(world.model.request(operation, { ...request })), operation).toBe('InternalFailureException')
    }
    expect(fault.hits).toBe(requests.length)
    expect(errorType(world.model.request('ListShards', { StreamName: 't' }))).toBeUndefined()
    expect(errorType(world.model.request('ListShards', { NextToken: token('t') }))).toBeUndefined()
    expect(errorType(world.model.request('ListStreams', {}))).toBeUndefined()
  })

  test.each(['throttle', 'internalError', 'partialFailure'] as const)(
    '%s for one shard fails only the entries of a PutRecords that go there',
    (fault) => {
      const world = new World({ shards: 2 })
      const handle = world.model.faults.add({
        fault,
        shardId: SHARD_1,
        ...(fault === 'partialFailure' && { share: 1 }),
      })
      const failed = codes(putTo(world, LOW, HIGH, LOW, HIGH)).map((code) => code !== undefined)
      expect(failed).toEqual([false, true, false, true])
      expect(errorType(putTo(world, LOW, LOW))).toBeUndefined()
      expect(handle.hits).toBe(1)
    },
  )

  test('for one shard strikes what reads it or puts a single record into it', () => {
    const world = new World({ shards: 2 })
    const iterators = [SHARD_0, SHARD_1].map((shard) => world.iterator(shard, { ShardIteratorType: 'LATEST' }))
    world.model.faults.add({ fault: 'reset', shardId: SHARD_1 })
    const put = (ExplicitHashKey: string): ModelResponse =>
      world.model.request('PutRecord', { StreamName: 's', PartitionKey: 'k', ExplicitHashKey, Data: Buffer.alloc(1) })
    expect([put(LOW), put(HIGH)].map(({ isLost }) => isLost)).toEqual([false, true])
    const lost = iterators.map((ShardIterator) => world.model.request('GetRecords', { ShardIterator }).isLost)
    expect(lost).toEqual([false, true])
    expect(putTo(world, LOW, HIGH).isLost).toBe(true)
  })

  test('for one shard knows whose turn it is where the service distributes', () => {
    const world = new World()
    world.execute('CreateStream', {
      StreamName: 'a',
      StreamModeDetails: { StreamMode: 'ON_DEMAND' },
      ShardCount: 3,
      RecordDistributionStrategy: 'AUTO',
    })
    world.model.faults.add({ fault: 'throttle', shardId: SHARD_1 })
    const Records = Array(6).fill({ Data: Buffer.alloc(1) })
    const answered = world.model.request('PutRecords', { StreamName: 'a', Records })
    expect(codes(answered).map((code) => code !== undefined)).toEqual([false, true, false, false, true, false])
  })

  test('strikes as often as it is to, and until it is removed', () => {
    const world = new World()
    const twice = world.model.faults.add({ fault: 'reset', count: 2 })
    expect(Array.from({ length: 4 }, () => putTo(world, LOW).isLost)).toEqual([true, true, false, false])
    expect(twice.hits).toBe(2)
    const other = world.model.faults.add({ fault: 'reset' })
    other.remove()
    expect(putTo(world, LOW).isLost).toBe(false)
    world.model.faults.add({ fault: 'reset' })
    world.model.faults.clear()
    expect(putTo(world, LOW).isLost).toBe(false)
  })

  test('strikes with its probability, by the random numbers of the model', () => {
    const draws = [0.29, 0.3, 0.1, 0.9]
    const world = new World({ random: () => draws.shift() ?? 1 })
    world.model.faults.add({ fault: 'reset', probability: 0.3 })
    expect(Array.from({ length: 4 }, () => putTo(world, LOW).isLost)).toEqual([true, false, true, false])
  })

  test('draws nothing for a call that it does not fit', () => {
    const world = new World({
      random: () => {
        throw new Error('drawn')
      },
    })
    world.model.faults.add({ fault: 'reset', probability: 0.5, operation: 'GetRecords' })
    putTo(world, LOW)
  })

  test('that fits an invalid request leaves it to the service to refuse', () => {
    const world = new World()
    world.model.faults.add({ fault: 'throttle', shardId: SHARD_0 })
    for (const Records of [undefined, [], [null], [{ ExplicitHashKey: 'x' }]]) {
      expect(errorType(world.model.request('PutRecords', { StreamName: 's', Records }))).toBe('ValidationException')
    }
    expect(errorType(world.model.request('GetRecords', { ShardIterator: 'x' }))).toBe('InvalidArgumentException')
  })
})

describe('a subscription', () => {
  const operation = 'SubscribeToShard'

  test('is refused by throttle and internalError', () => {
    const world = new World()
    const arn = world.register()
    world.model.faults.add({ fault: 'internalError', operation, count: 1 })
    expect(errorOf(() => world.subscribe(arn)).type).toBe('InternalFailureException')
    world.subscribe(arn)
  })

  test('breaks at its next event by reset', () => {
    const world = new World()
    const subscription = world.subscribe(world.register())
    pull(subscription)
    const fault = world.model.faults.add({ fault: 'reset', operation, stream: 's', shardId: SHARD_0 })
    expect([pull(subscription), subscription.ended]).toEqual([[], false])
    world.put('x')
    expect([pull(subscription), subscription.ended, subscription.isLost]).toEqual([[], true, true])
    expect([fault.hits, subscription.error]).toEqual([1, undefined])
  })

  test('is made though a reset is set, which waits for it to run', () => {
    const world = new World()
    const arn = world.register()
    const fault = world.model.faults.add({ fault: 'reset', count: 1 })
    const subscription = world.subscribe(arn)
    expect([subscription.ended, fault.hits]).toEqual([false, 0])
    expect([pull(subscription), subscription.isLost, fault.hits]).toEqual([[], true, 1])
  })

  test('ends with an error by errorEvent, and without one by earlyEnd, and can be made again', () => {
    for (const [fault, error] of [
      ['errorEvent', 'InternalFailureException'],
      ['earlyEnd', undefined],
    ] as const) {
      const world = new World()
      const arn = world.register()
      const handle = world.model.faults.add({ fault, count: 1 })
      world.put('x')
      const subscription = world.subscribe(arn)
      expect([subscription.ended, handle.hits]).toEqual([false, 0])
      expect([pull(subscription), subscription.ended, handle.hits]).toEqual([[], true, 1])
      expect([subscription.error?.type, subscription.isLost]).toEqual([error, false])
      expect(pull(world.subscribe(arn)).length).toBe(1)
    }
  })

  test('is silent for good by stall, and says nothing of its end', () => {
    const world = new World()
    const arn = world.register()
    const subscription = world.subscribe(arn)
    world.model.faults.add({ fault: 'stall', operation, count: 1 })
    const states = [(): unknown => world.put('x'), () => world.pass(5_000), () => world.subscribe(arn)].map(
      (happens) => {
        happens()
        return [pull(subscription), subscription.ended, subscription.error]
      },
    )
    expect(states).toEqual(Array(3).fill([[], false, undefined]))
    expect(subscription.dueMs).toBe(Number.POSITIVE_INFINITY)
  })

  test('that is stalled holds its shard as any other does', () => {
    const world = new World()
    const arn = world.register()
    world.model.faults.add({ fault: 'stall', count: 1 })
    pull(world.subscribe(arn))
    world.put('x')
    world.pass(4_999)
    expect(errorOf(() => world.subscribe(arn)).type).toBe('ResourceInUseException')
    world.pass(1)
    expect(pull(world.subscribe(arn)).length).toBe(1)
  })

  test('suffers the fault that was set first', () => {
    const world = new World()
    const faults = (['earlyEnd', 'reset', 'stall'] as const).map((fault) => world.model.faults.add({ fault }))
    const subscription = world.subscribe(world.register())
    expect([pull(subscription), subscription.ended, subscription.isLost]).toEqual([[], true, false])
    expect(faults.map(({ hits }) => hits)).toEqual([1, 1, 1])
  })

  test.each(['stall', 'errorEvent', 'earlyEnd'] as const)('alone suffers %s', (fault) => {
    const world = new World()
    const handle = world.model.faults.add({ fault })
    putTo(world, LOW)
    world.model.request('ListStreams', {})
    expect([stored(world), handle.hits]).toEqual([1, 0])
  })

  test('is lost from the start by lostAnswer, but was made', () => {
    const world = new World()
    const arn = world.register()
    world.model.faults.add({ fault: 'lostAnswer', operation, count: 1 })
    expect(world.subscribe(arn)).toMatchObject({ ended: true, isLost: true })
  })

  test('starts later by delay', () => {
    const world = new World()
    world.put('x')
    const arn = world.register()
    world.model.faults.add({ fault: 'delay', delayMs: 100, operation })
    const subscription = world.subscribe(arn)
    expect([pull(subscription), subscription.dueMs]).toEqual([[], world.monotonicMs + 100])
    world.pass(100)
    expect(pull(subscription).length).toBe(1)
  })
})

describe('a rule is refused', () => {
  test.each([
    [{}, '"fault" must be one of throttle, internalError'],
    [{ fault: 'fire' }, '"fault" must be one of'],
    [{ fault: 'reset', shard: SHARD_0 }, 'unknown field "shard"; known fields: fault, operation'],
    [{ fault: 'reset', probability: 2 }, '"probability" must be a number above 0 and up to 1, got 2'],
    [{ fault: 'reset', count: 0 }, '"count" must be a whole number of at least 1, got 0'],
    [{ fault: 'reset', stream: 5 }, '"stream" must be a text, got 5'],
    [{ fault: 'delay' }, '"delayMs" belongs to "delay"'],
    [{ fault: 'reset', delayMs: 5 }, '"delayMs" belongs to "delay"'],
    [{ fault: 'delay', delayMs: -1 }, '"delayMs" must be a number of milliseconds of at least 0, got -1'],
    [{ fault: 'throttle', share: 0.5 }, '"share" is for "partialFailure" alone'],
    [{ fault: 'partialFailure', operation: 'PutRecord' }, '"partialFailure" is for PutRecords alone'],
    [
      { fault: 'stall', operation: 'GetRecords' },
      '"stall" is for SubscribeToShard alone, got the operation "GetRecords"',
    ],
  ])('%j', (rule, message) => {
    expect(() => new World().model.faults.add(rule as FaultRule)).toThrow(message)
  })

  test('when it is none', () => {
    expect(() => new World().model.faults.add(undefined as never)).toThrow(TypeError)
  })

  test('but fields that are undefined are as good as absent', () => {
    const rule = { fault: 'reset', stream: undefined, count: undefined } as unknown as FaultRule
    expect(new World().model.faults.add(rule).hits).toBe(0)
  })
})

test('whatever share is to fail, so many fail and the others are stored', () => {
  const share = fc.double({ min: 0.001, max: 1, noNaN: true })
  fc.assert(
    fc.property(share, fc.integer({ min: 1, max: 50 }), (share, count) => {
      const world = new World()
      world.model.faults.add({ fault: 'partialFailure', share })
      const failed = codes(putTo(world, ...Array<string>(count).fill(LOW))).filter((code) => code !== undefined)
      expect(failed.length).toBe(Math.ceil(count * share))
      expect(stored(world)).toBe(count - failed.length)
    }),
  )
})
