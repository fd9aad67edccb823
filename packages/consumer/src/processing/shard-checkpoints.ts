import { comparePositions, isSentinel, type Position } from '@shardwise/records'
import { ConsumerError } from '../errors.ts'
import type { LeaseHolder } from '../leases/lease-holder.ts'
import type { ConsumerRecord } from './consumer-record.ts'
import type { ManualCheckpoints, PreparedCheckpoint } from './handlers.ts'
import { ManualCheckpoint } from './manual-checkpoint.ts'

export interface ShardCheckpointsOptions {
  readonly stream: string
  readonly holder: Pick<LeaseHolder, 'lease' | 'lost' | 'prepare'>
  /** The newest record of the shard that was given out. */
  readonly newest: () => Position | undefined
  /** Up to where everything is finished. */
  readonly finished: () => Position
}

/** The checkpoints of one shard, where its handler makes them. */
export class ShardCheckpoints implements ManualCheckpoints {
  readonly #options: ShardCheckpointsOptions
  readonly #named = new ManualCheckpoint()

  constructor(options: ShardCheckpointsOptions) {
    this.#options = options
  }

  /** What may be written when everything up to `finished` is; undefined until the handler has named anything. */
  at(finished: Position): Position | undefined {
    return this.#named.at(finished)
  }

  checkpoint(record: ConsumerRecord): void {
    this.#named.name(this.#delivered(record))
  }

  /** Everything up to `finished` is finished. */
  checkpointAt(finished: Position): void {
    this.#options.holder.lost.throwIfAborted()
    if (!isSentinel(finished)) this.#named.name(finished)
  }

  async prepareCheckpoint(record: ConsumerRecord, state: Uint8Array | undefined): Promise<PreparedCheckpoint> {
    const position = this.#delivered(record)
    if (state !== undefined && !(state instanceof Uint8Array)) {
      throw new ConsumerError('ERR_CHECKPOINT', `Expected bytes as the state of a checkpoint, got ${typeof state}.`)
    }
    const { holder, finished } = this.#options
    // With the checkpoint as it is now: what was announced and committed before must not be forgotten for this.
    const isPrepared =
      // What lies at or behind the checkpoint needs no announcement: it is written.
      comparePositions(position, holder.lease.checkpoint) <= 0 ||
      (await holder.prepare(position, state, this.at(finished())))
    if (!isPrepared) {
      const { shardId } = holder.lease
      throw holder.lost.aborted
        ? holder.lost.reason
        : new ConsumerError('ERR_LEASE_LOST', `The lease of ${shardId} has been given up.`, { shardId })
    }
    return { commit: () => this.#named.name(position) }
  }

  #delivered(record: ConsumerRecord): Position {
    const { stream, holder, newest } = this.#options
    holder.lost.throwIfAborted()
    const { shardId } = holder.lease
    const { sequenceNumber, subSequenceNumber } = Object(record) as Partial<ConsumerRecord>
    if (sequenceNumber === undefined || subSequenceNumber === undefined) {
      throw new ConsumerError(
        'ERR_CHECKPOINT',
        `Expected a record of ${shardId} for a checkpoint, got ${String(record)}.`,
      )
    }
    const last = newest()
    const position = { sequenceNumber, subSequenceNumber }
    const isOfShard = record.shardId === shardId && record.stream === stream
    if (!isOfShard || last === undefined || comparePositions(position, last) > 0) {
      const upTo = last === undefined ? 'and none was yet' : `up to ${last.sequenceNumber}:${last.subSequenceNumber}`
      throw new ConsumerError(
        'ERR_CHECKPOINT',
        `Expected for a checkpoint a record that was delivered of ${shardId} of ${stream}, ${upTo}; got ` +
          `${sequenceNumber}:${subSequenceNumber} of ${record.shardId} of ${record.stream}.`,
        { shardId },
      )
    }
    return position
  }
}
