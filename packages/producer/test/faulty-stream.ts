import {
  DescribeStreamSummaryCommand,
  ListShardsCommand,
  PutRecordsCommand,
  type PutRecordsCommandInput,
} from '@aws-sdk/client-kinesis'
import type { Clock, Kinesis, Random } from '@shardwise/core'
import { KinesisModel, ServiceError } from '@shardwise/local'
import { deaggregate, type HashRange, hashKeyOf } from '@shardwise/records'

/** A user record as it lies in the stream. */
export interface Stored {
  readonly text: string
  readonly hashKey: bigint
  readonly shardId: string
  readonly range: HashRange
  /** Not in an aggregate. */
  readonly isPlain: boolean
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
}

/** What becomes of a question about the stream. */
export type Trouble = 'none' | 'denied' | 'throttled' | 'hanging'

/** How often what goes wrong, from 0 to 1. */
export interface Faults {
  readonly refused: number
  /** Whole requests, and of those that are answered for each record, single ones. */
  readonly throttled: number
  /** Never answered; half of these are carried out, at once or after they were given up. */
  readonly hanging: number
  readonly lostRequest: number
  readonly lostAnswer: number
  readonly staleListing: number
  readonly delayMs: number
  readonly listing: Trouble
  readonly description: Trouble
}

export const NO_FAULTS: Faults = {
  refused: 0,
  throttled: 0,
  hanging: 0,
  lostRequest: 0,
  lostAnswer: 0,
  staleListing: 0,
  delayMs: 0,
  listing: 'none',
  description: 'none',
}

type Records = NonNullable<PutRecordsCommandInput['Records']>

export interface FaultyStreamOptions {
  readonly clock: Clock
  readonly random: Random
  readonly shardCount: number
  /** Whether it is one that can distribute records by itself. */
  readonly isOnDemand: boolean
  /** Whether two Kinesis records with one hash key may be in flight at once. */
  readonly mayCross: boolean
}

const STREAM = 's'

/** A modelled stream behind a client that loses, delays, refuses and answers out of date, as its random numbers say. */
export class FaultyStream {
  faults: Faults = NO_FAULTS
  /** What was broken about how the producer sent, for the test to find. */
  readonly violations: string[] = []
  /** How often each user record was sent. */
  readonly sent: Map<string, number> = new Map()
  readonly #clock: Clock
  readonly #random: Random
  readonly #model: KinesisModel
  readonly #inFlight = new Map<bigint, object>()
  readonly #mayCross: boolean
  #listings: object[] = []

  constructor({ clock, random, shardCount, isOnDemand, mayCross }: FaultyStreamOptions) {
    this.#clock = clock
    this.#random = random
    this.#mayCross = mayCross
    this.#model = new KinesisModel({ clock, limits: false, retentionBytes: Number.POSITIVE_INFINITY })
    this.#model.execute('CreateStream', {
      StreamName: STREAM,
      ShardCount: shardCount,
      StreamModeDetails: { StreamMode: isOnDemand ? 'ON_DEMAND' : 'PROVISIONED' },
    })
  }

  get client(): Kinesis {
    const send = (command: object, { abortSignal }: { abortSignal?: AbortSignal } = {}): Promise<object> =>
      this.#send(command, abortSignal)
    return { send } as unknown as Kinesis
  }

  /** Goes over to distributing records by itself, or back to their keys. */
  distribute(to: 'AUTO' | 'USER_PARTITION_KEY'): void {
    const { arn } = this.#model.streamNamed(STREAM)
    this.#model.execute('UpdateStreamRecordDistributionStrategy', { StreamARN: arn, RecordDistributionStrategy: to })
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
          userRecordsIn(partitionKey ?? '', data).map(({ key, explicit, bytes, isPlain }, subSequenceNumber) => {
            const text = Buffer.from(bytes).toString()
            const hashKey = explicit === undefined ? (explicitHashKeyIn(text) ?? hashKeyOf(key)) : BigInt(explicit)
            return { text, hashKey, shardId: id, range: hashRange, isPlain, sequenceNumber, subSequenceNumber }
          }),
      ),
    )
  }

  async #send(command: object, signal: AbortSignal | undefined): Promise<object> {
    if (command instanceof PutRecordsCommand) return await this.#put(command.input, signal)
    await this.#delay()
    if (command instanceof ListShardsCommand) {
      await this.#meet(this.faults.listing, signal)
      return this.#list(command)
    }
    if (command instanceof DescribeStreamSummaryCommand) {
      await this.#meet(this.faults.description, signal)
      return this.#model.execute('DescribeStreamSummary', { ...command.input })
    }
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

  /** Comes through where there is no trouble. */
  async #meet(trouble: Trouble, signal: AbortSignal | undefined): Promise<void> {
    if (trouble === 'denied') throw refusal('AccessDeniedException')
    if (trouble === 'throttled') throw refusal('LimitExceededException')
    if (trouble === 'hanging') await aborted(signal)
  }

  async #put({ Records = [] }: PutRecordsCommandInput, signal: AbortSignal | undefined): Promise<object> {
    const keys = new Set(
      Records.flatMap(({ PartitionKey = '', ExplicitHashKey, Data }) => {
        const inside = userRecordsIn(PartitionKey, Data ?? new Uint8Array())
        for (const { bytes } of inside) {
          const text = Buffer.from(bytes).toString()
          this.sent.set(text, (this.sent.get(text) ?? 0) + 1)
        }
        if (inside.length === 1 && ExplicitHashKey !== undefined) return [BigInt(ExplicitHashKey)]
        return inside.map(({ key, explicit }) => (explicit === undefined ? hashKeyOf(key) : BigInt(explicit)))
      }),
    )
    const release = this.#hold(keys)
    signal?.addEventListener('abort', release, { once: true })
    try {
      await this.#delay()
      if (this.#chance(this.faults.hanging)) return await this.#hang(Records, signal)
      return await this.#execute(Records)
    } finally {
      release()
    }
  }

  /** Notes what is in flight. Returns what ends that: the answer, or that the producer has given it up. */
  #hold(keys: ReadonlySet<bigint>): () => void {
    const request = {}
    for (const key of keys) {
      if (this.#inFlight.has(key) && !this.#mayCross)
        this.violations.push(`two Kinesis records with the hash key ${key} in flight at once`)
      this.#inFlight.set(key, request)
    }
    return () => {
      for (const key of keys) if (this.#inFlight.get(key) === request) this.#inFlight.delete(key)
    }
  }

  async #hang(records: Records, signal: AbortSignal | undefined): Promise<never> {
    const arrives = Math.floor(this.#random() * 4)
    if (arrives === 0) await this.#execute(records).catch(() => {})
    try {
      return await aborted(signal)
    } finally {
      if (arrives === 1) void this.#execute(records).catch(() => {})
    }
  }

  async #execute(records: Records): Promise<object> {
    if (this.#chance(this.faults.lostRequest)) throw networkError('ECONNRESET')
    if (this.#chance(this.faults.throttled / 2)) throw refusal('ProvisionedThroughputExceededException')
    const { distributesByKey } = this.#model.streamNamed(STREAM)
    // One record without a key has the whole request refused, before any of it is carried out.
    if (distributesByKey && records.some(({ PartitionKey }) => PartitionKey === undefined))
      throw refusal('ValidationException')
    const results = records.map((record) => {
      if (this.#chance(this.faults.throttled / 2)) {
        return { ErrorCode: 'ProvisionedThroughputExceededException', ErrorMessage: 'Rate exceeded' }
      }
      if (this.#chance(this.faults.refused)) {
        return { ErrorCode: 'InternalFailure', ErrorMessage: 'Internal service failure.' }
      }
      try {
        const { ShardId, SequenceNumber } = this.#model.execute('PutRecord', {
          StreamName: STREAM,
          ...record,
          // Copied as late as can be: the producer must not use its buffers again before a request is over, given up or not.
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
): { key: string; explicit: string | undefined; bytes: Uint8Array; isPlain: boolean }[] {
  const result = deaggregate(data)
  if (result.kind === 'raw') return [{ key: partitionKey, explicit: undefined, bytes: data, isPlain: true }]
  if (result.kind === 'malformed') throw new Error(result.reason)
  return result.records.map((record) => ({
    key: record.partitionKey,
    explicit: record.explicitHashKey,
    bytes: record.data,
    isPlain: false,
  }))
}

/** Settles only when the signal is aborted. */
function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    const onAbort = (): void => reject(Object.assign(new Error('Request aborted'), { name: 'AbortError' }))
    if (signal?.aborted) onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

function refusal(name: string): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode: 400 } })
}

function networkError(code: string): Error {
  return Object.assign(new Error(code), { code })
}
