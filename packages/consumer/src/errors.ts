import { errorCode, ShardwiseError, type ShardwiseErrorOptions } from '@shardwise/core'

/**
 * - `ERR_STATE`: a call that doesn't fit the consumer's life, such as a second `run`; or another worker has started under this
 *   one's `workerId`.
 * - `ERR_STREAM`: the stream, or the shard asked for, doesn't exist, or no longer, or is another one by now.
 * - `ERR_TABLE`: the application's table can't be used: it is another kind of table, was deleted, or workers that Shardwise can't
 *   run beside are using it.
 * - `ERR_ACCESS`: AWS refused a call for good, most often a missing permission.
 * - `ERR_CONSUMER`: the registered consumer that fan-out subscribes with doesn't exist or can't be had.
 * - `ERR_RECORD`: a record can't be read: an aggregate that is damaged inside; of `readShard`, `readStream` and
 *   `reset` also a sequence number that isn't one of the shard's.
 * - `ERR_STOPPED`: `run()` has ended because a shard stopped, with `onStop: 'exit'`; `cause` is the handler's error. Also the reason of
 *   the abort signal of a handler that was still at work when its shard had stopped, and for `closeTimeout` after.
 * - `ERR_HANDLER_TIMEOUT`: reason of a handler's abort signal, and of the failure of its attempt: it took longer than `handlerTimeoutMs`.
 * - `ERR_CHECKPOINT`: a position was given for a checkpoint that isn't one of a record that was delivered of the shard.
 * - `ERR_LEASE_LOST`: reason of a handler's abort signal: another worker may read the shard now.
 * - `ERR_CLOSED`: reason of a handler's abort signal: the consumer stops and has waited long enough.
 * - `ERR_JSON`: `record.json()` on a record that isn't JSON.
 */
export type ConsumerErrorCode =
  | 'ERR_STATE'
  | 'ERR_STREAM'
  | 'ERR_TABLE'
  | 'ERR_ACCESS'
  | 'ERR_CONSUMER'
  | 'ERR_RECORD'
  | 'ERR_STOPPED'
  | 'ERR_HANDLER_TIMEOUT'
  | 'ERR_CHECKPOINT'
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

/**
 * Calls DynamoDB, and says of a refusal for good what is missing: the IAM action and the table or index, or the table itself.
 * Other errors pass as they come.
 *
 * @param action of IAM, without its service
 * @param resource the table's name, or `NAME/index/INDEX`
 * @param why what the table is to the application, if that isn't plain
 */
export async function explained<T>(
  action: string,
  resource: string,
  call: () => Promise<T>,
  why: string | undefined = undefined,
): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (isAccessDenied(error)) throw accessDenied(action, resource, error, why)
    if (errorCode(error) !== 'ResourceNotFoundException') throw error
    const [table] = resource.split('/index/')
    throw new ConsumerError('ERR_TABLE', `The table "${table}" does not exist any more.`, { cause: error })
  }
}

/** @param why what the table is to the application, if that isn't plain */
export function accessDenied(action: string, resource: string, error: unknown, why = ''): ConsumerError {
  const message = String((Object(error) as { message?: unknown }).message ?? error)
  // Creating a table may be refused for what is done with it, such as its tags: AWS names the action then.
  const missing = /not authorized to perform: ([\w:]+)/.exec(message)?.[1] ?? `dynamodb:${action}`
  return new ConsumerError(
    'ERR_ACCESS',
    `Access denied: expected that ${missing} is allowed on table/${resource}${why && ` (${why})`}, got "${message}". ` +
      `Allow it in the IAM policy of the worker's role.`,
    { cause: error },
  )
}

function isAccessDenied(error: unknown): boolean {
  const code = errorCode(error)
  return code === 'AccessDeniedException' || code === 'AccessDenied'
}
