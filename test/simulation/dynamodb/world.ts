import { DynamoDBModelError } from './errors.ts'
import type { Item } from './values.ts'
import { HISTORY_MS } from './versions.ts'

/** What the model is told about the world around it. */
export interface DynamoDBModelOptions {
  /** Virtual time, milliseconds. */
  readonly nowMs: () => number
  /** Seeded; 0 to below 1. */
  readonly random: () => number
  /**
   * How old, in ms, what an eventually consistent read finds of one item may be; asked for each item and read, so a scan
   * can be stale in parts. At most {@link HISTORY_MS}. Default: 0.
   */
  readonly readLagMs?: () => number
  /** How long, in ms, a write takes to show in an index; asked for each write and index. Default: 0. */
  readonly indexLagMs?: () => number
  /** How long, in ms, a table or index is CREATING. Default: 0. */
  readonly createMs?: number
  /** Told of every write that took effect, before and after (undefined: not there). The items are frozen. */
  readonly onWrite?: (write: DynamoDBWrite) => void
}

export interface DynamoDBWrite {
  readonly table: string
  /** The partition key's value; with a range key, both values as a JSON array. */
  readonly key: string
  readonly before: Item | undefined
  readonly after: Item | undefined
  /** Whatever the caller gave. */
  readonly context: unknown
}

export type World = Required<DynamoDBModelOptions>

export function worldOf(options: DynamoDBModelOptions): World {
  const { readLagMs = () => 0, indexLagMs = () => 0, createMs = 0, onWrite = () => {} } = options
  return {
    ...options,
    indexLagMs,
    createMs,
    onWrite,
    readLagMs: () => {
      const lagMs = readLagMs()
      if (lagMs >= 0 && lagMs <= HISTORY_MS) return lagMs
      throw new RangeError(`Expected readLagMs to give 0 to ${HISTORY_MS}, got ${lagMs}.`)
    },
  }
}

export function notFound(message = 'Requested resource not found'): Error {
  return new DynamoDBModelError('ResourceNotFoundException', message)
}
