import { describe, expect, test } from 'vitest'
import { errorOf, STREAM_ARN, World } from '../test/model-world.ts'

test('a consumer has an ARN with the time of its registration, and is active at once', () => {
  const world = new World()
  const arn = world.register()
  expect(arn).toBe(`${STREAM_ARN}/consumer/c:${world.wallMs / 1000}`)
  expect(world.execute('DescribeStreamConsumer', { ConsumerARN: arn })).toEqual({
    ConsumerDescription: {
      ConsumerName: 'c',
      ConsumerARN: arn,
      ConsumerStatus: 'ACTIVE',
      ConsumerCreationTimestamp: new Date(world.wallMs),
      StreamARN: STREAM_ARN,
    },
  })
  expect(world.summary().ConsumerCount).toBe(1)
})

test('a consumer is found by its name and the ARN of its stream', () => {
  const world = new World()
  const arn = world.register()
  const request = { StreamARN: STREAM_ARN, ConsumerName: 'c' }
  expect(world.execute('DescribeStreamConsumer', request)).toMatchObject({ ConsumerDescription: { ConsumerARN: arn } })
})

test.each([
  ['by its name alone', { ConsumerName: 'c' }, 'ValidationException'],
  ['by the ARN of the stream alone', { StreamARN: STREAM_ARN }, 'InvalidArgumentException'],
  ['by an ARN and a name that contradict each other', { ConsumerName: 'd' }, 'InvalidArgumentException'],
  ['that there is not', { StreamARN: STREAM_ARN, ConsumerName: 'd' }, 'ResourceNotFoundException'],
  ['of another time', { ConsumerARN: `${STREAM_ARN}/consumer/c:1` }, 'ResourceNotFoundException'],
  ['of another stream', { StreamARN: `${STREAM_ARN}2`, ConsumerName: 'c' }, 'ResourceNotFoundException'],
])('a consumer %s is refused', (name, request, type) => {
  const world = new World()
  const arn = world.register()
  const contradicting = name.includes('contradict') ? { ConsumerARN: arn } : {}
  expect(world.refusal('DescribeStreamConsumer', { ...request, ...contradicting })).toBe(type)
})

test('a name is taken once', () => {
  const world = new World()
  world.register()
  expect(errorOf(() => world.register()).type).toBe('ResourceInUseException')
})

test.each(['', 'a b', 'c'.repeat(129)])('the name %j is refused', (name) => {
  expect(errorOf(() => new World().register(name)).type).toBe('ValidationException')
})

test('a stream has at most twenty consumers', () => {
  const world = new World()
  for (let number = 0; number < 20; number++) world.register(`c${number}`)
  expect(errorOf(() => world.register('one-more')).type).toBe('LimitExceededException')
})

test('consumers are listed page by page, by their names', () => {
  const world = new World()
  for (const name of ['c', 'a', 'b']) world.register(name)
  const list = (request: object) =>
    world.execute<{ Consumers: { ConsumerName: string }[]; NextToken?: string }>('ListStreamConsumers', {
      ...request,
    })
  const first = list({ StreamARN: STREAM_ARN, MaxResults: 2 })
  const second = list({ NextToken: first.NextToken })
  expect([...first.Consumers, ...second.Consumers].map(({ ConsumerName }) => ConsumerName)).toEqual(['a', 'b', 'c'])
  expect(second.NextToken).toBeUndefined()
})

test('a consumer that is deregistered is gone, and registered again has another ARN', () => {
  const world = new World()
  const first = world.register()
  world.execute('DeregisterStreamConsumer', { ConsumerARN: first })
  expect(world.refusal('DescribeStreamConsumer', { ConsumerARN: first })).toBe('ResourceNotFoundException')
  world.pass(1_000)
  expect(world.register()).not.toBe(first)
})

describe('the time that a consumer takes', () => {
  test('it is CREATING for it, and cannot subscribe until then', () => {
    const world = new World({ registerMs: 1_000 })
    const arn = world.register()
    world.pass(999)
    expect(errorOf(() => world.subscribe(arn)).type).toBe('ResourceInUseException')
    expect(world.execute('ListStreamConsumers', { StreamARN: STREAM_ARN })).toMatchObject({
      Consumers: [{ ConsumerStatus: 'CREATING' }],
    })
    world.pass(1)
    world.subscribe(arn)
  })

  test('it is DELETING for it, and its name is taken until then', () => {
    const world = new World({ registerMs: 1_000 })
    const arn = world.register()
    world.pass(1_000)
    world.execute('DeregisterStreamConsumer', { ConsumerARN: arn })
    expect(world.execute('DescribeStreamConsumer', { ConsumerARN: arn })).toMatchObject({
      ConsumerDescription: { ConsumerStatus: 'DELETING' },
    })
    expect(errorOf(() => world.register()).type).toBe('ResourceInUseException')
    world.pass(1_000)
    expect(world.summary().ConsumerCount).toBe(0)
    world.register()
  })

  test('five are CREATING at once', () => {
    const world = new World({ registerMs: 1_000 })
    for (let number = 0; number < 5; number++) world.register(`c${number}`)
    expect(errorOf(() => world.register('one-more')).type).toBe('LimitExceededException')
    world.pass(1_000)
    world.register('one-more')
  })
})
