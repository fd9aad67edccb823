import type { SubscribeToShardEvent } from '@aws-sdk/client-kinesis'
import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { beforeEach } from 'vitest'
import { FanOutReader, type FanOutReaderOptions } from '../src/retrieval/fan-out-reader.ts'
import type { ChildShard } from '../src/retrieval/shard-children.ts'
import { SubscribePace } from '../src/retrieval/subscribe-pace.ts'
import { type ConsumerEvent, Telemetry } from '../src/telemetry/telemetry.ts'
import { type Answer, DAY_MS, shardId } from './reading.ts'

export const ARN = 'arn:aws:kinesis:eu-west-1:123456789012:stream/flights/consumer/delays:1'

/** An event with records of these numbers; the next subscription goes on after `c` and the last of them. */
export function event(...numbers: number[]): Partial<SubscribeToShardEvent> {
  return {
    Records: numbers.map((number) => ({
      SequenceNumber: String(number),
      PartitionKey: 'key',
      Data: Buffer.from(String(number)),
      ApproximateArrivalTimestamp: new Date(number),
    })),
    ContinuationSequenceNumber: `c${numbers.at(-1) ?? ''}`,
    MillisBehindLatest: 0,
  }
}

/** The last event of a shard. */
export function lastEvent(children: object[], ...numbers: number[]): Partial<SubscribeToShardEvent> {
  const { Records = [] } = event(...numbers)
  return { Records, MillisBehindLatest: 0, ChildShards: children as NonNullable<SubscribeToShardEvent['ChildShards']> }
}

/** One subscription, from the service's side. */
export class Served {
  readonly position: Record<string, unknown>
  readonly arn: unknown
  readonly atMs: number
  readonly signal: AbortSignal
  /** How many events the reader has asked for. */
  pulled = 0
  receivedBytes = 0
  readonly #events: (Partial<SubscribeToShardEvent> | Error | 'end')[] = []
  #waiting: (() => void) | undefined

  constructor(input: Record<string, unknown>, signal: AbortSignal) {
    this.position = input.StartingPosition as Record<string, unknown>
    this.arn = input.ConsumerARN
    this.atMs = clock.monotonicMs()
    this.signal = signal
  }

  /** Sends events; an error, or 'end', ends it. */
  send(...events: (Partial<SubscribeToShardEvent> | Error | 'end')[]): void {
    this.#events.push(...events)
    this.#waiting?.()
  }

  get stream(): AsyncIterable<object> {
    const next = async (): Promise<IteratorResult<object, undefined>> => {
      this.pulled++
      while (this.#events.length === 0) await new Promise<void>((resolve) => (this.#waiting = resolve))
      const value = this.#events.shift()!
      if (value === 'end') return { done: true, value: undefined }
      if (value instanceof Error) throw value
      return { done: false, value: { SubscribeToShardEvent: value } }
    }
    const received = (): number => this.receivedBytes
    const waiting = (): number => this.#events.length
    return {
      [Symbol.asyncIterator]: () => ({ next }),
      get receivedBytes() {
        return received()
      },
      get isDrained() {
        return waiting() === 0
      },
    } as AsyncIterable<object>
  }
}

/** What a test subscribes with and finds; new for each test. */
export let clock: ManualClock
export let served: Served[]
export let events: ConsumerEvent[]
export let numbers: string[]
export let stop: AbortController

beforeEach(() => {
  clock = new ManualClock()
  served = []
  events = []
  numbers = []
  stop = new AbortController()
})

export interface Subscribing {
  /** What the calls of SubscribeToShard answer, in order; afterwards, and for undefined, they are served. 'never': no answer at all. */
  readonly calls?: (Error | 'never' | undefined)[]
  readonly shards?: Answer
}

/** Reads by fan-out what the test serves. */
export function subscribe({
  calls = [],
  shards = { Shards: [] },
  ...options
}: Subscribing & Partial<FanOutReaderOptions> = {}): {
  readonly reader: FanOutReader
  readonly ended: () => readonly ChildShard[] | undefined
  readonly failed: () => unknown
} {
  const subscriber = async (
    { input }: { input: Record<string, unknown> },
    { abortSignal }: { abortSignal: AbortSignal },
  ): Promise<object> => {
    const subscription = new Served(input, abortSignal)
    served.push(subscription)
    const answer = calls.shift()
    if (answer instanceof Error) throw answer
    if (answer === 'never') return await new Promise<never>(() => {})
    return { EventStream: subscription.stream }
  }
  const listing = async (): Promise<object> => {
    if (shards instanceof Error) throw shards
    return shards
  }
  const reader = new FanOutReader({
    kinesis: { send: listing } as unknown as Kinesis,
    subscriber: { send: subscriber } as unknown as Kinesis,
    consumer: { arn: async () => ARN, isGone: async () => false },
    stream: 'flights',
    shardId,
    checkpoint: { sequenceNumber: 'TRIM_HORIZON', subSequenceNumber: 0 },
    startMs: undefined,
    maxRecords: 10_000,
    idleTimeBetweenReads: 200,
    isRefusalFinal: true,
    clock,
    random: () => 0.5,
    telemetry: new Telemetry(silentLogger, (told) => events.push(told), {}).of('flights'),
    retention: { known: () => DAY_MS, ask: async () => DAY_MS },
    readAhead: { reserve: async () => ({ bytes: 2 ** 20, done: () => {} }) },
    onRecords: (records) => {
      numbers.push(...records.map(({ sequenceNumber }) => sequenceNumber))
      return records.length
    },
    pace: new SubscribePace(() => 0.5),
    ...options,
  })
  let children: readonly ChildShard[] | undefined
  let error: unknown
  reader.run(stop.signal).then(
    (found) => {
      children = found
    },
    (reason: unknown) => {
      error = reason
    },
  )
  return { reader, ended: () => children, failed: () => error }
}
