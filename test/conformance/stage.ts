import { setTimeout as sleep } from 'node:timers/promises'
import type {
  CreateStreamInput,
  GetRecordsOutput,
  Kinesis,
  _Record as KinesisRecord,
  Shard,
  ShardIteratorType,
  StartingPosition,
  StreamDescriptionSummary,
} from '@aws-sdk/client-kinesis'
import { LimitExceededException, ResourceNotFoundException } from '@aws-sdk/client-kinesis'
import { expect } from 'vitest'
import type { Access } from './backends.ts'
import { FanOut, textOf } from './fan-out.ts'

/** How often a state that the service reaches by itself is looked at. */
const POLL_MS = 5
/** No backend takes longer than this to create a stream or to reshard. */
const PATIENCE_MS = 10_000

export interface StreamOnStage {
  readonly name: string
  readonly arn: string
}

let streams = 0

/** What a case works with: a client, streams of its own, and the few things that every case does with them. */
export class Stage implements AsyncDisposable {
  readonly kinesis: Kinesis
  readonly #access: Access
  readonly #made: string[] = []
  readonly #subscriptions: FanOut[] = []

  constructor(access: Access) {
    this.kinesis = access.kinesis
    this.#access = access
  }

  /** Moves time on, for a case that needs a clock. */
  async advance(ms: number): Promise<void> {
    await this.#access.advance(ms)
  }

  /** A name that no other stream has; the stream, if there is one at the end, is deleted. */
  freshName(): string {
    const name = `conformance-${process.pid}-${++streams}`
    this.#made.push(name)
    return name
  }

  /** A new stream that is ACTIVE. */
  async stream(ShardCount = 1): Promise<StreamOnStage> {
    const StreamName = this.freshName()
    await this.create({ StreamName, ShardCount })
    const { StreamARN: arn } = await this.untilActive(StreamName)
    return { name: StreamName, arn: arn! }
  }

  /** Asks for a stream. Cases run side by side, and a backend may make only so many streams at a time. */
  async create(stream: CreateStreamInput): Promise<void> {
    await until('room for another stream to be made', () =>
      this.kinesis.createStream(stream).then(
        () => true,
        (error: unknown) => {
          if (!(error instanceof LimitExceededException)) throw error
        },
      ),
    )
  }

  async untilActive(StreamName: string): Promise<StreamDescriptionSummary> {
    return until(`stream ${StreamName} to be ACTIVE`, async () => {
      const { StreamDescriptionSummary: summary } = await this.kinesis.describeStreamSummary({ StreamName })
      return summary?.StreamStatus === 'ACTIVE' ? summary : undefined
    })
  }

  async untilGone(StreamName: string): Promise<void> {
    await until(`stream ${StreamName} to be gone`, async () => {
      try {
        await this.kinesis.describeStreamSummary({ StreamName })
        return undefined
      } catch (error) {
        if (error instanceof ResourceNotFoundException) return true
        throw error
      }
    })
  }

  /** All shards, in the order of their ids. */
  async shards(StreamName: string): Promise<Shard[]> {
    const { Shards } = await this.kinesis.listShards({ StreamName })
    return Shards!
  }

  async shard(streamName: string, index = 0): Promise<Shard> {
    return (await this.shards(streamName))[index]!
  }

  /** Splits a shard in its middle; resolves when the stream is ACTIVE again. */
  async split(StreamName: string, index = 0): Promise<void> {
    const { ShardId, HashKeyRange } = await this.shard(StreamName, index)
    const middle = (BigInt(HashKeyRange!.StartingHashKey!) + BigInt(HashKeyRange!.EndingHashKey!) + 1n) / 2n
    await this.kinesis.splitShard({ StreamName, ShardToSplit: ShardId, NewStartingHashKey: String(middle) })
    await this.untilActive(StreamName)
  }

  /** Merges two shards; resolves when the stream is ACTIVE again. */
  async merge(StreamName: string, index: number, adjacent: number): Promise<void> {
    const shards = await this.shards(StreamName)
    const ids = { ShardToMerge: shards[index]!.ShardId, AdjacentShardToMerge: shards[adjacent]!.ShardId }
    await this.kinesis.mergeShards({ StreamName, ...ids })
    await this.untilActive(StreamName)
  }

  /** Puts a text under a key of the same text. */
  async put(StreamName: string, text: string, ExplicitHashKey?: string): Promise<{ id: string; number: string }> {
    const { ShardId, SequenceNumber } = await this.kinesis.putRecord({
      StreamName,
      PartitionKey: text,
      Data: Buffer.from(text),
      ...(ExplicitHashKey !== undefined && { ExplicitHashKey }),
    })
    return { id: ShardId!, number: SequenceNumber! }
  }

  async iterator(
    StreamName: string,
    type: ShardIteratorType,
    from: { shardId?: string; number?: string; time?: Date } = {},
  ): Promise<string> {
    const { ShardIterator } = await this.kinesis.getShardIterator({
      StreamName,
      ShardId: from.shardId ?? 'shardId-000000000000',
      ShardIteratorType: type,
      ...(from.number !== undefined && { StartingSequenceNumber: from.number }),
      ...(from.time !== undefined && { Timestamp: from.time }),
    })
    return ShardIterator!
  }

  /**
   * Reads until `count` records are there, or with `count` 0 three times: as with the service, an answer without records
   * doesn't mean that there are none.
   */
  async read(iterator: string, count: number): Promise<{ records: KinesisRecord[]; next: string | undefined }> {
    const records: KinesisRecord[] = []
    let next: string | undefined = iterator
    for (let calls = 0; next !== undefined && (count === 0 ? calls < 3 : records.length < count); calls++) {
      if (calls >= 50) throw new Error(`expected ${count} records, got ${records.length} in ${calls} calls`)
      const answer: GetRecordsOutput = await this.kinesis.getRecords({ ShardIterator: next })
      records.push(...answer.Records!)
      next = answer.NextShardIterator
    }
    return { records, next }
  }

  /** The texts of `count` records from an iterator on. */
  async texts(iterator: string, count: number): Promise<string[]> {
    return (await this.read(iterator, count)).records.map(textOf)
  }

  /** A registered consumer that is ACTIVE; its ARN. */
  async consumer(StreamARN: string, ConsumerName = 'reader'): Promise<string> {
    const { Consumer } = await this.kinesis.registerStreamConsumer({ StreamARN, ConsumerName })
    const ConsumerARN = Consumer!.ConsumerARN
    await until(`consumer ${ConsumerName} to be ACTIVE`, async () => {
      const { ConsumerDescription } = await this.kinesis.describeStreamConsumer({ ConsumerARN })
      return ConsumerDescription?.ConsumerStatus === 'ACTIVE' ? true : undefined
    })
    return ConsumerARN!
  }

  async subscribe(
    ConsumerARN: string,
    StartingPosition: StartingPosition = { Type: 'TRIM_HORIZON' },
    ShardId = 'shardId-000000000000',
  ): Promise<FanOut> {
    const subscription = await FanOut.open(this.kinesis, { ConsumerARN, ShardId, StartingPosition })
    this.#subscriptions.push(subscription)
    return subscription
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#subscriptions.map((subscription) => subscription.close()))
    for (const StreamName of this.#made) {
      // A case may have deleted its stream, or failed before it made it.
      await this.kinesis.deleteStream({ StreamName, EnforceConsumerDeletion: true }).catch((error: unknown) => {
        if (!(error instanceof ResourceNotFoundException || error instanceof LimitExceededException)) throw error
      })
    }
    await this.#access.close()
  }
}

/** Looks until there is a value. */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const seen = await look()
    if (seen !== undefined) return seen
    if (performance.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms for ${what}`)
    await sleep(POLL_MS)
  }
}

/** Either of the two names for a request that is wrong in itself: where the service uses which isn't documented. */
export const CALLERS_FAULT: RegExp = /^(ValidationException|InvalidArgumentException)$/

/** The name of the error that a call is answered with. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call
  } catch (error) {
    return (error as Error).name
  }
  return 'accepted'
}

/** That a share of all hash keys is as large as it should be, but for a few keys: how it is rounded isn't documented. */
export function expectAbout(size: bigint, expected: bigint): void {
  expect(Number(size - expected)).toBeGreaterThanOrEqual(-8)
  expect(Number(size - expected)).toBeLessThanOrEqual(8)
}
