import { type HashKey, splitEvenly } from '@shardwise/records'
import { streamArn } from './arns.ts'
import { Lifecycle } from './lifecycle.ts'
import type { StoredRecord } from './record-log.ts'
import { SequenceNumbers } from './sequence-numbers.ts'
import { invalidArgument, streamLabel } from './service-error.ts'
import type { Shard } from './shard.ts'
import { ShardFamily } from './shard-family.ts'
import type { StreamConsumer } from './stream-consumer.ts'

/** What is kept for each record beside its bytes, for the bound in bytes; measured at some 310 on Node 24. */
const RECORD_OVERHEAD_BYTES = 320
/** The service's default for a stream. */
const MAX_RECORD_KIB = 1024

export type StreamMode = 'PROVISIONED' | 'ON_DEMAND'
export type RecordDistributionStrategy = 'AUTO' | 'USER_PARTITION_KEY'

export interface StreamOrigin {
  readonly name: string
  /** Tells streams apart that had the same name one after the other. */
  readonly incarnation: string
  readonly shardCount: number
  readonly createdMs: number
  /** Beyond so many bytes the oldest records are trimmed, over all shards. */
  readonly retentionBytes: number
  readonly mode: StreamMode
  /** Records older than this are trimmed. */
  readonly retentionMs: number
}

/** One stream: its shards, what they hold, and its settings. */
export class Stream {
  readonly name: string
  readonly arn: string
  readonly incarnation: string
  readonly createdMs: number
  readonly lifecycle: Lifecycle = new Lifecycle()
  readonly tags: Map<string, string> = new Map()
  readonly consumers: Map<string, StreamConsumer> = new Map()
  readonly shardMetrics: Set<string> = new Set()
  mode: StreamMode
  distribution: RecordDistributionStrategy = 'USER_PARTITION_KEY'
  retentionMs: number
  maxRecordKiB: number = MAX_RECORD_KIB
  /** The key that records are said to be encrypted with. */
  keyId: string | undefined
  warmThroughputMiBps: number | undefined
  policy: string | undefined
  readonly #family: ShardFamily
  readonly #retentionBytes: number
  readonly #sequenceNumbers = new SequenceNumbers()
  /** The shard of every record held, oldest first: what is trimmed next. */
  #ages: Shard[] = []
  #oldest = 0
  #bytes = 0
  #lastMs = Number.NEGATIVE_INFINITY
  #turn = 0

  constructor({ name, incarnation, shardCount, createdMs, retentionBytes, retentionMs, mode }: StreamOrigin) {
    this.name = name
    this.arn = streamArn(name)
    this.incarnation = incarnation
    this.createdMs = createdMs
    this.mode = mode
    this.#retentionBytes = retentionBytes
    this.retentionMs = retentionMs
    this.#family = new ShardFamily(splitEvenly(shardCount), this.#sequenceNumbers, createdMs)
  }

  /** All shards that are kept, by number. */
  get shards(): readonly Shard[] {
    return this.#family.all
  }

  /** The open shards by the start of their range. */
  get openShards(): readonly Shard[] {
    return this.#family.open
  }

  get family(): ShardFamily {
    return this.#family
  }

  get distributesByKey(): boolean {
    return this.distribution === 'USER_PARTITION_KEY'
  }

  /** The open shard that takes this hash key. */
  shardFor(key: HashKey): Shard {
    return this.#family.openFor(key)
  }

  /** Whose turn it is where the service distributes: every open shard takes as many records as any other. */
  nextInTurn(): Shard {
    return this.#family.open[this.#turn++ % this.#family.open.length]!
  }

  /** Whose turn it will be, for so many records. */
  upcoming(count: number): Shard[] {
    const { open } = this.#family
    return Array.from({ length: count }, (_, index) => open[(this.#turn + index) % open.length]!)
  }

  put(shard: Shard, partitionKey: string | undefined, data: Uint8Array, nowMs: number): StoredRecord {
    const sequenceNumber = this.#sequenceNumbers.next(nowMs, shard.number)
    const record = { sequenceNumber, partitionKey, data, arrivedMs: this.#forward(nowMs) }
    shard.log.append(record)
    this.#ages.push(shard)
    this.#bytes += sizeOf(record)
    while (this.#bytes > this.#retentionBytes) this.#trimOldest()
    return record
  }

  /** Lets go of the records and the closed shards that are past the retention. */
  trim(nowMs: number): void {
    const horizonMs = nowMs - this.retentionMs
    for (;;) {
      const shard = this.#ages[this.#oldest]
      const record = shard?.log.at(0)
      if (record === undefined || record.arrivedMs >= horizonMs) break
      this.#trimOldest()
    }
    this.#family.forgetClosedBefore(horizonMs)
  }

  /** A sequence number of this shard after every one so far: where LATEST is. */
  latest(nowMs: number, shard: Shard): string {
    return shard.endingSequenceNumber ?? this.#sequenceNumbers.next(nowMs, shard.number)
  }

  /** Splits before a key that lies in the shard and isn't its first. */
  split(shard: Shard, at: HashKey, nowMs: number): void {
    const { start, end } = shard.hashRange
    this.#family.replace(
      [shard],
      [
        { start, end: at - 1n },
        { start: at, end },
      ],
      this.#forward(nowMs),
    )
    shard.announce()
  }

  /** @param adjacent the one above `shard` */
  merge(shard: Shard, adjacent: Shard, nowMs: number): void {
    this.checkAdjacent(shard, adjacent)
    const range = { start: shard.hashRange.start, end: adjacent.hashRange.end }
    this.#family.replace([shard, adjacent], [range], this.#forward(nowMs))
    shard.announce()
    adjacent.announce()
  }

  /** Only the one above counts as adjacent: the other way round the service refuses too. */
  checkAdjacent(shard: Shard, adjacent: Shard): void {
    if (shard.hashRange.end + 1n === adjacent.hashRange.start) return
    throw invalidArgument(
      `Shards ${shard.id} and ${adjacent.id} in ${streamLabel(this.name)} are not an adjacent pair of shards eligible for merging`,
    )
  }

  /** Splits and merges until there are `target` open shards of even size. */
  resize(target: number, nowMs: number): void {
    const boundaries = splitEvenly(target).map(({ start }) => start)
    for (const boundary of boundaries) {
      const shard = this.shardFor(boundary)
      if (shard.hashRange.start < boundary) this.split(shard, boundary, nowMs)
    }
    const wanted = new Set(boundaries)
    let at = 1
    while (at < this.openShards.length) {
      const shard = this.openShards[at]!
      if (wanted.has(shard.hashRange.start)) at++
      else this.merge(this.openShards[at - 1]!, shard, nowMs)
    }
  }

  /** The wall clock may be set back; records and closed shards are found by their times, so those may not. */
  #forward(nowMs: number): number {
    this.#lastMs = Math.max(this.#lastMs, nowMs)
    return this.#lastMs
  }

  #trimOldest(): void {
    const record = this.#ages[this.#oldest++]?.log.trim()
    if (record !== undefined) this.#bytes -= sizeOf(record)
    if (this.#oldest >= 65_536 && this.#oldest * 2 >= this.#ages.length) {
      this.#ages = this.#ages.slice(this.#oldest)
      this.#oldest = 0
    }
  }
}

function sizeOf({ data, partitionKey }: StoredRecord): number {
  return data.length + (partitionKey?.length ?? 0) + RECORD_OVERHEAD_BYTES
}
