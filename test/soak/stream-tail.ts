import {
  type _Record,
  GetRecordsCommand,
  GetShardIteratorCommand,
  type KinesisClient,
  ProvisionedThroughputExceededException,
} from '@aws-sdk/client-kinesis'
import { listShards, type Shard } from '@shardwise/core'
import { deaggregate, isMisplaced } from '@shardwise/records'

/** A user record as it is read. */
export interface ReadRecord {
  readonly partitionKey: string
  readonly data: Uint8Array
  readonly isMisplaced: boolean
}

interface FollowedShard {
  readonly shard: Shard
  /** Undefined at the end of a closed shard. */
  iterator: string | undefined
}

/**
 * Reads a whole stream from its beginning, while it is written and resharded: a shard after all of its parents have been
 * read to their ends. So the records of a key come in the order in which they are in the stream.
 */
export class StreamTail {
  readonly #kinesis: KinesisClient
  readonly #stream: string
  readonly #onRecord: (record: ReadRecord) => void
  readonly #followed = new Map<string, FollowedShard>()

  constructor(kinesis: KinesisClient, stream: string, onRecord: (record: ReadRecord) => void) {
    this.#kinesis = kinesis
    this.#stream = stream
    this.#onRecord = onRecord
  }

  /** Shards it has begun to read. */
  get shards(): number {
    return this.#followed.size
  }

  /**
   * Reads what there is of every shard at once, a page each, and begins with shards whose turn it is.
   *
   * @returns whether it has come to the end of all there was when it was called
   */
  async read(): Promise<boolean> {
    const isNew = await this.#followNew()
    const reading = [...this.#followed.values()].filter(({ iterator }) => iterator !== undefined)
    const atEnd = await Promise.all(reading.map((followed) => this.#readPage(followed)))
    return !isNew && atEnd.every(Boolean)
  }

  async #followNew(): Promise<boolean> {
    // Faults strike this too; then it is tried again the next time.
    const shards = await listShards(this.#kinesis, this.#stream).catch(() => undefined)
    if (shards === undefined) return true
    const listed = new Set(shards.map(({ shardId }) => shardId))
    const isRead = (shardId: string): boolean =>
      !listed.has(shardId) || (this.#followed.has(shardId) && this.#followed.get(shardId)?.iterator === undefined)
    const due = shards.filter(
      ({ shardId, parentShardIds }) => !this.#followed.has(shardId) && parentShardIds.every(isRead),
    )
    for (const shard of due) {
      const { ShardIterator: iterator } = await this.#kinesis.send(
        new GetShardIteratorCommand({
          StreamName: this.#stream,
          ShardId: shard.shardId,
          ShardIteratorType: 'TRIM_HORIZON',
        }),
      )
      this.#followed.set(shard.shardId, { shard, iterator })
    }
    return due.length > 0
  }

  async #readPage(followed: FollowedShard): Promise<boolean> {
    const page = await this.#kinesis
      .send(new GetRecordsCommand({ ShardIterator: followed.iterator }))
      .catch((error: unknown) => {
        if (error instanceof ProvisionedThroughputExceededException) return undefined
        throw error
      })
    if (page === undefined) return false
    for (const record of page.Records ?? []) this.#tell(record, followed.shard)
    followed.iterator = page.NextShardIterator ?? undefined
    return page.Records?.length === 0 && page.MillisBehindLatest === 0 && followed.iterator !== undefined
  }

  #tell({ PartitionKey: partitionKey = '', Data: data = new Uint8Array() }: _Record, { hashRange }: Shard): void {
    const inside = deaggregate(data)
    if (inside.kind === 'malformed') throw new Error(`expected an aggregate that can be read: ${inside.reason}`)
    const records = inside.kind === 'raw' ? [{ partitionKey, explicitHashKey: undefined, data }] : inside.records
    for (const record of records) {
      const { partitionKey: key, data: bytes } = record
      this.#onRecord({ partitionKey: key, data: bytes, isMisplaced: isMisplaced(record, hashRange) })
    }
  }
}
