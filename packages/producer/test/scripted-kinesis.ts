import { DescribeStreamSummaryCommand, ListShardsCommand, type PutRecordsCommandInput } from '@aws-sdk/client-kinesis'
import { type Kinesis, silentLogger } from '@shardwise/core'
import { ManualClock, settle } from '@shardwise/core/testing'
import { MAX_HASH_KEY } from '@shardwise/records'
import { Producer, type ProducerError, type ProducerEvent, type ProducerOptions, type Receipt } from '../src/index.ts'

export const HALF: bigint = 2n ** 127n

export const HIGH: string = MAX_HASH_KEY.toString()

/** Results by which a record is refused for now. */
export const throttled = { ErrorCode: 'ProvisionedThroughputExceededException', ErrorMessage: 'Rate exceeded' }
export const internal = { ErrorCode: 'InternalFailure', ErrorMessage: 'Internal service failure.' }

export const never = (): Promise<never> => new Promise(() => {})

/** A shard as ListShards gives it. */
export function shard(id: string, start: bigint, end: bigint, state: 'open' | 'closed' = 'open'): object {
  return {
    ShardId: id,
    HashKeyRange: { StartingHashKey: `${start}`, EndingHashKey: `${end}` },
    SequenceNumberRange: { StartingSequenceNumber: '1', ...(state === 'closed' && { EndingSequenceNumber: '2' }) },
  }
}

export const ONE_SHARD: readonly object[] = [shard('p', 0n, MAX_HASH_KEY)]
export const SPLIT: readonly object[] = [
  shard('p', 0n, MAX_HASH_KEY, 'closed'),
  shard('c1', 0n, HALF - 1n),
  shard('c2', HALF, MAX_HASH_KEY),
]

export type SentRecord = NonNullable<PutRecordsCommandInput['Records']>[number]
type Result = Record<string, string>

export interface Script {
  /** The answer to PutRecords call number `call`, from 0: a result for each record, or a promise of them. Throws to fail. */
  readonly put?: (records: SentRecord[], call: number) => Result[] | Promise<Result[]>
  /** The shards listed by ListShards call number `call`. */
  readonly list?: (call: number) => readonly object[]
  /** The summary that DescribeStreamSummary gives, or a promise of it. Default: access is denied. */
  readonly describe?: () => object | Promise<object>
}

export function serviceError(name: string, httpStatusCode: number): Error {
  return Object.assign(new Error(`${name}!`), { name, $metadata: { httpStatusCode } })
}

/** The answer of a shard that takes everything. */
export function taken(records: readonly SentRecord[], shardId = 'p'): Result[] {
  return records.map((_, index) => ({ ShardId: shardId, SequenceNumber: `${100 + index}` }))
}

/** The answer of a stream that was split into c1 and c2: each record lands by its explicit hash key. */
export function takenByChildren(records: readonly SentRecord[]): Result[] {
  return records.map(({ ExplicitHashKey }, index) => ({
    ShardId: BigInt(ExplicitHashKey ?? '') < HALF ? 'c1' : 'c2',
    SequenceNumber: `${100 + index}`,
  }))
}

export type Settled = Partial<Receipt> & Partial<ProducerError>

/** A producer on a manual clock, whose every call is answered by a script. */
export class Scene {
  readonly clock: ManualClock = new ManualClock()
  readonly events: ProducerEvent[] = []
  readonly sent: SentRecord[][] = []
  readonly sentAtMs: number[] = []
  /** The stream of each PutRecords, as it was named. */
  readonly sentTo: (string | undefined)[] = []
  listings = 0
  readonly producer: Producer

  constructor(script: Script = {}, options: Partial<ProducerOptions> = {}) {
    const send = async (command: object): Promise<object> => {
      if (command instanceof ListShardsCommand) return { Shards: (script.list ?? (() => ONE_SHARD))(this.listings++) }
      if (command instanceof DescribeStreamSummaryCommand) {
        if (script.describe === undefined) throw serviceError('AccessDeniedException', 400)
        return { StreamDescriptionSummary: await script.describe() }
      }
      const { Records = [], StreamName, StreamARN } = (command as { input: PutRecordsCommandInput }).input
      this.sentTo.push(StreamARN ?? StreamName)
      this.sentAtMs.push(this.clock.monotonicMs())
      const call =
        this.sent.push(Records.map((record) => ({ ...record, Data: Uint8Array.from(record.Data ?? []) }))) - 1
      return { Records: await (script.put === undefined ? taken(Records) : script.put(Records, call)) }
    }
    this.producer = new Producer({
      stream: 'flights',
      client: { send } as unknown as Kinesis,
      clock: this.clock,
      random: () => 0.5,
      logger: silentLogger,
      onEvent: (event) => this.events.push(event),
      ...options,
    })
  }

  /** Puts, and returns what becomes of it: nothing, the receipt, or the error. */
  put(data: string | Uint8Array, partitionKey = 'k', explicitHashKey?: string): () => Settled | undefined {
    return settled(this.producer.put({ partitionKey, data, explicitHashKey }))
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms)
    for (let turn = 0; turn < 4; turn++) await settle()
  }

  /** The data of everything sent, by request. */
  get texts(): string[][] {
    return this.sent.map((records) => records.map(({ Data }) => Buffer.from(Data ?? []).toString()))
  }

  eventsOf(type: ProducerEvent['type']): ProducerEvent[] {
    return this.events.filter((event) => event.type === type)
  }
}

/** Looks at a promise without waiting for it. */
export function settled(promise: Promise<unknown>): () => Settled | undefined {
  let outcome: Settled | undefined
  promise.then(
    (value) => {
      outcome = value === undefined ? {} : (value as Settled)
    },
    (error: Settled) => {
      outcome = error
    },
  )
  return () => outcome
}
