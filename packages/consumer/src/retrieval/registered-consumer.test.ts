import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { refusal } from '../../test/reading.ts'
import { type ConsumerEvent, Telemetry } from '../telemetry/telemetry.ts'
import { RegisteredConsumer, type RegisteredConsumerOptions } from './registered-consumer.ts'

const STREAM_ARN = 'arn:aws:kinesis:eu-west-1:123456789012:stream/flights'
const arnOf = (created: number): string => `${STREAM_ARN}/consumer/delays:${created}`

/** The service's side. */
let consumer: { arn: string; status: string } | undefined
/** What the next calls of an operation answer instead. */
let refusals: Record<string, Error[]>
let calls: [string, Record<string, unknown>][]
let failures: unknown[]
let events: ConsumerEvent[]
let clock: ManualClock
let stop: AbortController
let created: number

beforeEach(() => {
  consumer = undefined
  refusals = {}
  calls = []
  failures = []
  events = []
  clock = new ManualClock()
  stop = new AbortController()
  created = 0
})

function registered(options: Partial<RegisteredConsumerOptions> = {}): RegisteredConsumer {
  const send = async (command: { input: Record<string, unknown>; constructor: { name: string } }) => {
    const { input } = command
    const name = command.constructor.name.replace(/Command$/, '')
    calls.push([name, input])
    const refused = refusals[name]?.shift()
    if (refused) throw refused
    if (name === 'DescribeStreamSummary') return { StreamDescriptionSummary: { StreamARN: STREAM_ARN } }
    if (name === 'RegisterStreamConsumer') {
      consumer = { arn: arnOf(++created), status: 'CREATING' }
      return { Consumer: { ConsumerARN: consumer.arn } }
    }
    if (name === 'ListShards') return { Shards: [] }
    const { ConsumerARN = consumer?.arn } = input
    if (consumer === undefined || ConsumerARN !== consumer.arn) throw refusal('ResourceNotFoundException')
    if (name === 'DeregisterStreamConsumer') {
      consumer = undefined
      return {}
    }
    const { arn, status } = consumer
    // It takes as long as to the next look.
    consumer.status = 'ACTIVE'
    return { ConsumerDescription: { ConsumerARN: arn, ConsumerStatus: status } }
  }
  return new RegisteredConsumer({
    kinesis: { send } as unknown as Kinesis,
    stream: 'flights',
    consumerName: 'delays',
    isRefusalFinal: true,
    clock,
    random: () => 0.5,
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}).of('flights'),
    onFailure: (_, error) => failures.push(error),
    ...options,
  })
}

const names = (): string[] => calls.map(([name]) => name)
const outcome = async (promise: Promise<unknown>, ms = 60_000): Promise<unknown> => {
  let result: unknown = 'waits'
  promise.then(
    (value) => {
      result = value
    },
    (error: unknown) => {
      result = error
    },
  )
  await clock.advance(ms)
  return result
}

describe('by name', () => {
  test('it is registered if it is not there, and used when it is active', async () => {
    expect(await outcome(registered().arn(stop.signal))).toBe(arnOf(1))
    expect(names()).toEqual([
      'DescribeStreamSummary',
      'DescribeStreamConsumer',
      'RegisterStreamConsumer',
      'DescribeStreamConsumer',
      'DescribeStreamConsumer',
    ])
    expect(calls[2]).toEqual(['RegisterStreamConsumer', { StreamARN: STREAM_ARN, ConsumerName: 'delays' }])
    expect(events).toEqual([
      { type: 'consumerRegistered', stream: 'flights', consumerName: 'delays', consumerArn: arnOf(1) },
    ])
  })

  test('one that is there is used as it is', async () => {
    consumer = { arn: arnOf(7), status: 'ACTIVE' }
    expect(await outcome(registered({ stream: STREAM_ARN }).arn(stop.signal))).toBe(arnOf(7))
    expect(names()).toEqual(['DescribeStreamConsumer'])
  })

  test('one that another worker registers at the same moment is used', async () => {
    refusals.RegisterStreamConsumer = [refusal('ResourceInUseException')]
    const asked = registered().arn(stop.signal)
    await settle()
    consumer = { arn: arnOf(7), status: 'CREATING' }
    expect(await outcome(asked)).toBe(arnOf(7))
    expect([failures, events]).toEqual([[], []])
  })

  test('one that is being deleted is waited for, and registered anew', async () => {
    consumer = { arn: arnOf(7), status: 'DELETING' }
    const asked = registered().arn(stop.signal)
    await settle()
    consumer = undefined
    expect(await outcome(asked)).toBe(arnOf(1))
  })

  test('all shards ask once, and a shard that is given up ends only its own wait', async () => {
    const found = registered()
    const impatient = new AbortController()
    const asked = [found.arn(stop.signal), found.arn(impatient.signal), found.arn(stop.signal)]
    await settle()
    impatient.abort('given up')
    expect(await outcome(Promise.allSettled(asked))).toEqual([
      { status: 'fulfilled', value: arnOf(1) },
      { status: 'rejected', reason: 'given up' },
      { status: 'fulfilled', value: arnOf(1) },
    ])
    expect(names().filter((name) => name === 'RegisterStreamConsumer')).toHaveLength(1)
    calls = []
    expect(await outcome(found.arn(stop.signal))).toBe(arnOf(1))
    expect(calls).toEqual([])
  })

  test('when nobody waits any more, nothing is asked for any more; who comes later asks anew', async () => {
    const found = registered()
    refusals.DescribeStreamConsumer = [refusal('ThrottlingException')]
    const asked = expect(found.arn(stop.signal)).rejects.toBe('given up')
    await settle()
    stop.abort('given up')
    await asked
    const { length } = calls
    await clock.advance(60_000)
    expect([calls.length, clock.sleeping]).toEqual([length, 0])
    expect(await outcome(found.arn(new AbortController().signal))).toBe(arnOf(1))
  })

  test('what passes is tried again and told', async () => {
    refusals.DescribeStreamSummary = [refusal('ThrottlingException')]
    refusals.RegisterStreamConsumer = [refusal('LimitExceededException'), refusal('ECONNRESET')]
    expect(await outcome(registered().arn(stop.signal))).toBe(arnOf(1))
    expect(failures).toHaveLength(3)
  })

  test('a stream that has all the consumers it may have is told of, and not waited for without end', async () => {
    refusals.RegisterStreamConsumer = Array.from({ length: 50 }, () => refusal('LimitExceededException'))
    expect(await outcome(registered().arn(stop.signal))).toMatchObject({
      code: 'ERR_CONSUMER',
      message: expect.stringMatching(/"delays".*flights.*20/),
    })
    expect(names().filter((name) => name === 'RegisterStreamConsumer')).toHaveLength(8)
  })

  test('to be described too often is no such limit, however often', async () => {
    refusals.DescribeStreamConsumer = Array.from({ length: 20 }, () => refusal('LimitExceededException'))
    expect(await outcome(registered().arn(stop.signal), 300_000)).toBe(arnOf(1))
    expect(failures).toHaveLength(20)
    expect(String(failures[0])).not.toContain('registered')
  })

  test('a missing permission is told of, with what is needed', async () => {
    refusals.RegisterStreamConsumer = [refusal('AccessDeniedException')]
    expect(await outcome(registered().arn(stop.signal))).toMatchObject({
      code: 'ERR_ACCESS',
      message: expect.stringContaining('kinesis:DescribeStreamConsumer and RegisterStreamConsumer'),
    })
  })

  test('where a refusal is not final, it is tried again and again', async () => {
    const denied = Array.from({ length: 8 }, () => refusal('AccessDeniedException'))
    refusals.RegisterStreamConsumer = denied
    expect(await outcome(registered({ isRefusalFinal: false }).arn(stop.signal))).toBe(arnOf(1))
    expect(failures).toHaveLength(8)
  })

  test('a stream that does not exist is told of', async () => {
    refusals.DescribeStreamSummary = [refusal('ResourceNotFoundException')]
    expect(await outcome(registered().arn(stop.signal))).toMatchObject({ code: 'ERR_STREAM' })
    refusals.RegisterStreamConsumer = [refusal('ResourceNotFoundException')]
    expect(await outcome(registered().arn(stop.signal))).toMatchObject({ code: 'ERR_STREAM' })
  })
})

describe('by ARN', () => {
  const byArn = (): RegisteredConsumer => registered({ consumerArn: arnOf(7) })

  test('it is used when it is active', async () => {
    consumer = { arn: arnOf(7), status: 'CREATING' }
    expect(await outcome(byArn().arn(stop.signal))).toBe(arnOf(7))
    expect(names()).toEqual(['DescribeStreamConsumer', 'DescribeStreamConsumer'])
    expect(calls[0]![1]).toEqual({ ConsumerARN: arnOf(7) })
  })

  test('one that does not exist, or is being deleted, is told of and never registered', async () => {
    expect(await outcome(byArn().arn(stop.signal))).toMatchObject({
      code: 'ERR_CONSUMER',
      message: expect.stringMatching(/delays:7.*absent/),
    })
    consumer = { arn: arnOf(7), status: 'DELETING' }
    expect(await outcome(byArn().arn(stop.signal))).toMatchObject({ code: 'ERR_CONSUMER' })
    expect(names()).not.toContain('RegisterStreamConsumer')
  })

  test('one that was deleted with its stream is not what is told of', async () => {
    refusals.ListShards = [refusal('ResourceNotFoundException')]
    expect(await outcome(byArn().arn(stop.signal))).toMatchObject({
      code: 'ERR_STREAM',
      message: expect.stringContaining('"flights"'),
    })
  })

  test('one that does not become active is told of every half a minute', async () => {
    consumer = {
      arn: arnOf(7),
      get status() {
        return 'CREATING'
      },
      set status(_) {
        // It never is.
      },
    }
    expect(await outcome(byArn().arn(stop.signal), 150_000)).toBe('waits')
    expect(failures.length).toBeOneOf([4, 5])
    expect(String(failures[0])).toContain('expected it to be active by now')
    stop.abort()
  })
})

describe('deleted underneath', () => {
  test('it is registered anew, once for all shards, and both are told', async () => {
    const found = registered()
    await outcome(found.arn(stop.signal))
    consumer = undefined
    events = []
    const asked = Promise.all([found.isGone(arnOf(1), stop.signal), found.isGone(arnOf(1), stop.signal)])
    expect(await outcome(asked)).toEqual([true, true])
    expect(await outcome(found.isGone(arnOf(1), stop.signal))).toBe(true)
    expect(await outcome(found.arn(stop.signal))).toBe(arnOf(2))
    expect(events).toMatchObject([
      { type: 'consumerGone', consumerArn: arnOf(1) },
      { type: 'consumerRegistered', consumerArn: arnOf(2) },
    ])
  })

  test('one that is registered anew within the same second, under the same ARN, was gone all the same', async () => {
    const found = registered()
    await outcome(found.arn(stop.signal))
    consumer = undefined
    created = 0
    expect(await outcome(found.isGone(arnOf(1), stop.signal))).toBe(true)
    expect(await found.arn(stop.signal)).toBe(arnOf(1))
  })

  test('with the stream, that is the end, even where no refusal is final', async () => {
    const found = registered({ isRefusalFinal: false })
    await outcome(found.arn(stop.signal))
    consumer = undefined
    refusals.RegisterStreamConsumer = [refusal('ResourceNotFoundException')]
    expect(await outcome(found.isGone(arnOf(1), stop.signal))).toMatchObject({ code: 'ERR_STREAM' })
  })

  test('though it is still there, nothing is told', async () => {
    const found = registered()
    await outcome(found.arn(stop.signal))
    events = []
    expect(await outcome(found.isGone(arnOf(1), stop.signal))).toBe(false)
    expect(events).toEqual([])
  })

  test('a refusal then does not end anything: it worked before', async () => {
    const found = registered()
    await outcome(found.arn(stop.signal))
    consumer = undefined
    refusals.RegisterStreamConsumer = Array.from({ length: 8 }, () => refusal('LimitExceededException'))
    expect(await outcome(found.isGone(arnOf(1), stop.signal), 300_000)).toBe(true)
    expect(failures).toHaveLength(8)
  })

  test('by ARN it can not be had back', async () => {
    consumer = { arn: arnOf(7), status: 'ACTIVE' }
    const found = registered({ consumerArn: arnOf(7) })
    await outcome(found.arn(stop.signal))
    consumer = undefined
    expect(await outcome(found.isGone(arnOf(7), stop.signal))).toMatchObject({ code: 'ERR_CONSUMER' })
    expect(events).toMatchObject([{ type: 'consumerGone', consumerArn: arnOf(7) }])
  })
})

describe('on request it is deregistered', () => {
  test('by name, and by ARN', async () => {
    consumer = { arn: arnOf(7), status: 'ACTIVE' }
    expect(await outcome(registered().deregister(stop.signal))).toBe(true)
    expect(calls.at(-1)).toEqual(['DeregisterStreamConsumer', { StreamARN: STREAM_ARN, ConsumerName: 'delays' }])
    expect(consumer).toBeUndefined()
    consumer = { arn: arnOf(7), status: 'ACTIVE' }
    expect(await outcome(registered({ consumerArn: arnOf(7) }).deregister(stop.signal))).toBe(true)
    expect(calls.at(-1)).toEqual(['DeregisterStreamConsumer', { ConsumerARN: arnOf(7) }])
  })

  test('and if there is none, that is no error; a refusal is', async () => {
    expect(await outcome(registered().deregister(stop.signal))).toBe(false)
    refusals.DeregisterStreamConsumer = [refusal('AccessDeniedException')]
    expect(await outcome(registered().deregister(stop.signal))).toMatchObject({
      code: 'ERR_ACCESS',
      message: expect.stringContaining('DeregisterStreamConsumer'),
    })
  })
})
