import { type HashKey, type HashRange, splitEvenly } from '@shardwise/records'
import type { StoredRecord } from './record-log.ts'
import { SequenceNumbers } from './sequence-numbers.ts'
import { invalidArgument, ServiceError } from './service-error.ts'
import { Shard } from './shard.ts'

/** What is kept for each record beside its bytes, for the bound in bytes; measured at some 310 on Node 24. */
const RECORD_OVERHEAD_BYTES = 320

export interface StreamSettings {
  readonly name: string
  readonly shardCount: number
  readonly createdMs: number
  /** Beyond so many bytes the oldest records are trimmed, over all shards. */
  readonly retentionBytes: number
  readonly mode: 'PROVISIONED' | 'ON_DEMAND'
  /** Records older than this are trimmed. */
  readonly retentionMs: number
}

/** One stream: its shards, open and closed, and what they hold. */
export class Stream {
  readonly name: string
  readonly arn: string
  readonly createdMs: number
  readonly mode: 'PROVISIONED' | 'ON_DEMAND'
  readonly retentionMs: number
  readonly shards: Shard[] = []
  readonly tags: Map<string, string> = new Map()
  readonly #retentionBytes: number
  readonly #sequenceNumbers = new SequenceNumbers()
  /** The shard of every record held, oldest first: what is trimmed next. */
  #ages: Shard[] = []
  #oldest = 0
  #bytes = 0
  #lastArrivalMs = Number.NEGATIVE_INFINITY
  /** The open shards by the start of their range. */
  #open: Shard[] = []

  constructor({ name, shardCount, createdMs, retentionBytes, retentionMs, mode }: StreamSettings) {
    this.name = name
    this.arn = `arn:aws:kinesis:us-east-1:000000000000:stream/${name}`
    this.createdMs = createdMs
    this.mode = mode
    this.#retentionBytes = retentionBytes
    this.retentionMs = retentionMs
    for (const hashRange of splitEvenly(shardCount)) this.#addShard(hashRange, [], createdMs)
    this.#sortOpen()
  }

  get openShards(): readonly Shard[] {
    return this.#open
  }

  shard(shardId: string): Shard | undefined {
    const shard = this.shards[Number(shardId.slice('shardId-'.length))]
    return shard?.id === shardId ? shard : undefined
  }

  /** The open shard that takes this hash key. */
  shardFor(key: HashKey): Shard {
    let low = 0
    let high = this.#open.length - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#open[middle]!.hashRange.end < key) low = middle + 1
      else high = middle
    }
    return this.#open[low]!
  }

  put(shard: Shard, partitionKey: string, data: Uint8Array, nowMs: number): StoredRecord {
    const sequenceNumber = this.#sequenceNumbers.next(nowMs, shard.number)
    // The wall clock may be set back; records are found by their arrival, so that may not.
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, nowMs)
    const record = { sequenceNumber, partitionKey, data, arrivedMs: this.#lastArrivalMs }
    shard.log.append(record)
    this.#ages.push(shard)
    this.#bytes += sizeOf(record)
    while (this.#bytes > this.#retentionBytes) this.#trimOldest()
    return record
  }

  /** Trims what arrived before this time. */
  trimBefore(timeMs: number): void {
    for (;;) {
      const shard = this.#ages[this.#oldest]
      const record = shard?.log.at(0)
      if (record === undefined || record.arrivedMs >= timeMs) return
      this.#trimOldest()
    }
  }

  /** A sequence number after every one so far: where LATEST is. */
  latest(nowMs: number): string {
    return this.#sequenceNumbers.next(nowMs, 0)
  }

  /** SplitShard: a key at either end of the shard is refused. */
  splitAsAsked(shard: Shard, at: HashKey, nowMs: number): void {
    const { start, end } = shard.hashRange
    if (at <= start + 1n || at >= end) {
      throw invalidArgument(
        `NewStartingHashKey ${at} used in SplitShard() on shard ${shard.id} in stream ${this.name} under account 000000000000 ` +
          `is not both greater than one plus the shard's StartingHashKey ${start} and less than the shard's EndingHashKey ${end}.`,
      )
    }
    this.split(shard, at, nowMs)
  }

  /** Splits before a key that lies in the shard and isn't its first. */
  split(shard: Shard, at: HashKey, nowMs: number): void {
    const { start, end } = shard.hashRange
    this.#replace(
      [shard],
      [
        { start, end: at - 1n },
        { start: at, end },
      ],
      nowMs,
    )
  }

  merge(shard: Shard, adjacent: Shard, nowMs: number): void {
    const [low, high] = shard.hashRange.start < adjacent.hashRange.start ? [shard, adjacent] : [adjacent, shard]
    if (low.hashRange.end + 1n !== high.hashRange.start) {
      throw invalidArgument(
        `Shards ${shard.id} and ${adjacent.id} in stream ${this.name} under account 000000000000 are not an adjacent pair of shards eligible for merging`,
      )
    }
    // The shard asked for comes first: the other is the adjacent parent.
    this.#replace([shard, adjacent], [{ start: low.hashRange.start, end: high.hashRange.end }], nowMs)
  }

  /** Splits and merges until there are `target` open shards of even size. */
  resize(target: number, nowMs: number): void {
    const boundaries = splitEvenly(target).map(({ start }) => start)
    for (const boundary of boundaries) {
      const shard = this.shardFor(boundary)
      if (shard.hashRange.start < boundary) this.split(shard, boundary, nowMs)
    }
    const wanted = new Set(boundaries)
    for (;;) {
      const surplus = this.#open.findIndex(({ hashRange }) => !wanted.has(hashRange.start))
      if (surplus < 1) return
      this.merge(this.#open[surplus - 1]!, this.#open[surplus]!, nowMs)
    }
  }

  #replace(parents: Shard[], ranges: HashRange[], nowMs: number): void {
    for (const parent of parents) {
      if (!parent.isOpen) {
        throw new ServiceError(
          'ResourceInUseException',
          `Shard ${parent.id} in stream ${this.name} under account 000000000000 is closed.`,
        )
      }
    }
    for (const parent of parents) parent.close(this.#sequenceNumbers.next(nowMs, parent.number), nowMs)
    for (const range of ranges) {
      const child = this.#addShard(range, parents, nowMs)
      for (const parent of parents) parent.children.push(child)
    }
    this.#sortOpen()
  }

  #addShard(hashRange: HashRange, parents: readonly Shard[], nowMs: number): Shard {
    const number = this.shards.length
    const startingSequenceNumber = this.#sequenceNumbers.next(nowMs, number)
    const shard = new Shard({ number, hashRange, parents, startingSequenceNumber, createdMs: nowMs })
    this.shards.push(shard)
    return shard
  }

  #sortOpen(): void {
    this.#open = this.shards
      .filter(({ isOpen }) => isOpen)
      .sort((a, b) => (a.hashRange.start < b.hashRange.start ? -1 : 1))
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

function sizeOf(record: StoredRecord): number {
  return record.data.length + record.partitionKey.length + RECORD_OVERHEAD_BYTES
}
