import { KinesisModel, type KinesisModelOptions } from '../src/kinesis-model.ts'
import type { Request } from '../src/requests.ts'
import { ServiceError } from '../src/service-error.ts'
import type { SubscribeToShardEvent, Subscription } from '../src/subscription.ts'

export const MiB: number = 2 ** 20
export const HOUR_MS = 3_600_000
export const STREAM_ARN = 'arn:aws:kinesis:us-east-1:000000000000:stream/s'
export const SHARD_0 = 'shardId-000000000000'
export const SHARD_1 = 'shardId-000000000001'
export const SHARD_2 = 'shardId-000000000002'

export interface ShardView {
  readonly ShardId: string
  readonly ParentShardId?: string
  readonly AdjacentParentShardId?: string
  readonly HashKeyRange: { readonly StartingHashKey: string; readonly EndingHashKey: string }
  readonly SequenceNumberRange: { readonly StartingSequenceNumber: string; readonly EndingSequenceNumber?: string }
}

interface RecordView {
  readonly SequenceNumber: string
  readonly PartitionKey?: string
  readonly ApproximateArrivalTimestamp: Date
  readonly Data: Uint8Array
}

export interface GetRecordsAnswer {
  readonly Records: readonly RecordView[]
  readonly NextShardIterator?: string
  readonly MillisBehindLatest: number
  readonly ChildShards?: readonly { readonly ShardId: string; readonly ParentShards: readonly string[] }[]
}

export interface PutRecordsAnswer {
  readonly FailedRecordCount: number
  readonly Records: readonly {
    readonly ShardId?: string
    readonly SequenceNumber?: string
    readonly ErrorCode?: string
  }[]
}

export interface WorldOptions extends Partial<Omit<KinesisModelOptions, 'clock'>> {
  readonly shards?: number
}

/** A stream "s" on a clock that the test moves. */
export class World {
  monotonicMs = 1_000
  wallMs: number = Date.UTC(2026, 0, 1)
  readonly model: KinesisModel

  constructor({ shards = 1, ...options }: WorldOptions = {}) {
    const clock = { monotonicMs: () => this.monotonicMs, wallMs: () => this.wallMs }
    this.model = new KinesisModel({ clock, limits: false, retentionBytes: 2 ** 30, ...options })
    this.execute('CreateStream', { StreamName: 's', ShardCount: shards })
  }

  pass(ms: number): void {
    this.monotonicMs += ms
    this.wallMs += ms
  }

  execute<Answer>(operation: string, request: Request): Answer {
    return this.model.execute(operation, request) as Answer
  }

  /** The type of the error that an operation answers. */
  refusal(operation: string, request: Request): string {
    return errorOf(() => this.model.execute(operation, request)).type
  }

  put(text: string, explicitHashKey = '0'): { ShardId: string; SequenceNumber: string } {
    return this.execute('PutRecord', {
      StreamName: 's',
      PartitionKey: text,
      ExplicitHashKey: explicitHashKey,
      Data: Buffer.from(text),
    })
  }

  iterator(shardId: string, request: Request): string {
    const position = { StreamName: 's', ShardId: shardId, ...request }
    return this.execute<{ ShardIterator: string }>('GetShardIterator', position).ShardIterator
  }

  get(iterator: string | undefined, limit?: number): GetRecordsAnswer {
    return this.execute('GetRecords', { ShardIterator: iterator, ...(limit && { Limit: limit }) })
  }

  /** The data of what is read from a position in one call. */
  texts(shardId: string, request: Request = { ShardIteratorType: 'TRIM_HORIZON' }): string[] {
    return textsOf(this.get(this.iterator(shardId, request)).Records)
  }

  /** The last digits of the ids of the shards listed. */
  shardIds(filter?: Request): string[] {
    const request = { StreamName: 's', ...(filter && { ShardFilter: filter }) }
    return this.execute<{ Shards: ShardView[] }>('ListShards', request).Shards.map(({ ShardId }) => ShardId.slice(-1))
  }

  split(shardId: string, at: bigint = 2n ** 127n): void {
    this.execute('SplitShard', { StreamName: 's', ShardToSplit: shardId, NewStartingHashKey: at.toString() })
  }

  merge(shardId: string, adjacent: string): void {
    this.execute('MergeShards', { StreamName: 's', ShardToMerge: shardId, AdjacentShardToMerge: adjacent })
  }

  status(): unknown {
    return this.summary().StreamStatus
  }

  summary(): Request {
    const answer = this.execute<{ StreamDescriptionSummary: Request }>('DescribeStreamSummary', { StreamName: 's' })
    return answer.StreamDescriptionSummary
  }

  /** Registers a consumer and gives its ARN. */
  register(name = 'c'): string {
    const request = { StreamARN: STREAM_ARN, ConsumerName: name }
    return this.execute<{ Consumer: { ConsumerARN: string } }>('RegisterStreamConsumer', request).Consumer.ConsumerARN
  }

  subscribe(
    consumerArn: string,
    position: Request = { Type: 'TRIM_HORIZON' },
    shardId: string = SHARD_0,
  ): Subscription {
    return this.model.subscribe({ ConsumerARN: consumerArn, ShardId: shardId, StartingPosition: position })
  }
}

/** Everything that is due now. */
export function pull(subscription: Subscription): SubscribeToShardEvent[] {
  const events: SubscribeToShardEvent[] = []
  for (let event = subscription.next(); event !== undefined; event = subscription.next()) events.push(event)
  return events
}

export function textsOf(records: readonly { readonly Data: Uint8Array }[]): string[] {
  return records.map(({ Data }) => Buffer.from(Data).toString())
}

export function errorOf(action: () => unknown): ServiceError {
  try {
    action()
  } catch (error) {
    if (error instanceof ServiceError) return error
    throw error
  }
  throw new Error('expected a ServiceError, nothing was thrown')
}
