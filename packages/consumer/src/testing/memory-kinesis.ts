import {
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  type GetShardIteratorCommandInput,
  ListShardsCommand,
  type ShardFilter,
} from '@aws-sdk/client-kinesis'
import type { Clock, Kinesis } from '@shardwise/core'
import { contains, type HashKey, type HashRange, splitEvenly } from '@shardwise/records'

interface StoredRecord {
  readonly SequenceNumber: string
  readonly PartitionKey: string
  readonly Data: Uint8Array
  readonly ApproximateArrivalTimestamp: Date
}

interface StoredShard {
  readonly shardId: string
  readonly range: HashRange
  readonly parents: readonly StoredShard[]
  readonly openedMs: number
  readonly first: string
  readonly records: StoredRecord[]
  closed: { readonly atMs: number; readonly last: string } | undefined
}

/** As long as the service's. */
const FIRST_SEQUENCE_NUMBER = 49_600_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000n

/** One stream, as far as a consumer that polls asks for it. Nothing expires, and nothing is refused. */
export class MemoryKinesis implements Kinesis {
  readonly #clock: Clock
  readonly #shards: StoredShard[] = []
  #sequence = FIRST_SEQUENCE_NUMBER

  constructor(shards: number, clock: Clock) {
    this.#clock = clock
    for (const range of splitEvenly(shards)) this.#open(range, [])
  }

  readonly send: Kinesis['send'] = (async (command: unknown) => {
    if (command instanceof ListShardsCommand) return { Shards: this.#listed(command.input.ShardFilter).map(described) }
    if (command instanceof GetShardIteratorCommand) return { ShardIterator: this.#iterator(command.input) }
    if (command instanceof GetRecordsCommand) {
      const [shardId = '', index = ''] = command.input.ShardIterator!.split(' ')
      return this.#answer(this.#find(shardId), Number(index), command.input.Limit!)
    }
    if (command instanceof DescribeStreamSummaryCommand)
      return { StreamDescriptionSummary: { RetentionPeriodHours: 24 } }
    throw new TypeError(`The stream in memory isn't made for ${String(Object(command).constructor.name)}.`)
  }) as Kinesis['send']

  /** The open shards' ids, by hash range. */
  get openShards(): string[] {
    return this.#shards.filter(({ closed }) => closed === undefined).map(({ shardId }) => shardId)
  }

  /** The open shard that takes the hash key. */
  shardOf(hashKey: HashKey): string {
    return this.#shards.find(({ range, closed }) => closed === undefined && contains(range, hashKey))!.shardId
  }

  /** Returns the Kinesis record's sequence number. */
  append(shardId: string, partitionKey: string, data: Uint8Array): string {
    const shard = this.#find(shardId)
    if (shard.closed !== undefined) {
      throw new RangeError(
        `Expected an open shard, one of ${this.openShards.join(', ')}, got ${shardId}, which is closed.`,
      )
    }
    const SequenceNumber = this.#next()
    const ApproximateArrivalTimestamp = new Date(this.#clock.wallMs())
    shard.records.push({ SequenceNumber, PartitionKey: partitionKey, Data: data, ApproximateArrivalTimestamp })
    return SequenceNumber
  }

  /** Closes the shard. Returns the ids of its two children. */
  split(shardId: string): string[] {
    const parent = this.#find(shardId)
    parent.closed = { atMs: this.#clock.wallMs(), last: this.#next() }
    return splitEvenly(2, parent.range).map((range) => this.#open(range, [parent]))
  }

  #open(range: HashRange, parents: readonly StoredShard[]): string {
    const shardId = `shardId-${String(this.#shards.length).padStart(12, '0')}`
    const openedMs = this.#clock.wallMs()
    this.#shards.push({ shardId, range, parents, openedMs, first: this.#next(), records: [], closed: undefined })
    return shardId
  }

  #next(): string {
    return String(this.#sequence++)
  }

  #find(shardId: string): StoredShard {
    const found = this.#shards.find((shard) => shard.shardId === shardId)
    if (found !== undefined) return found
    throw new RangeError(`Expected one of ${this.#shards.map((shard) => shard.shardId).join(', ')}, got ${shardId}.`)
  }

  #listed(filter: ShardFilter | undefined): StoredShard[] {
    if (filter?.Type === 'AT_LATEST') return this.#shards.filter(({ closed }) => closed === undefined)
    if (filter?.Type === 'AT_TRIM_HORIZON') return this.#shards.filter(({ parents }) => parents.length === 0)
    if (filter?.Type !== 'AT_TIMESTAMP') return this.#shards
    const atMs = Number(filter.Timestamp)
    return this.#shards.filter(
      ({ openedMs, parents, closed }) =>
        (openedMs <= atMs || parents.length === 0) && atMs < (closed?.atMs ?? Number.POSITIVE_INFINITY),
    )
  }

  #iterator({ ShardId, ShardIteratorType, StartingSequenceNumber, Timestamp }: GetShardIteratorCommandInput): string {
    const { records } = this.#find(ShardId!)
    const isReached = (record: StoredRecord): boolean =>
      ShardIteratorType === 'AT_SEQUENCE_NUMBER'
        ? BigInt(record.SequenceNumber) >= BigInt(StartingSequenceNumber!)
        : ShardIteratorType === 'TRIM_HORIZON' || record.ApproximateArrivalTimestamp >= Timestamp!
    const index = records.findIndex(isReached)
    return `${ShardId} ${index < 0 ? records.length : index}`
  }

  #answer(shard: StoredShard, index: number, limit: number): object {
    const Records = shard.records.slice(index, index + limit)
    const next = shard.records[index + limit]
    const behindMs = next === undefined ? 0 : this.#clock.wallMs() - next.ApproximateArrivalTimestamp.getTime()
    // What is behind by nothing has all been read.
    const MillisBehindLatest = next === undefined ? 0 : Math.max(1, behindMs)
    if (shard.closed === undefined || next !== undefined) {
      return { Records, MillisBehindLatest, NextShardIterator: `${shard.shardId} ${index + Records.length}` }
    }
    const children = this.#shards.filter(({ parents }) => parents.includes(shard))
    const ChildShards = children.map(({ shardId, parents, range }) => ({
      ShardId: shardId,
      ParentShards: parents.map((parent) => parent.shardId),
      HashKeyRange: keysOf(range),
    }))
    return { Records, MillisBehindLatest, ChildShards }
  }
}

function described({ shardId, range, parents, first, closed }: StoredShard): object {
  return {
    ShardId: shardId,
    HashKeyRange: keysOf(range),
    SequenceNumberRange: { StartingSequenceNumber: first, EndingSequenceNumber: closed?.last },
    ParentShardId: parents[0]?.shardId,
  }
}

function keysOf({ start, end }: HashRange): object {
  return { StartingHashKey: String(start), EndingHashKey: String(end) }
}
