import { checkOptions, func, integerFrom, numberFrom, objectWith } from '@shardwise/core'
import { ConsumerError } from './errors.ts'
import type { EachBatch, EachRecord } from './processing/handlers.ts'
import type { ShardHooks } from './processing/shard-hooks.ts'
import type { BatchLimits } from './processing/work.ts'

interface RunOptions extends ShardHooks {
  /** Aborting it is the same as {@link Consumer.close}. */
  readonly signal?: AbortSignal | undefined
}

/** `run` with a handler of single records. */
export interface RecordHandlers<Value = undefined> extends RunOptions {
  readonly eachRecord: EachRecord<Value>
  readonly eachBatch?: undefined
}

/** `run` with a handler of batches. A batch is of one shard, and goes when one of its bounds is reached. */
export interface BatchHandlers<Value = undefined> extends RunOptions {
  readonly eachBatch: EachBatch<Value>
  readonly eachRecord?: undefined
  /** How many records a batch has at most; not to be confused with the option of the consumer, which bounds what is read at once. Default: 500. */
  readonly maxRecords?: number | undefined
  /** How many bytes of data a batch has at most; one larger record makes a batch of its own. Default: 1 MiB. */
  readonly maxBytes?: number | undefined
  /** How long a batch waits for more after its first record, in milliseconds; 0: not at all. Default: 100. */
  readonly maxWaitMs?: number | undefined
}

/** What {@link Consumer.run} does with records. */
export type Handlers<Value = undefined> = RecordHandlers<Value> | BatchHandlers<Value>

const HOOKS = { onShardStart: func, onShardEnd: func, onShardRelease: func, onLeaseLost: func }

/**
 * @throws {OptionError} for what `run` doesn't know; {@link ConsumerError} `ERR_STATE` unless there is exactly one handler, or if
 *   checkpoints are manual and nothing says when a shard may be marked as finished
 */
export function checkHandlers<Value>(
  handlers: Handlers<Value>,
  checkpointing: 'automatic' | 'manual' = 'automatic',
): void {
  const { eachRecord, eachBatch } = (handlers ?? {}) as { eachRecord?: unknown; eachBatch?: unknown }
  const given = [eachRecord, eachBatch].filter((handler) => handler !== undefined)
  if (given.length !== 1 || typeof given[0] !== 'function') {
    throw new ConsumerError(
      'ERR_STATE',
      'run() expects one handler: { eachRecord: (record, { signal }) => … } or { eachBatch: (records, { signal }) => … }.',
    )
  }
  if (checkpointing === 'manual' && handlers.onShardEnd === undefined) {
    throw new ConsumerError(
      'ERR_STATE',
      "With checkpointing: 'manual' run() expects the hook onShardEnd: when it is done, the shard is marked as finished, and nothing of it " +
        'comes again. Write what was gathered there; if nothing ever is, give { onShardEnd: () => {} }.',
    )
  }
  const common = { ...HOOKS, signal: objectWith('addEventListener') }
  if (handlers.eachBatch === undefined) {
    checkOptions<RecordHandlers<Value>>('run()', handlers, { ...common, eachRecord: func, eachBatch: () => undefined })
    return
  }
  checkOptions<BatchHandlers<Value>>('run()', handlers, {
    ...common,
    eachBatch: func,
    eachRecord: () => undefined,
    maxRecords: integerFrom(1),
    maxBytes: integerFrom(1),
    maxWaitMs: numberFrom(0, 86_400_000),
  })
}

/** Undefined where records are handled one by one. */
export function batchLimitsOf<Value>(handlers: Handlers<Value>): BatchLimits | undefined {
  if (handlers.eachBatch === undefined) return undefined
  const { maxRecords = 500, maxBytes = 2 ** 20, maxWaitMs = 100 } = handlers
  return { maxRecords, maxBytes, maxWaitMs }
}
