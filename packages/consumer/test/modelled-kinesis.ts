import type { Kinesis } from '@shardwise/core'
import { KinesisModel, type KinesisModelOptions, type ModelClock, ServiceError } from '@shardwise/local'
import { AggregateBuilder, hashKeyOf } from '@shardwise/records'

/** What a hook may do with a call: answer it itself, later or never, fail it, or, by undefined, let it through. */
type Hook = (operation: string, input: Readonly<Record<string, unknown>>) => Answer | Promise<Answer>
type Answer = object | Error | undefined

/** A stream "flights" behind a client that makes no requests. */
export class ModelledKinesis {
  readonly model: KinesisModel
  readonly calls: { readonly operation: string; readonly input: Readonly<Record<string, unknown>> }[] = []
  /** Comes before the model. */
  hook: Hook = () => undefined

  constructor(clock: ModelClock, shards = 1, options: Partial<KinesisModelOptions> = {}) {
    this.model = new KinesisModel({ clock, limits: false, retentionBytes: 2 ** 30, ...options })
    this.model.addStream('flights', shards)
  }

  get kinesis(): Kinesis {
    const send = async (command: { readonly input: object; readonly constructor: { readonly name: string } }) =>
      this.#answer(command.constructor.name.replace(/Command$/, ''), { ...command.input })
    return { send } as unknown as Kinesis
  }

  async #answer(operation: string, input: Record<string, unknown>): Promise<object> {
    this.calls.push({ operation, input })
    const answer = await this.hook(operation, input)
    if (answer instanceof Error) throw answer
    if (answer !== undefined) return answer
    try {
      return this.model.execute(operation, input)
    } catch (error) {
      throw error instanceof ServiceError ? refusal(error.type, error.message) : error
    }
  }

  count(operation: string): number {
    return this.calls.filter((call) => call.operation === operation).length
  }

  put(text: string, key: string = text): { readonly ShardId: string; readonly SequenceNumber: string } {
    return this.#execute('PutRecord', { PartitionKey: key, Data: Buffer.from(text) })
  }

  /** All in one Kinesis record. */
  putAggregate(...texts: string[]): { readonly ShardId: string; readonly SequenceNumber: string } {
    const builder = new AggregateBuilder()
    for (const text of texts) builder.add(text, undefined, Buffer.from(text))
    const { data, partitionKey, explicitHashKey } = builder.build(hashKeyOf(texts[0]!))
    return this.#execute('PutRecord', { PartitionKey: partitionKey, ExplicitHashKey: explicitHashKey, Data: data })
  }

  resize(shards: number): void {
    this.#execute('UpdateShardCount', { TargetShardCount: shards, ScalingType: 'UNIFORM_SCALING' })
  }

  merge(first: number, second: number): void {
    this.#execute('MergeShards', { ShardToMerge: shardIdOf(first), AdjacentShardToMerge: shardIdOf(second) })
  }

  split(shard: number, at: bigint): void {
    this.#execute('SplitShard', { ShardToSplit: shardIdOf(shard), NewStartingHashKey: String(at) })
  }

  #execute<Answer>(operation: string, input: object): Answer {
    return this.model.execute(operation, { StreamName: 'flights', ...input }) as Answer
  }
}

export function shardIdOf(number: number): string {
  return `shardId-${String(number).padStart(12, '0')}`
}

/** An error as the SDK gives the service's. */
export function refusal(name: string, message: string = name): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode: 400 } })
}
