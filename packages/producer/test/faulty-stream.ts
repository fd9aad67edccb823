import { ListShardsCommand, PutRecordsCommand, type PutRecordsCommandInput } from '@aws-sdk/client-kinesis'
import type { Clock, Kinesis, Random } from '@shardwise/core'
import { KinesisModel, ServiceError } from '@shardwise/local'
import { deaggregate, type HashRange, hashKeyOf } from '@shardwise/records'

/** A user record as it lies in the stream. */
export interface Stored {
  readonly text: string
  readonly hashKey: bigint
  readonly shardId: string
  readonly range: HashRange
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
}

/** How often what goes wrong, from 0 to 1. */
export interface Faults {
  readonly refused: number
  readonly lostRequest: number
  readonly lostAnswer: number
  readonly staleListing: number
  readonly delayMs: number
}

export const NO_FAULTS: Faults = { refused: 0, lostRequest: 0, lostAnswer: 0, staleListing: 0, delayMs: 0 }

const STREAM = 's'

/** A modelled stream behind a client that loses, delays, refuses and answers out of date, as its random numbers say. */
export class FaultyStream {
  faults: Faults = NO_FAULTS
  /** What was broken about how the producer sent, for the test to find. */
  readonly violations: string[] = []
  readonly #clock: Clock
  readonly #random: Random
  readonly #model: KinesisModel
  readonly #inFlight = new Set<bigint>()
  #listings: object[] = []

  constructor(clock: Clock, random: Random, shardCount: number) {
    this.#clock = clock
    this.#random = random
    this.#model = new KinesisModel({ clock, limits: false, retentionBytes: Number.POSITIVE_INFINITY })
    this.#model.execute('CreateStream', { StreamName: STREAM, ShardCount: shardCount })
  }

  get client(): Kinesis {
    return { send: (command: object) => this.#send(command) } as unknown as Kinesis
  }

  /** Splits or merges somewhere. */
  reshard(): void {
    const stream = this.#model.streamNamed(STREAM)
    const shards = stream.openShards
    const at = Math.floor(this.#random() * shards.length)
    const shard = shards[at]!
    const neighbour = shards[at + 1]
    if (neighbour !== undefined && this.#random() < 0.5) {
      stream.merge(shard, neighbour, this.#clock.wallMs())
    } else {
      const { start, end } = shard.hashRange
      const share = BigInt(Math.floor(this.#random() * 98) + 1)
      stream.split(shard, start + 1n + ((end - start - 1n) * share) / 100n, this.#clock.wallMs())
    }
  }

  /** Every user record in the stream, in the order in which a consumer that reads parents before children sees a hash key's. */
  stored(): Stored[] {
    return this.#model.streamNamed(STREAM).shards.flatMap(({ id, hashRange, log }) =>
      Array.from({ length: log.length }, (_, index) => log.at(index)!).flatMap(
        ({ partitionKey, data, sequenceNumber }) =>
          userRecordsIn(partitionKey ?? '', data).map(({ key, explicit, bytes }, subSequenceNumber) => {
            const text = Buffer.from(bytes).toString()
            const hashKey = explicit === undefined ? (explicitHashKeyIn(text) ?? hashKeyOf(key)) : BigInt(explicit)
            return { text, hashKey, shardId: id, range: hashRange, sequenceNumber, subSequenceNumber }
          }),
      ),
    )
  }

  async #send(command: object): Promise<object> {
    await this.#delay()
    if (command instanceof ListShardsCommand) return this.#list(command)
    if (command instanceof PutRecordsCommand) return await this.#put(command.input)
    throw new Error(`unexpected ${command.constructor.name}`)
  }

  #list(command: ListShardsCommand): object {
    if (this.#chance(this.faults.lostRequest)) throw networkError('ECONNREFUSED')
    const stale = this.#listings[Math.floor(this.#random() * this.#listings.length)]
    if (stale !== undefined && this.#chance(this.faults.staleListing)) return stale
    const listing = this.#model.execute('ListShards', { ...command.input })
    this.#listings.push(listing)
    return listing
  }

  async #put({ Records = [] }: PutRecordsCommandInput): Promise<object> {
    const keys = new Set(
      Records.flatMap(({ PartitionKey = '', ExplicitHashKey, Data }) => {
        const inside = userRecordsIn(PartitionKey, Data ?? new Uint8Array())
        if (inside.length === 1) return [BigInt(ExplicitHashKey ?? '')]
        return inside.map(({ key, explicit }) => (explicit === undefined ? hashKeyOf(key) : BigInt(explicit)))
      }),
    )
    for (const key of keys) {
      if (this.#inFlight.has(key))
        this.violations.push(`two Kinesis records with the hash key ${key} in flight at once`)
      this.#inFlight.add(key)
    }
    try {
      return await this.#execute(Records)
    } finally {
      for (const key of keys) this.#inFlight.delete(key)
    }
  }

  async #execute(records: NonNullable<PutRecordsCommandInput['Records']>): Promise<object> {
    if (this.#chance(this.faults.lostRequest)) throw networkError('ECONNRESET')
    const results = records.map((record) => {
      if (this.#chance(this.faults.refused)) {
        return this.#chance(0.5)
          ? { ErrorCode: 'ProvisionedThroughputExceededException', ErrorMessage: 'Rate exceeded' }
          : { ErrorCode: 'InternalFailure', ErrorMessage: 'Internal service failure.' }
      }
      try {
        const { ShardId, SequenceNumber } = this.#model.execute('PutRecord', {
          StreamName: STREAM,
          ...record,
          // What is sent is copied, as by a socket: the producer uses its buffers again.
          Data: Uint8Array.from(record.Data ?? []),
        }) as {
          ShardId: string
          SequenceNumber: string
        }
        return { ShardId, SequenceNumber }
      } catch (error) {
        if (error instanceof ServiceError) this.violations.push(`the service refused a record: ${error.message}`)
        throw error
      }
    })
    await this.#delay()
    if (this.#chance(this.faults.lostAnswer)) {
      if (this.#chance(0.2)) return { Records: results.slice(1) }
      throw networkError('ECONNRESET')
    }
    return { Records: results, FailedRecordCount: results.filter(({ ErrorCode }) => ErrorCode !== undefined).length }
  }

  #chance(probability: number): boolean {
    return this.#random() < probability
  }

  async #delay(): Promise<void> {
    await this.#clock.sleep(1 + this.#random() * this.faults.delayMs)
  }
}

/** A record that is put with an explicit hash key says so in its text, since a lone one's can't be told from a computed one. */
export function textWithHashKey(text: string, explicitHashKey: string): string {
  return `${text}#${explicitHashKey}`
}

function explicitHashKeyIn(text: string): bigint | undefined {
  const [, explicit] = text.split('#')
  return explicit === undefined ? undefined : BigInt(explicit)
}

function userRecordsIn(
  partitionKey: string,
  data: Uint8Array,
): { key: string; explicit: string | undefined; bytes: Uint8Array }[] {
  const result = deaggregate(data)
  if (result.kind === 'raw') return [{ key: partitionKey, explicit: undefined, bytes: data }]
  if (result.kind === 'malformed') throw new Error(result.reason)
  return result.records.map((record) => ({
    key: record.partitionKey,
    explicit: record.explicitHashKey,
    bytes: record.data,
  }))
}

function networkError(code: string): Error {
  return Object.assign(new Error(code), { code })
}
