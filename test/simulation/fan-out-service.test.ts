import {
  type Consumer,
  PutRecordCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
  type SubscribeToShardEventStream,
} from '@aws-sdk/client-kinesis'
import type { Kinesis } from '@shardwise/core'
import { seededRandom } from '@shardwise/core/testing'
import { expect, test } from 'vitest'
import type { SubscriptionTrouble } from './faults.ts'
import { KinesisService, STREAM } from './kinesis-service.ts'
import { FAIR, Network } from './network.ts'
import { SimulatedProcess } from './process.ts'
import { StoredStream } from './stored-stream.ts'
import type { Violation } from './violation.ts'
import { VirtualTime } from './virtual-time.ts'

interface Setup {
  readonly time: VirtualTime
  readonly service: KinesisService
  readonly violations: Violation[]
  start(name: string): { process: SimulatedProcess; client: Kinesis }
}

/** A stream of one shard; lets everything happen for a minute. */
async function inService(act: (setup: Setup) => Promise<void>): Promise<readonly Violation[]> {
  const time = new VirtualTime(seededRandom(1))
  const random = seededRandom(2)
  const network = new Network({ time, random, wayMs: 5, weather: () => FAIR, cut: () => 'none', trace: () => {} })
  const violations: Violation[] = []
  const service = new KinesisService({
    time,
    random,
    network,
    notes: new Map([[STREAM, { stored: new StoredStream(Number.POSITIVE_INFINITY), onStored: () => {} }]]),
    shards: 1,
    limits: true,
    reshardMs: 0,
    retentionMs: 86_400_000,
    listingLagMs: () => 0,
    calls: () => undefined,
    isUndisturbed: false,
    report: (violation) => violations.push(violation),
  })
  const start: Setup['start'] = (name) => {
    const process = new SimulatedProcess({ time, random: seededRandom(3), name, clockRate: 1, wallOffsetMs: 0 })
    return { process, client: service.clientOf(process) }
  }
  let failure: unknown = new Error('it is still waiting after a minute')
  act({ time, service, violations, start }).then(
    () => {
      failure = undefined
    },
    (error: unknown) => {
      failure = error
    },
  )
  await time.run(() => time.nowMs > 60_000)
  if (failure !== undefined) throw failure
  return violations
}

async function register({ service, start }: Setup): Promise<string> {
  const StreamARN = service.model.streamNamed(STREAM).arn
  const command = new RegisterStreamConsumerCommand({ StreamARN, ConsumerName: 'app' })
  const { Consumer } = (await start('operator').client.send(command)) as { Consumer: Consumer }
  return Consumer.ConsumerARN!
}

async function subscribe(client: Kinesis, ConsumerARN: string): Promise<AsyncIterator<SubscribeToShardEventStream>> {
  const command = new SubscribeToShardCommand({
    ConsumerARN,
    ShardId: 'shardId-000000000000',
    StartingPosition: { Type: 'TRIM_HORIZON' },
  })
  const { EventStream } = await client.send(command)
  return EventStream![Symbol.asyncIterator]()
}

/** How the rest of it goes. */
async function restOf(events: AsyncIterator<SubscribeToShardEventStream>): Promise<string> {
  try {
    for (;;) if ((await events.next()).done) return 'the end'
  } catch (error) {
    return (error as Error).name
  }
}

test('records come as events, as they are put', async () => {
  await inService(async (setup) => {
    const { client } = setup.start('worker')
    const events = await subscribe(client, await register(setup))
    const first = await events.next()
    expect(first.value.SubscribeToShardEvent).toMatchObject({ Records: [], MillisBehindLatest: 0 })
    const put = new PutRecordCommand({ StreamName: STREAM, PartitionKey: 'key', Data: Buffer.from('data') })
    await setup.start('producer').client.send(put)
    const second = await events.next()
    expect(second.value.SubscribeToShardEvent.Records).toMatchObject([{ PartitionKey: 'key' }])
    await events.return?.()
  })
})

test('a second subscriber takes over after five seconds, and the first one is told', async () => {
  await inService(async (setup) => {
    const arn = await register(setup)
    const first = await subscribe(setup.start('worker-0').client, arn)
    const rest = restOf(first)
    const other = setup.start('worker-1').client
    await setup.time.sleep(2_000)
    await expect(subscribe(other, arn)).rejects.toMatchObject({ name: 'ResourceInUseException' })
    await setup.time.sleep(6_000)
    await subscribe(other, arn)
    expect(await rest).toBe('ResourceInUseException')
  })
})

test('a consumer that is deregistered underneath ends its subscriptions', async () => {
  await inService(async (setup) => {
    const rest = restOf(await subscribe(setup.start('worker').client, await register(setup)))
    setup.service.fanOut.deregisterAll(STREAM)
    expect(await rest).toBe('ResourceNotFoundException')
  })
})

test.each<[SubscriptionTrouble, string]>([
  ['break', 'Error'],
  ['end', 'the end'],
  ['InternalFailureException', 'InternalFailureException'],
])('a fault (%s) strikes open subscriptions and new ones, until it is over', async (act, expected) => {
  await inService(async (setup) => {
    const { client } = setup.start('worker')
    const arn = await register(setup)
    const rest = restOf(await subscribe(client, arn))
    const fault = { kind: 'subscription', atMs: 0, forMs: 1, act, share: 1, probability: 1 } as const
    const end = setup.service.fanOut.disturb(fault)
    expect(await rest).toBe(expected)
    await setup.time.sleep(6_000)
    expect(await restOf(await subscribe(client, arn))).toBe(expected)
    end()
    await setup.time.sleep(6_000)
    const events = await subscribe(client, arn)
    await events.next()
    await events.next()
    await events.return?.()
  })
})

test('a worker that subscribes too often, or to a shard twice, is noticed', async () => {
  const violations = await inService(async (setup) => {
    const { client } = setup.start('worker')
    const arn = await register(setup)
    await subscribe(client, arn)
    await subscribe(client, arn).catch(() => undefined)
  })
  const invariants = violations.map(({ invariant }) => invariant)
  expect(invariants).toEqual(['one subscription a shard', 'subscribes in moderation'])
})

test('a worker that lets go of a subscription by an abort is free to make another', async () => {
  const violations = await inService(async (setup) => {
    const { client, process } = setup.start('worker')
    const ConsumerARN = await register(setup)
    const abort = new AbortController()
    const command = new SubscribeToShardCommand({
      ConsumerARN,
      ShardId: 'shardId-000000000000',
      StartingPosition: { Type: 'LATEST' },
    })
    await client.send(command, { abortSignal: abort.signal })
    expect(setup.service.fanOut.openShardsOf(process)).toHaveLength(1)
    abort.abort()
    expect(setup.service.fanOut.openShardsOf(process)).toEqual([])
    await setup.time.sleep(6_000)
    await subscribe(client, ConsumerARN)
  })
  expect(violations).toEqual([])
})
