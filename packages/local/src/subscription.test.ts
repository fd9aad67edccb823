import { describe, expect, test } from 'vitest'
import { errorOf, MiB, pull, SHARD_0, SHARD_1, SHARD_2, STREAM_ARN, textsOf, World } from '../test/model-world.ts'
import { KinesisModel } from './kinesis-model.ts'
import type { Request } from './requests.ts'
import type { Subscription } from './subscription.ts'

const MINUTES = 60_000

const received = (subscription: Subscription): string[] => pull(subscription).flatMap(({ Records }) => textsOf(Records))

test('a record that waits is there at once, however fast the clock runs', () => {
  let readings = 0
  const model = new KinesisModel({
    clock: { monotonicMs: () => readings++ / 1_000, wallMs: () => readings },
    limits: false,
    retentionBytes: MiB,
  })
  model.addStream('s', 1)
  model.execute('PutRecord', { StreamName: 's', PartitionKey: 'a', Data: Buffer.from('a') })
  const { Consumer } = model.execute('RegisterStreamConsumer', { StreamARN: STREAM_ARN, ConsumerName: 'c' }) as {
    Consumer: { ConsumerARN: string }
  }
  const position = { Type: 'TRIM_HORIZON' }
  const subscription = model.subscribe({
    ConsumerARN: Consumer.ConsumerARN,
    ShardId: SHARD_0,
    StartingPosition: position,
  })
  expect(textsOf(subscription.next()?.Records ?? [])).toEqual(['a'])
})

describe('where a subscription starts', () => {
  const startingAt = (position: (numbers: string[], times: Date[]) => Request): string[] => {
    const world = new World()
    const times: Date[] = []
    const numbers = ['a', 'b', 'c'].map((text) => {
      world.pass(1_000)
      times.push(new Date(world.wallMs))
      return world.put(text).SequenceNumber
    })
    return received(world.subscribe(world.register(), position(numbers, times)))
  }

  test('at the oldest record', () => {
    expect(startingAt(() => ({ Type: 'TRIM_HORIZON' }))).toEqual(['a', 'b', 'c'])
  })

  test('behind the newest one', () => {
    expect(startingAt(() => ({ Type: 'LATEST' }))).toEqual([])
  })

  test('at or after a sequence number', () => {
    expect(startingAt(([, b]) => ({ Type: 'AT_SEQUENCE_NUMBER', SequenceNumber: b }))).toEqual(['b', 'c'])
    expect(startingAt(([, b]) => ({ Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: b }))).toEqual(['c'])
  })

  test('at a time', () => {
    expect(startingAt((_, [, b]) => ({ Type: 'AT_TIMESTAMP', Timestamp: b }))).toEqual(['b', 'c'])
  })

  test.each([
    ['no position', {}, 'ValidationException'],
    ['an unknown type', { Type: 'NEXT' }, 'ValidationException'],
    ['no sequence number', { Type: 'AT_SEQUENCE_NUMBER' }, 'InvalidArgumentException'],
    ['a foreign sequence number', { Type: 'AT_SEQUENCE_NUMBER', SequenceNumber: '1' }, 'InvalidArgumentException'],
  ])('nowhere with %s', (_, position, type) => {
    const world = new World()
    const arn = world.register()
    expect(errorOf(() => world.subscribe(arn, position)).type).toBe(type)
  })

  test('nowhere for a consumer that there is not', () => {
    const world = new World()
    expect(errorOf(() => world.subscribe(`${STREAM_ARN}/consumer/c:1`)).type).toBe('ResourceNotFoundException')
    expect(errorOf(() => world.subscribe(STREAM_ARN)).type).toBe('InvalidArgumentException')
  })
})

describe('what comes', () => {
  test('records as they arrive, and whoever waits is told', () => {
    const world = new World()
    const subscription = world.subscribe(world.register(), { Type: 'LATEST' })
    pull(subscription)
    const got: string[] = []
    subscription.onDue(() => got.push(...received(subscription)))
    world.put('a')
    world.execute('PutRecords', {
      StreamName: 's',
      Records: ['b', 'c'].map((text) => ({ PartitionKey: text, Data: Buffer.from(text) })),
    })
    expect(got).toEqual(['a', 'b', 'c'])
  })

  test('a first event at once and then one every five seconds, though there are no records', () => {
    const world = new World()
    const subscription = world.subscribe(world.register())
    expect(pull(subscription)).toMatchObject([{ Records: [], MillisBehindLatest: 0 }])
    expect(subscription.dueMs).toBe(world.monotonicMs + 5_000)
    world.pass(4_999)
    expect(pull(subscription)).toEqual([])
    world.pass(1)
    expect(pull(subscription)).toMatchObject([{ Records: [] }])
  })

  test('a place to go on from in every event, whether at it or after it', () => {
    for (const Type of ['AT_SEQUENCE_NUMBER', 'AFTER_SEQUENCE_NUMBER']) {
      const world = new World()
      const arn = world.register()
      let position: Request = { Type: 'LATEST' }
      const got: string[] = []
      for (const text of ['a', '', '', 'b', '', 'c']) {
        const subscription = world.subscribe(arn, position)
        if (text !== '') world.put(text)
        for (const event of pull(subscription)) {
          got.push(...textsOf(event.Records))
          position = { Type, SequenceNumber: event.ContinuationSequenceNumber }
        }
        subscription.close()
        world.put(`between-${text}`)
        world.pass(5_000)
      }
      const between = (text: string): string => `between-${text}`
      expect(got).toEqual(['a', between('a'), between(''), between(''), 'b', between('b'), between(''), 'c'])
    }
  })

  test('going on from an idle place again and again does not leave the shard', () => {
    const world = new World()
    const arn = world.register()
    let position: Request = { Type: 'LATEST' }
    for (let time = 0; time < 40; time++) {
      const subscription = world.subscribe(arn, position)
      const [event] = pull(subscription)
      position = { Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: event?.ContinuationSequenceNumber }
      subscription.close()
    }
    world.put('a')
    expect(received(world.subscribe(arn, position))).toEqual(['a'])
  })

  test('at most 1 MiB in an event, unless one record is larger, and how far behind it is', () => {
    const world = new World()
    world.execute('UpdateMaxRecordSize', { StreamARN: STREAM_ARN, MaxRecordSizeInKiB: 10_240 })
    for (const bytes of [MiB / 2, MiB / 2, 3 * MiB, 1]) {
      world.execute('PutRecord', { StreamName: 's', PartitionKey: 'k', Data: Buffer.alloc(bytes - 1) })
    }
    world.pass(1_000)
    const events = pull(world.subscribe(world.register()))
    expect(events.map(({ Records }) => Records.length)).toEqual([2, 1, 1])
    expect(events.map(({ MillisBehindLatest }) => MillisBehindLatest)).toEqual([1_000, 1_000, 0])
  })
})

describe('its share of the shard', () => {
  const putMiB = (world: World, count: number): void => {
    for (let put = 0; put < count; put++) {
      world.execute('PutRecord', { StreamName: 's', PartitionKey: 'k', Data: Buffer.alloc(MiB - 1) })
      world.pass(1_001)
    }
  }

  test('is 2 MiB a second: what is beyond comes later, without an error', () => {
    const world = new World({ limits: true })
    putMiB(world, 5)
    const subscription = world.subscribe(world.register())
    expect(pull(subscription).length).toBe(2)
    const dueMs = subscription.dueMs
    expect(dueMs - world.monotonicMs).toBeLessThanOrEqual(2)
    world.pass(dueMs - world.monotonicMs)
    expect(pull(subscription).length).toBe(1)
    expect(subscription.dueMs - world.monotonicMs).toBeGreaterThan(490)
    world.pass(subscription.dueMs - world.monotonicMs)
    expect(pull(subscription).length).toBe(1)
    expect(subscription.error).toBeUndefined()
  })

  test('is its own, beside other consumers and those who poll', () => {
    const world = new World({ limits: true })
    putMiB(world, 2)
    const [one, other] = [world.register('one'), world.register('other')]
    for (let call = 0; call < 2; call++) {
      world.get(world.iterator(SHARD_0, { ShardIteratorType: 'TRIM_HORIZON' }), 1)
    }
    expect(pull(world.subscribe(one)).length).toBe(2)
    expect(pull(world.subscribe(other)).length).toBe(2)
  })

  test('is not had again by subscribing again', () => {
    const world = new World({ limits: true })
    putMiB(world, 15)
    const arn = world.register()
    const first = world.subscribe(arn)
    world.pass(4_500)
    for (let second = 0; second < 3; second++) pull(first)
    world.pass(500)
    const again = world.subscribe(arn)
    expect(pull(again).length).toBeLessThanOrEqual(2)
  })
})

describe('its end', () => {
  test('comes after five minutes, without an error', () => {
    const world = new World()
    const subscription = world.subscribe(world.register())
    world.pass(5 * MINUTES - 1)
    pull(subscription)
    expect([subscription.ended, subscription.dueMs]).toEqual([false, world.monotonicMs + 1])
    world.pass(1)
    expect(pull(subscription)).toEqual([])
    expect([subscription.ended, subscription.error, subscription.isLost]).toEqual([true, undefined, false])
    expect(subscription.dueMs).toBe(Number.POSITIVE_INFINITY)
  })

  test('comes with the end of the shard, whose last event names the children and no place to go on from', () => {
    const world = new World()
    const subscription = world.subscribe(world.register())
    world.put('a')
    pull(subscription)
    world.put('b')
    world.split(SHARD_0)
    const [last, ...more] = pull(subscription)
    expect(textsOf(last!.Records)).toEqual(['b'])
    expect(last?.ChildShards?.map(({ ShardId }) => ShardId)).toEqual([SHARD_1, SHARD_2])
    expect(last).not.toHaveProperty('ContinuationSequenceNumber')
    expect([more, subscription.ended, subscription.error]).toEqual([[], true, undefined])
  })

  test('comes at once for who starts behind a closed shard', () => {
    const world = new World()
    world.put('a')
    world.split(SHARD_0)
    expect(pull(world.subscribe(world.register(), { Type: 'LATEST' }))).toMatchObject([
      { Records: [], ChildShards: [{ ShardId: SHARD_1 }, { ShardId: SHARD_2 }] },
    ])
  })

  test('is told at a reshard, and is due by time when the reshard takes some', () => {
    const world = new World({ reshardMs: 2_000 })
    const subscription = world.subscribe(world.register())
    pull(subscription)
    let told = 0
    subscription.onDue(() => told++)
    world.split(SHARD_0)
    expect(subscription.dueMs).toBe(world.monotonicMs + 2_000)
    world.pass(2_000)
    expect(pull(subscription)).toMatchObject([{ ChildShards: [{}, {}] }])
    expect([told, subscription.ended]).toEqual([1, true])
  })

  test('comes by the reader, who then gets nothing more', () => {
    const world = new World()
    const subscription = world.subscribe(world.register())
    subscription.close()
    world.put('a')
    expect([pull(subscription), subscription.ended]).toEqual([[], true])
  })

  test.each([
    ['the consumer is deregistered', 'DeregisterStreamConsumer', { StreamARN: STREAM_ARN, ConsumerName: 'c' }],
    ['the stream is deleted', 'DeleteStream', { StreamName: 's', EnforceConsumerDeletion: true }],
  ])('comes with an error when %s', (_, operation, request) => {
    const world = new World({ createMs: 10, registerMs: 10 })
    world.pass(10)
    const arn = world.register()
    world.pass(10)
    const subscription = world.subscribe(arn)
    let told = 0
    subscription.onDue(() => told++)
    world.execute(operation, request)
    expect([told, subscription.ended, subscription.error?.type]).toEqual([1, true, 'ResourceNotFoundException'])
  })
})

describe('a second subscription of the same consumer to the same shard', () => {
  test('is refused within five seconds', () => {
    const world = new World()
    const arn = world.register()
    const first = world.subscribe(arn)
    world.pass(4_999)
    const error = errorOf(() => world.subscribe(arn))
    expect(error.type).toBe('ResourceInUseException')
    expect(error.message).toBe(
      'Another active subscription exists for this consumer: 000000000000:s:shardId-000000000000:c.',
    )
    expect(first.ended).toBe(false)
  })

  test('takes over later, and the first ends with an error', () => {
    const world = new World()
    const arn = world.register()
    const first = world.subscribe(arn)
    let told = 0
    first.onDue(() => told++)
    world.pass(5_000)
    const second = world.subscribe(arn)
    expect([told, first.ended, first.error?.type]).toEqual([1, true, 'ResourceInUseException'])
    world.put('a')
    expect(received(second)).toEqual(['a'])
    expect(pull(first)).toEqual([])
  })

  test('is counted from the last one that was granted, not from those refused', () => {
    const world = new World({ limits: true })
    const arn = world.register()
    world.subscribe(arn)
    world.pass(3_000)
    expect(errorOf(() => world.subscribe(arn)).type).toBe('ResourceInUseException')
    world.pass(2_000)
    world.subscribe(arn)
  })

  test('waits just as long when the first was closed, with the limits of the service', () => {
    const outcome = (limits: boolean): string => {
      const world = new World({ limits })
      const arn = world.register()
      world.subscribe(arn).close()
      world.pass(2_000)
      try {
        world.subscribe(arn)
        return 'granted'
      } catch {
        return 'refused'
      }
    }
    expect([outcome(true), outcome(false)]).toEqual(['refused', 'granted'])
  })

  test('is no second one on another shard, or of another consumer', () => {
    const world = new World({ shards: 2 })
    const arn = world.register()
    world.subscribe(arn)
    world.subscribe(arn, { Type: 'LATEST' }, SHARD_1)
    world.subscribe(world.register('d'))
  })
})

test('a dry run is told that it would have succeeded, and holds nothing', () => {
  const world = new World({ limits: true })
  const arn = world.register()
  const request = { ConsumerARN: arn, ShardId: SHARD_0, StartingPosition: { Type: 'LATEST' }, DryRun: true }
  expect(errorOf(() => world.model.subscribe(request)).type).toBe('DryRunOperationException')
  world.subscribe(arn)
})
