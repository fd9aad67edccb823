import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { beforeEach } from 'vitest'
import type { KinesisRecord } from '../src/processing/record-buffer.ts'
import { PollingReader } from '../src/retrieval/polling-reader.ts'
import type { Reservation, ShardReadAhead } from '../src/retrieval/read-ahead.ts'
import type { ChildShard } from '../src/retrieval/shard-children.ts'
import type { ShardReader, ShardReaderOptions } from '../src/retrieval/shard-reader.ts'
import { type ConsumerEvent, Telemetry } from '../src/telemetry/telemetry.ts'

export type Answer = object | Error

export const DAY_MS = 86_400_000
export const shardId = 'shardId-000000000000'
export const refusal = (name: string): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 400 } })
export const batch = (next: string | null, ...numbers: number[]): object => ({
  Records: numbers.map((number) => ({
    SequenceNumber: String(number),
    PartitionKey: 'key',
    Data: Buffer.from(String(number)),
    ApproximateArrivalTimestamp: new Date(number),
  })),
  ...(next === null ? {} : { NextShardIterator: next }),
  MillisBehindLatest: 7,
})
export const CHILD = {
  ShardId: 'shardId-000000000001',
  ParentShards: [shardId],
  HashKeyRange: { StartingHashKey: '0', EndingHashKey: '9' },
}
export const listed = (id: string, parent?: string): object => ({
  ShardId: id,
  HashKeyRange: { StartingHashKey: '0', EndingHashKey: '9' },
  SequenceNumberRange: { StartingSequenceNumber: '1' },
  ...(parent && { ParentShardId: parent }),
})

/** Room for any answer. */
export const ROOM: Reservation = { bytes: Number.POSITIVE_INFINITY, done: () => {} }
/** Room for one answer at once, and then every so often. */
export function roomEvery(ms: number): ShardReadAhead {
  let nextMs = clock.monotonicMs()
  return {
    reserve: async (signal) => {
      await clock.sleep(nextMs - clock.monotonicMs(), signal)
      nextMs += ms
      return ROOM
    },
  }
}

/** What a test reads with and finds; new for each test. */
export let clock: ManualClock
export let calls: [string, Record<string, unknown>][]
let got: KinesisRecord[]
export let events: ConsumerEvent[]
/** What the keeper of the retention says, and how often it was asked. */
export let retention: {
  knownMs: number | undefined
  looks: number
  askedMs: number
  asked: number
  answered: Promise<void>
}
export let stop: AbortController

beforeEach(() => {
  clock = new ManualClock()
  calls = []
  got = []
  events = []
  retention = { knownMs: DAY_MS, looks: 0, askedMs: DAY_MS, asked: 0, answered: Promise.resolve() }
  stop = new AbortController()
})

/** Reads with the given answers to GetRecords in order; then it hangs. Iterators are named i1, i2 and so on. */
export function read(
  answers: Answer[],
  options: Partial<ShardReaderOptions> & { shards?: Answer | Answer[]; iterators?: Answer[] } = {},
): { ended: () => readonly ChildShard[] | undefined; failed: () => unknown; reader: ShardReader } {
  let iterators = 0
  const send = async (command: { input: Record<string, unknown>; constructor: { name: string } }): Promise<object> => {
    const name = command.constructor.name.replace(/Command$/, '')
    calls.push([name, command.input])
    const answer =
      name === 'GetShardIterator'
        ? (options.iterators?.shift() ?? { ShardIterator: `i${++iterators}` })
        : name === 'ListShards'
          ? Array.isArray(options.shards)
            ? options.shards.shift()!
            : (options.shards ?? { Shards: [] })
          : (answers.shift() ?? (await new Promise<never>(() => {})))
    if (answer instanceof Error) throw answer
    return answer
  }
  const reader = new PollingReader({
    kinesis: { send } as unknown as Kinesis,
    stream: 'flights',
    shardId,
    checkpoint: { sequenceNumber: 'TRIM_HORIZON', subSequenceNumber: 0 },
    startMs: undefined,
    maxRecords: 10_000,
    idleTimeBetweenReads: 200,
    isRefusalFinal: true,
    clock,
    random: () => 0.5,
    telemetry: new Telemetry(silentLogger, (event) => events.push(event), {}).of('flights'),
    retention: {
      known: () => {
        retention.looks++
        return retention.knownMs
      },
      ask: async () => {
        retention.asked++
        await retention.answered
        return retention.askedMs
      },
    },
    readAhead: { reserve: () => Promise.resolve(ROOM) },
    onRecords: (records) => {
      got.push(...records)
      return records.reduce((sum, { data }) => sum + data.byteLength, 0)
    },
    ...options,
  })
  let children: readonly ChildShard[] | undefined
  let error: unknown
  reader.run(stop.signal).then(
    (ended) => {
      children = ended
    },
    (reason: unknown) => {
      error = reason
    },
  )
  return { ended: () => children, failed: () => error, reader }
}

export const named = (name: string): Record<string, unknown>[] =>
  calls.flatMap(([call, input]) => (call === name ? [input] : []))
export const numbers = (): string[] => got.map(({ sequenceNumber }) => sequenceNumber)
