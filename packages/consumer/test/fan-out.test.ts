import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import {
  DeregisterStreamConsumerCommand,
  DescribeStreamConsumerCommand,
  type KinesisClient,
  ListStreamConsumersCommand,
  MergeShardsCommand,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  SplitShardCommand,
} from '@aws-sdk/client-kinesis'
import { createKinesisClient, describeStream, silentLogger } from '@shardwise/core'
import { type Local, startLocal } from '@shardwise/local'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { Consumer } from '../src/consumer.ts'
import { ConsumerError } from '../src/errors.ts'
import type { ConsumerOptions } from '../src/options.ts'
import type { ConsumerEvent } from '../src/telemetry/telemetry.ts'

const STREAMS = ['read', 'hand', 'turns', 'gone', 'arn', 'exit', 'slow', 'off', 'one', 'two']
const KEYS = Array.from({ length: 20 }, (_, index) => `key-${index}`)

let local: Local
let kinesis: KinesisClient
let open: Consumer[] = []

beforeAll(async () => {
  local = await startLocal({ streams: Object.fromEntries(STREAMS.map((name) => [name, 2])), limits: false })
  kinesis = createKinesisClient(local.kinesis)
})

afterEach(async () => {
  await Promise.all(open.map((consumer) => consumer.close()))
  open = []
})

afterAll(async () => {
  kinesis.destroy()
  await local.stop()
})

/** One application that reads a stream, and what it was given. */
class Application {
  readonly stream: string
  readonly events: ConsumerEvent[] = []
  /** Per key the numbers, as they were handled. */
  readonly handled = new Map<string, number[]>()
  handle: () => Promise<void> | undefined = () => undefined
  #put = 0

  constructor(stream: string) {
    this.stream = stream
  }

  worker(options: Partial<ConsumerOptions> = {}): { consumer: Consumer; running: Promise<void> } {
    const consumer = new Consumer({
      application: `app-of-${this.stream}`,
      stream: this.stream,
      retrieval: 'fanOut',
      failoverTime: 1_000,
      kinesisConfig: local.kinesis,
      dynamodbConfig: local.dynamodb,
      logger: silentLogger,
      onEvent: (event) => this.events.push(event),
      ...options,
    })
    open.push(consumer)
    const running = consumer.run({
      eachRecord: async (record) => {
        await this.handle()
        const numbers = this.handled.get(record.partitionKey) ?? []
        this.handled.set(record.partitionKey, numbers)
        numbers.push(Number(record.text()))
      },
    })
    // Told by who looks at it.
    running.catch(() => undefined)
    return { consumer, running }
  }

  /** One more record for each key. */
  async put(bytes = 0): Promise<void> {
    const Data = Buffer.from(String(this.#put++).padEnd(bytes))
    const Records = KEYS.map((PartitionKey) => ({ PartitionKey, Data }))
    const { FailedRecordCount } = await kinesis.send(new PutRecordsCommand({ StreamName: this.stream, Records }))
    expect(FailedRecordCount).toBe(0)
  }

  /** Every record that was put has been handled, those of a key in order; after which there is nothing else. */
  async allHandled(): Promise<void> {
    const numbers = Array.from({ length: this.#put }, (_, number) => number)
    const expected = new Map(KEYS.map((key) => [key, numbers]))
    const found = (): Map<string, number[]> => new Map(KEYS.map((key) => [key, this.handled.get(key) ?? []]))
    await vi.waitFor(() => expect(found()).toEqual(expected), { timeout: 12_000, interval: 20 })
  }

  told<Type extends ConsumerEvent['type']>(type: Type): Extract<ConsumerEvent, { type: Type }>[] {
    return this.events.filter((event): event is Extract<ConsumerEvent, { type: Type }> => event.type === type)
  }
}

async function consumersOf(stream: string): Promise<(string | undefined)[]> {
  const { arn } = await describeStream(kinesis, stream)
  const { Consumers = [] } = await kinesis.send(new ListStreamConsumersCommand({ StreamARN: arn }))
  return Consumers.map(({ ConsumerName }) => ConsumerName)
}

const soon = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('what is put comes at once, in order per key, across a split and a merge in mid-subscription', async () => {
  const application = new Application('read')
  application.worker()
  await application.put()
  await application.allHandled()
  const putSome = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      await application.put()
      await soon(10)
    }
  }
  await putSome()
  const [first, second] = ['shardId-000000000000', 'shardId-000000000001']
  const [third, fourth] = ['shardId-000000000002', 'shardId-000000000003']
  await kinesis.send(
    new SplitShardCommand({ StreamName: 'read', ShardToSplit: first, NewStartingHashKey: String(2n ** 126n) }),
  )
  await putSome()
  await vi.waitFor(() => expect(application.told('shardEnded')).toHaveLength(1), 5_000)
  await kinesis.send(new MergeShardsCommand({ StreamName: 'read', ShardToMerge: fourth, AdjacentShardToMerge: second }))
  await putSome()
  await application.allHandled()
  expect(application.told('shardEnded').flatMap(({ childShardIds }) => childShardIds)).toEqual([
    third,
    fourth,
    ...['shardId-000000000004', 'shardId-000000000004'],
  ])
  expect(application.told('consumerRegistered')).toMatchObject([{ consumerName: 'app-of-read', stream: 'read' }])
  expect([...application.told('readFailed'), ...application.told('callFailed')]).toEqual([])
})

test('a second worker uses the same consumer, and takes shards over without a gap or an overlap', async () => {
  const application = new Application('hand')
  application.worker({ workerId: 'first' })
  await application.put()
  await application.allHandled()
  const { consumer } = application.worker({ workerId: 'second' })
  const putting = (async () => {
    for (let i = 0; i < 100; i++) {
      await application.put()
      await soon(20)
    }
  })()
  await vi.waitFor(() => expect(consumer.status().shards).toMatchObject([{ state: 'reading' }]), 8_000)
  await putting
  await application.allHandled()
  expect(application.told('leaseHandedOff')).toHaveLength(1)
  expect(application.told('consumerRegistered')).toHaveLength(1)
})

test('polling and fan-out by turns go on from the same place', async () => {
  const application = new Application('turns')
  for (const retrieval of ['polling', 'fanOut', 'polling', 'fanOut'] as const) {
    await application.put()
    const { consumer, running } = application.worker({ retrieval, initialPosition: 'TRIM_HORIZON' })
    await application.allHandled()
    await consumer.close()
    await running
  }
  expect(await consumersOf('turns')).toEqual(['app-of-turns'])
})

describe('a consumer that is deleted underneath', () => {
  const deregister = async (stream: string, ConsumerName: string): Promise<void> => {
    const { arn: StreamARN } = await describeStream(kinesis, stream)
    await kinesis.send(new DeregisterStreamConsumerCommand({ StreamARN, ConsumerName }))
  }

  test('is registered anew, and nothing is missed', async () => {
    const application = new Application('gone')
    application.worker({ consumerName: 'delays' })
    await application.put()
    await application.allHandled()
    await deregister('gone', 'delays')
    await application.put()
    await application.allHandled()
    expect(application.told('consumerGone')).toHaveLength(1)
    expect(application.told('consumerRegistered')).toHaveLength(2)
    expect(await consumersOf('gone')).toEqual(['delays'])
  })

  test('but was given by ARN, ends run() with an error that says so', async () => {
    const { arn: StreamARN } = await describeStream(kinesis, 'arn')
    await kinesis.send(new RegisterStreamConsumerCommand({ StreamARN, ConsumerName: 'mine' }))
    const { ConsumerDescription } = await kinesis.send(
      new DescribeStreamConsumerCommand({ StreamARN, ConsumerName: 'mine' }),
    )
    const consumerArn = ConsumerDescription?.ConsumerARN ?? ''
    const application = new Application('arn')
    const { running } = application.worker({ consumerArn })
    await application.put()
    await application.allHandled()
    await deregister('arn', 'mine')
    await expect(running).rejects.toMatchObject({ code: 'ERR_CONSUMER', message: expect.stringContaining(consumerArn) })
    expect(await consumersOf('arn')).toEqual([])
    const again = application.worker({ consumerArn })
    await expect(again.running).rejects.toMatchObject({ code: 'ERR_CONSUMER' })
  })
})

test('a slow handler holds its shards back: no more is buffered than may be, nothing is lost, nobody subscribes anew', async () => {
  const application = new Application('slow')
  let release = (): void => undefined
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  application.handle = () => released
  const { consumer } = application.worker({ maxBufferedBytes: 2 ** 20 })
  for (let i = 0; i < 40; i++) {
    await application.put(5_000)
    await soon(50)
  }
  // Four times as much was put.
  const buffered = consumer.status().shards.reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0)
  expect(buffered).toBeGreaterThan(0)
  expect(buffered).toBeLessThan(3 * 2 ** 20)
  release()
  await application.allHandled()
  expect(application.told('readFailed')).toEqual([])
})

test('after close() no connection is left, and the process can exit', async () => {
  await new Application('exit').put()
  const program = fileURLToPath(new URL('./exit-after-close.ts', import.meta.url))
  const options = {
    application: 'app-of-exit',
    stream: 'exit',
    retrieval: 'fanOut',
    kinesisConfig: local.kinesis,
    dynamodbConfig: local.dynamodb,
  }
  const args = ['--conditions=shardwise-source', program, JSON.stringify(options)]
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 15_000 })
  expect(stdout).toBe('handled true\nleft 0\n')
})

describe('deregister()', () => {
  test('deletes the consumer on request, when the worker is closed, and not before', async () => {
    const application = new Application('off')
    const { consumer } = application.worker()
    await application.put()
    await application.allHandled()
    await expect(consumer.deregister()).rejects.toMatchObject({ code: 'ERR_STATE' })
    await consumer.close()
    expect(await consumersOf('off')).toEqual(['app-of-off'])
    expect(await consumer.deregister()).toEqual(['off'])
    expect(await consumersOf('off')).toEqual([])
    expect(await consumer.deregister()).toEqual([])
  })

  test('of several streams deletes the consumer of each', async () => {
    const application = new Application('one')
    const { consumer } = application.worker({ stream: undefined, streams: ['one', 'two'] })
    await application.put()
    await application.allHandled()
    await vi.waitFor(async () => expect(await consumersOf('two')).toEqual(['app-of-one']), 5_000)
    await consumer.close()
    expect(await consumer.deregister()).toEqual(['one', 'two'])
    expect([await consumersOf('one'), await consumersOf('two')]).toEqual([[], []])
  })

  test('of a stream that does not exist says so', async () => {
    const consumer = new Consumer({ application: 'nowhere', stream: 'nowhere', kinesisConfig: local.kinesis })
    await expect(consumer.deregister()).rejects.toThrow(ConsumerError)
    await expect(consumer.deregister()).rejects.toMatchObject({ code: 'ERR_STREAM' })
  })
})
