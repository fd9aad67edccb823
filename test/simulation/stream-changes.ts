import { type KinesisModel, ServiceError } from '@shardwise/local'
import type { Distribution } from './faults.ts'

export interface StreamChangesOptions {
  readonly model: KinesisModel
  /** All that there are. */
  readonly streams: readonly string[]
  /** The one of which more than the shards changes. */
  readonly main: string
  readonly onDemand: boolean
  readonly nowMs: () => number
  readonly wallMs: () => number
}

/** What is done to streams from outside, and what has come of it. */
export class StreamChanges {
  readonly #options: StreamChangesOptions
  #hasDistributed: boolean
  #distributedSinceMs = 0
  #leastRecordBytes: number

  constructor(options: StreamChangesOptions) {
    this.#options = options
    this.#hasDistributed = !this.distributesByKey
    this.#leastRecordBytes = this.maxRecordBytes
  }

  get distributesByKey(): boolean {
    return this.#options.model.streamNamed(this.#options.main).distributesByKey
  }

  /** Whether it has ever distributed records by itself. */
  get hasDistributed(): boolean {
    return this.#hasDistributed
  }

  /** For how long it has distributed records as it does now. */
  get distributedForMs(): number {
    return this.#options.nowMs() - this.#distributedSinceMs
  }

  get maxRecordBytes(): number {
    return this.#options.model.streamNamed(this.#options.main).maxRecordKiB * 1_024
  }

  /** The least that this has ever been. */
  get leastRecordBytes(): number {
    return this.#leastRecordBytes
  }

  /** Splits, merges or resizes, unless the service refuses it now. `where` is a place among the open shards, from 0 to 1. */
  reshard(act: 'split' | 'merge' | 'resize', where: number): void {
    for (const name of this.#options.streams) this.#reshard(name, act, where)
  }

  #reshard(name: string, act: 'split' | 'merge' | 'resize', where: number): void {
    const open = this.#options.model.streamNamed(name).openShards
    const index = Math.floor(where * open.length)
    const shard = open[index]!
    if (this.#options.onDemand && name === this.#options.main) {
      this.#reshardByItself(act, index)
      return
    }
    try {
      if (act === 'resize') {
        const target = Math.max(Math.ceil(open.length / 2), Math.min(8, Math.round(where * 2 * open.length)))
        this.#options.model.execute('UpdateShardCount', {
          StreamName: name,
          TargetShardCount: target,
          ScalingType: 'UNIFORM_SCALING',
        })
      } else if (act === 'split') {
        const { start, end } = shard.hashRange
        this.#options.model.execute('SplitShard', {
          StreamName: name,
          ShardToSplit: shard.id,
          NewStartingHashKey: String(start + ((end - start) * BigInt(10 + Math.floor(where * 80))) / 100n),
        })
      } else {
        const neighbour = open[index + 1]
        if (neighbour === undefined) return
        this.#options.model.execute('MergeShards', {
          StreamName: name,
          ShardToMerge: shard.id,
          AdjacentShardToMerge: neighbour.id,
        })
      }
    } catch (error) {
      // Such as while another reshard is under way: then there is none.
      if (!(error instanceof ServiceError)) throw error
    }
  }

  /** An on-demand stream refuses it to be done from outside. */
  #reshardByItself(act: 'split' | 'merge' | 'resize', index: number): void {
    const stream = this.#options.model.streamNamed(this.#options.main)
    const shard = stream.openShards[index]!
    const neighbour = stream.openShards[index + 1]
    if (act === 'resize') stream.resize(Math.min(8, 2 * stream.openShards.length), this.#options.wallMs())
    else if (act === 'split') {
      const { start, end } = shard.hashRange
      if (end - start > 2n) stream.split(shard, start + (end - start) / 2n, this.#options.wallMs())
    } else if (neighbour !== undefined) stream.merge(shard, neighbour, this.#options.wallMs())
  }

  /** Who decides about records' shards from now on; returns whether that is a change. */
  distribute(to: Distribution): boolean {
    const { arn, distribution } = this.#options.model.streamNamed(this.#options.main)
    if (
      to === distribution ||
      !this.#change('UpdateStreamRecordDistributionStrategy', { StreamARN: arn, RecordDistributionStrategy: to })
    )
      return false
    this.#hasDistributed ||= to === 'AUTO'
    this.#distributedSinceMs = this.#options.nowMs()
    return true
  }

  limitRecords(maxRecordKiB: number): void {
    this.#change('UpdateMaxRecordSize', { StreamName: this.#options.main, MaxRecordSizeInKiB: maxRecordKiB })
    this.#leastRecordBytes = Math.min(this.#leastRecordBytes, this.maxRecordBytes)
  }

  /** Unless the service refuses it now. */
  #change(operation: string, request: Record<string, unknown>): boolean {
    try {
      this.#options.model.execute(operation, request)
      return true
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error
      return false
    }
  }
}
