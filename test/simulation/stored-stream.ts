import {
  comparePositions,
  contains,
  deaggregate,
  type HashKey,
  type HashRange,
  hashKeyOf,
  type Position,
} from '@shardwise/records'

/** A user record at its place in the stream. */
export interface StoredUserRecord {
  /** Which put it is from. */
  readonly text: string
  /** Empty if it has none. */
  readonly key: string
  readonly shard: StoredShard
  readonly sequenceNumber: string
  readonly subSequenceNumber: number
  readonly arrivedMs: number
  /** Whether it belongs to the shard itself. */
  readonly isPlaced: boolean
  /** Whether all of its Kinesis record belongs to the shard. */
  readonly isWhole: boolean
  /** Not in an aggregate. */
  readonly isPlain: boolean
  /** Whether the stream distributed by key when it took the record. */
  readonly isByKey: boolean
  /** Its place in the shard. */
  readonly index: number
  /** Bytes of data in the shard, up to its own. */
  readonly endBytes: number
  readonly bytes: number
  /** An aggregate that nobody can read. */
  readonly isDamaged: boolean
  /** A handler has finished it, or it was given up as the application's policy has it. */
  finished: boolean
  /** A reset put the application behind it before it was finished: it may come later, when a reset goes back. */
  isPassedOver: boolean
}

/** Records in the order in which they are to be handled. */
interface Line {
  readonly records: StoredUserRecord[]
  /** Everything before is finished or excused. */
  done: number
}

/** What a Kinesis record holds. */
export interface Content {
  /** One, as it is: no aggregate. */
  readonly isPlain: boolean
  readonly records: readonly {
    readonly partitionKey?: string | undefined
    readonly explicitHashKey?: string | undefined
    readonly data: Uint8Array
  }[]
}

/** Its records are in the shard's order. */
export interface StoredShard extends Line {
  readonly shardId: string
  readonly hashRange: HashRange
  readonly parents: readonly StoredShard[]
  /** Those of each key. */
  readonly byKey: Map<string, Line>
  readonly byPosition: Map<string, StoredUserRecord>
  /** Everything before is covered by the checkpoint. */
  checkpointed: number
}

/** What really is in the stream, noted as it was written, whatever the library makes of it. */
export class StoredStream {
  readonly #shards = new Map<string, StoredShard>()
  readonly #retentionMs: number
  #count = 0
  #startMs = 0

  constructor(retentionMs: number) {
    this.#retentionMs = retentionMs
  }

  /** How many user records, with their copies. */
  get count(): number {
    return this.#count
  }

  get shards(): Iterable<StoredShard> {
    return this.#shards.values()
  }

  shard(shardId: string): StoredShard | undefined {
    return this.#shards.get(shardId)
  }

  addShard(shardId: string, hashRange: HashRange, parentShardIds: readonly string[]): void {
    if (this.#shards.has(shardId)) return
    const parents = parentShardIds.map((id) => this.#shards.get(id)).filter((parent) => parent !== undefined)
    this.#shards.set(shardId, {
      shardId,
      hashRange,
      parents,
      records: [],
      byKey: new Map(),
      byPosition: new Map(),
      done: 0,
      checkpointed: 0,
    })
  }

  /** Notes a Kinesis record that the stream has taken; returns the user records inside. */
  add(
    shardId: string,
    sequenceNumber: string,
    { records, isPlain }: Content,
    { arrivedMs, isByKey }: { arrivedMs: number; isByKey: boolean },
  ): StoredUserRecord[] {
    const shard = this.#shards.get(shardId)
    if (shard === undefined) throw new Error(`a record was stored in the unknown ${shardId}`)
    const placed = records.map((each) => contains(shard.hashRange, hashKeyOfRecord(each)))
    const isWhole = placed.every((isPlaced) => isPlaced)
    return records.map((each, subSequenceNumber) =>
      this.#append({
        text: textOf(each.data),
        key: each.partitionKey ?? '',
        shard,
        sequenceNumber,
        subSequenceNumber,
        arrivedMs,
        isPlaced: placed[subSequenceNumber]!,
        isWhole,
        isPlain,
        isByKey,
        bytes: each.data.byteLength,
        isDamaged: false,
      }),
    )
  }

  /** Notes a Kinesis record that nobody can read. */
  addDamaged(shardId: string, sequenceNumber: string, bytes: number, arrivedMs: number): StoredUserRecord {
    const shard = this.#shards.get(shardId)
    if (shard === undefined) throw new Error(`a record was stored in the unknown ${shardId}`)
    return this.#append({
      text: `damaged/${sequenceNumber}`,
      key: '',
      shard,
      sequenceNumber,
      subSequenceNumber: 0,
      arrivedMs,
      isPlaced: true,
      isWhole: true,
      isPlain: true,
      isByKey: true,
      bytes,
      isDamaged: true,
    })
  }

  #append(placed: Omit<StoredUserRecord, 'index' | 'endBytes' | 'finished' | 'isPassedOver'>): StoredUserRecord {
    const { shard, key, bytes } = placed
    const index = shard.records.length
    const record = {
      ...placed,
      index,
      endBytes: (shard.records[index - 1]?.endBytes ?? 0) + bytes,
      finished: false,
      isPassedOver: false,
    }
    shard.records.push(record)
    shard.byPosition.set(`${record.sequenceNumber}:${record.subSequenceNumber}`, record)
    const line = shard.byKey.get(key)
    if (line === undefined) shard.byKey.set(key, { records: [record], done: 0 })
    else line.records.push(record)
    this.#count++
    return record
  }

  find(shardId: string, sequenceNumber: string, subSequenceNumber: number): StoredUserRecord | undefined {
    return this.#shards.get(shardId)?.byPosition.get(`${sequenceNumber}:${subSequenceNumber}`)
  }

  /** What came before needs not be handled: the application started at the tip. */
  startAt(ms: number): void {
    this.#startMs = ms
  }

  isBeforeStart({ arrivedMs }: StoredUserRecord): boolean {
    return arrivedMs < this.#startMs
  }

  hasExpired({ arrivedMs }: StoredUserRecord, nowMs: number): boolean {
    return arrivedMs < nowMs - this.#retentionMs
  }

  /** The first record of the shard, or of one of its keys, that is neither finished nor excused from it. */
  firstOpen(line: Line, nowMs: number): StoredUserRecord | undefined {
    for (;;) {
      const record = line.records[line.done]
      if (record === undefined || this.#isOpen(record, nowMs)) return record
      line.done++
    }
  }

  /** What is to be finished before this record is begun, and isn't: of its shard, or of its key there. */
  *openBefore(record: StoredUserRecord, ordering: 'key' | 'shard', nowMs: number): Generator<StoredUserRecord> {
    const line = ordering === 'shard' ? record.shard : record.shard.byKey.get(record.key)!
    if (this.firstOpen(line, nowMs) === undefined) return
    for (let at = line.done; line.records[at]!.index < record.index; at++) {
      const other = line.records[at]!
      if (this.#isOpen(other, nowMs)) yield other
    }
  }

  /** The shard is to be read again, from its first record on or behind a position: what comes then counts as never handled. */
  reopen(shard: StoredShard, after?: Position): void {
    shard.done = 0
    for (const line of shard.byKey.values()) line.done = 0
    for (const record of shard.records) {
      const isBehind = after !== undefined && comparePositions(record, after) <= 0
      if (isBehind && !record.finished) record.isPassedOver = true
      record.finished = isBehind
    }
    shard.checkpointed = shard.records.filter(({ finished }) => finished).length
  }

  /** A shard, and all that have come of it. */
  descendants(shard: StoredShard): StoredShard[] {
    const children = [...this.#shards.values()].filter(({ parents }) => parents.includes(shard))
    return [...new Set([shard, ...children.flatMap((child) => this.descendants(child))])]
  }

  #isOpen(record: StoredUserRecord, nowMs: number): boolean {
    return !record.finished && !this.hasExpired(record, nowMs) && !this.isBeforeStart(record)
  }

  /** The records that a checkpoint at this position newly covers. */
  takeCovered(shard: StoredShard, position: Position | 'end'): StoredUserRecord[] {
    const from = shard.checkpointed
    const { records } = shard
    while (
      shard.checkpointed < records.length &&
      (position === 'end' || comparePositions(records[shard.checkpointed]!, position) <= 0)
    ) {
      shard.checkpointed++
    }
    return records.slice(from, shard.checkpointed)
  }
}

const SPACE = 0x20

/** What was put begins with its name; the rest is padding. */
export function textOf(data: Uint8Array): string {
  const end = data.indexOf(SPACE)
  return Buffer.from(data.buffer, data.byteOffset, end < 0 ? data.byteLength : end).toString('latin1')
}

/** What is in an entry of a PutRecords. */
export function contentOf(entry: {
  readonly PartitionKey?: string
  readonly ExplicitHashKey?: string
  readonly Data: Uint8Array
}): Content {
  const content = deaggregate(entry.Data)
  if (content.kind === 'malformed') throw new Error(`a malformed aggregate was sent: ${content.reason}`)
  if (content.kind === 'aggregate') return { isPlain: false, records: content.records }
  const { PartitionKey: partitionKey, ExplicitHashKey: explicitHashKey, Data: data } = entry
  return { isPlain: true, records: [{ partitionKey, explicitHashKey, data }] }
}

function hashKeyOfRecord({
  partitionKey,
  explicitHashKey,
}: {
  partitionKey?: string | undefined
  explicitHashKey?: string | undefined
}): HashKey {
  return explicitHashKey === undefined ? hashKeyOf(partitionKey ?? '') : BigInt(explicitHashKey)
}

/** Names a shard where there are several streams. */
export function shardKeyOf(stream: string, shardId: string): string {
  return `${stream}:${shardId}`
}
