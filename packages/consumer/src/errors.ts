import { ShardwiseError, type ShardwiseErrorOptions } from '@shardwise/core'

/**
 * - `ERR_STATE`: a call that doesn't fit the consumer's life, such as a second `run`.
 * - `ERR_STREAM`: the stream doesn't exist, or no longer.
 * - `ERR_TABLE`: the application's table can't be used.
 * - `ERR_ACCESS`: AWS refused a call for good, most often a missing permission.
 * - `ERR_LEASE_LOST`: reason of a handler's abort signal: another worker may read the shard now.
 * - `ERR_CLOSED`: reason of a handler's abort signal: the consumer stops and has waited long enough.
 * - `ERR_JSON`: `record.json()` on a record that isn't JSON.
 */
export type ConsumerErrorCode =
  | 'ERR_STATE'
  | 'ERR_STREAM'
  | 'ERR_TABLE'
  | 'ERR_ACCESS'
  | 'ERR_LEASE_LOST'
  | 'ERR_CLOSED'
  | 'ERR_JSON'

export interface ConsumerErrorOptions extends ShardwiseErrorOptions {
  readonly shardId?: string | undefined
}

/** What the consumer throws. Tell errors apart by `code`. */
export class ConsumerError extends ShardwiseError<ConsumerErrorCode> {
  override readonly name = 'ConsumerError'
  /** The shard it is about, if it is about one. */
  readonly shardId: string | undefined

  constructor(code: ConsumerErrorCode, message: string, options: ConsumerErrorOptions = {}) {
    super(code, message, options)
    this.shardId = options.shardId
  }
}
